package client

import (
	"time"

	"github.com/dialkv/dialkv/store"
)

// Observer is told what a client does, and what it does about what does not work. Each
// function may be nil, and then costs nothing. They are called from the goroutines of the
// calls, several at once, and must return soon: a call waits for them. They must not call
// the client.
//
// A client with Config.At has no attempts of its own to tell of, only its fallbacks.
type Observer struct {
	// Call is told the end of each call on one group, over all its attempts.
	Call func(CallEvent)
	// Attempt is told the end of each attempt, and so where calls go and how they fail.
	Attempt func(AttemptEvent)
	// Retry is told each attempt that follows another which a node took up, before it is
	// made, and each that the budget did not allow.
	Retry func(RetryEvent)
	// Rejected is told each attempt that found no place in its bulkhead.
	Rejected func(node, keyspace string)
	// Breaker is told each change of a node's circuit.
	Breaker func(BreakerEvent)
	// Fallback is told each Get that a later step of Prefer answered, not as well.
	Fallback func(FallbackEvent)
	// Hedge is told each read that was sent a second time, at its end.
	Hedge func(HedgeEvent)
	// Joined is told each read that got the answer of another one.
	Joined func(keyspace string)
}

// CallEvent is the end of a call.
type CallEvent struct {
	Op, Keyspace string
	Took         time.Duration
	Err          error
}

// AttemptEvent is the end of an attempt.
type AttemptEvent struct {
	Op, Keyspace, Node string
	Failure            FailureKind // "" if it succeeded
	Took               time.Duration
}

// FailureKind is what a failed attempt means to the client.
type FailureKind string

// The kinds.
const (
	Transient FailureKind = "transient"  // it may be served later, or elsewhere
	Overload  FailureKind = "overload"   // the node says when to come back
	NotLeader FailureKind = "not-leader" // another node leads
	Definite  FailureKind = "definite"   // it is the answer
	Unclear   FailureKind = "unknown"    // it may have been applied
)

// RetryEvent is an attempt that follows another.
type RetryEvent struct {
	Op, Keyspace string
	Wait         time.Duration // before it
	Refused      bool          // by the budget: the call ends
}

// FallbackEvent is a degraded answer.
type FallbackEvent struct {
	Keyspace string
	Kind     FallbackKind
}

// HedgeEvent is the end of a read that was sent twice.
type HedgeEvent struct {
	Keyspace string
	Won      bool // by the second
}

// BreakerEvent is a change of a node's circuit.
type BreakerEvent struct {
	Node     string
	From, To CircuitState
}

func tell[E any](f func(E), e E) {
	if f != nil {
		f(e)
	}
}

func (o Observer) rejected(node, keyspace string) {
	if o.Rejected != nil {
		o.Rejected(node, keyspace)
	}
}

// failureOf is what an attempt that ended so means.
func (k *call) failureOf(err error) FailureKind {
	e := store.AsError(err)
	switch {
	case e == nil:
		return ""
	case e.Code == store.Overloaded:
		return Overload
	case e.Code == store.NotLeader:
		return NotLeader
	case k.effect != none && e.MaybeApplied():
		return Unclear
	case e.Retryable():
		return Transient
	}
	return Definite
}
