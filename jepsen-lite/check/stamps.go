package check

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// stamped is a write that a replica still holds, and the reading of its hybrid clock.
type stamped struct {
	node  int // in the causal order
	stamp uint64
}

// stamps finds two writes of one group of which the later one in causal order has no later
// stamp. A node's hybrid clock stands above all that the node has applied (Kulkarni et al.,
// OPODIS 2014, theorem 1), so stamps follow causality whatever wall clocks say.
func (r *record) stamps() *violation {
	groups := map[string]map[int]uint64{}
	o, err := r.causes()
	if err != nil || len(o.cyclic) > 0 {
		return nil // causal says so
	}
	for _, rep := range r.h.Replicas {
		for _, d := range rep.Keys {
			for _, s := range d.Siblings {
				stamp, err := strconv.ParseUint(s.Stamp, 10, 64)
				at := ref{d.Keyspace, d.Key}
				w, ok := o.writer(at, s.Value)
				if err != nil || !ok || r.types[at] != nil {
					continue
				}
				group := rep.Keyspace + "\x00" + rep.Group
				if groups[group] == nil {
					groups[group] = map[int]uint64{}
				}
				groups[group][w] = stamp
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		if v := o.inOrder(groups[name]); v != nil {
			return v
		}
	}
	return nil
}

// inOrder judges the writes of one group. For each lane, highest holds at each of its
// writes the highest stamp up to there.
func (o *order) inOrder(group map[int]uint64) *violation {
	var writes []stamped
	for _, w := range slices.SortedFunc(maps.Keys(group), func(a, b int) int { return cmp.Compare(o.nodes[a].index, o.nodes[b].index) }) {
		writes = append(writes, stamped{w, group[w]})
	}
	lanes, highest := map[int][]stamped{}, map[int][]stamped{}
	for _, w := range writes {
		c := o.column(w.node)
		lanes[c] = append(lanes[c], w)
		if n := len(highest[c]); n > 0 && highest[c][n-1].stamp > w.stamp {
			w = highest[c][n-1]
		}
		highest[c] = append(highest[c], w)
	}
	columns := slices.Sorted(maps.Keys(lanes))
	for _, w := range writes {
		for _, c := range columns {
			known := o.at(w.node)[c]
			if c == o.column(w.node) {
				known--
			}
			n, _ := slices.BinarySearchFunc(lanes[c], known+1, func(s stamped, index int32) int { return cmp.Compare(o.nodes[s.node].index, index) })
			if n == 0 || highest[c][n-1].stamp < w.stamp {
				continue
			}
			cause := highest[c][n-1]
			was, is := o.nodes[cause.node].op, o.nodes[w.node].op
			return broken(append([]*history.Op{was, is}, o.path(cause.node, w.node)...), "%s of %s has the stamp %d, and %s of %s, which its session had seen, the stamp %d",
				wrote(is), key(is), w.stamp, wrote(was), key(was), cause.stamp)
		}
	}
	return nil
}

// column is of the lane of a write.
func (o *order) column(node int) int { return o.lanes[o.nodes[node].lane].column }
