package check

import (
	"fmt"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// stronger says at which other levels a read may be served that asked for one: those
// that promise all that it does. A session's quorum and bounded reads cover its token,
// so they are causal as well; a quorum read keeps no bound, and a bounded one may miss
// what a majority holds.
var stronger = map[string][]string{
	"eventual":         {"monotonic", "read-your-writes", "causal", "bounded", "quorum", "strong"},
	"monotonic":        {"causal", "bounded", "quorum", "strong"},
	"read-your-writes": {"causal", "bounded", "quorum", "strong"},
	"causal":           {"bounded", "quorum", "strong"},
	"bounded":          {"strong"},
	"quorum":           {"strong"},
}

// weaker reports whether a read was answered below the level it asked for.
func weaker(op *history.Op) bool {
	got, want := level(op), asked(op)
	return got != want && !slices.Contains(stronger[want], got)
}

// proves reports whether an answer has to say at which level it was served.
func proves(op *history.Op) bool {
	return op.OK() && (op.Kind == history.Get || op.Kind == history.Scan)
}

func (r *record) saysLevels() bool {
	return r.any(func(op *history.Op) bool { return proves(op) && op.Served != "" })
}

// levels judges the proof of every read that was answered: it says at which level it was
// served, and that is not below the one that was asked for. Whether the answer kept that
// level is the other checkers' to say.
func levels(r *record) Result {
	var c Compared
	for i := range r.h.Ops {
		op := &r.h.Ops[i]
		if !proves(op) {
			continue
		}
		v := weakened(op)
		if op.Served == "" {
			v = broken([]*history.Op{op}, "%s of %s asked for %s at %s, and its answer does not say what it was served", op.Kind, key(op), asked(op), at(op.Start))
		}
		if v != nil {
			return withCompared(v.result("proofs"), c)
		}
		c.Ops++
		if r.h.InFault(op.Begin) {
			c.ReadsInFault++
		}
	}
	return Result{Verdict: Pass, Stage: "proofs", Compared: c, Sentence: fmt.Sprintf("%d reads, none served below the level it asked for", c.Ops)}
}
