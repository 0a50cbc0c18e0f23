package cp

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// pending is a command on its way. Its caller and the proposer agree through stage
// on whether it was proposed before the caller gave up.
type pending struct {
	command *logpb.Command
	size    int
	stage   atomic.Int32
	early   bool          // mutant M4 has answered already
	alone   bool          // it takes a log entry of its own
	done    chan outcome  // of one, so that the proposer never waits for a caller
	from    *spans.Origin // the caller's
}

type outcome struct {
	answer *logpb.Answer
	err    error
}

const (
	queued int32 = iota
	proposed
	abandoned
)

// enqueueTimeout bounds how long Raft may take to accept an entry for its log.
const enqueueTimeout = 2 * time.Second

// Write replicates c through the leader, which must be this replica, and returns
// when a majority has it on disk and it is applied here.
//
// NotLeader, Overloaded and Unavailable mean that nothing was done. Unknown means
// that the command was proposed and its end is not known: with a named request,
// the same number asked again gets the answer.
func (r *Replica) Write(ctx context.Context, c store.Command) (store.Result, error) {
	if err := check(c); err != nil {
		return store.Result{}, r.locate(err, c)
	}
	ra, err := r.up(ctx)
	if err != nil {
		return store.Result{}, r.locate(err, c)
	}
	if ra.State() != raft.Leader {
		return store.Result{}, r.locate(&store.Error{Code: store.NotLeader, Leader: leaderOf(ra)}, c)
	}
	if err := r.knows(c.After); err != nil {
		return store.Result{}, r.locate(err, c)
	}
	began := time.Now()
	answer, err := r.submit(ctx, commandOf(c))
	if err != nil {
		return store.Result{}, r.locate(err, c)
	}
	return r.result(ra, c, answer, time.Since(began))
}

// knows refuses a session that saw the group before it was restored. What else a
// session has seen the leader has, or the command is refused with it.
func (r *Replica) knows(after store.Entry) error {
	seen, err := seenIn(after)
	if err != nil || seen.revision == 0 || seen.epoch >= r.machine.epoch() {
		return err
	}
	return anotherEpoch(seen.epoch, r.machine.epoch())
}

func check(c store.Command) error {
	if c.Context != nil || c.Blind || c.W != store.WDefault {
		return &store.Error{
			Code: store.Unsupported, Msg: "a causal context, a blind write and w belong to ap keyspaces",
			Try: "a condition on the value or the revision instead",
		}
	}
	if c.Field != "" {
		return &store.Error{
			Code: store.Unsupported, Msg: "members of sets and fields of maps belong to ap keyspaces of those policies",
			Try: "a key of its own, and a txn where several must agree",
		}
	}
	return c.Check()
}

func (r *Replica) result(ra *raft.Raft, c store.Command, a *logpb.Answer, waited time.Duration) (store.Result, error) {
	res := resultOf(a)
	if v := r.machine.views.Load(); v != nil {
		res.Deps = v.encoded
	}
	res.Proof = r.proofOf(ra)
	res.Proof.Waited, res.Proof.WaitedFor = waited, "commit"
	if a.Code != "" {
		code := store.Code(a.Code)
		return res, r.locate(&store.Error{Code: code, Msg: a.Msg, Try: leaseAdvice(c, code)}, c)
	}
	return res, nil
}

// locate says of an error where it arose.
func (r *Replica) locate(err error, c store.Command) error { return r.at(err, c.Name()) }

func (r *Replica) at(err error, op string) error {
	e := *store.AsError(err)
	e.Op, e.Group, e.Node = op, r.cfg.Group, r.cfg.Node
	return &e
}

// entryOf is the session entry that a replica covers once it has the revision, in
// that epoch of the group.
func entryOf(epoch, revision uint64) store.Entry {
	return token.EncodeEntry([]token.Component{{ID: epoch, N: revision}})
}

// submit hands a command to the proposer and waits for its end, never for a Raft
// future: those know no context.
func (r *Replica) submit(ctx context.Context, c *logpb.Command) (*logpb.Answer, error) {
	p := &pending{command: c, size: proto.Size(c), done: make(chan outcome, 1), alone: c.Restore != nil, from: spans.From(ctx)}
	select {
	case <-r.down:
		return nil, r.stopping()
	default:
	}
	if !r.enqueue(p) {
		return nil, &store.Error{
			Code: store.Overloaded, RetryAfter: 50 * time.Millisecond,
			Msg: fmt.Sprintf("the log is behind: at most %d commands or %d bytes may wait for it", queueLimit, queueBytes),
		}
	}
	select {
	case out := <-p.done:
		return out.answer, out.err
	case <-r.down:
		// The proposer refuses what is queued, but for what came after it had looked.
		if p.stage.CompareAndSwap(queued, abandoned) {
			return nil, r.stopping()
		}
		select {
		case out := <-p.done:
			return out.answer, out.err
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	if p.stage.CompareAndSwap(queued, abandoned) {
		return nil, store.Expired(ctx, "the log to take the command")
	}
	return nil, &store.Error{Code: store.Unknown, Msg: "the deadline came while the command was in the log but not known to be committed", Cause: context.Cause(ctx)}
}

func (r *Replica) enqueue(p *pending) bool {
	if r.waiting.Add(int64(p.size)) <= queueBytes {
		select {
		case r.queue <- p:
			return true
		default:
		}
	}
	r.waiting.Add(-int64(p.size))
	return false
}
