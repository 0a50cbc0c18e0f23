package ap

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

const (
	watchBatch    = 256             // changes that wait for one who watches
	watchBytes    = 1 << 20         // of the entries they are of; one may be larger
	watchProgress = time.Second     // of silence, before a notice of progress
	watchOpen     = 5 * time.Second // for a replica to cover what a watch goes on behind
	watchDeaf     = 5 * time.Second // without a word from any peer end a watch
)

// Watch follows the writes to a key or a range in the order in which this replica
// applied them, each once. All that precedes a write was returned before it, if the
// watch asks for it. A watch goes on, at any member that covers it, behind the entry of
// the last change that was returned; a member that does not is waited for some seconds
// and then SessionUnreachable. Compacted says that the writes in between are not in this
// replica's log: it was cut, or they came with a snapshot.
//
// A replica that has heard of none of its peers for some seconds ends the watch,
// Unavailable, so that its client goes elsewhere if there is an elsewhere. It takes the
// watch again from one that comes back.
func (r *Replica) Watch(ctx context.Context, q store.WatchQuery) (store.Changes, error) {
	w, err := r.watch(ctx, q)
	if err != nil {
		return nil, r.signed("watch", err)
	}
	return w, nil
}

func (r *Replica) watch(ctx context.Context, q store.WatchQuery) (*changes, error) {
	if err := cmp.Or(q.Check(), r.absent("watch")); err != nil {
		return nil, err
	}
	since, given, err := sinceOf(q)
	if err != nil {
		return nil, err
	}
	needed, err := decodeNeed(q.After)
	if err != nil {
		return nil, err
	}
	needed.join(since)
	ctx, cancel := context.WithTimeout(ctx, watchOpen)
	defer cancel()
	if _, err := r.await(ctx, "watch", needed); err != nil {
		return nil, err
	}
	v, _, err := r.views.acquire()
	if err != nil {
		return nil, err
	}
	defer r.views.release(v)
	w := &changes{r: r, q: q, opened: time.Now()}
	if given {
		all, _ := v.closures.Up(since.closed)
		all.Join(since.Vector)
		return w, w.resume(v, all)
	}
	w.seen, w.count, w.cursor = v.vector.Clone(), v.vector.Sum(), v.position
	w.know(v)
	return w, nil
}

// sinceOf is what a watch goes on behind, if it does not begin at the present.
func sinceOf(q store.WatchQuery) (since need, given bool, err error) {
	switch {
	case q.Since != nil:
		since, err := decodeNeed(q.Since)
		return since, true, err
	case q.From > 1:
		return since, false, &store.Error{
			Code: store.Invalid, Msg: fmt.Sprintf("the watch begins at revision %d, and an ap keyspace has no revisions", q.From),
			Try: "behind an entry that was read or watched, or from 1: all that the log holds",
		}
	}
	return since, q.From == 1, nil
}

// changes is one watch.
type changes struct {
	r      *Replica
	q      store.WatchQuery
	seen   causal.Vector // all that was returned or passed over, and what it began behind
	count  uint64        // of writes in seen
	cursor uint64        // the position in the log up to which it has looked
	known  *causal.Closures
	closed uint64 // up to this number what was closed is in seen
	bridge bridge
	queue  []store.Change
	opened time.Time
	told   token.Deps // the dependencies that were returned last
}

// Close gives the watch up. It holds nothing between two calls of Next.
func (w *changes) Close() {}

// Next returns the next change or, after a second without any, how far it is.
func (w *changes) Next(ctx context.Context) (store.Change, error) {
	silent := time.NewTimer(watchProgress)
	defer silent.Stop()
	for {
		if len(w.queue) > 0 {
			c := w.queue[0]
			w.queue = w.queue[1:]
			return c, nil
		}
		v, changed, err := w.r.views.acquire()
		if err != nil {
			return store.Change{}, w.r.signed("watch", err)
		}
		more := v.position > w.cursor
		if more {
			err = w.look(v)
		}
		w.r.views.release(v)
		if err != nil {
			return store.Change{}, w.r.signed("watch", unreadable(err))
		}
		if more {
			continue
		}
		select {
		case <-changed:
		case <-silent.C:
			return w.progress()
		case <-ctx.Done():
			return store.Change{}, w.r.signed("watch", store.Expired(ctx, "a change"))
		}
	}
}

// progress says how far the watch is, if this replica hears of what others write.
func (w *changes) progress() (store.Change, error) {
	since := w.opened
	if heard := w.r.heard.Load(); heard != nil && heard.After(since) {
		since = *heard
	}
	if len(w.r.placed.Load().peers) > 0 && time.Since(since) > watchDeaf {
		return store.Change{}, w.r.signed("watch", &store.Error{
			Code: store.Unavailable, Msg: fmt.Sprintf("this replica has heard of none of the others for %v", watchDeaf), Try: "another node, or this one again",
		})
	}
	v, _, err := w.r.views.latest()
	if err != nil {
		return store.Change{}, w.r.signed("watch", err)
	}
	w.know(v) // it may have learned of closures, which come without an entry of the log
	return w.change(nil), nil
}

func (w *changes) change(events []store.Event) store.Change {
	return store.Change{Revision: w.count, Events: events, Entry: encodeDots(short(w.seen, w.known, w.closed).dots(w.known))}
}

// know takes the closures of a view, whose numbers may stand for actors in what is returned.
func (w *changes) know(v *view) {
	w.known = v.closures
	w.closed = w.known.Covered(w.seen, w.closed)
}

// Passed is how many writes the watch has come past, those it began behind included.
func (w *changes) Passed() uint64 { return w.count }

// lacks reports whether writes that seen does not include are no more in the log of v.
func lacks(v *view, seen causal.Vector) bool { return !seen.Covers(v.base.vector) }

// look takes what the log has behind the cursor, a part at a time, into the queue.
func (w *changes) look(v *view) error {
	w.know(v)
	if w.cursor < v.base.position {
		if lacks(v, w.seen) {
			return compacted(v)
		}
		w.cursor = v.base.position
	}
	size := 0
	var failed error
	for position, raw := range v.entries(w.cursor+1, &failed) {
		d, merged, err := nameOf(raw)
		switch {
		case err != nil:
			return corrupt(fmt.Sprintf("entry %d of the log", position), err)
		case merged != nil && !w.seen.Covers(merged) && len(w.queue) > 0:
			return nil // what comes before the snapshot is returned first
		case merged != nil && !w.seen.Covers(merged):
			return compacted(v)
		case merged == nil && !w.seen.Has(d):
			if err := w.take(v, position, raw); err != nil {
				return err
			}
		}
		w.cursor = position
		if size += len(raw); len(w.queue) >= watchBatch || size >= watchBytes {
			break
		}
	}
	return failed
}

// take queues the change that the write at a position made, if the watch asks for it.
func (w *changes) take(v *view, position uint64, raw []byte) error {
	e, err := decodeEntry(append([]byte(nil), raw...))
	if err != nil {
		return corrupt(fmt.Sprintf("entry %d of the log", position), err)
	}
	w.seen[e.Dot.Actor] = e.Dot.N
	w.count++
	if !w.q.Matches(e.key) || e.Delete && len(e.Supersedes) == 0 {
		return nil // such a delete changes nothing, here or anywhere
	}
	siblings, err := siblingsAfter(v, position, &e)
	if err != nil {
		return err
	}
	if siblings, err = w.bridge.over(v, position, e.key, siblings); err != nil {
		return err
	}
	event := store.Event{Key: e.key, Dot: e.Dot.String(), Deleted: true, Expired: e.expired}
	if alive := causal.Alive(siblings); len(alive) > 0 {
		item := w.r.shown(e.key, alive, false)
		event.Deleted, event.Values, event.Fields = false, item.Values, item.Fields
	}
	if len(event.Values) == 1 {
		event.Value = event.Values[0]
	}
	change := w.change([]store.Event{event})
	if news := v.deps.Beyond(w.told); !news.Empty() {
		change.Deps, w.told = news.Encode(), w.told.Join(news)
	}
	w.queue = append(w.queue, change)
	return nil
}

func compacted(v *view) error {
	return &store.Error{
		Code: store.Compacted, Msg: fmt.Sprintf("the writes that come next are not in the log any more; the state includes %.300s", v.text()),
		Try: "read what there is now, and watch from behind that",
	}
}
