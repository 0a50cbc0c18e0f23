package check

import (
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// convergent judges causal convergence (CCv) on lww keyspaces: causal consistency,
// and one order of all concurrent writes in which every read returns the last one it
// has. A read that has both w1 and w2 and returns w1 says that w2 comes before w1; a
// cycle of such sayings and causes is a violation (Bouajjani et al., pattern
// CyclicCF). Deletes take no part in that order: a put concurrent with a delete stays
// whatever the clocks say, and a put that may have been deleted says nothing.
func convergent(r *record) Result {
	judged := func(op *history.Op) bool { return covers(op) && r.lww[op.Keyspace] }
	return r.causally(judged, func(o *order) *violation {
		if v := o.cc(judged); v != nil {
			return v
		}
		return o.disagree(o.arbitration(judged))
	})
}

// arbitration gives, for each write, the writes that readers put before it.
func (o *order) arbitration(judged func(*history.Op) bool) map[int][]int {
	lost := map[int][]int{}
	for r := range o.nodes {
		n := &o.nodes[r]
		won := n.got
		if !n.told || won < 0 || !judged(n.op) {
			continue
		}
		for _, t := range o.writes[key(n.op)] {
			for w := range o.matters(t, r) {
				if !o.nodes[w].delete && w != won && !o.before(w, won) && !o.mayBeGone(w, r) && !slices.Contains(lost[won], w) {
					lost[won] = append(lost[won], w)
				}
			}
		}
	}
	return lost
}

// disagree finds a cycle of causes and arbitration. It removes what comes first
// until nothing does; what is left lies on or behind a cycle.
func (o *order) disagree(lost map[int][]int) *violation {
	next := make([][]int, len(o.nodes))
	waits := make([]int, len(o.nodes))
	edge := func(from, to int) { next[from] = append(next[from], to); waits[to]++ }
	for i := range o.nodes {
		for _, p := range o.nodes[i].preds {
			edge(p, i)
		}
		for _, w := range lost[i] {
			edge(w, i)
		}
	}
	var ready []int
	for i, n := range waits {
		if n == 0 {
			ready = append(ready, i)
		}
	}
	for len(ready) > 0 {
		i := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		for _, s := range next[i] {
			if waits[s]--; waits[s] == 0 {
				ready = append(ready, s)
			}
		}
	}
	if !slices.ContainsFunc(waits, func(n int) bool { return n > 0 }) {
		return nil
	}
	return o.ring(lost, next, waits)
}

// ring shows the shortest cycle through one of the first few arbitrations left.
func (o *order) ring(lost map[int][]int, next [][]int, waits []int) *violation {
	const tries = 50
	var best []int
	var pair [2]int
	n := 0
	for won := range o.nodes {
		for _, w := range lost[won] {
			if waits[won] == 0 || waits[w] == 0 || n >= tries && best != nil {
				continue
			}
			n++
			if way := walk(next, waits, won, w); way != nil && (best == nil || len(way) < len(best)) {
				best, pair = way, [2]int{w, won}
			}
		}
	}
	ops := o.readersOf(lost, best)
	return broken(ops, "no one order of concurrent writes explains all readers: one had %s and %s of %s and returned %s, and by the other operations %s comes first",
		wrote(o.nodes[pair[0]].op), wrote(o.nodes[pair[1]].op), key(o.nodes[pair[0]].op), wrote(o.nodes[pair[1]].op), wrote(o.nodes[pair[1]].op))
}

// readersOf is the cycle as operations, without the steps in the middle of a
// session, and with one read for each arbitration in it.
func (o *order) readersOf(lost map[int][]int, way []int) []*history.Op {
	var ops []*history.Op
	for i, w := range way {
		to := way[(i+1)%len(way)]
		says := slices.Contains(lost[to], w)
		lane := o.nodes[w].lane
		if !says && i > 0 && o.nodes[way[i-1]].lane == lane && o.nodes[to].lane == lane {
			continue
		}
		ops = append(ops, o.nodes[w].op)
		if says {
			ops = append(ops, o.sayer(w, to))
		}
	}
	return ops
}

// sayer is a read that had write lost and returned write won.
func (o *order) sayer(lost, won int) *history.Op {
	for r := range o.nodes {
		n := &o.nodes[r]
		if n.told && key(n.op) == key(o.nodes[won].op) && slices.Contains(n.seen, o.nodes[won].op.Call.Value) && o.before(lost, r) {
			return n.op
		}
	}
	return o.nodes[won].op
}

// walk is the shortest way from a to b among nodes that wait.
func walk(next [][]int, waits []int, a, b int) []int {
	from := map[int]int{a: a}
	for queue := []int{a}; len(queue) > 0; queue = queue[1:] {
		i := queue[0]
		if i == b {
			way := []int{b}
			for i != a {
				i = from[i]
				way = append(way, i)
			}
			slices.Reverse(way)
			return way
		}
		for _, s := range next[i] {
			if _, seen := from[s]; !seen && waits[s] > 0 {
				from[s] = i
				queue = append(queue, s)
			}
		}
	}
	return nil
}
