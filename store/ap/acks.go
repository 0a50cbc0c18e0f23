package ap

import (
	"sync"

	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// acks knows what each peer has said that it holds durably.
type acks struct {
	mu      sync.Mutex
	peers   map[string]*confirmed
	changed chan struct{} // closed when a peer has said more
}

// confirmed is what one peer said on its newest stream.
type confirmed struct {
	life   uint64 // which of its streams
	vector causal.Vector
	epoch  uint64 // of the placement it had confirmed when it said so
}

func newAcks() *acks {
	return &acks{peers: map[string]*confirmed{}, changed: make(chan struct{})}
}

// greet begins a new stream of the peer, of which the hello replaces whatever was
// acknowledged before: the peer may have crashed and lost what was not synced.
func (a *acks) greet(peer string, vector causal.Vector, epoch uint64) (life uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.peers[peer]
	if p == nil {
		p = &confirmed{}
		a.peers[peer] = p
	}
	p.life++
	p.vector, p.epoch = vector, epoch
	a.wake()
	return p.life
}

// confirm records an acknowledgement. It reports false if the peer has opened
// another stream since; what comes on the older one does not count.
func (a *acks) confirm(peer string, life uint64, vector causal.Vector, epoch uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.peers[peer]
	if p.life != life {
		return false
	}
	p.vector, p.epoch = vector, epoch
	a.wake()
	return true
}

// wake is called with mu held.
func (a *acks) wake() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// place forgets what was said by those who are no members any more, and ends their
// streams: one that comes back begins with nothing.
func (a *acks) place(members *placed) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, p := range a.peers {
		if !members.isPeer(name) {
			p.life++
			p.vector, p.epoch = nil, 0
		}
	}
	a.wake()
}

// news is closed when a peer has said more.
func (a *acks) news() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

// holders returns those of the peers that hold d, and a channel that is closed when
// there may be more.
func (a *acks) holders(peers []string, d causal.Dot) ([]string, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var nodes []string
	for _, node := range peers {
		if p := a.peers[node]; p != nil && p.vector.Has(d) {
			nodes = append(nodes, node)
		}
	}
	return nodes, a.changed
}

// said is what the peer said last that it holds; nil if it has said nothing since it
// confirmed the epoch.
func (a *acks) said(peer string, epoch uint64) causal.Vector {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.peers[peer]; p != nil && p.epoch >= epoch {
		return p.vector
	}
	return nil
}

// heldAt is what the peer said last that it holds, if it was then at this very epoch; nil
// if not.
func (a *acks) heldAt(peer string, epoch uint64) causal.Vector {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.peers[peer]; p != nil && p.epoch == epoch {
		return p.vector
	}
	return nil
}

// backlog is how many of the writes in v each peer that was heard has not confirmed.
func (a *acks) backlog(v causal.Vector) map[string]uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	behind := make(map[string]uint64)
	for node, p := range a.peers {
		if p.vector != nil {
			behind[node] = v.Beyond(p.vector)
		}
	}
	return behind
}

// hold reports whether all of the peers hold a vector.
func (a *acks) hold(peers []string, v causal.Vector) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, node := range peers {
		if p := a.peers[node]; p == nil || !p.vector.Covers(v) {
			return false
		}
	}
	return true
}
