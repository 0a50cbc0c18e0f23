package client

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"time"
)

// Backoff is how long a call waits before it is made again.
type Backoff struct {
	Kind  BackoffKind
	Least time.Duration // 10 ms if zero
	Most  time.Duration // no wait is longer; 1 s if zero
}

// BackoffKind is how the waits of a call grow, and what is left to chance.
type BackoffKind string

// The kinds, for the waits n = 0, 1, 2, … of a call. The last three spread calls that
// failed together; after the first three they come together again.
const (
	Constant    BackoffKind = "constant"    // Least
	Linear      BackoffKind = "linear"      // Least × (n+1)
	Exponential BackoffKind = "exponential" // Least × 2ⁿ
	FullJitter  BackoffKind = "full-jitter" // drawn between 0 and Least × 2ⁿ
	// Decorrelated is drawn between Least, and that and three times the wait before
	// (Brooker, "Exponential Backoff And Jitter", 2015). It is the default.
	Decorrelated BackoffKind = "decorrelated"
	Random       BackoffKind = "random" // drawn between Least and Most
)

const (
	leastBackoff = 10 * time.Millisecond
	mostBackoff  = time.Second
)

func (b Backoff) withDefaults() Backoff {
	return Backoff{cmp.Or(b.Kind, Decorrelated), cmp.Or(b.Least, leastBackoff), cmp.Or(b.Most, mostBackoff)}
}

func (b Backoff) validate() error {
	switch b.Kind {
	case Constant, Linear, Exponential, FullJitter, Decorrelated, Random:
	default:
		return invalid(fmt.Sprintf("there is no backoff %.30q", string(b.Kind)), "constant, linear, exponential, full-jitter, decorrelated or random")
	}
	if b.Least < time.Millisecond || b.Most < b.Least || b.Most > time.Hour {
		return invalid(fmt.Sprintf("a backoff lies between 1ms and 1h, and Most is not below Least: it has %v and %v", b.Least, b.Most), "")
	}
	return nil
}

// wait returns the wait of number n, after one of last.
func (b Backoff) wait(n int, last time.Duration) time.Duration {
	switch b.Kind {
	case Constant:
		return b.Least
	case Linear:
		return b.most(time.Duration(n + 1))
	case Exponential:
		return b.most(1 << min(n, 40))
	case FullJitter:
		return rand.N(b.most(1<<min(n, 40)) + 1)
	case Random:
		return b.Least + rand.N(b.Most-b.Least+1)
	}
	return min(b.Most, b.Least+rand.N(max(3*last, 2*b.Least)))
}

// most is so many times Least, and not above Most.
func (b Backoff) most(times time.Duration) time.Duration {
	if times > b.Most/b.Least {
		return b.Most
	}
	return b.Least * times
}

// backoff returns the wait that follows a wait of last, of what reconnects for as long as
// it takes.
func backoff(last time.Duration) time.Duration {
	return Backoff{}.withDefaults().wait(0, last)
}
