package check

import (
	"fmt"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// maxClocks limits the memory of the vector clocks: operations × lanes that write.
const maxClocks = 1 << 26

// order is the causal order of a history: what a session did before (as far as its
// calls did not overlap), joined with what it read from whom. It is held as a vector
// clock per operation, so that "a happened before b" is one comparison. All keys of
// all keyspaces are in it together, because causality is not local to a key.
//
// A lane is a run of operations one after the other: a session, unless its calls
// overlap. A write without outcome that somebody read is a lane by itself: its
// session did what it did before it, and does not know that it happened.
type order struct {
	r      *record
	nodes  []node // by Begin
	of     map[*history.Op]int
	lanes  []lane
	width  int // lanes that hold a write
	clock  []int32
	writes map[ref][]track // by key
	cyclic []int           // nodes that wait for each other; empty in a sane history

	// Of all that may have happened, read or not: what removes values.
	deletes  map[ref][]*history.Op
	coverers map[ref]map[string][]*history.Op // by covered value
	ends     map[ref]bool                     // keys of which some value has a TTL

	gone map[absence][]int // see absences
}

// node is one operation. It may read, write, or both.
type node struct {
	op    *history.Op
	lane  int
	index int32    // in its lane, from 1
	preds []int    // what it directly follows
	told  bool     // it read
	seen  []string // what it read; nothing is absence
	got   int      // who wrote the first of that; -1 if nobody did
	write bool

	// Beside op, because many pairs of nodes are looked at and few operations.
	siblings bool // its keyspace keeps them
	delete   bool
	ends     bool // it writes a value with a TTL
}

type lane struct {
	nodes  []int
	column int // in the clocks; -1 without writes
}

// track is one lane's writes of one key, in order.
type track struct {
	column int
	nodes  []int
}

// orderOf builds the causal order. The error says that the history is unfit for it.
func orderOf(r *record) (*order, error) {
	for k, two := range r.twice {
		return nil, fmt.Errorf("%s is written twice to %s, so that it names no write", show(two[0].Call.Value), k)
	}
	o := &order{
		r: r, of: map[*history.Op]int{}, writes: map[ref][]track{},
		deletes: map[ref][]*history.Op{}, coverers: map[ref]map[string][]*history.Op{}, ends: map[ref]bool{},
	}
	for _, k := range r.order {
		o.removers(k)
	}
	o.collect()
	o.lay()
	o.link()
	if size := len(o.nodes) * o.width; size > maxClocks {
		return nil, fmt.Errorf("%d operations over %d sessions are too many to order", len(o.nodes), o.width)
	}
	o.tick()
	return o, nil
}

// collect takes what happened: answered reads, acknowledged writes, and writes
// without outcome that somebody read. Keyspaces with operations nobody here
// understands stay out: reads fewer prove less, and never too much.
func (o *order) collect() {
	read := map[*history.Op]bool{}
	for i := range o.r.h.Ops {
		op := &o.r.h.Ops[i]
		if seen, told := readBy(op); told {
			for _, v := range seen {
				read[o.r.writers[key(op)][v]] = true
			}
		}
	}
	for i := range o.r.h.Ops {
		op := &o.r.h.Ops[i]
		if op.Key == "" || len(o.r.others[op.Keyspace]) > 0 {
			continue
		}
		seen, told := readBy(op)
		write := op.Write() && (op.OK() || op.Unclear() && read[op])
		if !told && !write {
			continue
		}
		o.of[op] = len(o.nodes)
		o.nodes = append(o.nodes, node{op: op, told: told, seen: seen, got: -1, write: write, siblings: o.r.siblings(op.Keyspace), delete: op.Kind == history.Delete, ends: op.TTL > 0})
	}
}

func (o *order) removers(k ref) {
	o.coverers[k] = map[string][]*history.Op{}
	for _, op := range o.r.keys[k] {
		o.ends[k] = o.ends[k] || op.TTL > 0
		if !op.Write() || op.Failed() {
			continue
		}
		if op.Kind == history.Delete {
			o.deletes[k] = append(o.deletes[k], op)
		}
		for _, v := range op.Covers {
			o.coverers[k][v] = append(o.coverers[k][v], op)
		}
	}
}

// readBy is Seen, with a cas that succeeded as a read of what it expected.
func readBy(op *history.Op) ([]string, bool) {
	if op.Kind == history.CAS && op.OK() {
		return []string{op.Expect}, true
	}
	return op.Seen()
}

// lay puts the operations of each session on lanes and gives each its predecessors:
// in every lane of its session the last operation that was over before it began.
func (o *order) lay() {
	sessions := map[string][]int{} // lanes
	for i := range o.nodes {
		n := &o.nodes[i]
		mine := sessions[n.op.Session]
		if n.op.Session == "" {
			mine = nil
		}
		n.lane = -1
		for _, l := range mine {
			at := o.lanes[l].nodes
			last := len(at) - 1
			if o.nodes[at[last]].op.End > n.op.Begin {
				last-- // the one before the last was over before the last began
			} else if n.lane < 0 && !n.op.Unclear() {
				n.lane = l
			}
			if last >= 0 {
				n.preds = append(n.preds, at[last])
			}
		}
		if n.lane < 0 {
			n.lane = len(o.lanes)
			o.lanes = append(o.lanes, lane{column: -1})
			if n.op.Session != "" && !n.op.Unclear() {
				sessions[n.op.Session] = append(mine, n.lane)
			}
		}
		l := &o.lanes[n.lane]
		l.nodes = append(l.nodes, i)
		n.index = int32(len(l.nodes))
		if n.write {
			o.track(i)
		}
	}
}

func (o *order) track(i int) {
	n := &o.nodes[i]
	l := &o.lanes[n.lane]
	if l.column < 0 {
		l.column = o.width
		o.width++
	}
	k := key(n.op)
	t := slices.IndexFunc(o.writes[k], func(t track) bool { return t.column == l.column })
	if t < 0 {
		t = len(o.writes[k])
		o.writes[k] = append(o.writes[k], track{column: l.column})
	}
	o.writes[k][t].nodes = append(o.writes[k][t].nodes, i)
}

// link adds the edges from each write to those that read it, and from what a write's
// context covered to that write.
func (o *order) link() {
	present := map[absence]int64{}
	for i := range o.nodes {
		n := &o.nodes[i]
		for j, v := range n.seen {
			if w, ok := o.follow(n, v); ok && j == 0 {
				n.got = w
			}
		}
		o.followDelete(n, present)
		if n.write {
			for _, v := range n.op.Covers {
				o.follow(n, v)
			}
		}
	}
}

// followDelete adds the edge from a delete to a read that saw nothing where its session
// had seen something before: if only one delete can have done that, it was seen.
// present holds when a session had first seen something, by key.
func (o *order) followDelete(n *node, present map[absence]int64) {
	here := absence{key(n.op), n.op.Session}
	seen, before := present[here]
	if len(n.seen) > 0 && (!before || n.op.End < seen) {
		present[here] = n.op.End
	}
	if !n.told || len(n.seen) > 0 || !before || seen > n.op.Begin || !covers(n.op) || n.op.Session == "" {
		return
	}
	if o.ends[here.ref] { // a value that may have expired was not deleted
		return
	}
	removers := o.deletes[here.ref]
	if len(removers) != 1 {
		return
	}
	if d, ok := o.of[removers[0]]; ok && o.nodes[d].op.Begin < n.op.End {
		n.preds = append(n.preds, d)
	}
}

// follow adds the edge from the writer of a value, and returns it.
func (o *order) follow(n *node, value string) (w int, ok bool) {
	if w, ok = o.writer(key(n.op), value); ok && o.nodes[w].op != n.op {
		n.preds = append(n.preds, w)
	}
	return w, ok
}

// writer finds the node that wrote a value.
func (o *order) writer(k ref, value string) (int, bool) {
	w, ok := o.of[o.r.writers[k][value]]
	return w, ok
}

// tick computes the clocks in an order in which causes come first (Kahn). What is
// left over waits for itself.
func (o *order) tick() {
	o.clock = make([]int32, len(o.nodes)*o.width)
	waits := make([]int, len(o.nodes))
	next := make([][]int32, len(o.nodes))
	var ready []int
	for i := range o.nodes {
		waits[i] = len(o.nodes[i].preds)
		for _, p := range o.nodes[i].preds {
			next[p] = append(next[p], int32(i))
		}
		if waits[i] == 0 {
			ready = append(ready, i)
		}
	}
	for len(ready) > 0 {
		i := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		o.set(i)
		for _, s := range next[i] {
			if waits[s]--; waits[s] == 0 {
				ready = append(ready, int(s))
			}
		}
	}
	for i := range waits {
		if waits[i] > 0 {
			o.cyclic = append(o.cyclic, i)
		}
	}
}

func (o *order) set(i int) {
	mine := o.at(i)
	for _, p := range o.nodes[i].preds {
		for c, v := range o.at(p) {
			mine[c] = max(mine[c], v)
		}
	}
	if c := o.lanes[o.nodes[i].lane].column; c >= 0 {
		mine[c] = o.nodes[i].index
	}
}

func (o *order) at(i int) []int32 { return o.clock[i*o.width : (i+1)*o.width] }

// before reports whether write a is in the causal past of b.
func (o *order) before(a, b int) bool {
	return a != b && o.at(b)[o.lanes[o.nodes[a].lane].column] >= o.nodes[a].index
}

// path gives the operations by which a comes before b: where the argument passes
// from session to session, not every step within one.
func (o *order) path(a, b int) []*history.Op {
	from := map[int]int{b: b}
	for queue := []int{b}; len(queue) > 0; queue = queue[1:] {
		i := queue[0]
		if i == a {
			break
		}
		for _, p := range o.nodes[i].preds {
			if _, seen := from[p]; !seen {
				from[p] = i
				queue = append(queue, p)
			}
		}
	}
	if _, reached := from[a]; !reached {
		return []*history.Op{o.nodes[a].op, o.nodes[b].op}
	}
	ops := []*history.Op{o.nodes[a].op}
	for i := a; i != b; {
		next := from[i]
		for next != b && o.nodes[next].lane == o.nodes[i].lane && o.nodes[from[next]].lane == o.nodes[i].lane {
			next = from[next]
		}
		ops = append(ops, o.nodes[next].op)
		i = next
	}
	return ops
}
