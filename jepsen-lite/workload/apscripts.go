package workload

import (
	"fmt"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// folders is writes to the keys of small directories of an ap keyspace and, unless it
// only writes, scans of them in pages.
type folders struct {
	author
	writes bool
}

func (f *folders) next() step {
	dir := f.keys.pick()
	key := fmt.Sprintf("%s/%d", dir, f.rng.IntN(scanKeys))
	n := f.rng.IntN(100)
	switch {
	case n < 40:
		return f.put(key)
	case n < 52:
		if s, ok := f.remove(key); ok {
			return s
		}
		return f.get(key, store.Causal)
	case n < 75 || f.writes:
		return f.get(key, store.Causal)
	}
	s := step{kind: history.Scan, space: f.space, key: dir + "/", level: store.Causal, page: scanPage}
	switch {
	case n >= 95:
		s.level = store.Eventual
	case n >= 92:
		s.level, s.bound = store.Bounded, readBound
	}
	return s
}

// embers puts values that end, refreshes them, and looks whether they are there. A
// refresh follows what was read or, on lww, replaces what the node has.
type embers struct{ author }

func (e *embers) next() step {
	key := e.keys.pick()
	switch n := e.rng.IntN(100); {
	case n < 32:
		s := e.put(key)
		s.ttl = shortTTL + time.Duration(e.rng.Int64N(int64(longTTL-shortTTL)))
		return e.held(s, chanceAllAdds)
	case n < 36:
		return e.put(key)
	case n < 39:
		if s, ok := e.remove(key); ok {
			return s
		}
	}
	return e.get(key, store.Causal)
}

// fields puts fields of maps, and removes them. Fields come back.
type fields struct{ author }

func (f *fields) next() step {
	key := f.keys.pick()
	field := fmt.Sprintf("f%d", f.rng.IntN(poolOfMembers))
	switch n := f.rng.IntN(100); {
	case n < 36:
		return f.held(step{kind: history.Put, space: f.space, key: key, field: field, value: f.unique("v")}, chanceAllAdds)
	case n < 52:
		return f.held(step{kind: history.Remove, space: f.space, key: key, field: field, value: f.unique("d")}, chanceAllAdds)
	case n < 54:
		return f.held(step{kind: history.Delete, space: f.space, key: key, value: f.unique("d")}, chanceAllAdds)
	case n < 60:
		return f.get(key, store.Quorum)
	}
	return f.get(key, store.Causal)
}
