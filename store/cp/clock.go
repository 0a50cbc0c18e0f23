package cp

import "time"

// leaderClock is the time that a leader proposes, in milliseconds. It goes on from the
// time that the state has, at the pace of this machine's monotonic clock: a wall clock
// that jumps ages no session, and what a leader proposes is never ahead of its
// predecessors by more than the time that passed. Only the first entry of a group
// looks at the wall clock, so that the numbers are near it.
//
// It is used by one goroutine, the proposer. The zero value is ready.
type leaderClock struct {
	base int64         // what was proposed at
	at   time.Duration // this reading of mono
	set  bool
	mono func() time.Duration // time since any moment, monotonic
	wall func() time.Time
}

// now is the time to propose on top of a state of the given time. It is never below
// that, nor below what it returned before.
func (c *leaderClock) now(stateLeaderMs int64) int64 {
	if c.mono == nil {
		began := time.Now()
		c.mono, c.wall = func() time.Duration { return time.Since(began) }, time.Now
	}
	t := c.mono()
	if c.set {
		if ms := c.base + (t - c.at).Milliseconds(); ms >= stateLeaderMs {
			return ms
		}
	}
	// The first time here, or others led meanwhile and their clocks were faster.
	c.base, c.at, c.set = stateLeaderMs, t, true
	if c.base == 0 {
		c.base = c.wall().UnixMilli()
	}
	return c.base
}
