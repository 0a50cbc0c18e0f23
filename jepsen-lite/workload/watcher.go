package workload

import (
	"context"
	"strconv"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// watcher is a client that only watches: one watch after the other, each from where the
// last one ended, at changing nodes. Where an ap group does not keep what comes next, it
// reads what there is and goes on behind that.
type watcher struct {
	*process
	space  *shard.Keyspace
	prefix string
	over   <-chan struct{} // the load has ended

	next  uint64 // cp: the first revision not told yet
	since string // ap: a token of all that was told; empty: nothing
	lost  bool   // ap: what comes behind that is not kept any more
}

// Times of a watcher.
const (
	watchTurn  = 200 * time.Millisecond // of one wait for a change
	watchLeast = 2 * time.Second        // of one watch
	watchMost  = 15 * time.Second
	watchTail  = 3 * time.Second // that the last watch goes on behind the load
	watchRest  = 100 * time.Millisecond
)

// watchPage is how many items a watcher that is lost reads at a time.
const watchPage = 256

// watch goes on until the load is over and a little longer.
func (w *watcher) watch(ctx context.Context) error {
	w.next = 1
	for ended := false; !ended && ctx.Err() == nil; {
		select {
		case <-w.over:
			ended = true
		default:
		}
		c, err := w.open(ctx, w.place())
		if err == nil && w.lost {
			err = w.read(ctx, c)
		}
		if err != nil {
			return err
		}
		if w.lost || !w.once(ctx, c, ended) {
			rest(ctx, watchRest)
		}
	}
	return nil
}

func (w *watcher) invoke(c history.Call) (id int64) {
	c.Process, c.Session = w.id, "s"+strconv.Itoa(w.id)
	return w.rec.Invoke(c)
}

func (w *watcher) complete(id int64, a history.Answer) {
	if w.space.Mode == store.AP {
		a.Group = w.space.Group(w.prefix).String()
	}
	w.rec.Complete(id, a)
	w.count.add(a.Outcome)
}

// read scans what there is now.
func (w *watcher) read(ctx context.Context, c *client.Client) error {
	session, err := c.ResumeSession(w.since)
	if err != nil {
		return err
	}
	s := step{kind: history.Scan, space: w.space, key: w.prefix, level: store.Causal, page: watchPage}
	id := w.invoke(s.call())
	a, _ := s.scan(ctx, c.Keyspace(w.space.Name), []client.Option{client.In(session), client.WithTimeout(w.timeout)})
	w.complete(id, a)
	if a.Outcome == store.OK {
		w.since, w.lost = session.Token(), false
	}
	return nil
}

// once records one watch. last waits for what is still on its way. It reports whether the
// watch was established.
func (w *watcher) once(ctx context.Context, c *client.Client, last bool) bool {
	call := history.Call{
		Kind: history.Watch, Keyspace: w.space.Name, Mode: w.space.Mode.String(),
		Span: history.Span{Prefix: w.prefix, From: w.next},
	}
	opts := []client.Option{client.Progress(), client.WithTimeout(w.timeout)}
	if w.space.Mode == store.AP {
		call.Conflict = w.space.Policy.String()
	}
	if w.since != "" {
		call.From, call.Since = 0, vectorOf(w.since, w.space.Group(w.prefix))
		opts = append(opts, client.Since(w.since))
	}
	id := w.invoke(call)
	life, end := context.WithCancel(ctx)
	defer end()
	watch, err := c.Keyspace(w.space.Name).Watch(life, store.WatchQuery{Prefix: w.prefix, From: call.From}, opts...)
	if err == nil {
		err = w.follow(ctx, id, watch, last)
		watch.Close()
	}
	a := answer(store.Proof{}, err)
	w.lost = a.Code == store.Compacted && w.space.Mode == store.AP
	w.complete(id, a)
	return err == nil
}

// follow records changes until it is time to go elsewhere, or the watch has ended.
func (w *watcher) follow(ctx context.Context, id int64, watch *client.Watch, last bool) error {
	hold := watchLeast + time.Duration(w.rng.Int64N(int64(watchMost-watchLeast)))
	over := w.over
	if last {
		hold, over = watchTail, nil
	}
	until := time.Now().Add(hold)
	for time.Now().Before(until) && ctx.Err() == nil {
		select {
		case <-over:
			return nil
		default:
		}
		turn, end := context.WithTimeout(ctx, watchTurn)
		c, err := watch.Next(turn)
		waited := turn.Err() != nil
		end()
		switch {
		case err == nil:
			w.told(id, c)
		case !waited:
			return err
		}
	}
	return nil
}

func (w *watcher) told(id int64, c client.Change) {
	change := history.Change{Revision: c.Revision}
	for _, e := range c.Events {
		change.Events = append(change.Events, history.Changed{
			Key: e.Key, Value: string(e.Value), Deleted: e.Deleted, Expired: e.Expired, Replaced: e.Replaced,
			Dot: e.Dot, Values: texts(e.Values),
		})
	}
	if w.space.Mode == store.AP {
		w.since = c.Resume
		change.Vector = vectorOf(w.since, w.space.Group(w.prefix))
	}
	w.rec.Change(id, change)
	w.next = max(w.next, c.Revision+1)
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
