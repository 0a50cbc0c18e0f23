package workload

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// describe adds to a call what an operation of several keys asks, or of leases and
// locks.
func (s step) describe(c *history.Call) {
	c.Delta, c.TTL, c.Lease = s.delta, s.ttl.Milliseconds(), s.lease
	switch s.kind {
	case history.Scan:
		c.Key, c.Prefix = "", s.key
	case history.Txn:
		c.Key = ""
		c.Atomic = atomic(s.txn)
	case history.KeepAlive, history.Revoke:
		c.Key = ""
	}
	if s.guard != nil {
		c.Lock, c.Guard = s.guard.lock, s.guard.fence.Revision
	}
}

func atomic(t *store.Txn) history.Atomic {
	var a history.Atomic
	for _, x := range t.If {
		a.If = append(a.If, history.Compare{Key: x.Key, Target: x.Target.String(), Relation: x.Relation.String(), Value: string(x.Value), Number: x.Number})
	}
	branch := func(steps []store.Step) (out []history.Step) {
		for _, s := range steps {
			out = append(out, history.Step{Kind: history.Kind(s.Op.String()), Key: s.Key, Value: string(s.Value), Delta: s.Delta})
		}
		return out
	}
	a.Then, a.Else = branch(t.Then), branch(t.Else)
	return a
}

// added completes the answer to a write that is more than a put or a delete.
func (s step) added(a history.Answer, r store.Result) (history.Answer, sight) {
	switch s.kind {
	case history.Incr:
		a.Value = string(r.Value)
	case history.Put:
		return a, sight{lease: r.Lease}
	case history.Txn:
		a.Replaced, a.Held = nil, &r.Held
		saw := sight{told: true}
		branch := s.txn.Else
		if r.Held {
			branch = s.txn.Then
		}
		for i, done := range r.Steps {
			a.Steps = append(a.Steps, history.StepSeen{Found: done.Found, Value: string(done.Value), Revision: done.Revision, Replaced: done.Replaced})
			if i < len(branch) && branch[i].Op == store.Get && done.Found {
				saw.items = append(saw.items, history.Item{Key: branch[i].Key, Value: string(done.Value), Revision: done.Revision})
			}
		}
		return a, saw
	}
	return a, sight{}
}

// scan reads a range page by page, all of one view. A scan that does not come to its end
// has failed.
func (s step) scan(ctx context.Context, k *client.Keyspace, opts []client.Option) (history.Answer, sight) {
	var a history.Answer
	saw := sight{told: true}
	q := store.Query{Prefix: s.key, Limit: s.page, Level: s.level}
	for first := true; first || q.Page != ""; first = false {
		page, err := k.Read(ctx, q, opts...)
		if err != nil {
			return answer(page.Proof, err), sight{}
		}
		if first {
			a = answer(page.Proof, nil)
			a.Revision = &page.Revision
		}
		a.Pages = append(a.Pages, page.Revision)
		for _, item := range page.Items {
			a.Items = append(a.Items, history.Item{Key: item.Key, Value: string(slices.Concat(item.Values...)), Revision: item.Revision})
		}
		q.Page = page.Next
	}
	saw.items = a.Items
	return a, saw
}

// lock takes a lock, or fails to within the operation's time.
func (s step) lock(ctx context.Context, k *client.Keyspace, opts []client.Option) (history.Answer, sight) {
	l, err := k.Lock(ctx, s.key, s.ttl, opts...)
	a := answer(store.Proof{}, err)
	if err != nil {
		return a, sight{}
	}
	a.Fence = l.Fence().Revision
	return a, sight{lock: l}
}

// readAt reads a node's own replica, which may be any: a strong read is served by all.
func (s step) readAt(ctx context.Context) (store.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	kv, err := s.direct.KV(s.at)
	if err != nil {
		return store.Page{}, &store.Error{Code: store.Unavailable, Cause: err}
	}
	request := kvpb.ToQuery(s.query())
	request.KeyspaceId, request.Shard = s.space.ID, s.space.Group(s.key).Shard
	response, err := kv.Read(ctx, request)
	if err != nil {
		return store.Page{}, kvpb.FromStatus(err)
	}
	return kvpb.FromPage(response)
}

// watcher is a client that only watches: one watch after the other, each from where the
// last one ended, at changing nodes.
type watcher struct {
	*process
	prefix string
	over   <-chan struct{} // the load has ended
	next   uint64          // the first revision not told yet
}

// Times of a watcher.
const (
	watchTurn  = 200 * time.Millisecond // of one wait for a change
	watchLeast = 2 * time.Second        // of one watch
	watchMost  = 15 * time.Second
	watchTail  = 3 * time.Second // that the last watch goes on behind the load
	watchRest  = 100 * time.Millisecond
)

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
		if err != nil {
			return err
		}
		if !w.once(ctx, c, ended) {
			rest(ctx, watchRest)
		}
	}
	return nil
}

// once records one watch. last waits for what is still on its way. It reports whether the
// watch was established.
func (w *watcher) once(ctx context.Context, c *client.Client, last bool) bool {
	space := w.script.next().space
	call := history.Call{
		Process: w.id, Session: "s" + strconv.Itoa(w.id), Kind: history.Watch, Keyspace: space.Name, Mode: space.Mode.String(),
		Span: history.Span{Prefix: w.prefix, From: w.next},
	}
	id := w.rec.Invoke(call)
	life, end := context.WithCancel(ctx)
	defer end()
	watch, err := c.Keyspace(space.Name).Watch(life, store.WatchQuery{Prefix: w.prefix, From: w.next}, client.Progress(), client.WithTimeout(w.timeout))
	if err == nil {
		err = w.follow(ctx, id, watch, last)
		watch.Close()
	}
	a := answer(store.Proof{}, err)
	w.rec.Complete(id, a)
	w.count.add(a.Outcome)
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
		change.Events = append(change.Events, history.Changed{Key: e.Key, Value: string(e.Value), Deleted: e.Deleted, Expired: e.Expired, Replaced: e.Replaced})
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
