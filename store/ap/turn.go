package ap

import (
	"slices"
	"time"

	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// A peer that comes back asks all members at once for what it lacks, and all of them have
// it. So they take turns, in the order of their names: each gives those before it some time,
// and more as long as the peer is getting on. What is little is sent at once by all.
const (
	turnWait = 300 * time.Millisecond
	turnFew  = 16 // writes
)

// turn is how long a source holds back.
type turn struct {
	wait  time.Duration
	had   uint64           // of writes that the peer has
	timer <-chan time.Time // nil once it is this source's turn
}

// turn is that of a stream which begins.
func (s *source) turn() *turn {
	t := &turn{}
	have := s.confirmed()
	vector, _, err := s.r.views.peek()
	if err != nil || vector.Beyond(have) <= turnFew {
		return t
	}
	names := append(slices.Clone(s.r.placed.Load().peers), s.r.cfg.Node)
	slices.Sort(names)
	names = slices.DeleteFunc(names, func(name string) bool { return name == s.peer })
	if t.wait = time.Duration(slices.Index(names, s.r.cfg.Node)) * turnWait; t.wait > 0 {
		t.had, t.timer = have.Sum(), time.After(t.wait)
	}
	return t
}

func (t *turn) held() bool { return t.timer != nil }

// progressed is told what the peer has now.
func (t *turn) progressed(have causal.Vector) {
	if sum := have.Sum(); t.held() && sum > t.had {
		t.had, t.timer = sum, time.After(t.wait)
	}
}
