package ap

import (
	"sync"
	"time"
)

// mostProbes bounds the probes of one stream that wait for an answer. An answer to a
// later one answers them all.
const mostProbes = 64

// probes are the questions of one stream that were not answered yet, and when each
// left. The time is noted before the question leaves, on both of the node's clocks.
type probes struct {
	mu   sync.Mutex
	last uint64               // the name of the newest
	sent map[uint64]time.Time // by name
}

func newProbes() *probes { return &probes{sent: map[uint64]time.Time{}} }

// leave names a new probe. It returns 0, which asks nothing, while too many wait.
func (p *probes) leave(now time.Time) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.sent) == mostProbes {
		return 0
	}
	p.last++
	p.sent[p.last] = now
	return p.last
}

// arrive returns when the named probe left, and forgets it and all before it. It
// reports false of a probe that does not wait for an answer.
func (p *probes) arrive(name uint64) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.sent[name]
	if !ok {
		return at, false
	}
	for n := range p.sent {
		if n <= name {
			delete(p.sent, n)
		}
	}
	return at, true
}
