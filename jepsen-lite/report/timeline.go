package report

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
)

const (
	maxDrawn = 1500 // operations: more and a browser draws for seconds
	maxLanes = 60
	left     = 110.0 // where time begins
	top      = 24.0
	lane     = 22.0
	thick    = 12.0
)

// timeline is a history to scale: one lane per client, one bar per operation.
type timeline struct {
	drawing
	Drawn, All int
	Lost       int // lanes that are not drawn
}

// newTimeline draws all operations, or those around the witness, and on the key of the
// order the points at which they took effect.
func newTimeline(h *history.History, around []int64, order *check.Order) timeline {
	ops := choose(h, around)
	t := timeline{drawing: drawing{Name: "timeline of the operations, to scale", Width: 1600}, Drawn: len(ops), All: len(h.Ops)}
	if len(ops) == 0 {
		return t
	}
	x := scale{from: ops[0].Start.Seconds(), low: left, high: t.Width - 20}
	for _, op := range ops {
		x.from, x.to = min(x.from, op.Start.Seconds()), max(x.to, op.Stop.Seconds())
	}
	x.to = max(x.to, x.from+1e-6)
	rows := t.lanes(ops)
	t.Height = top + lane*float64(len(t.Labels)) + 20
	t.shade(h, x, 0, t.Height-20)
	for _, at := range x.ticks(8) {
		t.Rules = append(t.Rules, rule{x.at(at), top - 6, x.at(at), t.Height - 18})
		t.Labels = append(t.Labels, label{X: x.at(at), Y: t.Height - 4, Anchor: "middle", Text: number(at) + " s"})
	}
	for _, op := range ops {
		if y, ok := rows[client(op)]; ok {
			t.bar(op, x, y, slices.Contains(around, op.ID), order)
		}
	}
	return t
}

// bar draws an operation and, if it is known, where it took effect.
func (t *timeline) bar(op *history.Op, x scale, y float64, witness bool, order *check.Order) {
	from := x.time(op.Start)
	t.Marks = append(t.Marks, shape(op, from, y, max(2, x.time(op.Stop)-from), witness))
	if order == nil {
		return
	}
	if point, known := order.Points[op.ID]; known {
		t.Marks = append(t.Marks, mark{"point", dot(x.time(point), y+thick/2, 3), fmt.Sprintf("op %d can have taken effect at %s", op.ID, at(point))})
	} else if _, lost := slices.BinarySearch(order.Lost, op.ID); lost {
		t.Marks = append(t.Marks, mark{"lost", dot(from, y+thick/2, 6), fmt.Sprintf("op %d: the longest order found has no place for it", op.ID)})
	}
}

// choose takes the operations to draw: all, or those around the witness.
func choose(h *history.History, around []int64) (ops []*history.Op) {
	from := 0
	if len(h.Ops) > maxDrawn {
		at := slices.IndexFunc(h.Ops, func(op history.Op) bool { return slices.Contains(around, op.ID) })
		from = max(0, min(at-maxDrawn/4, len(h.Ops)-maxDrawn))
	}
	for i := from; i < len(h.Ops) && len(ops) < maxDrawn; i++ {
		ops = append(ops, &h.Ops[i])
	}
	return ops
}

// who is a lane of a drawing.
type who struct {
	process int
	node    string
}

func client(op *history.Op) who { return who{op.Process, op.Node} }

func (w who) String() string {
	name := fmt.Sprintf("client %d", w.process)
	if w.node != "" {
		name += " → " + w.node
	}
	return name
}

// clients are those of the operations, sorted.
func clients(ops []*history.Op) (all []who) {
	seen := map[who]bool{}
	for _, op := range ops {
		if w := client(op); !seen[w] {
			seen[w] = true
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b who) int {
		return cmp.Or(cmp.Compare(a.process, b.process), cmp.Compare(a.node, b.node))
	})
	return all
}

func (t *timeline) lanes(ops []*history.Op) map[who]float64 {
	all := clients(ops)
	t.Lost = max(0, len(all)-maxLanes)
	rows := map[who]float64{}
	for i, w := range all[:len(all)-t.Lost] {
		y := top + float64(i)*lane
		rows[w] = y
		t.Labels = append(t.Labels, label{X: left - 6, Y: y + thick - 2, Anchor: "end", Text: cut(w.String(), 17)})
	}
	return rows
}

// shape is the bar of an operation: a box that was answered ok, a box with a cross that
// failed, an arrow that nobody knows the end of.
func shape(op *history.Op, x, y, w float64, witness bool) mark {
	m := mark{Class: "ok", Title: title(op)}
	switch {
	case op.Failed():
		m.Class = "fail"
		m.Path = fmt.Sprintf("M%.1f %.1fh%.1fv%.0fh-%.1fzM%.1f %.1fl8 8m0 -8l-8 8", x, y, w, thick, w, x+w/2-4, y+2)
	case op.Unclear():
		m.Class = "unknown"
		m.Path = fmt.Sprintf("M%.1f %.1fh%.1fl8 6l-8 6h-%.1fz", x, y, w, w)
	default:
		m.Path = fmt.Sprintf("M%.1f %.1fh%.1fv%.0fh-%.1fz", x, y, w, thick, w)
	}
	if op.Write() && op.OK() {
		m.Class += " write"
	}
	if witness {
		m.Class += " witness"
	}
	return m
}

// found are the operations with these ids, in the order they were called.
func found(h *history.History, ids []int64) (ops []*history.Op) {
	for i := range h.Ops {
		if slices.Contains(ids, h.Ops[i].ID) {
			ops = append(ops, &h.Ops[i])
		}
	}
	return ops
}

// lasted prints when an operation was called and answered.
func lasted(op *history.Op) string {
	if op.End == history.Open {
		return at(op.Start) + " and never answered"
	}
	return fmt.Sprintf("%s to %s", at(op.Start), at(op.Stop))
}

func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	if r := []rune(s[:min(len(s), 4*most+4)]); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
