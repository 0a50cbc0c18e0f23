package ap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// maxSiblings is how many concurrent values of a key a coordinator lets a write
// add to. Replicas that were cut off from each other may together exceed it; what
// is written elsewhere is always applied.
const maxSiblings = 64

// Write takes a put, a delete or an increment. It waits until this replica covers c.After and
// c.Context, so that the write is ordered after them wherever it is read, then
// until the write is durable here, then until as many members hold it as c.W asks.
//
// The write is applied or not in the second step: an error before it is
// SessionUnreachable, Unavailable or a refusal; in it Unknown; after it
// NotReplicated, with the Result of a write that exists.
func (r *Replica) Write(ctx context.Context, c store.Command) (store.Result, error) {
	op := c.Name()
	w, needed, err := r.prepare(c)
	if err != nil {
		return store.Result{}, r.signed(op, err)
	}
	waited, err := r.await(ctx, op, needed)
	if err == nil {
		err = r.expand(w)
	}
	if err != nil {
		return store.Result{}, err
	}
	from := spans.From(ctx)
	if !needed.empty() {
		from.Note("applied what the session has seen")
	}
	did, err := r.submit(ctx, w)
	if err != nil {
		return r.saw(did, err), r.signed(op, err)
	}
	from.Note("held by the node that took it")
	wanted := c.W
	if wanted == store.WDefault {
		wanted = r.cfg.W
	}
	result := store.Result{
		Found:   did.found,
		Value:   did.value,
		Context: encodeDots(causal.Of(did.dot).Dots()),
		Entry:   r.written(c.After, did.dot),
		Deps:    r.Deps().Encode(),
		Proof:   r.proof(r.vector(), waited, !needed.empty()),
	}
	err = r.replicated(ctx, op, did.dot, wanted, &result)
	if from != nil && result.Wanted > 1 {
		from.Note("acknowledged", spans.Acked.Int(result.Acked), spans.Wanted.Int(result.Wanted))
	}
	return result, err
}

// written is what a session must remember of a write: its dot, as who covers that has all
// that this replica had. Where a number stands for what was closed, it says so too, and names
// what else the session had seen: then the session may forget the actors that are not named.
func (r *Replica) written(after store.Entry, d causal.Dot) store.Entry {
	one := need{Vector: causal.VectorOf(d)}
	v, _, err := r.views.latest()
	if err != nil || v.covered == 0 {
		return encodeDots(one.Dots())
	}
	if had, err := decodeNeed(after); err == nil {
		one.Vector.Join(v.closures.Open(had.Vector, v.covered))
	}
	one.closed = v.covered
	return encodeDots(one.dots(v.closures))
}

// saw is the result of a write that was refused: a Conflict shows that there is a value,
// and what that is of a session must remember.
func (r *Replica) saw(did executed, err error) store.Result {
	result := store.Result{Found: did.found}
	if !errors.Is(err, store.Conflict) {
		return result
	}
	if v, _, err := r.views.acquire(); err == nil {
		result.Entry, result.Deps = v.entry(), v.others()
		r.views.release(v)
	}
	return result
}

// prepare checks what can be checked without the state, and tells what the
// replica must cover first.
func (r *Replica) prepare(c store.Command) (*localWrite, need, error) {
	if err := r.check(c); err != nil {
		return nil, need{}, err
	}
	w := &localWrite{cmd: c, done: make(chan struct{})}
	var err error
	if w.deps, err = token.DecodeDeps(c.Deps); err != nil {
		return nil, need{}, err
	}
	needed, err := decodeNeed(c.After)
	if err != nil {
		return nil, need{}, err
	}
	if mutant.M32 {
		needed = need{}
	}
	if len(c.Context) > 0 {
		dots, err := decodeDots(c.Context)
		if err != nil {
			return nil, need{}, err
		}
		read := causal.ContextOf(dots)
		seen := needOf(read.Seen.Dots())
		read.Seen, w.closed = seen.Vector, seen.closed
		w.context = &read
		needed.join(seen)
	}
	return w, needed, nil
}

// expand makes the context name the writes that a number stood for, which this replica has
// waited for.
func (r *Replica) expand(w *localWrite) error {
	if w.closed == 0 {
		return nil
	}
	v, _, err := r.views.latest()
	if err != nil {
		return err
	}
	all, _ := v.closures.Up(w.closed)
	w.context.Seen.Join(all)
	return nil
}

func (r *Replica) check(c store.Command) error {
	if err := c.Check(); err != nil {
		return err
	}
	invalid := func(msg, try string) error { return &store.Error{Code: store.Invalid, Msg: msg, Try: try} }
	switch {
	case c.Op == store.OpenSession:
		return &store.Error{Code: store.Unsupported, Msg: "sessions are opened on cp keyspaces; on ap any random number names one"}
	case c.Op != store.Put && c.Op != store.Delete && c.Op != store.Increment:
		return &store.Error{Code: store.Unsupported, Msg: "an ap keyspace has no " + c.Op.String() + ": it needs one order of all writes", Try: "a cp keyspace"}
	case c.Lease != 0:
		return noLease()
	case c.If.Kind != store.Always:
		return &store.Error{
			Code: store.Unsupported, Msg: "an ap keyspace has no conditional writes: each side of a cut would grant them",
			Try: "a cp keyspace, or a put with the context of a read",
		}
	case c.W > store.WAll:
		return invalid(c.W.String()+" is not known", "local, majority or all")
	case c.Blind && len(c.Context) > 0:
		return invalid("a blind write has a context", "one of the two")
	case c.Blind && c.Op == store.Delete:
		return invalid("a blind delete would remove nothing", "a delete with the context of a read")
	case c.Op == store.Delete && len(c.Value) > 0:
		return invalid("a delete has a value", "")
	case c.Request.Named() && c.Request.Number < c.Request.Lowest:
		return invalid(fmt.Sprintf("request %d is below the lowest open one, %d", c.Request.Number, c.Request.Lowest), "")
	}
	return suits(r.cfg.Policy, c)
}

// submit queues the write and returns when the applier has answered. When ctx ends
// first, or the replica stops, the write is withdrawn if it was not taken yet.
func (r *Replica) submit(ctx context.Context, w *localWrite) (executed, error) {
	if ctx.Err() != nil {
		return executed{}, store.Expired(ctx, "its turn")
	}
	if r.queued.Add(w.size()) > queueBytes {
		r.queued.Add(-w.size())
		return executed{}, overloaded()
	}
	select {
	case r.local <- w:
	default:
		r.queued.Add(-w.size())
		return executed{}, overloaded()
	}
	var why error
	select {
	case <-w.done:
		return w.executed, w.err
	case <-r.stopped:
		why = errStopped
	case <-ctx.Done():
		why = store.Expired(ctx, "its turn")
	}
	if w.fate.CompareAndSwap(waiting, abandoned) {
		return executed{}, why
	}
	select {
	case <-w.done: // always so if the replica has stopped: it answers what it took
		return w.executed, w.err
	default:
		return executed{}, &store.Error{Code: store.Unknown, Msg: "the deadline came while the write was on its way to the disk", Cause: context.Cause(ctx)}
	}
}

func overloaded() error {
	return &store.Error{
		Code: store.Overloaded, RetryAfter: 50 * time.Millisecond,
		Msg: fmt.Sprintf("%d writes or %d bytes wait already", queueLen, queueBytes),
	}
}

// superseded is what w supersedes of the siblings that it is about.
func (r *Replica) superseded(w *localWrite, siblings []causal.Sibling) ([]causal.Dot, error) {
	switch {
	case w.context != nil:
		return w.context.Supersedes(siblings), nil
	case w.cmd.Blind || len(siblings) == 0:
		return nil, nil
	case r.cfg.Policy != store.Siblings:
		return causal.Context{Seen: r.state.vector}.Supersedes(siblings), nil
	}
	return nil, &store.Error{
		Code: store.Conflict, Msg: "the key has a value, and the write says neither what it has read nor that it is blind",
		Try: "--context with that of a read, or --blind",
	}
}

// replicated waits until as many members hold d as w asks of those that there are by
// then, and fills in how many that is and how many did.
func (r *Replica) replicated(ctx context.Context, op string, d causal.Dot, w store.W, result *store.Result) error {
	began := time.Now()
	for {
		members := r.placed.Load()
		holders, changed := r.acks.holders(members.others, d)
		result.Wanted, result.Acked = w.Of(len(members.counted)), len(holders)
		if members.isMember() {
			result.Acked++ // not one that was forced out meanwhile
			if mutant.M28 {
				result.Acked++
			}
		}
		if result.Acked >= result.Wanted || mutant.M5 && w == store.WMajority {
			break
		}
		var cause error
		select {
		case <-changed:
			continue
		case <-members.next:
			continue
		case <-ctx.Done():
			cause = context.Cause(ctx)
		case <-r.stopped:
			cause = errStopped
		}
		e := r.fault(store.NotReplicated, op, fmt.Sprintf("the write %s is held by %d of the %d members asked for (here%s); it will spread when the others are reached",
			d, result.Acked, result.Wanted, strings.Join(append([]string{""}, holders...), ", ")), "nothing, or read it back later")
		e.Cause = cause
		return e
	}
	if waited := time.Since(began); result.Wanted > 1 {
		result.Proof.Waited += waited
		result.Proof.WaitedFor = "acknowledgements"
	}
	return nil
}
