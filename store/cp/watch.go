package cp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

const (
	watchBatch    = 256             // changes read at once for one who watches
	watchProgress = time.Second     // of silence, before a notice of progress
	watchProofs   = 5               // of Timing.Proof without a proof of freshness end a watch
	watchOpen     = 5 * time.Second // for a replica to reach the revision a watch begins at
)

// Watch follows the changes of a key or a range, on any replica that has caught up.
// What it returns comes from the replicated history of changes, so it can be resumed
// at any replica from the revision behind the last that was returned. A replica that
// cannot prove for some seconds that it hears of changes ends the watch, Unavailable,
// so that its client goes elsewhere.
func (r *Replica) Watch(ctx context.Context, q store.WatchQuery) (store.Changes, error) {
	w, err := r.watch(ctx, q)
	if err != nil {
		return nil, r.at(err, "watch")
	}
	return w, nil
}

func (r *Replica) watch(ctx context.Context, q store.WatchQuery) (*changes, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	if q.Since != nil {
		return nil, &store.Error{Code: store.Invalid, Msg: "a watch of a cp keyspace goes on behind a revision, not an entry", Try: "from the revision behind the last that was seen"}
	}
	ctx, cancel := context.WithTimeout(ctx, watchOpen)
	defer cancel()
	if _, err := r.up(ctx); err != nil {
		return nil, err
	}
	if !r.readers.enter() {
		return nil, r.stopping()
	}
	defer r.readers.leave()
	// Who is cut off cannot know of changes, and must not look like one without any.
	b, err := r.basisFor(ctx, store.Query{Level: store.Bounded, Bound: r.watchLimit(), After: q.After}, time.Now())
	if errors.Is(err, store.TooStale) {
		return nil, r.deaf()
	}
	if err != nil {
		return nil, err
	}
	if q.From > b.view.revision+1 {
		// This replica may be late; only the group knows whether that is to come.
		b.view.Close()
		if b, err = r.basisFor(ctx, store.Query{Level: store.Strong, After: q.After}, time.Now()); err != nil {
			return nil, err
		}
	}
	v := b.view
	defer v.Close()
	w := &changes{r: r, q: q, next: q.From, epoch: v.epoch}
	switch {
	case q.From == 0:
		w.next = v.revision + 1
	case q.From > v.revision+1:
		return nil, &store.Error{
			Code: store.Invalid, Msg: fmt.Sprintf("the watch begins at revision %d, the group is at %d", q.From, v.revision),
			Try: "a revision that was read or watched before, plus one",
		}
	case q.From < v.history:
		return nil, compacted(q.From, v.history)
	}
	return w, nil
}

// watchLimit is how old the proof of freshness of a replica with watches may be.
func (r *Replica) watchLimit() time.Duration { return watchProofs * r.cfg.Timing.Proof }

func (r *Replica) deaf() *store.Error {
	return &store.Error{
		Code: store.Unavailable, Msg: fmt.Sprintf("this replica has had no proof for %v that it hears of changes", r.watchLimit()), Try: "another node",
	}
}

func compacted(from, oldest uint64) error {
	return &store.Error{
		Code: store.Compacted, Msg: fmt.Sprintf("the changes of revision %d are not kept any more, the oldest are of %d", from, oldest),
		Try: "read what there is now, and watch from behind its revision",
	}
}

// changes is one watch.
type changes struct {
	r     *Replica
	q     store.WatchQuery
	next  uint64 // the first revision not looked at yet
	epoch uint64
	queue []store.Change
	told  token.Deps // the dependencies that were returned last
}

// Close gives the watch up. It holds nothing between two calls of Next.
func (w *changes) Close() {}

// Next returns the next change or, after a second without any, how far it is.
func (w *changes) Next(ctx context.Context) (store.Change, error) {
	silence := time.NewTimer(watchProgress)
	defer silence.Stop()
	for {
		if len(w.queue) > 0 {
			c := w.queue[0]
			w.queue = w.queue[1:]
			return c, nil
		}
		v := w.r.machine.views.Load()
		if v == nil {
			return store.Change{}, w.r.at(w.r.stopping(), "watch")
		}
		if v.epoch != w.epoch || v.revision >= w.next {
			if err := w.look(v); err != nil {
				return store.Change{}, w.r.at(err, "watch")
			}
			continue
		}
		select {
		case <-v.next:
		case <-silence.C:
			return w.progress(v)
		case <-ctx.Done():
			return store.Change{}, w.r.at(store.Expired(ctx, "a change"), "watch")
		}
	}
}

// progress says how far the watch is, if this replica still hears of changes.
func (w *changes) progress(v *view) (store.Change, error) {
	if proof := w.r.proof.Load(); proof == nil || time.Since(*proof) > w.r.watchLimit() {
		return store.Change{}, w.r.at(w.r.deaf(), "watch")
	}
	return store.Change{Revision: w.next - 1, Entry: entryOf(v.epoch, w.next-1)}, nil
}

// look takes what a view has and the watch has not seen into the queue.
func (w *changes) look(v *view) error {
	if !w.r.readers.enter() {
		return w.r.stopping()
	}
	defer w.r.readers.leave()
	if !v.Retain() {
		return nil // replaced meanwhile
	}
	defer v.Close()
	switch {
	case v.epoch != w.epoch:
		return &store.Error{Code: store.Compacted, Msg: "the group was restored from a snapshot", Try: "read what there is now, and watch from behind its revision"}
	case w.next < v.history:
		return compacted(w.next, v.history)
	case w.next > v.since:
		for _, c := range v.changes {
			w.take(v, c)
		}
	default:
		n := 0
		for c, err := range v.changesFrom(w.next) {
			if err != nil {
				w.r.fail(err)
				return err
			}
			w.take(v, c)
			w.next = c.revision + 1
			if n++; n == watchBatch {
				return nil
			}
		}
	}
	w.next = v.revision + 1
	return nil
}

// take queues a change, as far as the watch asks for it.
func (w *changes) take(v *view, c change) {
	if c.revision < w.next {
		return
	}
	var events []store.Event
	for _, e := range c.Events {
		if w.q.Matches(e.Key) {
			events = append(events, eventOf(e))
		}
	}
	if events != nil {
		change := store.Change{Revision: c.revision, Events: events, Entry: entryOf(v.epoch, c.revision)}
		if news := v.deps.Beyond(w.told); !news.Empty() {
			change.Deps, w.told = news.Encode(), w.told.Join(news)
		}
		w.queue = append(w.queue, change)
	}
}

func eventOf(e *logpb.ChangeEvent) store.Event {
	return store.Event{
		Key: e.Key, Deleted: e.Deleted, Expired: e.Expired, Value: e.Value,
		Replaced: e.Replaced, Version: e.Version, Lease: e.Lease,
	}
}
