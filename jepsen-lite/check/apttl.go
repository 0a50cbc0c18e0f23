package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// Times of a value that ends on ap.
const (
	// ttlTick is by how much clocks of one machine may run apart meanwhile.
	ttlTick = 50 * time.Millisecond
	// ttlLate is how long behind its time, and behind the last fault, a value may still
	// be there: the node that took it may be gone, and the others wait ten seconds, and
	// a little longer one after the other.
	ttlLate = 20 * time.Second
)

// skew is a fault by which wall clocks were wrong.
type skew struct {
	history.Window
	behind, ahead time.Duration // by how much at most; behind is not above 0
}

// skews reads the faults that set clocks wrong, for once or to and fro: "n1 by 3s, n4 by
// -2.5s". One that does not say by how much may have been any.
func skews(h *history.History) (out []skew) {
	for _, w := range h.Faults {
		if w.Fault != "skew" && w.Fault != "strobe" {
			continue
		}
		s := skew{Window: w}
		for part := range strings.SplitSeq(w.Detail, ",") {
			_, by, _ := strings.Cut(part, " by ")
			d, err := time.ParseDuration(strings.TrimSpace(by))
			if err != nil {
				s.behind, s.ahead = -never/4, never/4
				break
			}
			s.behind, s.ahead = min(s.behind, d), max(s.ahead, d)
		}
		out = append(out, s)
	}
	return out
}

// wrong is by how much some wall clock was behind and ahead at most from one seq to another.
func (r *record) wrong(from, to int64) (behind, ahead time.Duration) {
	for _, s := range r.skews {
		if s.Begin < to && from < s.End {
			behind, ahead = min(behind, s.behind), max(ahead, s.ahead)
		}
	}
	return behind, ahead
}

// ended reports whether a value that ends may have ended by an answer. Its deadline is
// by the wall clock of the node that took it, and so is its end by that of the node which
// deletes it: it may come early by as much as these were apart.
func (r *record) ended(w, by *history.Op) bool {
	if w.TTL == 0 {
		return false
	}
	behind, _ := r.wrong(w.Begin, min(w.End, by.End))
	_, ahead := r.wrong(w.Begin, by.End)
	return by.Stop >= w.Start+time.Duration(w.TTL)*time.Millisecond-(ahead-behind)-ttlTick
}

// lapsed reports whether w may have been superseded by a value that has ended by r, so
// that nothing is there.
func (o *order) lapsed(w, r int) bool {
	n := &o.nodes[r]
	return slices.ContainsFunc(o.r.keys[key(n.op)], func(by *history.Op) bool {
		takes := by.Covers == nil || len(by.Covers) > 0
		return takes && by.Begin < n.op.End && o.r.ended(by, n.op) && o.nodes[w].op.Begin < ends(by) && !o.follows(w, by)
	})
}

// mayBeGone reports whether r need not have w: it may have been deleted, or have ended, or
// what took its place has.
func (o *order) mayBeGone(w, r int) bool {
	return o.deletable(w, r) || o.r.ended(o.nodes[w].op, o.nodes[r].op) || o.lapsed(w, r)
}

// ttlAP judges values that end on ap keyspaces. One that a read's causal past holds must
// be there until its TTL is over, less what clocks were wrong by; a refreshed one is
// another value. It must be gone some time behind that, and what a session has seen to be
// gone, or a node has shown to be, is not shown to it, or by it, again.
func (r *record) ttlAP(c *Compared) (gone int, v *violation, err error) {
	mortal := map[ref][]*history.Op{}
	for _, k := range r.order {
		for _, op := range r.keys[k] {
			if op.Mode == "ap" && op.Kind == history.Put && op.TTL > 0 && !op.Failed() {
				mortal[k] = append(mortal[k], op)
			}
		}
	}
	if len(mortal) == 0 {
		return 0, nil, nil
	}
	o, err := r.causes()
	if err != nil {
		return 0, nil, err
	}
	for i := range o.nodes {
		n := &o.nodes[i]
		puts := mortal[key(n.op)]
		if !n.told || len(puts) == 0 {
			continue
		}
		left, v := o.alive(i, puts)
		if v == nil {
			v = r.late(n.op, puts)
		}
		if v == nil && covers(n.op) && slices.ContainsFunc(puts, func(w *history.Op) bool { return slices.Contains(n.seen, w.Call.Value) }) {
			v = o.back(i)
		}
		if v != nil {
			return gone, v, nil
		}
		if left > 0 {
			c.Ops++
			if r.h.InFault(n.op.Begin) {
				c.ReadsInFault++
			}
		}
		if len(n.seen) == 0 && o.knows(i, puts) {
			gone++
		}
	}
	for _, k := range sorted(mortal) {
		if v = cmp.Or(r.again(k, mortal[k]), r.leftBehind(k, mortal[k])); v != nil {
			return gone, v, nil
		}
	}
	return gone, nil, nil
}

// alive looks for values in the past of a read that cannot have ended. left is how many
// there are.
func (o *order) alive(r int, puts []*history.Op) (left int, v *violation) {
	n := &o.nodes[r]
	if !covers(n.op) {
		return 0, nil
	}
	for _, w := range puts {
		i, known := o.of[w]
		if !known || !o.before(i, r) || o.r.ended(w, n.op) {
			continue
		}
		left++
		if o.hidden(i, r) {
			ttl := time.Duration(w.TTL) * time.Millisecond
			return left, broken(append(o.path(i, r), w), "%s; %s, which is in its causal past, was put at %s for %v, and that is not over at %s",
				read(n.op), show(w.Call.Value), at(w.Start), ttl, at(n.op.Stop))
		}
	}
	return left, nil
}

// knows reports whether one of the puts is in the causal past of a read.
func (o *order) knows(r int, puts []*history.Op) bool {
	return slices.ContainsFunc(puts, func(w *history.Op) bool {
		i, known := o.of[w]
		return known && o.before(i, r)
	})
}

// late finds a value that a read still shows long after its end.
func (r *record) late(op *history.Op, puts []*history.Op) *violation {
	seen, _ := op.Seen()
	for _, w := range puts {
		if by := r.overAP(w, op.Begin); slices.Contains(seen, w.Call.Value) && op.Start > by {
			return broken([]*history.Op{w, op}, "%s, put at %s for %v, and it should have been gone everywhere at %s",
				read(op), at(w.Start), time.Duration(w.TTL)*time.Millisecond, at(by))
		}
	}
	return nil
}

// overAP is when a value must be gone everywhere, looking from seq: never while a fault is
// in force, and never where nobody knows when the write happened.
func (r *record) overAP(w *history.Op, seq int64) time.Duration {
	if !w.OK() {
		return never
	}
	_, ahead := r.wrong(w.Begin, w.End)
	quiet := w.Stop + time.Duration(w.TTL)*time.Millisecond + ahead
	for _, f := range r.h.Faults {
		if f.Begin < seq {
			if f.End > seq {
				return never
			}
			quiet = max(quiet, f.Stop)
		}
	}
	return quiet + ttlLate
}

// again finds a value that a node showed, then showed to be gone, and then showed again.
// What a quorum showed came from others.
func (r *record) again(k ref, puts []*history.Op) *violation {
	reads := map[string][]*history.Op{} // by node
	for _, op := range r.keys[k] {
		if _, told := op.Seen(); told && op.ServedBy != "" && level(op) != "quorum" {
			reads[op.ServedBy] = append(reads[op.ServedBy], op)
		}
	}
	for _, w := range puts {
		for _, list := range reads {
			if v := r.cameBack(k, w, list); v != nil {
				return v
			}
		}
	}
	return nil
}

// cameBack looks at the reads of one node, by Begin. On lww a value that is not shown may
// be hidden by another: it is gone where there is nothing.
func (r *record) cameBack(k ref, w *history.Op, reads []*history.Op) *violation {
	var shown, gone *history.Op // that ended first
	for _, op := range reads {
		seen, _ := op.Seen()
		switch there := slices.Contains(seen, w.Call.Value); {
		case there && gone != nil && gone.End < op.Begin:
			return broken([]*history.Op{w, gone, op}, "%s, which %s had shown to be gone at %s", read(op), show(op.ServedBy), at(gone.Stop))
		case there && (shown == nil || op.End < shown.End):
			shown = op
		case !there && (len(seen) == 0 || r.siblings(k.keyspace)) && shown != nil && shown.End < op.Begin && (gone == nil || op.End < gone.End):
			gone = op
		}
	}
	return nil
}

// leftBehind finds a value that a replica still holds long after its end.
func (r *record) leftBehind(k ref, puts []*history.Op) *violation {
	for _, rep := range r.h.Replicas {
		if rep.Keyspace != k.keyspace {
			continue
		}
		then := r.timeOf(rep.Seq)
		for _, d := range rep.Keys {
			if d.Key != k.key {
				continue
			}
			for _, w := range puts {
				if slices.Contains(held(&d), w.Call.Value) && then > r.overAP(w, rep.Seq) {
					return broken([]*history.Op{w}, "after the heal, at %s, %s still holds %s of %s, put at %s for %v",
						at(then), show(rep.Node), show(w.Call.Value), k, at(w.Start), time.Duration(w.TTL)*time.Millisecond)
				}
			}
		}
	}
	return nil
}

// timeOf is when a line was written.
func (r *record) timeOf(seq int64) time.Duration {
	i, _ := slices.BinarySearchFunc(r.h.Events, seq, func(e history.Event, seq int64) int { return cmp.Compare(e.Seq, seq) })
	if i == len(r.h.Events) {
		return 0
	}
	return r.h.Events[i].T
}

// endings sums up what was judged of keys and values that end.
func endings(c Compared, gone int) Result {
	if gone == 0 {
		return Result{Verdict: Invalid, Compared: c, Sentence: "no key was seen to have gone, so nothing shows whether any does"}
	}
	return Result{Verdict: Pass, Compared: c, Stage: "lives", Sentence: fmt.Sprintf("%d reads of keys with a TTL; %d found that it had ended, none too early", c.Ops, gone)}
}
