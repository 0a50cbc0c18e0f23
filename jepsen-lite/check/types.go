package check

import (
	"cmp"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// typed is one key of an ap keyspace that keeps no register: what was added to it, what
// took that away, and what was seen of it.
type typed struct {
	effects  []*history.Op // incrs and adds that did not fail
	removals []*history.Op // removes and deletes that did not fail
	seen     []*history.Op // reads, and writes whose answer says what they found
}

// isTyped reports whether the operation is of a counter, a set or a map.
func isTyped(op *history.Op) bool {
	return op.Conflict == "counter" || op.Conflict == "set" || op.Conflict == "map"
}

func (r *record) addTyped(op *history.Op) {
	if op.Key == "" {
		return
	}
	k := key(op)
	t := r.types[k]
	if t == nil {
		t = &typed{}
		r.types[k] = t
	}
	switch op.Kind {
	case history.Get:
		if _, told := op.Seen(); told {
			t.seen = append(t.seen, op)
		}
		return
	case history.Incr, history.Add, history.Put:
		if !op.Failed() {
			t.effects = append(t.effects, op)
		}
		if op.Kind == history.Incr && op.OK() && op.Answer.Value != "" {
			t.seen = append(t.seen, op)
		}
	case history.Delete, history.Remove:
		if !op.Failed() {
			t.removals = append(t.removals, op)
		}
	}
}

// ofPolicy are the keys of keyspaces with a conflict policy, in order.
func (r *record) ofPolicy(policy string) []ref {
	spaces := map[string]bool{}
	for i := range r.h.Ops {
		if op := &r.h.Ops[i]; op.Conflict == policy {
			spaces[op.Keyspace] = true
		}
	}
	return slices.DeleteFunc(sorted(r.types), func(k ref) bool { return !spaces[k.keyspace] })
}

// sighting is when something was seen, and by whom: an operation's answer, or, without
// one, a dump after the heal, which shows all.
type sighting struct {
	op  *history.Op
	end int64
}

func afterHeal(rep history.Replica) sighting { return sighting{end: rep.Seq} }

// shows reports whether w, which did happen, certainly had reached the replica that was
// looked at.
func (m sighting) shows(w *history.Op) bool {
	if !w.OK() {
		return false
	}
	if m.op == nil || w == m.op {
		return true
	}
	if w.End > m.op.Begin {
		return false
	}
	if m.op.Kind == history.Get && level(m.op) == "quorum" && w.W == "majority" {
		return true
	}
	return reached(w, m.op)
}

// reached reports whether w, which was over before op began, was certainly applied
// where op was served: all replicas held it, or the same node took it, or it is of the
// same session.
func reached(w, op *history.Op) bool {
	if w.W == "all" || w.ServedBy != "" && w.ServedBy == op.ServedBy {
		return true
	}
	return w.Session != "" && w.Session == op.Session && (op.Write() || ownWrites(op))
}

// fate is what may have become of an effect by a sighting.
type fate struct{ there, absent bool } // possible

// fateOf judges one effect. A removal takes away what its replica had applied: it may
// have had what was called before the removal was over, and certainly had what had
// reached it. Concurrent effects stay.
func (t *typed) fateOf(w *history.Op, m sighting, of func(removal *history.Op) bool) fate {
	if w.Begin > m.end {
		return fate{absent: true}
	}
	f := fate{there: true, absent: !m.shows(w)}
	for _, d := range t.removals {
		if d.Begin > m.end || w.Begin > endOf(d) || !of(d) || m.op != nil && w == m.op {
			continue
		}
		f.absent = true
		if w.OK() && w.End < d.Begin && reached(w, d) && m.shows(d) {
			return fate{absent: true}
		}
	}
	return f
}

// endOf is when the operation had taken effect, if it ever did.
func endOf(op *history.Op) int64 {
	if op.OK() {
		return op.End
	}
	return history.Open
}

// dumped calls f with what each replica holds of a key in the end, nil where that is
// nothing.
func (r *record) dumped(k ref, f func(rep history.Replica, d *history.Dump) *violation) *violation {
	groups, unfit := r.groups()
	if unfit != nil {
		return unfit
	}
	for _, rep := range replicasOf(groups, k) {
		if v := f(rep.Replica, rep.at[k.key]); v != nil {
			return v
		}
	}
	return nil
}

// comparedTypes counts what there was to judge by.
func (r *record) comparedTypes(c *Compared, t *typed) {
	c.Ops += len(t.effects) + len(t.removals) + len(t.seen)
	for _, op := range slices.Concat(t.effects, t.seen) {
		if r.h.InFault(op.Begin) {
			c.ReadsInFault++
		}
	}
}

// culprits are the operations that a violation is about, the first few in the order of
// their calls.
func (t *typed) culprits(m sighting) []*history.Op {
	const most = 6
	ops := slices.Concat(t.removals, t.effects)
	slices.SortFunc(ops, func(a, b *history.Op) int { return cmp.Compare(b.Begin, a.Begin) })
	ops = slices.DeleteFunc(ops, func(op *history.Op) bool { return op.Begin > m.end || op == m.op })
	ops = ops[:min(most, len(ops))]
	if m.op != nil {
		ops = append(ops, m.op)
	}
	slices.SortFunc(ops, func(a, b *history.Op) int { return cmp.Compare(a.Begin, b.Begin) })
	return ops
}
