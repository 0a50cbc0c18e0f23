package check

import (
	"fmt"
	"html"
	"io"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// pictureOps is how many operations porcupine's page shows at most.
const pictureOps = 120

// Focus names the cp key most worth looking at: that of the witness of linearizable
// if it has one, else the one with the most operations. ok is false without cp keys.
func Focus(h *history.History, rep Report) (keyspace, key string, ok bool) {
	for _, c := range rep.Checkers {
		if c.Name != "linearizable" || len(c.Witness) == 0 {
			continue
		}
		for i := range h.Ops {
			if h.Ops[i].ID == c.Witness[0] {
				return h.Ops[i].Keyspace, h.Ops[i].Key, true
			}
		}
	}
	count := map[ref]int{}
	var best ref
	for i := range h.Ops {
		op := &h.Ops[i]
		if op.Key == "" || !strong(op) {
			continue
		}
		k := ref{op.Keyspace, op.Key}
		if count[k]++; count[k] > count[best] {
			best = k
		}
	}
	return best.keyspace, best.key, best.key != ""
}

// Picture writes porcupine's own page of one key: its operations with the points at
// which they took effect, or how far an order can be found. witness are op ids; of a
// long key the part around them is shown, else the beginning. Keys and values are
// escaped, because that page puts them into HTML as they are.
func Picture(w io.Writer, h *history.History, keyspace, key string, witness []int64) error {
	r := newRecord(h, Options{})
	acts := prune(registerOf(r.keys[ref{keyspace, key}]))
	if len(acts) > pictureOps {
		slices.SortFunc(acts, func(a, b act) int { return int(a.call - b.call) })
		at := slices.IndexFunc(acts, func(a act) bool { return slices.Contains(witness, a.op.ID) })
		from := max(0, min(at-pictureOps/4, len(acts)-pictureOps))
		acts = window(acts, from, from+pictureOps)
	}
	described := model
	described.DescribeOperation = func(input, _ any) string { return html.EscapeString(input.(*act).describe()) }
	described.DescribeState = func(state any) string {
		if s := state.(register); s.here {
			return html.EscapeString(show(s.value))
		}
		return "nothing"
	}
	described.DescribeOperationMetadata = func(info any) string { return info.(string) }
	ops := operations(acts)
	end := h.Events[len(h.Events)-1].Seq + 1
	for i := range ops {
		op := acts[i].op
		ops[i].Return = min(ops[i].Return, end)
		ops[i].Metadata = html.EscapeString(fmt.Sprintf("op %d, session %s at %s, %s, called %s", op.ID, show(op.Session), show(op.Node), op.Outcome, at(op.Start)))
	}
	_, info := porcupine.CheckOperationsVerbose(described, ops, 2*time.Second)
	return porcupine.Visualize(described, info, w)
}
