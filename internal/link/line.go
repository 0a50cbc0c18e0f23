package link

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// line is how a network without faults behaves.
type line struct {
	seed            uint64
	incarnation     uint64 // of the endpoint, so that a restarted one draws afresh
	latency, jitter time.Duration
}

// route is one direction between two nodes.
type route struct {
	from, to string
	kind     Kind
}

// rng gives the nth connection of a route its own draws, so that traffic on one
// does not move another's.
func (l line) rng(r route, n uint64) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s>%s/%d#%d", r.from, r.to, r.kind, n)
	return rand.New(rand.NewPCG(l.seed, h.Sum64()))
}

// spread draws d ± j.
func spread(rng *rand.Rand, d, j time.Duration) time.Duration {
	if j > 0 {
		d += time.Duration((2*rng.Float64() - 1) * float64(j))
	}
	return max(d, 0)
}
