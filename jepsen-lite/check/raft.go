package check

import (
	"fmt"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

func (r *record) leads() bool {
	return r.any(func(op *history.Op) bool { return op.Role == "leader" && op.Term > 0 })
}

// raft judges Election Safety (Ongaro & Ousterhout 2014, figure 3) as far as answers
// show it: no two nodes answered as leader of one group in one term.
func raft(r *record) Result {
	type reign struct {
		keyspace, group string
		term            uint64
	}
	var c Compared
	leaders := map[reign]*history.Op{}
	for i := range r.h.Ops {
		op := &r.h.Ops[i]
		if op.Role != "leader" || op.Term == 0 || op.ServedBy == "" {
			continue
		}
		c.Ops++
		in := reign{op.Keyspace, op.Group, op.Term}
		switch first := leaders[in]; {
		case first == nil:
			leaders[in] = op
		case first.ServedBy != op.ServedBy:
			v := broken([]*history.Op{first, op}, "%s and %s both answered as leader of group %s of %s in term %d", show(first.ServedBy), show(op.ServedBy), show(op.Group), show(op.Keyspace), op.Term)
			return withCompared(v.result("answers"), c)
		}
	}
	return Result{Verdict: Pass, Compared: c, Stage: "answers", Sentence: fmt.Sprintf("%d answers of leaders of %d terms, one leader each", c.Ops, len(leaders))}
}
