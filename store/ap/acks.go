package ap

import (
	"maps"
	"slices"
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
}

func newAcks() *acks {
	return &acks{peers: map[string]*confirmed{}, changed: make(chan struct{})}
}

// greet begins a new stream of the peer, of which the hello replaces whatever was
// acknowledged before: the peer may have crashed and lost what was not synced.
func (a *acks) greet(peer string, vector causal.Vector) (life uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.peers[peer]
	if p == nil {
		p = &confirmed{}
		a.peers[peer] = p
	}
	p.life++
	p.vector = vector
	a.wake()
	return p.life
}

// confirm records an acknowledgement. It reports false if the peer has opened
// another stream since; what comes on the older one does not count.
func (a *acks) confirm(peer string, life uint64, vector causal.Vector) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.peers[peer]
	if p.life != life {
		return false
	}
	p.vector = vector
	a.wake()
	return true
}

// wake is called with mu held.
func (a *acks) wake() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// holders returns the peers that hold d, and a channel that is closed when there
// may be more.
func (a *acks) holders(d causal.Dot) ([]string, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var nodes []string
	for _, node := range slices.Sorted(maps.Keys(a.peers)) {
		if a.peers[node].vector.Has(d) {
			nodes = append(nodes, node)
		}
	}
	return nodes, a.changed
}

// said is what the peer said last that it holds; nil if it has said nothing.
func (a *acks) said(peer string) causal.Vector {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.peers[peer]; p != nil {
		return p.vector
	}
	return nil
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
