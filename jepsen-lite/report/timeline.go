package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
)

const (
	maxDrawn = 1500 // operations: more and a browser draws for seconds
	maxLanes = 60
	width    = 1600 // of the drawing, in its own units
	left     = 110  // where time begins
	top      = 24
	lane     = 22
	thick    = 12
)

// timeline is a history to scale: one lane per client, one bar per operation.
type timeline struct {
	Width, Height int
	Lanes         []label
	Ticks         []label
	Bands         []band
	Bars          []bar
	Drawn, All    int
	Lost          int // lanes that are not drawn
}

type label struct {
	X, Y float64
	Text string
}

type band struct {
	X, W, H float64
	Title   string
}

// bar is one operation. Class gives its colour, Path its shape: a box that was
// answered ok, a box with a cross that failed, an arrow that nobody knows the end of.
type bar struct {
	Class, Path, Title string
	Witness            bool
	X, Y               float64
}

func newTimeline(h *history.History, rep check.Report) timeline {
	ops, around := choose(h, witness(rep))
	t := timeline{Width: width, Drawn: len(ops), All: len(h.Ops)}
	if len(ops) == 0 {
		return t
	}
	from, to := ops[0].Start, ops[0].Stop
	for _, op := range ops {
		from, to = min(from, op.Start), max(to, op.Stop)
	}
	s := scale{from: from, to: max(to, from+time.Microsecond)}
	rows := t.lanes(ops)
	for _, op := range ops {
		if row, ok := rows[client(op)]; ok {
			t.Bars = append(t.Bars, draws(op, s, row, slices.Contains(around, op.ID)))
		}
	}
	t.Height = top + lane*len(t.Lanes) + 20
	t.bands(h, s)
	t.ticks(s)
	return t
}

// choose takes the operations to draw: all, or those around the witness.
func choose(h *history.History, around []int64) (ops []*history.Op, marked []int64) {
	from := 0
	if len(h.Ops) > maxDrawn {
		at := slices.IndexFunc(h.Ops, func(op history.Op) bool { return slices.Contains(around, op.ID) })
		from = max(0, min(at-maxDrawn/4, len(h.Ops)-maxDrawn))
	}
	for i := from; i < len(h.Ops) && len(ops) < maxDrawn; i++ {
		ops = append(ops, &h.Ops[i])
	}
	return ops, around
}

// scale turns time into width.
type scale struct{ from, to time.Duration }

func (s scale) x(t time.Duration) float64 {
	t = min(max(t, s.from), s.to)
	return left + float64(width-left-20)*float64(t-s.from)/float64(s.to-s.from)
}

func client(op *history.Op) string {
	return fmt.Sprintf("%d %s", op.Process, op.Node)
}

func (t *timeline) lanes(ops []*history.Op) map[string]float64 {
	byName := map[string]*history.Op{}
	for _, op := range ops {
		if byName[client(op)] == nil {
			byName[client(op)] = op
		}
	}
	var firsts []*history.Op
	for _, op := range byName {
		firsts = append(firsts, op)
	}
	slices.SortFunc(firsts, func(a, b *history.Op) int {
		return cmp.Or(cmp.Compare(a.Process, b.Process), strings.Compare(a.Node, b.Node))
	})
	t.Lost = max(0, len(firsts)-maxLanes)
	rows := map[string]float64{}
	for i, op := range firsts[:len(firsts)-t.Lost] {
		y := float64(top + i*lane)
		rows[client(op)] = y
		name := fmt.Sprintf("client %d", op.Process)
		if op.Node != "" {
			name += " → " + op.Node
		}
		t.Lanes = append(t.Lanes, label{X: left - 6, Y: y + thick, Text: cut(name, 18)})
	}
	return rows
}

func (t *timeline) bands(h *history.History, s scale) {
	for _, w := range h.Faults {
		if w.Stop < s.from || w.Start > s.to {
			continue
		}
		x := s.x(w.Start)
		t.Bands = append(t.Bands, band{
			X: x, W: max(1, s.x(w.Stop)-x), H: float64(t.Height - 20),
			Title: fmt.Sprintf("%s %s, %.3f to %.3f s", w.Fault, w.Detail, w.Start.Seconds(), w.Stop.Seconds()),
		})
	}
}

func (t *timeline) ticks(s scale) {
	const n = 8
	for i := range n + 1 {
		at := s.from + (s.to-s.from)*time.Duration(i)/n
		t.Ticks = append(t.Ticks, label{X: s.x(at), Y: float64(t.Height - 4), Text: fmt.Sprintf("%.3f s", at.Seconds())})
	}
}

func draws(op *history.Op, s scale, y float64, witness bool) bar {
	x, end := s.x(op.Start), s.x(op.Stop)
	w := max(2, end-x)
	b := bar{Class: "ok", Witness: witness, X: x, Y: y, Title: title(op)}
	switch {
	case op.Failed():
		b.Class = "fail"
		b.Path = fmt.Sprintf("M%.1f %.1fh%.1fv%dh-%.1fzM%.1f %.1fl8 8m0 -8l-8 8", x, y, w, thick, w, x+w/2-4, y+2)
	case op.Unclear():
		b.Class = "unknown"
		b.Path = fmt.Sprintf("M%.1f %.1fh%.1fl8 6l-8 6h-%.1fz", x, y, w, w)
	default:
		b.Path = fmt.Sprintf("M%.1f %.1fh%.1fv%dh-%.1fz", x, y, w, thick, w)
	}
	if op.Write() && op.OK() {
		b.Class += " write"
	}
	return b
}

// title is what the pointer shows over a bar.
func title(op *history.Op) string {
	parts := []string{fmt.Sprintf("op %d: %s %s/%s", op.ID, op.Kind, op.Keyspace, cmp.Or(op.Key, op.Prefix))}
	switch op.Kind {
	case history.CAS:
		parts = append(parts, "expects "+op.Expect, "writes "+op.Call.Value)
	case history.Put, history.Delete:
		parts = append(parts, "writes "+op.Call.Value)
	case history.Incr:
		parts = append(parts, fmt.Sprintf("by %d, to %s", op.Delta, op.Answer.Value))
	case history.Txn:
		parts = append(parts, fmt.Sprintf("%d comparisons, %d steps or %d, %d done", len(op.If), len(op.Then), len(op.Else), len(op.Steps)))
	case history.Scan:
		parts = append(parts, fmt.Sprintf("%d items", len(op.Items)))
	case history.Watch:
		parts = append(parts, fmt.Sprintf("told %d times", len(op.Changes)))
	}
	if seen, told := op.Seen(); told {
		parts = append(parts, "saw "+cmp.Or(strings.Join(seen, ", "), "nothing"))
	}
	parts = append(parts, strings.TrimSpace(string(op.Outcome)+" "+string(op.Code)))
	if op.Session != "" {
		parts = append(parts, "session "+op.Session)
	}
	if op.Level != "" {
		parts = append(parts, "level "+op.Level)
	}
	return cut(strings.Join(parts, "; "), 400) + fmt.Sprintf("; %.3f to %.3f s", op.Start.Seconds(), op.Stop.Seconds())
}

func cut(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
