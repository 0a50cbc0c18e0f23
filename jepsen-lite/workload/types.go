package workload

import (
	"fmt"

	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// Chances of writes of counters and sets, in percent: that all replicas are to hold one
// before it is acknowledged. Of such a write the checkers know who has seen it; what
// they do not know of adds up in a counter, and hides what is wrong with it.
const (
	chanceAllIncrs = 90
	chanceAllAdds  = 60
)

// tallies counts on ap counters up and down, and now and then deletes one.
type tallies struct{ author }

func (t *tallies) next() step {
	key := t.keys.pick()
	switch n := t.rng.IntN(100); {
	case n < 50:
		s := step{kind: history.Incr, space: t.space, key: key, delta: int64(1 + t.rng.IntN(9))}
		if n < 12 {
			s.delta = -s.delta
		}
		return t.held(s, chanceAllIncrs)
	case n < 53: // taken by one side of a cut
		return step{kind: history.Delete, space: t.space, key: key, value: t.unique("d")}
	case n < 60:
		return t.get(key, store.Quorum)
	case n < 70:
		return t.get(key, store.ReadYourWrites)
	}
	return t.get(key, store.Causal)
}

// held says by how many replicas a write is to be held: by all in so many of a hundred.
func (a *author) held(s step, all int) step {
	switch n := a.rng.IntN(100); {
	case n < all:
		s.w = store.WAll
	case n < all+(100-all)/4:
		s.w = store.WMajority
	}
	return s
}

// members adds to sets and removes from them; members come back.
type members struct{ author }

// poolOfMembers is how many members a set of the load may have.
const poolOfMembers = 8

func (m *members) next() step {
	key := m.keys.pick()
	member := fmt.Sprintf("m%d", m.rng.IntN(poolOfMembers))
	switch n := m.rng.IntN(100); {
	case n < 32:
		return m.held(step{kind: history.Add, space: m.space, key: key, value: member}, chanceAllAdds)
	case n < 52:
		return m.held(step{kind: history.Remove, space: m.space, key: key, value: member}, chanceAllAdds)
	case n < 54:
		return m.held(step{kind: history.Delete, space: m.space, key: key, value: m.unique("d")}, chanceAllAdds)
	case n < 60:
		return m.get(key, store.Quorum)
	}
	return m.get(key, store.Causal)
}

// deletions deletes what it has read, and makes it again. On lww half of it follows no
// read; on siblings a put then stands blindly beside what is there.
type deletions struct{ author }

func (d *deletions) next() step {
	key := d.keys.pick()
	switch n := d.rng.IntN(100); {
	case n < 30:
		return d.put(key)
	case n < 50:
		if s, ok := d.remove(key); ok {
			return s
		}
	case n < 56:
		return d.get(key, store.Quorum)
	}
	return d.get(key, roamingLevels[d.rng.IntN(len(roamingLevels))])
}
