package workload

import (
	"context"

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
	ap := s.space.Mode == store.AP
	q := store.Query{Prefix: s.key, Limit: s.page, Level: s.level, Bound: s.bound, Siblings: ap}
	for first := true; first || q.Page != ""; first = false {
		page, err := k.Read(ctx, q, opts...)
		if err != nil {
			return answer(page.Proof, err), sight{}
		}
		if first {
			a = answer(page.Proof, nil)
		}
		switch {
		case ap:
			a.Vectors = append(a.Vectors, page.Proof.Vector)
		default:
			a.Pages = append(a.Pages, page.Revision)
			a.Revision = &a.Pages[0]
		}
		for _, item := range page.Items {
			a.Items = append(a.Items, itemOf(item))
		}
		q.Page = page.Next
	}
	saw.items = a.Items
	return a, saw
}

func itemOf(item store.Item) history.Item {
	out := history.Item{Key: item.Key, Revision: item.Revision, Siblings: siblings(item.Siblings)}
	if len(item.Values) == 1 {
		out.Value = string(item.Values[0])
	}
	return out
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
