package client

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// credit is how many retries a client may make before it has earned any. It works
	// them off: over all its calls no more than the share are retries, unless they are
	// fewer than this.
	credit = 10
	// savings is how many retries may be saved up: for the moment in which a leader goes.
	savings = 100
	// trickle is how often a client with nothing left may retry all the same.
	trickle = time.Second
)

// budget bounds the retries of all calls of a client by a share of the calls. The budget
// of failsafe-go bounds how many are in progress at a time, which is another thing: while
// calls wait between attempts, each may make all of them.
type budget struct {
	share float64
	calls atomic.Uint64

	mu     sync.Mutex
	seen   uint64 // calls that were counted in
	debt   float64
	tokens float64
	last   time.Time // of a retry
}

func newBudget(share float64) *budget {
	if share <= 0 {
		return &budget{}
	}
	return &budget{share: share, debt: credit, tokens: credit}
}

// retry reports whether one may be made.
func (b *budget) retry() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls := b.calls.Load()
	earned := float64(calls-b.seen) * b.share
	b.seen = calls
	repaid := min(b.debt, earned)
	b.debt -= repaid
	b.tokens = min(savings, b.tokens+earned-repaid)
	now := time.Now()
	if b.tokens < 1 && (b.share == 0 || now.Sub(b.last) < trickle) {
		return false
	}
	b.tokens, b.last = max(0, b.tokens-1), now
	return true
}
