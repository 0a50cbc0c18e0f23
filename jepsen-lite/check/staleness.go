package check

import (
	"fmt"
	"slices"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// due says which writes a read had to show by its level, whatever its session: of
// bounded those acknowledged more than the bound before it began, of quorum on ap those
// that a majority held. It is nil for all other reads.
func due(op *history.Op) func(w *history.Op) bool {
	if op.Kind != history.Get || !op.OK() || isTyped(op) {
		return nil
	}
	switch level(op) {
	case "bounded":
		_, bound, err := store.ParseLevelBound(op.Level)
		if err != nil || bound == 0 {
			return nil // it does not say what it promised
		}
		return func(w *history.Op) bool { return w.End < op.Begin && op.Start-w.Stop > bound }
	case "quorum":
		if op.Mode == "cp" {
			return nil // it is strong, and linearizable judges it
		}
		return func(w *history.Op) bool { return w.End < op.Begin && (w.W == "majority" || w.W == "all") }
	}
	return nil
}

func (r *record) bounds() bool { return r.any(func(op *history.Op) bool { return due(op) != nil }) }

// staleness judges bounded reads, on the one clock of the record, and quorum reads of ap
// keyspaces. A write is shown if it was returned, or if what was returned can stand in
// its place: see hidden. On cp the revisions tell.
func staleness(r *record) Result {
	o, err := r.causes()
	if err == nil && len(o.cyclic) > 0 {
		err = fmt.Errorf("%d operations wait for each other, so that nothing is before anything; see causal", len(o.cyclic))
	}
	if err != nil {
		return Result{Verdict: Unknown, Sentence: err.Error()}
	}
	var c Compared
	kinds := map[string]int{}
	for i := range o.nodes {
		n := &o.nodes[i]
		must := due(n.op)
		if must == nil || !n.told {
			continue
		}
		owed := 0
		for _, w := range r.keys[key(n.op)] {
			if !w.Write() || !w.OK() || !must(w) {
				continue
			}
			owed++
			if o.misses(w, i) {
				return withCompared(late(w, n.op).result("staleness"), c)
			}
		}
		if owed == 0 {
			continue // nothing to miss proves nothing
		}
		c.Ops++
		kinds[level(n.op)]++
		if r.h.InFault(n.op.Begin) {
			c.ReadsInFault++
		}
		if slices.ContainsFunc(n.seen, func(v string) bool { return r.anothers(n.op, v) }) {
			c.ReadsOfOthers++
		}
	}
	return Result{
		Verdict: Pass, Stage: "staleness", Compared: c,
		Sentence: fmt.Sprintf("%d bounded and %d quorum reads showed every write that was due", kinds["bounded"], kinds["quorum"]),
	}
}

// misses reports whether read r shows that it does not have w.
func (o *order) misses(w *history.Op, r int) bool {
	n := &o.nodes[r]
	if n.op.Mode == "cp" && w.Revision != nil && n.op.Revision != nil {
		return *n.op.Revision < *w.Revision
	}
	i, known := o.of[w]
	return known && o.hidden(i, r)
}

func late(w, r *history.Op) *violation {
	ago := (r.Start - w.Stop).Round(time.Millisecond)
	if level(r) == "quorum" {
		return broken([]*history.Op{w, r}, "%s (level quorum), and %s, acknowledged %v before by w=%s, was not in it", read(r), wrote(w), ago, w.W)
	}
	return broken([]*history.Op{w, r}, "%s (level %s), and %s, acknowledged %v before, was not in it", read(r), r.Level, wrote(w), ago)
}
