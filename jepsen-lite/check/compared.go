package check

import (
	"cmp"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// compare adds what the operations of one key give a checker to judge by. judged
// says which operations it looks at. Only what was answered counts: an operation
// that never ended overlaps with everything and proves nothing.
func (r *record) compare(c *Compared, ops []*history.Op, judged func(*history.Op) bool) {
	var done []*history.Op
	for _, op := range ops {
		seen, told := op.Seen()
		if !judged(op) || !told && !op.OK() {
			continue
		}
		done = append(done, op)
		c.Ops++
		if told && r.h.InFault(op.Begin) {
			c.ReadsInFault++
		}
		if op.Kind == history.CAS && op.OK() {
			seen = []string{op.Expect}
		}
		if slices.ContainsFunc(seen, func(v string) bool { return r.anothers(op, v) }) {
			c.ReadsOfOthers++
		}
	}
	c.ConcurrentPairs += pairs(done)
}

// compareActs is compare for the acts of one key.
func (r *record) compareActs(c *Compared, acts []act) {
	var done []*history.Op
	for _, a := range acts {
		if !a.sure {
			continue
		}
		done = append(done, a.op)
		c.Ops++
		if a.reads && !a.writes && r.h.InFault(a.op.Begin) {
			c.ReadsInFault++
		}
		if w := r.writers[a.name()][a.seen]; a.reads && !a.absent && w != nil && w.Session != a.op.Session {
			c.ReadsOfOthers++
		}
	}
	c.ConcurrentPairs += pairs(done)
}

func (r *record) anothers(op *history.Op, value string) bool {
	w := r.writers[key(op)][value]
	return w != nil && (w.Session != op.Session || w.Session == "" && w.Process != op.Process)
}

// pairs counts the pairs that overlap and hold a write. O(n log n).
func pairs(ops []*history.Op) int {
	type edge struct {
		seq   int64
		begin bool
		write bool
	}
	edges := make([]edge, 0, 2*len(ops))
	for _, op := range ops {
		w := op.Write() && op.OK()
		edges = append(edges, edge{op.Begin, true, w}, edge{op.End, false, w})
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Compare(a.seq, b.seq) })
	n, reads, writes := 0, 0, 0
	for _, e := range edges {
		d := 1
		if !e.begin {
			d = -1
		}
		switch {
		case e.begin && e.write:
			n += reads + writes
		case e.begin:
			n += writes
		}
		if e.write {
			writes += d
		} else {
			reads += d
		}
	}
	return n
}

// sessions counts those with an operation that a checker looks at.
func (r *record) sessions(judged func(*history.Op) bool) int {
	names := map[string]bool{}
	for i := range r.h.Ops {
		if op := &r.h.Ops[i]; op.Session != "" && op.OK() && judged(op) {
			names[op.Session] = true
		}
	}
	return len(names)
}
