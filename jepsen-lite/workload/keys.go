package workload

import (
	"fmt"
	"math/rand/v2"
	"sync"
)

// Limits of one key, for the checkers' sake. Operations are drawn anew for each key,
// so that keys do not change in step with the faults.
const (
	clientsPerKey = 6
	fewestOps     = 100
	mostOps       = 300
)

// rotation hands out the keys of one team of clients: three at a time, each for a
// limited number of operations. The first is drawn most, so that some keys are busy
// and others live long enough to span a fault.
type rotation struct {
	prefix string
	board  *board // of tasks, for those who have them

	mu    sync.Mutex
	rng   *rand.Rand
	made  int
	lives [3]life
}

type life struct {
	key  string
	left int
}

func newRotation(prefix string, rng *rand.Rand) *rotation {
	return &rotation{prefix: prefix, board: newBoard(), rng: rng}
}

// pick returns the key of one operation.
func (r *rotation) pick() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := &r.lives[min(r.rng.IntN(len(r.lives)), r.rng.IntN(len(r.lives)))]
	if l.left == 0 {
		r.made++
		*l = life{fmt.Sprintf("%s%d", r.prefix, r.made), fewestOps + r.rng.IntN(mostOps-fewestOps+1)}
	}
	l.left--
	return l.key
}
