package client

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

// suspicion is how long a node that did not answer comes last.
const suspicion = 5 * time.Second

// alone is how long an open circuit stays so for a call that nobody else can serve: a
// node that is back must not stay away for as long as one that others stand in for.
const alone = 250 * time.Millisecond

// never is longer than any circuit is open.
const never = math.MaxInt64

// peer is what a client makes of a node by how it answers: one record, from which the
// router takes the order and the circuit breaker its state. Only silence counts. A node
// that refuses is there, and why it refuses belongs to the call, or to one group.
type peer struct {
	name    string
	breaker Breaker
	tell    func(BreakerEvent)

	// word is the circuit's state, and above it how often that has changed: an answer to
	// a call that began in an earlier state says nothing about this one.
	word atomic.Uint64
	calm atomic.Bool // closed, never silent since it answered last, and not just back

	mu      sync.Mutex
	circuit circuitbreaker.CircuitBreaker[any] // only used with mu held
	silent  time.Time                          // when it last did not answer; zero if it has since
	mute    bool                               // silent where it must have answered
	kept    int                                // calls that a mute node was spared,
	keptAt  time.Time                          // and when the last of them was
	opened  time.Time
	back    time.Time // when the circuit was closed again; zero once that is long ago
	probing bool
	events  []BreakerEvent // to be told once mu is free
}

const stateBits = 2

func newPeer(name string, b Breaker, tell func(BreakerEvent)) *peer {
	p := &peer{name: name, breaker: b, tell: tell}
	p.calm.Store(true)
	p.circuit = circuitbreaker.NewBuilder[any]().
		WithFailureRateThreshold(b.Rate, b.Calls, b.Window).
		WithSuccessThresholdRatio(b.Probes/2+1, b.Probes).
		WithDelay(b.Open).
		WithJitterFactor(0.1). // clients do not come back all at once
		OnStateChanged(p.changed).Build()
	return p
}

// changed is called by the circuit, and so with mu held.
func (p *peer) changed(e circuitbreaker.StateChangedEvent) {
	now := time.Now()
	p.word.Store((p.word.Load()>>stateBits+1)<<stateBits | uint64(e.NewState))
	switch e.NewState {
	case circuitbreaker.OpenState:
		p.opened, p.back = now, time.Time{}
	case circuitbreaker.ClosedState:
		p.back = now
	}
	p.settle()
	p.events = append(p.events, BreakerEvent{Node: p.name, From: stateOf(e.OldState), To: stateOf(e.NewState)})
}

func (p *peer) state() circuitbreaker.State { return stateIn(p.word.Load()) }

func stateIn(word uint64) circuitbreaker.State {
	return circuitbreaker.State(word & (1<<stateBits - 1))
}

// settle is called with mu held.
func (p *peer) settle() {
	p.calm.Store(p.state() == circuitbreaker.ClosedState && p.silent.IsZero() && p.back.IsZero())
}

// unlock frees mu and tells what happened under it.
func (p *peer) unlock() {
	events := p.events
	p.events = nil
	p.mu.Unlock()
	for _, e := range events {
		tell(p.tell, e)
	}
}

// permit is the right to make one attempt, in one state of the circuit.
type permit struct {
	p    *peer // nil: of a seed, about which nothing is noted
	word uint64
}

// admit asks for a permit. That there is none means that the circuit is open.
func (p *peer) admit() (permit, bool) {
	word := p.word.Load()
	if stateIn(word) == circuitbreaker.ClosedState || p.breaker.Off {
		return permit{p, word}, true
	}
	return p.probe(alone)
}

// probe asks for one of the permits of a half-open circuit, once it was open for so long.
func (p *peer) probe(after time.Duration) (permit, bool) {
	p.mu.Lock()
	defer p.unlock()
	if p.state() == circuitbreaker.OpenState {
		if time.Since(p.opened) < after {
			return permit{}, false
		}
		p.circuit.HalfOpen()
	}
	ok := p.circuit.TryAcquirePermit()
	if !ok {
		return permit{}, false
	}
	return permit{p, p.word.Load()}, true
}

// glance is a permit to look whether a node that is only silent answers; none, if its
// circuit is not closed.
func (p *peer) glance() permit {
	word := p.word.Load()
	if stateIn(word) != circuitbreaker.ClosedState {
		return permit{}
	}
	return permit{p, word}
}

// probe reports whether the attempt is one that decides about a circuit.
func (m permit) probe() bool {
	return m.p != nil && stateIn(m.word) == circuitbreaker.HalfOpenState
}

// verdict is what an attempt says about its node.
type verdict int

const (
	nothing verdict = iota
	heard           // it answered, whatever
	hushed          // it did not answer in a time in which it need not have
	failed          // it did not answer
)

// done notes what became of the attempt. A probe that was given up has proved nothing,
// and counts as failed: its permit would be lost.
func (m permit) done(v verdict) {
	p := m.p
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.unlock()
	switch v {
	case heard:
		p.silent, p.mute, p.kept = time.Time{}, false, 0
	case hushed:
		p.silent, p.mute, p.kept = time.Now(), false, 0
	case failed:
		p.silent, p.mute = time.Now(), true
	}
	if p.word.Load() == m.word && !p.breaker.Off {
		half := p.state() == circuitbreaker.HalfOpenState
		switch {
		case v == heard:
			p.circuit.RecordSuccess()
		case v == failed || half:
			p.circuit.RecordFailure()
			p.late()
		}
	}
	if v != nothing {
		p.settle()
	}
}

// late counts as failed the calls that were kept away from a node which was silent before
// and after them: nobody answered, and nobody would have. Without them the calls that the
// node answered before it hung hold a circuit closed for as long as they count, because
// its silence, which keeps calls away, leaves too few to outweigh them. It is called with
// mu held.
func (p *peer) late() {
	if time.Since(p.keptAt) > p.breaker.Window {
		p.kept = 0 // so long ago that failures count no more
	}
	for ; p.kept > 0 && p.state() == circuitbreaker.ClosedState; p.kept-- {
		p.circuit.RecordFailure()
	}
	p.kept = 0
}

// spare notes a call that would have come here first, and goes elsewhere because the node
// is silent.
func (p *peer) spare() {
	p.mu.Lock()
	if p.mute {
		p.kept, p.keptAt = p.kept+1, time.Now()
	}
	p.mu.Unlock()
}

// stirs ends the silence of a node that answers a probe. What it serves only calls can tell.
func (p *peer) stirs() {
	p.mu.Lock()
	p.silent = time.Time{}
	p.settle()
	p.mu.Unlock()
}

// standing is where a node comes among those that hold a group.
type standing int

const (
	sound   standing = iota
	newly            // just back: not all that would come to it may yet
	suspect          // it was silent lately
	open             // its circuit is open: only if nobody else can serve
)

// standing also reports whether the node is to be probed, by the caller.
func (p *peer) standing() (s standing, due bool) {
	if p.calm.Load() {
		return sound, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.state() != circuitbreaker.ClosedState {
		due = !p.probing && p.circuit.RemainingDelay() == 0
		p.probing = p.probing || due
		return open, due
	}
	if !p.silent.IsZero() {
		due = !p.probing && now.Sub(p.silent) >= suspicion
		p.probing = p.probing || due
		return suspect, due
	}
	s = sound
	if !p.back.IsZero() {
		if share := float64(now.Sub(p.back)) / float64(p.breaker.SlowStart); share >= 1 {
			p.back = time.Time{}
		} else if rand.Float64() >= share {
			s = newly
		}
	}
	p.settle()
	return s, false
}

// probed ends what standing has begun.
func (p *peer) probed() {
	p.mu.Lock()
	p.probing = false
	p.mu.Unlock()
}
