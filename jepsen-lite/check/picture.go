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

// pictureOps is how many operations of a key an Order shows at most.
const pictureOps = 120

// Focus names the cp key most worth looking at: that of the witness of linearizable
// if it has one, else the one with the most operations. ok is false without cp keys.
func Focus(h *history.History, rep Report) (keyspace, key string, ok bool) {
	for _, c := range rep.Checkers {
		if c.Name != "linearizable" || len(c.Witness) == 0 {
			continue
		}
		for i := range h.Ops {
			if op := &h.Ops[i]; op.Key != "" && slices.Contains(c.Witness, op.ID) {
				return op.Keyspace, op.Key, true
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

// Order is how far the operations of one key can be put in an order that explains what
// they were told.
type Order struct {
	// Points are moments at which operations of the longest such order can have taken
	// effect, by op id.
	Points map[int64]time.Duration
	// Lost are those that it has no place for, up to the first that was answered: behind
	// that, nothing has a place. There are none where the key is linearizable.
	Lost []int64

	model porcupine.Model
	info  porcupine.LinearizationInfo
}

// OrderOf searches for two seconds. witness are op ids; of a long key the part around
// them is looked at, else the beginning.
func OrderOf(h *history.History, keyspace, key string, witness []int64) Order {
	r := newRecord(h, Options{})
	acts := r.actsOf(ref{keyspace, key})
	if !slices.ContainsFunc(acts, func(a act) bool { return a.adds }) {
		acts = prune(acts)
	}
	if len(acts) > pictureOps {
		slices.SortFunc(acts, func(a, b act) int { return int(a.call - b.call) })
		at := slices.IndexFunc(acts, func(a act) bool { return slices.Contains(witness, a.op.ID) })
		from := max(0, min(at-pictureOps/4, len(acts)-pictureOps))
		acts = window(acts, from, from+pictureOps)
	}
	ops := operations(acts)
	end := h.Events[len(h.Events)-1].Seq + 1
	for i := range ops {
		op := acts[i].op
		ops[i].Return = min(ops[i].Return, end)
		ops[i].Metadata = html.EscapeString(fmt.Sprintf("op %d, session %s at %s, %s, called %s", op.ID, show(op.Session), show(op.Node), op.Outcome, at(op.Start)))
	}
	o := Order{model: described()}
	_, o.info = porcupine.CheckOperationsVerbose(o.model, ops, 2*time.Second)
	o.place(acts)
	return o
}

// described is the model in words. They are escaped, because porcupine's page puts
// them into HTML as they are.
func described() porcupine.Model {
	m := model
	m.DescribeOperation = func(input, _ any) string { return html.EscapeString(input.(*act).describe()) }
	m.DescribeState = func(state any) string {
		if s := state.(register); s.here {
			return html.EscapeString(show(s.value))
		}
		return "nothing"
	}
	m.DescribeOperationMetadata = func(info any) string { return info.(string) }
	return m
}

// place reads the longest order: each operation took effect as early as it and those
// before it allow.
func (o *Order) place(acts []act) {
	var longest []int
	for _, partition := range o.info.PartialLinearizations() {
		for _, partial := range partition {
			if len(partial) > len(longest) {
				longest = partial
			}
		}
	}
	o.Points = map[int64]time.Duration{}
	var now time.Duration
	for _, i := range longest {
		op := acts[i].op
		now = max(now, op.Start)
		o.Points[op.ID] = min(now, max(op.Start, op.Stop))
	}
	var left []act
	first := int64(history.Open)
	for _, a := range acts {
		if _, placed := o.Points[a.op.ID]; !placed && a.sure {
			left, first = append(left, a), min(first, a.ret)
		}
	}
	for _, a := range left {
		if a.call <= first {
			o.Lost = append(o.Lost, a.op.ID)
		}
	}
	slices.Sort(o.Lost)
}

// WritePage writes porcupine's own page of the order: with the points at which the
// operations took effect, or how far an order can be found.
func (o Order) WritePage(w io.Writer) error { return porcupine.Visualize(o.model, o.info, w) }
