package ap

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// clockLimit is how far this node's wall clock may be from the group's.
	clockLimit = 500 * time.Millisecond
	// clockMemory is how long a peer's clock is carried on after it was read. In that
	// time a quartz clock, off by 100 millionths at worst, goes wrong by less than
	// clockLimit.
	clockMemory = time.Hour
	// maxClock bounds a clock that a peer tells: stamps have 48 bits of milliseconds.
	maxClock = 1<<48 - 1
)

// clocks compares this node's wall clock with those of its peers, for the one purpose
// of stamping: a wrong clock breaks nothing, but its node would win or lose every
// concurrent write. Nobody's clock is believed alone. What counts is the median of all
// that are known, the own one among them; of two in the middle the one nearer to the
// own. So one wrong clock of three moves nobody, and a node that has heard nobody, or
// one peer only, uses its own.
type clocks struct {
	own func() time.Time

	mu    sync.Mutex
	peers map[string]reading
}

// reading is what a peer's wall clock showed at an instant of this process. The
// monotonic clock carries it on.
type reading struct {
	shown time.Time
	at    time.Time
}

func newClocks(own func() time.Time) *clocks {
	return &clocks{own: own, peers: map[string]reading{}}
}

// heard records an answer: the peer read its clock, in milliseconds since 1970, at
// some moment between asked and now. An answer that took long says too little.
func (c *clocks) heard(peer string, ms int64, asked, now time.Time) {
	took := elapsed(asked, now)
	if ms <= 0 || ms > maxClock || took > clockLimit {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peers[peer] = reading{time.UnixMilli(ms).Add(took / 2), now}
}

// place forgets the clocks of those who are no members any more.
func (c *clocks) place(p *placed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.peers, func(peer string, _ reading) bool { return !p.isPeer(peer) })
}

// now is the time to stamp writes with.
func (c *clocks) now() time.Time {
	t, _ := c.read()
	return t
}

// read returns the time to stamp writes with, and how far the own clock is ahead of
// it: zero while the own clock is what counts.
func (c *clocks) read() (t time.Time, ahead time.Duration) {
	own, now := c.own(), time.Now()
	offsets := c.offsets(own, now)
	slices.Sort(offsets)
	low, high := offsets[(len(offsets)-1)/2], offsets[len(offsets)/2]
	median := low
	if high.Abs() < low.Abs() {
		median = high
	}
	if median.Abs() <= clockLimit {
		return own, 0
	}
	return own.Add(median), -median
}

// offsets are how far each known clock is ahead of the own one.
func (c *clocks) offsets(own, now time.Time) []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	offsets := append(make([]time.Duration, 0, 8), 0)
	for _, r := range c.peers {
		if since := now.Sub(r.at); since <= clockMemory {
			offsets = append(offsets, r.shown.Add(since).Sub(own))
		}
	}
	return offsets
}

// detail says so if the own clock is wrong, else it is "".
func (c *clocks) detail() string {
	_, ahead := c.read()
	switch {
	case ahead > 0:
		return fmt.Sprintf("this node's clock is %v ahead of the group's; its writes are stamped with the group's time", ahead.Round(time.Millisecond))
	case ahead < 0:
		return fmt.Sprintf("this node's clock is %v behind the group's; its writes are stamped with the group's time", -ahead.Round(time.Millisecond))
	}
	return ""
}
