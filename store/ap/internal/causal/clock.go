package causal

import (
	"math"
	"time"
)

// Stamp is a reading of the hybrid logical clock of Kulkarni et al. (OPODIS 2014):
// 48 bits of milliseconds since 1970 and 16 bits of counter, so that stamps
// compare as numbers.
type Stamp uint64

const counterBits = 16

// Time is the stamp's millisecond.
func (s Stamp) Time() time.Time { return time.UnixMilli(int64(s >> counterBits)) }

// Clock gives stamps. It only orders concurrent writes: no stamp is ever refused,
// however far in the future, because a replica that refused to apply a write
// would diverge from those that did not.
//
// The paper's l and c are one number here. A counter that is full carries into
// the milliseconds, so a stamp is above the last one in every case.
type Clock struct{ last Stamp }

// Next returns a stamp above all that were given or observed, and not below now.
func (c *Clock) Next(now time.Time) Stamp {
	if physical := Stamp(max(now.UnixMilli(), 0)) << counterBits; physical > c.last {
		c.last = physical
	} else if c.last < math.MaxUint64 {
		c.last++
	}
	return c.last
}

// Observe puts the clock at or above s, the stamp of a write that was applied.
// Stamps so follow causality: a write is stamped above everything its coordinator
// had applied.
func (c *Clock) Observe(s Stamp) { c.last = max(c.last, s) }

// Last is the highest stamp given or observed.
func (c *Clock) Last() Stamp { return c.last }
