package client

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/store"
)

// call is one operation on one group, over all its attempts. It belongs to the
// goroutine that runs it.
type call struct {
	c        *Client
	op       string
	keyspace shard.Keyspace
	group    store.GroupID
	toLeader bool // the leader serves it best
	effect   effect
	pick     func(route []string) []string // changes the order of the members, or who is asked at all; nil: as it is
	hosts    *hosts                        // who has served such calls where others could not; nil: nobody can say
	// send hands the operation to a node. Only if that answered is the error, or
	// the lack of one, what the node said.
	send func(ctx context.Context, cc *conn, retry bool) (reach, error)

	route []string // nodes still to try, before all are tried again
	tried []string // since the route was made
	node  string   // of the current attempt, or of the last
	leave permit   // to make it
	hall  hall     // where it has a place meanwhile
	asked bool     // an attempt was made
	seeks bool     // a node that was asked knows no leader

	attempts int // that are traced

	sent  int          // attempts that a node took up
	paid  int          // of which so many may be followed by another
	maybe bool         // one of them may have been applied, and no answer has said so
	last  *store.Error // of the last attempt; nil once one succeeded
	said  *store.Error // by a replica that could not serve the level or the session; nil if none did
	// second is a call beside another for the same: it makes one attempt.
	second bool

	again bool // another attempt may help and does no harm
	waits int
	wait  time.Duration // the last of them, as it was drawn
	delay time.Duration
	began time.Time // the current attempt, or the last
}

// effect is what an operation leaves behind, and so where it may be sent again
// when it may have arrived.
type effect int

const (
	none    effect = iota // nothing that anybody sees: anywhere
	named                 // once, by a number that the group keeps: anywhere
	atNode                // once, by a number that the node which took it keeps: only there
	unnamed               // once, and nobody could tell a repetition: never again
)

func newRetry() failsafe.Executor[*call] {
	return failsafe.With[*call](retrypolicy.NewBuilder[*call]().
		HandleIf(func(k *call, _ error) bool { return k.again }).
		WithMaxAttempts(-1). // the call counts its own, for not all count
		WithDelayFunc(func(exec failsafe.ExecutionAttempt[*call]) time.Duration { return exec.LastResult().delay }).
		Build())
}

// run makes attempts until one succeeds, none can help, or ctx ends.
func (k *call) run(ctx context.Context) (err error) {
	if told := k.c.cfg.Observe.Call; told != nil && !k.second {
		began := time.Now()
		defer func() { told(CallEvent{k.op, k.keyspace.Name, time.Since(began), err}) }()
	}
	k.last = store.Expired(ctx, "a first attempt")
	if !k.second {
		k.c.budget.calls.Add(1)
	}
	if k.attempt(ctx); k.again {
		k.retry(ctx)
	}
	return k.outcome()
}

// retry goes on after the first attempt, which nearly always is the last: what repeats
// attempts costs as much as one.
func (k *call) retry(ctx context.Context) {
	first := true
	// What the executor returns is beside the point: when ctx ends it forgets the
	// last answer, which may be the one that counts.
	_, _ = k.c.retry.WithContext(ctx).GetWithExecution(func(failsafe.Execution[*call]) (*call, error) {
		if !first {
			k.attempt(ctx)
		}
		first = false
		return k, nil
	})
}

func (k *call) attempt(ctx context.Context) {
	k.again = false
	if ctx.Err() != nil || !k.choose(ctx) {
		return
	}
	if err := k.hall.enter(ctx); err != nil {
		k.crowded(ctx, store.AsError(err))
		return
	}
	defer k.hall.exit()
	k.asked = true
	inner, traced := k.traceAttempt(ctx)
	part, cancel := share(inner)
	defer cancel()
	began, came := time.Now(), unsent
	k.began = began
	cc, err := k.c.conns.ready(part, endpoint{node: k.node})
	if err == nil {
		if k.effect == atNode || k.effect == unnamed || k.sent+1 == k.c.cfg.Attempts {
			part = inner // the time that would be saved is of no use to anybody else
		}
		came, err = k.send(part, cc, k.maybe)
	}
	spans.End(traced, err)
	k.leave.done(k.verdict(part, began, came, err))
	k.judge(ctx, came, err)
}

// verdict is what the attempt says about the node. That our own caller did not wait, or
// asks for what cannot be sent, says nothing.
func (k *call) verdict(ctx context.Context, began time.Time, came reach, err error) verdict {
	switch {
	case came == answered && err != nil && store.AsError(err).Code == store.Unavailable:
		return hushed // it is there, but who goes on coming to it needs a retry each time
	case came == answered:
		return heard
	case errors.Is(ctx.Err(), context.Canceled) || came == unsent && !store.AsError(err).Retryable():
		return nothing
	}
	return verdictOf(ctx, began)
}

// verdictOf is about a node that did not answer: if no time was left it need not have.
func verdictOf(ctx context.Context, began time.Time) verdict {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return nothing
	case ctx.Err() != nil && time.Since(began) < leastShare:
		return hushed
	}
	return failed
}

func (k *call) judge(ctx context.Context, came reach, err error) {
	if told := k.c.cfg.Observe.Attempt; told != nil {
		told(AttemptEvent{k.op, k.keyspace.Name, k.node, k.failureOf(err), time.Since(k.began)})
	}
	if came != unsent {
		k.sent++
	}
	switch {
	case came == unsent:
		k.missed(ctx, store.AsError(err))
	case came == unanswered:
		k.unanswered(ctx, store.AsError(err))
	case err != nil:
		k.refused(ctx, store.AsError(err))
	default:
		k.last = nil
		if k.said != nil && k.hosts != nil {
			k.hosts.served(k.group, k.node)
		}
	}
}

// turnsAway reports whether a replica said that it cannot serve the level, or the session,
// which says nothing about its node.
func turnsAway(e *store.Error) bool {
	return e.Code == store.TooStale || e.Code == store.SessionUnreachable
}

// bound reports whether only the node of the last attempt may be asked again.
func (k *call) bound() bool { return k.maybe && k.effect == atNode }

// seek reports whether the call may go on: it knows the leader, or may look for it itself.
// Where there is none, each call would ask all members over and over: so one at a time does
// it for all, and the others wait for their turn.
func (k *call) seek(ctx context.Context) bool {
	if leader := k.c.router.leader(k.group); leader != "" {
		k.redirect(leader)
		return true
	}
	k.delay = k.c.router.seek(k.group)
	if k.delay == 0 {
		return true
	}
	deadline, ok := ctx.Deadline()
	k.again = !ok || k.delay < time.Until(deadline)
	k.noteWait(ctx, "wait for a leader to be known")
	return false
}

// choose sets the node of the next attempt: the next of the route that may be asked.
func (k *call) choose(ctx context.Context) (ok bool) {
	if k.seeks && !k.seek(ctx) {
		return false
	}
	k.seeks = false
	if k.bound() {
		if k.leave, k.hall, ok = k.c.router.admit(k.node, k.group.Keyspace); !ok {
			k.note(ctx, "circuit open", k.node)
			k.shut(ctx)
		}
		return ok
	}
	if len(k.route) == 0 {
		k.plan(ctx)
	}
	if len(k.route) == 0 {
		k.last = &store.Error{Code: store.Unavailable, Msg: "no node is known to hold the group"}
		return false
	}
	for len(k.route) > 0 {
		node := k.route[0]
		k.route, k.tried = k.route[1:], append(k.tried, node)
		if k.leave, k.hall, ok = k.c.router.admit(node, k.group.Keyspace); ok {
			k.node = node
			return true
		}
		k.note(ctx, "circuit open", node)
	}
	k.shut(ctx)
	return false
}

// crowded goes on after an attempt that found no place: to another node, if one will do.
// Who has waited for a place has waited long enough.
func (k *call) crowded(ctx context.Context, err *store.Error) {
	k.leave.done(nothing)
	if err.Code == store.Overloaded {
		k.c.cfg.Observe.rejected(k.node, k.keyspace.Name)
		k.note(ctx, "bulkhead full", k.node)
	}
	k.last = err
	k.delay, k.again = 0, len(k.route) > 0 && !k.bound() && k.effect != named
}

// shut goes on after nobody could be asked, because the circuits are open. What a node
// has said to this call before is worth more, and so is why it could not be reached.
func (k *call) shut(ctx context.Context) {
	if !k.asked {
		k.last = circuitOpen()
	}
	k.goOn(ctx, true, false)
}

// plan makes a new route once every member was tried; before, it asks whether
// anything has changed.
func (k *call) plan(ctx context.Context) {
	again := len(k.tried) > 0
	if again {
		k.keyspace = k.c.renew(ctx, k.keyspace)
	}
	first := ""
	switch {
	case k.toLeader:
		first = k.c.router.leader(k.group)
	case k.hosts != nil:
		first = k.hosts.host(k.group)
	}
	k.tried = k.tried[:0]
	route, due, spared := k.c.router.order(k.keyspace.Members(k.group.Shard), first)
	if spared != nil && !again { // a call counts once
		spared.spare()
	}
	k.route = route
	k.c.probe(ctx, due)
	if k.pick != nil {
		k.route = k.pick(k.route)
	}
}

// missed is an attempt of which nothing was sent.
func (k *call) missed(ctx context.Context, err *store.Error) {
	k.forgetLeader()
	k.last = err
	k.goOn(ctx, err.Retryable(), len(k.route) > 0 && !k.bound())
}

// unanswered is an attempt that may have arrived, and about which nobody said
// anything.
func (k *call) unanswered(ctx context.Context, err *store.Error) {
	k.forgetLeader()
	k.last, k.maybe = err, k.effect != none
	k.goOn(ctx, err.Retryable(), len(k.route) > 0 && !k.bound())
}

// refused is an attempt that a node answered with an error.
func (k *call) refused(ctx context.Context, err *store.Error) {
	k.last = err
	// An ap node that says Unknown to a repetition has not found the first
	// attempt, which may still be under way to it.
	lost := err.Code == store.Unknown && k.bound()
	k.maybe = k.maybe || k.effect != none && err.MaybeApplied()
	switch {
	case turnsAway(err):
		k.said = err
	case err.Code == store.Unavailable || err.Code == store.NotLeader:
		k.c.renewSoon(ctx)
	}
	switch {
	case err.Code == store.NotLeader:
		k.sent--
		known := k.redirect(err.Leader)
		k.seeks = !known
		k.goOn(ctx, true, known)
	case err.Code == store.NotReplicated || lost:
		// It is there, or on its way, and asking again does not make it spread.
	default:
		k.goOn(ctx, err.Retryable(), false)
	}
}

// redirect goes to the leader that was named, unless it was tried already: then
// the one who named it knows no more than we do.
func (k *call) redirect(leader string) bool {
	k.c.router.led(k.group, leader)
	if leader == "" || slices.Contains(k.tried, leader) || !slices.Contains(k.keyspace.Members(k.group.Shard), leader) {
		return false
	}
	k.route = append([]string{leader}, slices.DeleteFunc(k.route, func(n string) bool { return n == leader })...)
	return true
}

func (k *call) forgetLeader() {
	if k.c.router.leader(k.group) == k.node {
		k.c.router.led(k.group, "")
	}
}

// goOn decides about another attempt, and how long to wait before it.
func (k *call) goOn(ctx context.Context, retryable, atOnce bool) {
	if k.second || !retryable || k.sent >= k.c.cfg.Attempts || k.maybe && k.effect == unnamed {
		return
	}
	if k.delay = 0; !atOnce && !k.pause(ctx) {
		return
	}
	if k.sent > k.paid { // what nobody took up costs nobody anything
		allowed := k.c.budget.retry(turnsAway(k.last))
		tell(k.c.cfg.Observe.Retry, RetryEvent{k.op, k.keyspace.Name, k.delay, !allowed})
		if !allowed {
			k.noteWait(ctx, "retry refused by the budget")
			return
		}
		k.paid = k.sent
	}
	k.again = true
	k.noteWait(ctx, "wait before another attempt")
}

// pause sets the delay before another attempt, if there is time for one.
func (k *call) pause(ctx context.Context) bool {
	k.wait = k.c.cfg.Resilience.Backoff.wait(k.waits, k.wait)
	k.waits++
	k.delay = max(k.wait, k.last.RetryAfter)
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		k.delay = max(min(k.delay, left/2), k.last.RetryAfter)
		return left > 2*leastBackoff && k.delay < left
	}
	return true
}

// outcome is the one outcome of all attempts.
func (k *call) outcome() error {
	if k.last == nil {
		return nil
	}
	e := *k.last
	unheard := e.Code == store.Unavailable || e.Code == store.CircuitOpen || e.Code == store.Unknown && k.effect == none
	if unheard && k.said != nil {
		// Those who could be reached have said why; that others could not is less.
		e = *k.said
	}
	k.fill(&e)
	if k.effect == none {
		return asRead(unled(&e))
	}
	// A failed condition, or that there is no such lease, is the group's answer to
	// this number, whichever attempt it was that arrived.
	decided := (e.Code == store.Conflict || e.Code == store.NotFound) && k.effect == named
	if mutant.M38 && (e.Code == store.Unavailable || e.Code == store.NotLeader) {
		decided = true
	}
	if k.maybe && !e.MaybeApplied() && !decided {
		return &store.Error{
			Code: store.Unknown, Op: e.Op, Keyspace: e.Keyspace, Group: e.Group, Node: e.Node,
			Msg: "an earlier attempt may have arrived, and its answer did not",
			// Only the text: errors.Is must not find a definite failure in here.
			Cause: errors.New(e.Error()),
		}
	}
	return unled(&e)
}

// unled is what a caller hears who came to no leader in time: that is not a place
// they could go to.
func unled(e *store.Error) *store.Error {
	if e.Code != store.NotLeader {
		return e
	}
	return &store.Error{
		Code: store.Unavailable, Op: e.Op, Keyspace: e.Keyspace, Group: e.Group, Node: e.Node,
		Msg: "no leader was found in time", Cause: errors.New(e.Error()),
		Try: "the majority side of a cut (--at NODE), or a longer --timeout",
	}
}

func (k *call) fill(e *store.Error) {
	if e.Op == "" {
		e.Op = k.op
	}
	if e.Keyspace == "" {
		e.Keyspace = k.keyspace.Name
	}
	if e.Group == (store.GroupID{}) {
		e.Group = k.group
	}
	if e.Node == "" {
		e.Node = k.node
	}
}

// An attempt's part of a call lies between these. A node in a black hole must leave
// time for another, whatever the caller's patience; a node that is slow must get the
// time to answer.
const (
	leastShare = 300 * time.Millisecond
	mostShare  = 700 * time.Millisecond
)

// share is an attempt's part of what is left of a call: half, within the bounds.
func share(ctx context.Context) (context.Context, context.CancelFunc) {
	part := mostShare
	if deadline, ok := ctx.Deadline(); ok {
		part = min(mostShare, max(time.Until(deadline)/2, leastShare))
	}
	return context.WithTimeout(ctx, part)
}

// asRead turns an unknown outcome into Unavailable: a read changes nothing, so
// without an answer nothing was done.
func asRead(e *store.Error) error {
	if e == nil {
		return nil
	}
	if e.Code != store.Unknown {
		return e
	}
	out := *e
	out.Code = store.Unavailable
	return &out
}
