package storetest

import (
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/dialkv/dialkv/store"
)

// idle is how long a watch waits for a change before it says that there was none.
const idle = time.Second

// Watch follows the history of the group, which the model never forgets.
func (m *model) Watch(ctx context.Context, q store.WatchQuery) (store.Changes, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	if m.mode == store.AP {
		return m.watchAP(ctx, q)
	}
	if q.Since != nil {
		return nil, refusal(store.Invalid, "a watch of a cp keyspace goes on behind a revision", "from a revision")
	}
	if err := m.lockCovering(ctx, q.After); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	present := m.state.number
	if q.From > present+1 {
		return nil, refusal(store.Invalid, "the group has not reached the revision", "")
	}
	if q.From == 0 {
		q.From = present + 1
	}
	return &changes{m: m, q: q, next: q.From}, nil
}

// watchAP begins at the present, with the first write, or behind an entry.
func (m *model) watchAP(ctx context.Context, q store.WatchQuery) (store.Changes, error) {
	if q.From > 1 {
		return nil, refusal(store.Invalid, "an ap keyspace has no revisions", "the entry of a change")
	}
	for _, e := range []store.Entry{q.After, q.Since} {
		if err := m.lockCovering(ctx, e); err != nil {
			return nil, err
		}
		m.mu.Unlock()
	}
	m.lock()
	defer m.mu.Unlock()
	c := &changes{m: m, q: q, next: m.state.number + 1}
	switch {
	case q.Since != nil:
		n, _ := binary.Uvarint(q.Since) // it was read before
		c.next = n + 1
	case q.From == 1:
		c.next = 1
	}
	return c, nil
}

// changes is a place in the history.
type changes struct {
	m    *model
	q    store.WatchQuery
	next uint64 // the revision to look at
}

func (c *changes) Close() {}

func (c *changes) Next(ctx context.Context) (store.Change, error) {
	quiet := time.NewTimer(idle)
	defer quiet.Stop()
	for {
		change, more := c.look()
		if change.Events != nil {
			return change, nil
		}
		select {
		case <-more:
		case <-quiet.C:
			return change, nil
		case <-ctx.Done():
			return store.Change{}, store.Expired(ctx, "a change")
		}
	}
}

// look goes on to the next change that the watch asks for. Where there is none it
// returns a notice of progress, and what is closed when there is more to look at.
func (c *changes) look() (store.Change, <-chan struct{}) {
	c.m.lock()
	defer c.m.mu.Unlock()
	for ; c.next <= c.m.state.number; c.next++ {
		change := c.m.history[c.next-1]
		change.Events = slices.DeleteFunc(slices.Clone(change.Events), func(e store.Event) bool { return !c.q.Matches(e.Key) })
		if len(change.Events) > 0 {
			c.next++
			return change, nil
		}
	}
	return store.Change{Revision: c.next - 1, Entry: entry(c.next - 1)}, c.m.changed
}

// eventsAP is what one write did: it changes one key, or none.
func (m *model) eventsAP(before, after *state, expired bool) []store.Event {
	for _, key := range append(slices.Collect(maps.Keys(before.keys)), slices.Collect(maps.Keys(after.keys))...) {
		if slices.Equal(dots(before.keys[key]), dots(after.keys[key])) {
			continue
		}
		e := store.Event{Key: key, Dot: dotName(after.number), Expired: expired, Deleted: len(after.keys[key]) == 0}
		if !e.Deleted {
			item := m.item(after, key, store.Query{})
			e.Values, e.Fields = item.Values, item.Fields
		}
		if len(e.Values) == 1 {
			e.Value = e.Values[0]
		}
		return []store.Event{e}
	}
	return nil
}

// events is what the step from one state to the next did to each key, in key order.
func events(before, after *state, expired bool) []store.Event {
	var events []store.Event
	keys := slices.Collect(maps.Keys(before.keys))
	for key := range after.keys {
		if _, old := before.keys[key]; !old {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		was, _ := before.at(key)
		is, there := after.at(key)
		switch {
		case !there:
			events = append(events, store.Event{Key: key, Deleted: true, Expired: expired, Replaced: was.number})
		case is.number != was.number:
			events = append(events, store.Event{Key: key, Value: is.value, Replaced: was.number, Version: is.version, Lease: is.lease})
		}
	}
	return events
}
