package client

import (
	"cmp"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"github.com/dialkv/dialkv/store"
)

// Resilience is how a client deals with what does not work. A zero value in it is the
// default.
type Resilience struct {
	Backoff Backoff
	// Budget is how many retries all calls of the client may make, as a share of the
	// calls; 0.2 if zero, none if negative. A call that may not retry ends with the error
	// it has. Attempts that no node took up are not counted, nor those that a node
	// refused because another leads.
	Budget  float64
	Breaker Breaker // of each node
	// Bulkhead is of each node and keyspace. With all places taken a read, and a write of
	// an ap keyspace, goes to another node; any other call ends with Overloaded, and
	// nothing was sent.
	Bulkhead Bulkhead
	Hedge    Hedge // off by default
	// NoSingleFlight makes every read a call of its own. Else one that is eventual, or
	// bounded, waits for an identical one that is in progress, where its level allows
	// the answer.
	NoSingleFlight bool
}

// Breaker is a circuit breaker. There is one for each node, never one for the cluster.
//
// A call fails when the node does not answer it. Whatever it answers, NotFound, Conflict,
// Unavailable, Overloaded, is no failure. While the circuit is open, calls go to another
// node; one that nobody else can serve still tries it from time to time, so that a
// cluster that is back is not found closed by its clients. Nodes whose time is over are
// probed, beside the calls.
type Breaker struct {
	// Rate is the share of failures, of all calls of a node within Window, from which
	// on the circuit opens; 0.5 if zero. It needs at least so many Calls; 10 if zero.
	// Calls that go elsewhere because the node was silent count as failed, if it is
	// still silent when it is asked again.
	Rate   float64
	Calls  uint
	Window time.Duration // 10 s if zero
	// Open is how long it stays open before it is probed; 5 s if zero, and up to a tenth
	// more or less, so that clients do not come back all at once.
	Open time.Duration
	// Probes is how many probes decide, by their majority, whether it is closed again;
	// 3 if zero.
	Probes uint
	// SlowStart is how long a node that is back takes to get all calls again that come
	// to it first; 10 s if zero. What only it can serve it gets at once.
	SlowStart time.Duration
	// Off leaves only the order: a node that did not answer comes last for 5 s.
	Off bool
}

func (r Resilience) withDefaults() Resilience {
	r.Backoff = r.Backoff.withDefaults()
	r.Budget = cmp.Or(r.Budget, 0.2)
	r.Breaker = r.Breaker.withDefaults()
	r.Bulkhead = r.Bulkhead.withDefaults()
	r.Hedge.Quantile = cmp.Or(r.Hedge.Quantile, 0.95)
	return r
}

func (r Resilience) validate() error {
	if !(r.Budget <= 1) {
		return invalid("Resilience.Budget is a share of the calls, 1 at most", "0.2")
	}
	return cmp.Or(r.Backoff.validate(), r.Breaker.validate(), r.Bulkhead.validate(), r.Hedge.validate())
}

func (b Breaker) withDefaults() Breaker {
	b.Rate = cmp.Or(b.Rate, 0.5)
	b.Calls = cmp.Or(b.Calls, 10)
	b.Window = cmp.Or(b.Window, 10*time.Second)
	b.Open = cmp.Or(b.Open, 5*time.Second)
	b.Probes = cmp.Or(b.Probes, 3)
	b.SlowStart = cmp.Or(b.SlowStart, 10*time.Second)
	return b
}

func (b Breaker) validate() error {
	switch {
	case !(b.Rate > 0 && b.Rate <= 1):
		return invalid("Breaker.Rate must be above 0 and not above 1", "0.5")
	case b.Window < time.Second || b.Open < time.Millisecond || b.SlowStart < 0:
		return invalid("a breaker's Window must be a second or more, Open a millisecond or more, and SlowStart not negative", "")
	case b.Probes > 100 || b.Calls > 1_000_000:
		return invalid("a breaker has 100 Probes and 1000000 Calls at most", "")
	}
	return nil
}

// CircuitState is a state of a node's circuit breaker.
type CircuitState string

// A circuit is closed while all is well, open while its node is avoided, and half-open
// while probes decide about it.
const (
	CircuitClosed   CircuitState = "closed"
	CircuitOpen     CircuitState = "open"
	CircuitHalfOpen CircuitState = "half-open"
)

func stateOf(s circuitbreaker.State) CircuitState { return CircuitState(s.String()) }

func circuitOpen() *store.Error {
	return &store.Error{
		Code: store.CircuitOpen, Msg: "the nodes that could serve it did not answer lately, and none was asked again",
		Try: "again in a moment, or a look at the nodes with kvctl cluster status",
	}
}
