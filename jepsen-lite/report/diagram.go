package report

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

const (
	maxPlayers = 16 // operations of a space-time diagram
	column     = 64.0
	storey     = 64.0
)

// diagram is what happened around the witness: who saw whose write, in the order of
// the events. Its steps are equal, its times are written above.
type diagram struct {
	drawing
	Missing int // operations on the same keys in that time that are not drawn
}

// place names a key.
type place struct{ keyspace, key string }

// effect is a value at a key.
type effect struct {
	place
	value string
}

func newDiagram(h *history.History, around []int64) diagram {
	d := diagram{drawing: drawing{Class: "small", Name: "space-time diagram of the witness: arrows lead from a write to who read it"}}
	witness := found(h, around)
	if len(witness) == 0 {
		return d
	}
	ops, missing := players(h, witness)
	d.Missing = missing
	columns := moments(ops)
	all := clients(ops)
	d.Width = left + column*float64(len(columns)+1)
	d.Height = top + storey*float64(len(all)) + 8
	x := func(seq int64) float64 {
		i, _ := slices.BinarySearch(columns, seq)
		return left + column*(float64(i)+0.5)
	}
	rows := map[who]float64{}
	for i, w := range all {
		y := top + storey*(float64(i)+0.5)
		rows[w] = y - thick/2
		d.Labels = append(d.Labels, label{X: left - 6, Y: y + 4, Anchor: "end", Text: cut(w.String(), 17)})
		d.Rules = append(d.Rules, rule{left, y, d.Width, y})
	}
	d.faults(h, columns, x)
	d.bars(ops, around, rows, x)
	d.arrows(h, ops, rows, x)
	return d
}

// players are the witness, those whose writes it read, and of what else was written to
// its keys meanwhile the latest.
func players(h *history.History, witness []*history.Op) (ops []*history.Op, missing int) {
	chosen := map[int64]bool{}
	keys, values := map[place]bool{}, map[effect]bool{}
	from, to := witness[0].Begin, int64(0)
	for _, op := range witness {
		chosen[op.ID] = true
		to = max(to, op.Begin)
		if op.End != history.Open {
			to = max(to, op.End)
		}
		for _, e := range append(reads(op), writes(op)...) {
			keys[e.place] = true
		}
		for _, e := range reads(op) {
			values[e] = true
		}
	}
	var meanwhile []*history.Op
	for i := range h.Ops {
		op := &h.Ops[i]
		touches := slices.ContainsFunc(writes(op), func(e effect) bool { return keys[e.place] })
		switch {
		case chosen[op.ID]:
		case slices.ContainsFunc(writes(op), func(e effect) bool { return values[e] }) && len(ops) < maxPlayers-len(witness):
			ops = append(ops, op)
		case touches && op.Begin < to && op.End > from && !op.Failed():
			meanwhile = append(meanwhile, op)
		}
	}
	room := max(0, maxPlayers-len(witness)-len(ops))
	missing = max(0, len(meanwhile)-room)
	ops = slices.Concat(witness, ops, meanwhile[missing:])
	slices.SortFunc(ops, func(a, b *history.Op) int { return cmp.Compare(a.Begin, b.Begin) })
	return ops, missing
}

// moments are the events of the operations, sorted.
func moments(ops []*history.Op) (all []int64) {
	for _, op := range ops {
		all = append(all, op.Begin)
		if op.End != history.Open {
			all = append(all, op.End)
		}
	}
	slices.Sort(all)
	return all
}

// faults shades the moments at which a fault was in force.
func (d *diagram) faults(h *history.History, columns []int64, x func(int64) float64) {
	for _, w := range h.Faults {
		from, _ := slices.BinarySearch(columns, w.Begin)
		to, _ := slices.BinarySearch(columns, w.End)
		if from == to || len(d.Bands) == maxBands {
			continue
		}
		start := x(columns[from]) - column/2
		d.Bands = append(d.Bands, band{X: start, W: x(columns[to-1]) + column/2 - start, H: d.Height, Title: window(w)})
	}
}

func (d *diagram) bars(ops []*history.Op, around []int64, rows map[who]float64, x func(int64) float64) {
	above := map[who]bool{}
	for _, op := range ops {
		y, from, to := rows[client(op)], x(op.Begin), d.Width-20
		d.Labels = append(d.Labels, label{X: from, Y: top - 10, Anchor: "middle", Text: at(op.Start)})
		if op.End != history.Open {
			to = x(op.End)
			d.Labels = append(d.Labels, label{X: to, Y: top - 10, Anchor: "middle", Text: at(op.Stop)})
		}
		d.Marks = append(d.Marks, shape(op, from, y, to-from, slices.Contains(around, op.ID)))
		// The words of neighbours stand above and below, so that they do not meet.
		words := label{X: from, Y: y + thick + 14, Anchor: "start", Text: short(op)}
		if above[client(op)] = !above[client(op)]; above[client(op)] {
			words.Y = y - 5
		}
		d.Labels = append(d.Labels, words)
	}
}

func short(op *history.Op) string {
	s := fmt.Sprintf("%d %s", op.ID, op.Kind)
	if w := writes(op); len(w) > 0 && op.Kind != history.Delete {
		s += " " + cut(w[0].value, 10)
	}
	if r := reads(op); len(r) > 0 {
		s += " → " + cut(r[0].value, 10)
	} else if seen, ok := op.Seen(); ok && len(seen) == 0 {
		s += " → nothing"
	}
	return s
}

// arrows lead from each write to those that read it.
func (d *diagram) arrows(h *history.History, ops []*history.Op, rows map[who]float64, x func(int64) float64) {
	writers := map[effect]*history.Op{}
	for _, op := range ops {
		for _, e := range writes(op) {
			writers[e] = op
		}
	}
	for _, op := range ops {
		for _, e := range reads(op) {
			w := writers[e]
			if w == nil || w == op {
				continue
			}
			d.Marks = append(d.Marks, mark{
				Class: "reads", Title: fmt.Sprintf("op %d saw %s of op %d", op.ID, cut(e.value, 40), w.ID),
				Path: arrow(x(w.Begin)+column/3, rows[client(w)]+thick/2, x(op.Begin)+column/3, rows[client(op)]+thick/2),
			})
		}
	}
}

// reads are the values an operation was told, and of which key.
func reads(op *history.Op) (all []effect) {
	note := func(key, value string) { all = append(all, effect{place{op.Keyspace, key}, value}) }
	seen, _ := op.Seen()
	if op.Kind == history.CAS && op.OK() {
		seen = []string{op.Expect}
	}
	for _, v := range seen {
		note(op.Key, v)
	}
	for _, item := range op.Items {
		note(item.Key, item.Value)
	}
	for _, change := range op.Changes {
		for _, e := range change.Events {
			note(e.Key, e.Value)
		}
	}
	if branch, saw, ok := op.Branch(); ok {
		for i, s := range branch {
			if s.Kind == history.Get && saw[i].Found {
				note(s.Key, saw[i].Value)
			}
		}
	}
	return all
}

// writes are the values an operation may have left, and at which key.
func writes(op *history.Op) (all []effect) {
	switch op.Kind {
	case history.Put, history.CAS, history.Delete, history.Add, history.Remove:
		return []effect{{place{op.Keyspace, op.Key}, op.Call.Value}}
	case history.Incr:
		return []effect{{place{op.Keyspace, op.Key}, op.Answer.Value}}
	case history.Txn:
		for _, s := range slices.Concat(op.Then, op.Else) {
			if s.Kind != history.Get {
				all = append(all, effect{place{op.Keyspace, s.Key}, s.Value})
			}
		}
	}
	return all
}
