package history

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/dialkv/dialkv/store"
)

// History is a whole record, joined and in order of seq.
type History struct {
	Events   []Event
	Ops      []Op // by Begin
	Faults   []Window
	Replicas []Replica
	Torn     bool // the last line was cut off and is not in Events
}

// Length is the time of the last event.
func (h *History) Length() time.Duration {
	var last time.Duration
	for i := range h.Events {
		last = max(last, h.Events[i].T)
	}
	return last
}

// InFault reports whether a fault was in force at seq.
func (h *History) InFault(seq int64) bool {
	for _, w := range h.Faults {
		if w.Begin < seq && seq < w.End {
			return true
		}
	}
	return false
}

// WriteTo writes the lines as they were read, unknown fields included.
func (h *History) WriteTo(w io.Writer) (int64, error) {
	buf := bufio.NewWriter(w)
	var n int64
	for i := range h.Events {
		k, err := buf.Write(append(slices.Clip(h.Events[i].Line), '\n'))
		n += int64(k)
		if err != nil {
			return n, fmt.Errorf("history: write: %w", err)
		}
	}
	return n, buf.Flush()
}

// join pairs the lines of operations, faults and dumps. Events are in order and
// each was found good by itself; at tells the line of an event for the error.
func join(events []Event, at map[int64]int) (*History, error) {
	h := &History{Events: events}
	ops := map[int64]int{}
	for i := range events {
		e := &events[i]
		switch e.Type {
		case Invoke:
			if _, twice := ops[e.OpID]; twice {
				return nil, lineError(at[e.Seq], "op_id %d is invoked twice", e.OpID)
			}
			ops[e.OpID] = len(h.Ops)
			h.Ops = append(h.Ops, begin(e))
		case Complete:
			k, known := ops[e.OpID]
			if !known {
				return nil, lineError(at[e.Seq], "op_id %d completes before it is invoked", e.OpID)
			}
			if err := h.Ops[k].complete(e); err != nil {
				return nil, lineError(at[e.Seq], "%w", err)
			}
		case WatchAt:
			k, known := ops[e.OpID]
			if !known || h.Ops[k].Kind != Watch || h.Ops[k].End != Open {
				return nil, lineError(at[e.Seq], "op_id %d is no watch in progress", e.OpID)
			}
			h.Ops[k].Changes = append(h.Ops[k].Changes, *e.Change)
		case FaultAt:
			h.fault(e)
		}
	}
	h.Replicas = replicas(events)
	end := h.Length()
	for i := range h.Ops {
		if h.Ops[i].End == Open {
			h.Ops[i].Stop = end
		}
	}
	for i := range h.Faults {
		if h.Faults[i].End == Open {
			h.Faults[i].Stop = end
		}
	}
	return h, nil
}

func begin(e *Event) Op {
	op := Op{ID: e.OpID, Call: *e.Call, Begin: e.Seq, End: Open, Start: e.T}
	op.Outcome = store.Unclear
	if op.Kind == Delete && op.Call.Value == "" {
		op.Call.Value = "delete#" + strconv.FormatInt(op.ID, 10)
	}
	return op
}

func (o *Op) complete(e *Event) error {
	switch {
	case o.End != Open:
		return fmt.Errorf("op_id %d completes twice", o.ID)
	case o.Kind == Get && e.Answer.Outcome == store.OK && e.Answer.Found == nil:
		return fmt.Errorf("op_id %d is a get that is ok and does not say found", o.ID)
	}
	o.Answer, o.End, o.Stop = *e.Answer, e.Seq, e.T
	return nil
}

// fault opens a window or closes the oldest open one of that name, one with the
// same detail first. An end that closes nothing is a heal of what was whole.
func (h *History) fault(e *Event) {
	f := e.Fault
	if f.Phase == Begin {
		h.Faults = append(h.Faults, Window{Fault: f.Name, Detail: f.Detail, Begin: e.Seq, End: Open, Start: e.T})
		return
	}
	open := func(w Window) bool { return w.Fault == f.Name && w.End == Open }
	i := slices.IndexFunc(h.Faults, func(w Window) bool { return open(w) && w.Detail == f.Detail })
	if i < 0 {
		i = slices.IndexFunc(h.Faults, open)
	}
	if i >= 0 {
		h.Faults[i].End, h.Faults[i].Stop = e.Seq, e.T
	}
}

// replicas keeps the last whole dump of each replica, or an unfinished one if there
// is no other.
func replicas(events []Event) []Replica {
	type id struct{ node, keyspace, group string }
	open, last := map[id]*Replica{}, map[id]*Replica{}
	var order []id
	for i := range events {
		d := events[i].Dump
		if d == nil {
			continue
		}
		k := id{d.Node, d.Keyspace, d.Group}
		r := open[k]
		if r == nil {
			r = &Replica{Node: d.Node, Keyspace: d.Keyspace, Group: d.Group, Seq: events[i].Seq}
			open[k] = r
		}
		if last[k] == nil {
			last[k] = r
			order = append(order, k)
		}
		if events[i].Type == DumpKey {
			r.Keys = append(r.Keys, *d)
			continue
		}
		r.Whole, r.Vector, r.Revision = true, d.Vector, d.Revision
		last[k] = r
		delete(open, k)
	}
	out := make([]Replica, 0, len(order))
	for _, k := range order {
		out = append(out, *last[k])
	}
	return out
}
