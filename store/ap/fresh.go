package ap

import (
	"slices"
	"sync"
	"time"

	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// mostOpen bounds the answers of one peer that wait to be covered. They come twice a
// second and for bounded reads; one that finds no room is not missed, because a later
// one proves more.
const mostOpen = 16

// freshness proves how old a view is, without comparing the clocks of two nodes.
// This replica notes its own time, asks a peer, and is told what the peer held after
// it was asked: its whole vector, as what it took in earlier lives may be nowhere
// else. Once our view covers that, it has everything the peer had acknowledged when
// it was asked. A view is as fresh as its worst peer.
type freshness struct {
	mu      sync.Mutex
	peers   map[string]*proofs
	members *placed
	heard   chan struct{} // closed when a peer has answered, or the members have changed
}

// proofs are of one peer.
type proofs struct {
	proved time.Time     // when the peer was asked what we now cover; zero: never
	serves uint64        // the newest epoch confirmed in an answer that we cover, of a peer that served
	served bool          // the peer served in an answer that we cover
	whole  bool          // and counted in majorities
	up     bool          // the peer served when it answered last, covered or not
	closed uint64        // number of the newest closure that the peer knew in an answer that we cover
	open   []report      // not covered yet, in the order they were asked for
	sent   time.Time     // when the newest question left
	ask    chan struct{} // of one: a question shall leave at once

	// Of a peer that does not serve: since when, in one life, and when it was asked last
	// what we now cover. See remains.
	life             causal.Actor
	idleFrom, idleTo time.Time
}

// report is what a peer held when it had been asked.
type report struct {
	asked  time.Time
	held   causal.Vector
	epoch  uint64       // of the placement that the peer knew
	serves bool         // the peer is complete
	whole  bool         // and counts in majorities
	closed uint64       // number of the newest closure that the peer knew
	life   causal.Actor // the peer's
	came   time.Time
}

func newFreshness(members *placed) *freshness {
	return &freshness{peers: map[string]*proofs{}, members: members, heard: make(chan struct{})}
}

// place changes whom a view must be fresh of. Answers that were ahead of the placement
// begin to count.
func (f *freshness) place(members *placed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members = members
	for name, p := range f.peers {
		p.up = p.up && members.isPeer(name)
	}
	f.wake()
}

// wake is called with mu held.
func (f *freshness) wake() {
	close(f.heard)
	f.heard = make(chan struct{})
}

// of is called with mu held.
func (f *freshness) of(peer string) *proofs {
	p := f.peers[peer]
	if p == nil {
		p = &proofs{ask: make(chan struct{}, 1)}
		f.peers[peer] = p
	}
	return p
}

// asking is told that a question to the peer is about to leave.
func (f *freshness) asking(peer string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of(peer).sent = now
}

// wanted tells the peer's stream that a question shall leave at once.
func (f *freshness) wanted(peer string) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.of(peer).ask
}

// hurry makes a question leave to the peer at once, over a stream that is opened at
// once if there is none.
func (f *freshness) hurry(peer string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of(peer).hurry()
}

func (p *proofs) hurry() {
	select {
	case p.ask <- struct{}{}:
	default: // it hurries already
	}
}

// answered records a peer's answer. have is what this replica covers.
func (f *freshness) answered(peer string, what report, have causal.Vector) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.of(peer)
	p.up = what.serves
	p.notes(what)
	if len(p.open) < mostOpen {
		p.open = append(p.open, what)
	}
	p.settle(have, f.members.Epoch)
	f.wake()
}

// reopened forgets the open answers of a peer whose stream has begun anew: it may
// have lost what it held when it answered, and that would stay uncovered for ever.
func (f *freshness) reopened(peer string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of(peer).open = nil
}

// settle turns what is covered into the proof. The answers of one stream only grow,
// so the oldest is covered first. One of an epoch that this replica has not heard of
// proves nothing before it has: there may be a member by then that it does not ask.
func (p *proofs) settle(have causal.Vector, epoch uint64) {
	for len(p.open) > 0 && p.open[0].epoch <= epoch && have.Covers(p.open[0].held) {
		r := p.open[0]
		if r.asked.After(p.proved) {
			p.proved = r.asked
		}
		p.closed = r.closed
		switch {
		case r.serves:
			p.serves, p.served, p.whole = max(p.serves, r.epoch), true, p.whole || r.whole
		case r.epoch == epoch && r.life == p.life && r.asked.After(p.idleTo):
			p.idleTo = r.asked
		}
		p.open = p.open[1:]
	}
}

// age returns an upper bound of how old, at now, a view with this vector is. It
// reports false while a peer has never been heard.
func (f *freshness) age(now time.Time, have causal.Vector) (time.Duration, bool) {
	_, age, ok := f.worst(now, have)
	return age, ok
}

// worst is age, and the peer that it is the age of; of several never heard, any one.
func (f *freshness) worst(now time.Time, have causal.Vector) (peer string, age time.Duration, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range f.members.others {
		p := f.of(name)
		p.settle(have, f.members.Epoch)
		if p.proved.IsZero() {
			return name, 0, false
		}
		if a := elapsed(p.proved, now); a > age {
			peer, age = name, a
		}
	}
	return peer, age, true
}

// caughtUp reports whether a view with this vector, which knows closures up to a number, has
// all that some serving member had, and knew, when it had confirmed the placement. Else
// heard is closed at the next answer.
func (f *freshness) caughtUp(members *placed, have causal.Vector, known uint64) (done bool, heard <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range members.others {
		p := f.of(name)
		p.settle(have, f.members.Epoch)
		done = done || p.served && p.serves >= members.Epoch && p.closed <= known
	}
	return done, f.heard
}

// serving reports whether all of the peers have said that they serve. Else heard is closed
// at the next answer.
func (f *freshness) serving(peers []string) (all bool, heard <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !slices.ContainsFunc(peers, func(name string) bool { return !f.of(name).up }), f.heard
}

// elapsed is how long ago an instant of this process was. The monotonic clock of some
// systems stands still while the machine is suspended, and then the wall clock knows
// better; where it was set forward meanwhile, a proof only looks older than it is.
// So a machine that was suspended has no proof left from before, and no peer's clock
// has a say.
func elapsed(from, now time.Time) time.Duration {
	return max(now.Sub(from), now.Round(0).Sub(from.Round(0)))
}

// request asks every peer of which there is no answer, nor a question on its way,
// that was asked within bound before began. It returns a channel that is closed at
// the next answer.
func (f *freshness) request(began time.Time, bound time.Duration) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range f.members.others {
		p := f.of(name)
		if !p.sent.IsZero() && elapsed(p.sent, began) <= bound {
			continue
		}
		p.hurry()
	}
	return f.heard
}
