package check

import (
	"fmt"
	"slices"
	"sort"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// causal judges causal consistency (CC) by the bad patterns of Bouajjani et al.
// (POPL 2017): a cycle of causes, a value nobody wrote, and a read that lacks a write
// of its causal past. Each value has one writer, which makes that O(operations ×
// sessions), as AWDIT (PLDI 2025) shows. It judges the reads whose level promises it;
// all other reads still teach their session something.
func causal(r *record) Result {
	return r.causally(covers, func(o *order) *violation { return o.cc(covers) })
}

// causally runs a judgement over the causal order.
func (r *record) causally(judged func(*history.Op) bool, judge func(*order) *violation) Result {
	o, err := r.causes()
	return o.conclude(err, judged, judge)
}

func (o *order) conclude(err error, judged func(*history.Op) bool, judge func(*order) *violation) Result {
	if err != nil {
		return Result{Verdict: Unknown, Sentence: err.Error()}
	}
	c := o.compared(judged)
	if v := judge(o); v != nil {
		return withCompared(v.result("causal order"), c)
	}
	return Result{
		Verdict: Pass, Stage: "causal order", Compared: c,
		Sentence: fmt.Sprintf("nothing missing in a causal order of %d operations and %d sessions", len(o.nodes), c.sessions),
	}
}

func (o *order) compared(judged func(*history.Op) bool) Compared {
	var c Compared
	want := func(op *history.Op) bool {
		_, in := o.of[op]
		return in && (op.Write() || judged(op))
	}
	for _, k := range o.r.order {
		o.r.compare(&c, o.r.keys[k], want)
	}
	c.sessions = o.r.sessions(want)
	return c
}

func (o *order) cc(judged func(*history.Op) bool) *violation {
	if v := o.sane(); v != nil {
		return v
	}
	for r := range o.nodes {
		if n := &o.nodes[r]; !n.told || !judged(n.op) {
			continue
		}
		if v := o.judge(r); v != nil {
			return v
		}
	}
	return nil
}

// sane finds what no causal order at all allows.
func (o *order) sane() *violation {
	for i := range o.nodes {
		n := &o.nodes[i]
		for _, v := range n.seen {
			if _, ok := o.writer(key(n.op), v); !ok {
				if w := o.r.writers[key(n.op)][v]; w != nil {
					return broken([]*history.Op{w, n.op}, "%s, whose write was recorded fail", read(n.op))
				}
				return broken([]*history.Op{n.op}, "%s, and nobody wrote %s", read(n.op), show(v))
			}
		}
	}
	if len(o.cyclic) > 0 {
		ops := o.cycle()
		return broken(ops, "%d operations wait for each other: each read or follows what came only after it", len(ops))
	}
	return nil
}

// cycle is a short way from an operation that waits back to itself, without the steps
// in the middle of a session. It is the shortest through the first edges.
func (o *order) cycle() []*history.Op {
	const tries = 50
	next, waits := make([][]int, len(o.nodes)), make([]int, len(o.nodes))
	for _, i := range o.cyclic {
		waits[i] = 1
	}
	for _, i := range o.cyclic {
		for _, p := range o.nodes[i].preds {
			if waits[p] > 0 {
				next[p] = append(next[p], i)
			}
		}
	}
	var best []int
	n := 0
	for _, i := range o.cyclic {
		for _, p := range o.nodes[i].preds {
			if waits[p] == 0 || n >= tries && best != nil {
				continue
			}
			n++
			if way := walk(next, waits, i, p); way != nil && (best == nil || len(way) < len(best)) {
				best = way
			}
		}
	}
	return o.readersOf(nil, best)
}

// judge looks for a write of r's causal past that r lacks.
func (o *order) judge(r int) *violation {
	k := key(o.nodes[r].op)
	if v := o.back(r); v != nil {
		return v
	}
	if o.nodes[r].siblings {
		return o.judgeSiblings(r)
	}
	for _, t := range o.writes[k] {
		for w := range o.matters(t, r) {
			if o.hidden(w, r) {
				return o.lacks(w, r)
			}
		}
	}
	return nil
}

// matters gives the writes of a track in r's past that can decide: the last put, and
// the deletes after it. What came before them, they replaced.
func (o *order) matters(t track, r int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := o.known(t, r); i >= 0; i-- {
			w := t.nodes[i]
			if w == r {
				continue
			}
			if !yield(w) || !o.nodes[w].delete {
				return
			}
		}
	}
}

// known is the place in t of the last write that r may know of, or -1.
func (o *order) known(t track, r int) int {
	upTo := o.at(r)[t.column]
	return sort.Search(len(t.nodes), func(i int) bool { return o.nodes[t.nodes[i]].index > upTo }) - 1
}

// judgeSiblings asks for every write of the past: on siblings a session's own later
// write does not replace its earlier one by itself. A value that a write of the past
// had covered must not be there any more.
func (o *order) judgeSiblings(r int) *violation {
	k := key(o.nodes[r].op)
	for _, t := range o.writes[k] {
		for _, w := range t.nodes[:o.known(t, r)+1] {
			if o.hidden(w, r) {
				return o.lacks(w, r)
			}
			for _, v := range o.nodes[w].op.Covers {
				if slices.Contains(o.nodes[r].seen, v) {
					return broken(o.path(w, r), "%s, although %s of its causal past had replaced %s", read(o.nodes[r].op), wrote(o.nodes[w].op), show(v))
				}
			}
		}
	}
	return nil
}

func (o *order) lacks(w, r int) *violation {
	path := o.path(w, r)
	if got := o.nodes[r].seen; len(got) == 1 {
		if g, ok := o.writer(key(o.nodes[r].op), got[0]); ok && !o.r.siblings(o.nodes[r].op.Keyspace) {
			path = append(path, o.nodes[g].op)
		}
	}
	by := "session " + show(o.nodes[w].op.Session)
	if o.nodes[w].op.Session == "" {
		by = "nobody's session"
	}
	return broken(path, "%s (session %s), but %s, written at %s by %s, is in its causal past and nothing newer is there",
		read(o.nodes[r].op), show(o.nodes[r].op.Session), wrote(o.nodes[w].op), at(o.nodes[w].op.Start), by)
}

// back finds a value that the reader's own session had seen to be gone: a read that
// saw nothing with the write in its causal past proves that it was superseded, and
// what was superseded never comes back.
func (o *order) back(r int) *violation {
	n := &o.nodes[r]
	if n.op.Session == "" || len(n.seen) == 0 {
		return nil
	}
	for _, a := range o.absences()[absence{key(n.op), n.op.Session}] {
		gone := o.nodes[a].op
		if gone.End >= n.op.Begin {
			continue
		}
		for _, v := range n.seen {
			if w, ok := o.writer(key(n.op), v); ok && o.before(w, a) {
				return broken([]*history.Op{o.nodes[w].op, gone, n.op},
					"%s (session %s), which the same session had seen to be gone at %s", read(n.op), show(n.op.Session), at(gone.Start))
			}
		}
	}
	return nil
}

type absence struct {
	ref
	session string
}

// absences are the reads that saw nothing and cover their session, by key and session.
func (o *order) absences() map[absence][]int {
	if o.gone == nil {
		o.gone = make(map[absence][]int)
		for i := range o.nodes {
			if n := &o.nodes[i]; n.told && len(n.seen) == 0 && covers(n.op) && n.op.Session != "" {
				at := absence{key(n.op), n.op.Session}
				o.gone[at] = append(o.gone[at], i)
			}
		}
	}
	return o.gone
}
