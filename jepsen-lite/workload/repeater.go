package workload

import (
	"context"
	"fmt"
	"slices"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// Direct is a target whose nodes can be asked one by one, without a client that routes
// and tries again. No fault may stand between us and them.
type Direct interface {
	KV(name string) (kvpb.KVClient, error)
}

// repeater is a client that sends requests again which it has sent before: soon, or long
// after, at any node, whether they were answered or not. It has an exactly-once session of
// its own. Once in a while it names a session that the group never had, as one does whose
// session was evicted.
type repeater struct {
	*process
	direct Direct
	node   string // that led the group when it was last heard of

	session uint64
	number  uint64
	sent    []sent
}

// sent is a request that may be sent again.
type sent struct {
	step
	request store.Request
}

// Chances of a repeater, in percent, and how many requests it keeps open.
const (
	chanceAgain  = 50
	chanceBogus  = 4
	chanceMove   = 20
	openRequests = 24
)

func (r *repeater) operate(ctx context.Context) error {
	if r.session == 0 {
		return r.begin(ctx)
	}
	var s sent
	switch n := r.rng.IntN(100); {
	case n < chanceAgain && len(r.sent) > 0:
		s = r.sent[r.rng.IntN(len(r.sent))]
	default:
		s = r.fresh(n >= 100-chanceBogus)
	}
	r.send(ctx, s)
	return nil
}

// fresh is a request that was not sent yet. One of a session that never was has a number
// of it all the same, and is sent again like any other.
func (r *repeater) fresh(bogus bool) sent {
	r.number++
	s := sent{step: r.script.next(), request: store.Request{Session: r.session, Number: r.number}}
	for s.kind == history.Get {
		s.step = r.script.next()
	}
	if bogus {
		s.request.Session = r.session + 1_000_000_000
	}
	r.sent = append(r.sent, s)
	if len(r.sent) > openRequests {
		r.sent = slices.Delete(r.sent, 0, 1)
	}
	return s
}

// begin opens the session. That is no operation of the history.
func (r *repeater) begin(ctx context.Context) error {
	result, err := r.call(ctx, r.script.next().space.ID, store.Command{Op: store.OpenSession})
	if err == nil {
		r.session = result.Revision
	}
	return nil
}

func (r *repeater) send(ctx context.Context, s sent) {
	call := s.call()
	call.Process, call.Session, call.Node = r.id, fmt.Sprintf("s%d", r.id), r.node
	call.Request = fmt.Sprintf("%d-%d", s.request.Session, s.request.Number)
	id := r.rec.Invoke(call)
	c := s.command()
	c.Request = s.request
	c.Request.Lowest = r.sent[0].request.Number
	result, err := r.call(ctx, s.space.ID, c)
	a, _ := s.wrote(result, err)
	r.rec.Complete(id, a)
	r.count.add(a.Outcome)
}

// call asks one node, once: the one that leads, as far as is known, or any.
func (r *repeater) call(ctx context.Context, keyspace uint64, c store.Command) (store.Result, error) {
	if r.node == "" || r.rng.IntN(100) < chanceMove {
		nodes := r.target.Nodes()
		r.node = nodes[r.rng.IntN(len(nodes))]
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	kv, err := r.direct.KV(r.node)
	if err != nil {
		r.node = ""
		return store.Result{}, &store.Error{Code: store.Unavailable, Cause: err}
	}
	request := kvpb.ToCommand(c)
	request.KeyspaceId = keyspace
	response, err := kv.Write(ctx, request)
	if err != nil {
		r.node = ""
		return store.Result{}, lost(err)
	}
	result, err := kvpb.FromResult(response)
	if e := store.AsError(err); e != nil && e.Code == store.NotLeader {
		r.node = e.Leader
	}
	return result, err
}

// lost is the error of a call that may have arrived, whatever its connection says.
func lost(err error) error {
	e := *store.AsError(kvpb.FromStatus(err))
	if e.Code == store.Unavailable {
		e.Code = store.Unknown
	}
	return &e
}
