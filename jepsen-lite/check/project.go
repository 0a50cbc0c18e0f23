package check

import (
	"slices"
	"strconv"
	"strings"

	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// richSpaces are the cp keyspaces on which more happens than reads and writes of one
// key. A part of a linearizable history is linearizable, so each of their keys is
// judged by itself as well: by the acts that every operation did there.
func richSpaces(h *history.History) map[string]bool {
	rich := map[string]bool{}
	for i := range h.Ops {
		op := &h.Ops[i]
		switch op.Kind {
		case history.Get, history.Put, history.Delete, history.CAS:
			if op.TTL == 0 && op.Call.Lease == 0 && op.Lock == "" && op.Request == "" {
				continue
			}
		case history.Add:
			continue
		}
		if op.Mode == "cp" {
			rich[op.Keyspace] = true
		}
	}
	return rich
}

// callName is a call to the store, and its repetitions.
type callName struct{ keyspace, request string }

// repeats finds the operations that repeat an earlier one: of the same name.
func repeats(h *history.History) map[*history.Op]bool {
	first, out := map[callName]bool{}, map[*history.Op]bool{}
	for i := range h.Ops {
		op := &h.Ops[i]
		name := callName{op.Keyspace, op.Request}
		if op.Request == "" || op.Mode != "cp" {
			continue
		}
		if first[name] {
			out[op] = true
		}
		first[name] = true
	}
	return out
}

// calls are the operations with each repetition joined into the call it repeats: it
// began with the first and was ok with the first that was.
func (r *record) calls() []*history.Op {
	named := map[callName]*history.Op{}
	var ops []*history.Op
	for i := range r.h.Ops {
		op := &r.h.Ops[i]
		name := callName{op.Keyspace, op.Request}
		first := named[name]
		if !r.repeated[op] {
			if op.Request != "" && op.Mode == "cp" {
				joined := *op
				op = &joined
				named[name] = op
			}
			ops = append(ops, op)
			continue
		}
		if answered := op.OK() || op.Code == store.Conflict; answered && !first.OK() {
			first.Answer, first.End, first.Stop = op.Answer, op.End, op.Stop
		} else if first.Failed() && !op.Failed() {
			first.Outcome, first.End = store.Unclear, history.Open
		}
	}
	return ops
}

// project turns an operation on a rich keyspace into its acts on single keys.
func (r *record) project(op *history.Op) {
	switch op.Kind {
	case history.Get, history.Put, history.Delete, history.CAS:
		k := key(op)
		if op.Write() {
			r.wrote(k, op.Call.Value, op)
		}
		r.act(k, registerOf([]*history.Op{op})...)
		if op.Kind == history.Put && !op.Failed() && (op.TTL > 0 || op.Call.Lease > 0) {
			r.act(k, expiry(op))
		}
	case history.Incr:
		r.projectIncr(op)
	case history.Txn:
		r.projectTxn(op)
	}
}

func (r *record) act(k ref, acts ...act) {
	for _, a := range acts {
		a.on = k.key
		r.acts[k] = append(r.acts[k], a)
	}
}

// expiry is the delete that may follow a write with a lease, at any time.
func expiry(op *history.Op) act {
	return act{op: op, call: op.Begin, ret: history.Open, writes: true, deletes: true, value: "expiry of " + op.Call.Value}
}

func (r *record) projectIncr(op *history.Op) {
	a := act{op: op, call: op.Begin, ret: op.End, writes: true, adds: true, delta: op.Delta}
	switch {
	case op.Failed():
		return
	case op.OK() && summed(op):
		n, _ := strconv.ParseInt(op.Answer.Value, 10, 64)
		a.sure, a.value, a.rev = true, op.Answer.Value, revision(op)
		a.reads, a.seen, a.absent = true, strconv.FormatInt(n-op.Delta, 10), false
		if r.writers[key(op)] == nil {
			r.writers[key(op)] = map[string]*history.Op{}
		}
		r.writers[key(op)][a.value] = op
	default:
		a.ret = history.Open
	}
	r.act(key(op), a)
}

// summed reports whether an incr says what it made.
func summed(op *history.Op) bool {
	_, err := strconv.ParseInt(op.Answer.Value, 10, 64)
	return err == nil
}

func revision(op *history.Op) uint64 {
	if op.Revision == nil {
		return 0
	}
	return *op.Revision
}

// projectTxn gives each key of a txn one act: what it held before, and what after.
// Of a txn without outcome every write may have happened or not.
func (r *record) projectTxn(op *history.Op) {
	for _, s := range slices.Concat(op.Then, op.Else) {
		if s.Kind == history.Put {
			r.wrote(ref{op.Keyspace, s.Key}, s.Value, op)
		}
	}
	branch, seen, told := op.Branch()
	if told {
		acts := map[string]*act{}
		var order []string
		at := func(key string) *act {
			if acts[key] == nil {
				acts[key] = &act{op: op, call: op.Begin, ret: op.End, sure: true}
				order = append(order, key)
			}
			return acts[key]
		}
		for _, c := range op.If {
			if *op.Held && c.Relation == "=" {
				at(c.Key).compared(c)
			}
		}
		for i, s := range branch {
			at(s.Key).stepped(s, seen[i], revision(op))
		}
		for _, k := range order {
			if a := acts[k]; a.reads || a.writes {
				r.act(ref{op.Keyspace, k}, *a)
			}
		}
		return
	}
	if op.Failed() || op.OK() {
		return
	}
	for _, s := range slices.Concat(op.Then, op.Else) {
		a := act{op: op, call: op.Begin, ret: history.Open, writes: true, value: s.Value, delta: s.Delta}
		switch s.Kind {
		case history.Get:
			continue
		case history.Delete:
			a.deletes = true
		case history.Incr:
			a.adds = true
		}
		r.act(ref{op.Keyspace, s.Key}, a)
	}
}

// compared is what a comparison that held says of its key.
func (a *act) compared(c history.Compare) {
	switch {
	case c.Target == "value":
		a.reads, a.seen = true, c.Value
	case c.Number == 0 && c.Target != "lease":
		a.reads, a.absent = true, true
	}
}

// stepped adds a step and what it saw. What a get saw behind a write of its own txn
// is the ledger's to judge.
func (a *act) stepped(s history.Step, saw history.StepSeen, rev uint64) {
	switch s.Kind {
	case history.Get:
		if a.reads || a.writes {
			return
		}
		a.reads, a.absent, a.seen = true, !saw.Found, saw.Value
		if saw.Found {
			a.rev = saw.Revision
		}
	case history.Delete:
		a.writes, a.deletes, a.value, a.rev = true, true, "delete#"+strconv.FormatInt(a.op.ID, 10), rev
	case history.Put:
		a.writes, a.deletes, a.value, a.rev = true, false, s.Value, rev
	case history.Incr:
		a.adds = !a.writes && !a.reads
		a.writes, a.deletes, a.value, a.delta, a.rev = true, false, saw.Value, s.Delta, rev
		if n, err := strconv.ParseInt(saw.Value, 10, 64); err == nil && a.adds {
			a.reads, a.seen = true, strconv.FormatInt(n-s.Delta, 10)
		}
	}
}

// projectScans lets each strong scan read every key of its range that anybody
// touched: it saw the value, or that there is none.
func (r *record) projectScans() {
	keys := map[string][]string{}
	for k := range r.acts {
		keys[k.keyspace] = append(keys[k.keyspace], k.key)
	}
	for i := range r.h.Ops {
		op := &r.h.Ops[i]
		if op.Kind != history.Scan || !op.OK() || !strong(op) || !r.rich[op.Keyspace] {
			continue
		}
		items := map[string]history.Item{}
		for _, item := range op.Items {
			items[item.Key] = item
			if k := (ref{op.Keyspace, item.Key}); r.acts[k] == nil {
				keys[op.Keyspace] = append(keys[op.Keyspace], item.Key)
				r.acts[k] = []act{}
			}
		}
		for _, k := range keys[op.Keyspace] {
			if !inScan(op, k) {
				continue
			}
			item, found := items[k]
			a := act{op: op, call: op.Begin, ret: op.End, sure: true, reads: true, absent: !found, seen: item.Value, rev: item.Revision}
			if !found {
				a.rev = revision(op)
			}
			r.act(ref{op.Keyspace, k}, a)
		}
	}
	for k := range r.acts {
		slices.SortStableFunc(r.acts[k], func(a, b act) int { return int(a.call - b.call) })
	}
}

// inScan reports whether a scan would show the key if it were there.
func inScan(op *history.Op, key string) bool {
	if !strings.HasPrefix(key, op.Prefix) || key < op.Key {
		return false
	}
	full := op.Limit > 0 && len(op.Items) >= op.Limit
	return !full || key <= op.Items[len(op.Items)-1].Key
}
