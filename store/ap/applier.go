package ap

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// batchBytes bounds the keys and values of one commit, so that a writer waits for
// a bounded amount of other people's work.
const batchBytes = 2 << 20

// viewAge is how long a view may stand. The engine keeps, for all its groups, what
// was overwritten since the oldest view was taken, so an idle group takes new ones.
const viewAge = 10 * time.Second

// localWrite is a write on its way through the applier.
type localWrite struct {
	cmd     store.Command
	context *causal.Context // nil: the writer has read nothing
	closed  uint64          // up to which number the context has what was closed
	deps    token.Deps      // what it has seen of other groups
	fate    atomic.Int32    // waiting, then taken or abandoned

	// The answer, written by the applier before it closes done.
	executed
	err  error
	done chan struct{}
}

// The fates of a localWrite: the applier takes it, and will close done; or its
// caller abandons it, and knows then that it was not applied.
const (
	waiting int32 = iota
	taken
	abandoned
)

func (w *localWrite) size() int64 { return int64(len(w.cmd.Key) + len(w.cmd.Field) + len(w.cmd.Value)) }

// remoteBatch is what one frame from a peer brought, in the peer's order.
type remoteBatch struct {
	peer    string
	entries []entry

	err  error // written by the applier before it closes done
	done chan struct{}
}

// errGap ends a stream whose sender thinks we have what we do not: the next hello
// says what we do have.
type errGap struct {
	got  causal.Dot
	have uint64
}

func (e errGap) Error() string {
	return fmt.Sprintf("the write %s came when the last known of its actor was %d", e.got, e.have)
}

// errand is what else is to be done by the goroutine that owns the state, between two
// commits.
type errand struct {
	do   func() error
	done chan error // of one
}

// storageError marks an errand's error after which the state cannot be trusted.
type storageError struct{ error }

func (e storageError) Unwrap() error { return e.error }

// run has the applier do something.
func (r *Replica) run(do func() error) error {
	e := &errand{do: do, done: make(chan error, 1)}
	select {
	case r.errand <- e:
		return <-e.done // the applier answers what it took
	case <-r.stopped:
		return errStopped
	}
}

func (r *Replica) syncs() bool { return r.cfg.Durability == store.Fsync }

// group is the work of one commit and those who wait for it.
type group struct {
	bytes   int64
	applied int // entries
	local   int // of them, taken here
	swept   int // rows of deadlines
	idle    bool
	writes  []*localWrite
	batches []*remoteBatch
}

// answer tells everybody how it ended: nil means as they were told before.
func (g *group) answer(err error) {
	for _, w := range g.writes {
		if err != nil {
			w.err = err
		}
		close(w.done)
	}
	for _, b := range g.batches {
		if err != nil {
			b.err = err
		}
		close(b.done)
	}
}

// apply is the applier. It returns nil when ctx ends and an error when the state
// can no longer be trusted.
func (r *Replica) apply(ctx context.Context) error {
	failed := r.cfg.Engine.Failed()
	refresh := time.NewTicker(viewAge)
	defer refresh.Stop()
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		g := &group{}
		due.Reset(r.untilDue())
		r.state.begin()
		var err error
		select {
		case e := <-r.errand:
			r.state.drop()
			if err := r.oblige(e); err != nil {
				return err
			}
			continue
		case <-ctx.Done():
			r.state.drop()
			return nil
		case <-failed:
			r.state.drop()
			return r.cfg.Engine.Err()
		case <-refresh.C:
			r.publish()
			g.idle = true
		case <-due.C:
			err = r.expire(g)
		case w := <-r.local:
			err = r.applyLocal(g, w)
		case b := <-r.fromPeers():
			err = r.applyRemote(g, b)
		}
		if err == nil {
			err = r.gather(g)
		}
		if err = r.finish(g, err); err != nil {
			return err
		}
	}
}

// fromPeers is nobody's channel while a snapshot is merged, or the replica is about to
// leave.
func (r *Replica) fromPeers() <-chan *remoteBatch {
	if r.state.merging || r.state.closed {
		return nil
	}
	return r.remote
}

// oblige does an errand. Its own error ends the replica if it is of the storage.
func (r *Replica) oblige(e *errand) error {
	err := e.do()
	e.done <- err
	if errors.As(err, new(storageError)) {
		return err
	}
	return nil
}

// gather adds what has queued meanwhile.
func (r *Replica) gather(g *group) error {
	for g.bytes < batchBytes {
		var err error
		select {
		case w := <-r.local:
			err = r.applyLocal(g, w)
		case b := <-r.fromPeers():
			err = r.applyRemote(g, b)
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// finish commits and publishes the group, then answers everybody in it. err is of
// gathering it.
func (r *Replica) finish(g *group, err error) error {
	if err != nil {
		r.state.drop()
		g.answer(&store.Error{Code: store.Unavailable, Msg: "the storage failed", Cause: err})
		return err
	}
	trimmed, err := r.trim(g)
	swept := false
	if err == nil {
		swept, err = r.sweep(g)
	}
	if err != nil || g.applied+g.swept == 0 && !trimmed && !swept {
		r.state.drop()
		g.answer(err)
		return err
	}
	began := time.Now()
	if err := r.state.commit(r.syncs() && g.applied > 0); err != nil {
		g.answer(&store.Error{Code: store.Unknown, Msg: "the storage failed while the write was on its way to it", Cause: err})
		return err
	}
	r.publish()
	r.cfg.Events.Committed(g.applied, g.local, time.Since(began))
	g.answer(nil)
	return nil
}

// trim cuts the log where this commit has made a place for it, or acknowledgements may
// have come since the last one did.
func (r *Replica) trim(g *group) (bool, error) {
	if len(r.state.cuts) == 0 || !g.idle && r.state.last().position+uint64(g.applied) <= r.state.position {
		return false, nil
	}
	peers := r.placed.Load().peers
	return r.state.trim(r.cfg.LogBytes/keepPart, r.cfg.LogBytes, func(v causal.Vector) bool { return r.acks.hold(peers, v) })
}

func (r *Replica) publish() {
	r.views.publish(newView(r.space.View(), r.state))
}

// applyLocal executes a write, unless its caller has given up. Its error is the
// storage's; what is wrong with the write itself is its caller's answer.
func (r *Replica) applyLocal(g *group, w *localWrite) error {
	r.queued.Add(-w.size())
	if !w.fate.CompareAndSwap(waiting, taken) {
		return nil
	}
	g.writes = append(g.writes, w)
	var refused *store.Error
	w.executed, w.err = r.execute(g, w)
	if w.err != nil && !errors.As(w.err, &refused) || refused != nil && refused.Code == store.Corrupt {
		return w.err
	}
	return nil
}

// execute answers a write that was executed before, or gives it the next dot and
// applies it.
func (r *Replica) execute(g *group, w *localWrite) (executed, error) {
	if w.cmd.Request.Named() {
		did, found, err := r.state.requests.find(w.cmd.Request)
		if found || err != nil {
			return did, err
		}
	}
	if !r.placed.Load().takes() {
		return executed{}, notTaken()
	}
	deps, err := r.noting(w)
	if err != nil {
		return executed{}, err
	}
	siblings, err := r.state.siblings(w.cmd.Key)
	if err != nil {
		return executed{}, err
	}
	write, did, err := r.decide(w, siblings)
	if err != nil {
		return did, err
	}
	did.dot = r.nextDot()
	write.Dot, write.Stamp = did.dot, r.state.clock.Next(r.clocks.now())
	write.Deadline = deadlineOf(r.cfg.Clock(), w.cmd.TTL)
	e := &entry{key: w.cmd.Key, request: w.cmd.Request, deps: deps, Write: write}
	if err := e.encode(); err != nil {
		return did, fmt.Errorf("encode an entry: %w", err)
	}
	g.local++
	if err := r.applyEntry(g, e); err != nil || !w.cmd.Request.Named() {
		return did, err
	}
	return did, r.state.remember(w.cmd.Request, did)
}

func (r *Replica) nextDot() causal.Dot {
	a := r.life()
	return causal.Dot{Actor: a, N: r.state.vector[a] + 1}
}

func notTaken() error {
	return &store.Error{
		Code: store.Unavailable, Try: "another replica",
		Msg: "this replica takes no writes: it has not caught up since it joined, or is about to leave",
	}
}

// errStranger ends a stream of a node that was a member when it was opened.
var errStranger = errors.New("the peer is not a member of the group any more")

// applyRemote applies what is new of a peer's batch. Duplicates are skipped: the
// same write may come from every peer that has it.
func (r *Replica) applyRemote(g *group, b *remoteBatch) error {
	g.batches = append(g.batches, b)
	if !r.placed.Load().isPeer(b.peer) {
		b.err = errStranger
		return nil
	}
	for i := range b.entries {
		e := &b.entries[i]
		have := r.state.vector[e.Dot.Actor]
		if e.Dot.N <= have {
			continue
		}
		if e.Dot.N != have+1 {
			b.err = errGap{e.Dot, have}
			return nil
		}
		if end, closed := r.state.closures.End(e.Dot.Actor); closed && e.Dot.N > end {
			b.err = garbage("the write %s is of an actor that was closed at %d", e.Dot, end)
			return nil
		}
		if err := r.applyEntry(g, e); err != nil {
			return err
		}
		r.state.remote++
		if mutant.M29 {
			if err := r.writeAgain(g, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeAgain is what M29 does with a value that is more than a second old when it comes:
// the replica writes it under a dot of its own, in the place of the one that it has.
func (r *Replica) writeAgain(g *group, old *entry) error {
	now := r.clocks.now()
	if old.Delete || old.Count != nil || now.Sub(old.Stamp.Time()) < time.Second {
		return nil
	}
	e := &entry{key: old.key, Write: old.Write}
	e.Dot = r.nextDot()
	e.Stamp, e.Supersedes = r.state.clock.Next(now), []causal.Dot{old.Dot}
	if err := e.encode(); err != nil {
		return fmt.Errorf("encode an entry: %w", err)
	}
	return r.applyEntry(g, e)
}

func (r *Replica) applyEntry(g *group, e *entry) error {
	g.applied++
	g.bytes += int64(len(e.raw))
	return r.state.apply(e)
}
