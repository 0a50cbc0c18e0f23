package check

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// Row counts the calls of one kind at one node in one phase of the faults. A call
// counts as OK only if it was answered ok and at the level it asked for: a refusal is
// safe, and it is not available.
type Row struct {
	Node     string `json:"node"`
	Side     string `json:"side"` // the nodes on its side of the cut; empty if there was none
	Keyspace string `json:"keyspace"`
	Op       string `json:"op"`
	Level    string `json:"level"` // asked for; empty for writes
	Phase    string `json:"phase"` // before, during or after the faults
	Ops      int    `json:"ops"`
	OK       int    `json:"ok"`
}

// Table is what was available, and how fast it came back.
type Table struct {
	Rows []Row
	// Recovery is the time from the end of the last fault until every kind of call
	// that a fault had stopped was ok again. Recovered is false if no fault ended or
	// stopped anything, or some kind of call was never ok again.
	Recovery  time.Duration
	Recovered bool
}

func (t Table) recoveryMS() *int64 {
	if !t.Recovered {
		return nil
	}
	ms := t.Recovery.Milliseconds()
	return &ms
}

// Availability counts, per node, kind, level and phase, how many calls were served.
// A call belongs to the phase in which it began.
func Availability(h *history.History) Table {
	rows := map[Row]*Row{}
	for i := range h.Ops {
		op := &h.Ops[i]
		id := rowOf(h, op)
		if rows[id] == nil {
			rows[id] = &Row{}
			*rows[id] = id
		}
		rows[id].Ops++
		if served(op) {
			rows[id].OK++
		}
	}
	t := Table{Rows: make([]Row, 0, len(rows))}
	for _, row := range rows {
		t.Rows = append(t.Rows, *row)
	}
	phases := []string{"before", "during", "after"}
	slices.SortFunc(t.Rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Keyspace, b.Keyspace), cmp.Compare(a.Op, b.Op), cmp.Compare(a.Level, b.Level), cmp.Compare(a.Node, b.Node),
			cmp.Compare(slices.Index(phases, a.Phase), slices.Index(phases, b.Phase)))
	})
	t.Recovery, t.Recovered = recovery(h)
	return t
}

func rowOf(h *history.History, op *history.Op) Row {
	row := Row{Node: op.Node, Side: side(h, op.Node), Keyspace: op.Keyspace, Op: string(op.Kind), Phase: phase(h, op.Begin)}
	if !op.Write() {
		row.Level = asked(op)
	}
	return row
}

func asked(op *history.Op) string {
	plain := *op
	plain.Served = ""
	return level(&plain)
}

// served reports whether a call got what it asked for. A condition that did not hold
// is an answer.
func served(op *history.Op) bool {
	if op.Failed() && op.Code == store.Conflict {
		return true
	}
	return op.OK() && (op.Write() || !weaker(op))
}

func phase(h *history.History, seq int64) string {
	switch {
	case h.InFault(seq):
		return "during"
	case slices.ContainsFunc(h.Faults, func(w history.Window) bool { return w.Begin < seq }):
		return "after"
	}
	return "before"
}

// side is the part of the last cut that a node was in. A cut is written as the nodes
// of each part, with commas, and a bar between the parts.
func side(h *history.History, node string) string {
	for _, w := range slices.Backward(h.Faults) {
		if node == "" || !strings.Contains(w.Detail, "|") {
			continue
		}
		for part := range strings.SplitSeq(w.Detail, "|") {
			if slices.Contains(strings.FieldsFunc(part, func(r rune) bool { return r == ',' || r == ' ' }), node) {
				return strings.TrimSpace(part)
			}
		}
	}
	return ""
}

// recovery looks, for each kind of call that was refused during a fault, for its
// first success that began after the last heal.
func recovery(h *history.History) (time.Duration, bool) {
	var healed history.Window
	for _, w := range h.Faults {
		if w.End == history.Open {
			return 0, false
		}
		if w.End > healed.End {
			healed = w
		}
	}
	stopped, again := map[Row]bool{}, map[Row]time.Duration{}
	for i := range h.Ops {
		op := &h.Ops[i]
		id := rowOf(h, op)
		id.Phase = ""
		switch {
		case h.InFault(op.Begin) && !served(op):
			stopped[id] = true
		case op.Begin > healed.End && served(op):
			if took, ok := again[id]; !ok || op.Stop-healed.Stop < took {
				again[id] = op.Stop - healed.Stop
			}
		}
	}
	var longest time.Duration
	for id := range maps.Keys(stopped) {
		took, ok := again[id]
		if !ok {
			return 0, false
		}
		longest = max(longest, took)
	}
	return longest, len(stopped) > 0
}
