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
//
// No more than half of it goes to calls that a replica has turned away because it cannot
// prove its age, or has not what the session has seen. That may go on for as long as a cut
// does, at every such call, and must not leave nothing for those whose node has failed.
type budget struct {
	calls atomic.Uint64

	mu   sync.Mutex
	seen uint64 // calls that were counted in
	all  purse
	half purse // for those who were turned away
}

// purse is what has been earned and not been spent.
type purse struct {
	share  float64 // of a call
	most   float64
	debt   float64
	tokens float64
	last   time.Time // of a retry
}

func newBudget(share float64) *budget {
	if share <= 0 {
		return &budget{}
	}
	return &budget{
		all:  purse{share: share, most: savings, debt: credit, tokens: credit},
		half: purse{share: share / 2, most: savings / 2, debt: credit / 2, tokens: credit / 2},
	}
}

// retry reports whether one may be made, by a call that was turned away or by any other.
func (b *budget) retry(turnedAway bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls := b.calls.Load()
	b.all.earn(calls - b.seen)
	b.half.earn(calls - b.seen)
	b.seen = calls
	now := time.Now()
	if turnedAway && !b.half.has(now) || !b.all.has(now) {
		return false
	}
	if turnedAway {
		b.half.spend(now)
	}
	b.all.spend(now)
	return true
}

func (p *purse) earn(calls uint64) {
	earned := float64(calls) * p.share
	repaid := min(p.debt, earned)
	p.debt -= repaid
	p.tokens = min(p.most, p.tokens+earned-repaid)
}

func (p *purse) has(now time.Time) bool {
	return p.tokens >= 1 || p.share > 0 && now.Sub(p.last) >= trickle
}

func (p *purse) spend(now time.Time) { p.tokens, p.last = max(0, p.tokens-1), now }
