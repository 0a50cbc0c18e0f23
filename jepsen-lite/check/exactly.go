package check

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

func (r *record) counts() bool {
	return len(r.repeated) > 0 || r.any(func(op *history.Op) bool { return op.Kind == history.Incr && !isTyped(op) })
}

// exactlyOnce judges two things. A request that was sent again is answered as before:
// the same revision and the same value. And counters: sums grow with revisions, what
// lies between two of them is within what writes without outcome may have added, and
// so is what is there in the end.
func exactlyOnce(r *record) Result {
	var c Compared
	if v := r.answeredTwice(&c); v != nil {
		return withCompared(v.result("requests"), c)
	}
	counters := 0
	for _, k := range r.touched {
		if !slices.ContainsFunc(r.acts[k], func(a act) bool { return a.adds }) {
			continue
		}
		counters++
		if v := r.counted(k, &c, r.h.Replicas); v != nil {
			return withCompared(v.result("counters"), c)
		}
	}
	return Result{
		Verdict: Pass, Compared: c, Stage: "requests and counters",
		Sentence: fmt.Sprintf("%d requests that were sent again were answered as before; %d counters are the sums of their incrs", c.repeats, counters),
	}
}

// answeredTwice compares the answers of each request that was sent more than once.
func (r *record) answeredTwice(c *Compared) *violation {
	first := map[callName]*history.Op{}
	for i := range r.h.Ops {
		op := &r.h.Ops[i]
		if op.Request == "" || op.Mode != "cp" || !op.OK() && !conflicted(op) {
			continue
		}
		name := callName{op.Keyspace, op.Request}
		if old := first[name]; old != nil {
			c.Ops++
			c.repeats++
			if a, b := told(old), told(op); a != b {
				return broken([]*history.Op{old, op}, "request %s (%s of %s) was sent twice, and answered %s and %s", show(op.Request), op.Kind, key(op), a, b)
			}
			continue
		}
		first[name] = op
	}
	return nil
}

// told is an answer as far as a repetition must give it again.
func told(op *history.Op) string {
	if conflicted(op) {
		return fmt.Sprintf("Conflict at revision %d", revision(op))
	}
	return fmt.Sprintf("revision %d, value %s", revision(op), show(op.Answer.Value))
}

// counted judges one key that is only incremented: its sums, and what replicas hold of
// it in the end.
func (r *record) counted(k ref, c *Compared, replicas []history.Replica) *violation {
	var sums, open []act
	for _, a := range r.acts[k] {
		switch {
		case a.writes && !a.adds:
			return nil // a key that is also put is no counter
		case a.adds && a.sure:
			sums = append(sums, a)
		case a.adds:
			open = append(open, a)
		}
	}
	c.Ops += len(sums)
	for _, a := range sums {
		if a.rev == 0 {
			return nil
		}
	}
	slices.SortFunc(sums, func(a, b act) int { return cmp.Compare(a.rev, b.rev) })
	h := hidden{open: open}
	var was int64
	var before *act
	for i := range sums {
		a := &sums[i]
		now, _ := strconv.ParseInt(a.value, 10, 64)
		if v := h.gap(k, before, a, now-a.delta-was); v != nil {
			return v
		}
		was, before = now, a
	}
	return h.final(k, replicas, before, was)
}

// hidden are the incrs without outcome, and what of them is used up: by the gaps
// between sums so far.
type hidden struct {
	open []act
	used int64
}

// gap judges that what lies between two sums was added by incrs without outcome. All
// gaps so far must be within what those called until now can have added together.
func (h *hidden) gap(k ref, before, a *act, missing int64) *violation {
	h.used += missing
	least, most := h.reach(a.ret)
	if least <= h.used && h.used <= most {
		return nil
	}
	ops := []*history.Op{a.op}
	prior := "nothing"
	if before != nil {
		ops, prior = append(ops, before.op), fmt.Sprintf("%s (revision %d)", before.value, before.rev)
	}
	return broken(ops, "incr of %s by %d at %s gave %s (revision %d), behind %s: %d too much in all, and incrs without outcome explain %d to %d",
		k, a.delta, at(a.op.Start), a.value, a.rev, prior, h.used, least, most)
}

func (h *hidden) reach(until int64) (least, most int64) {
	for _, a := range h.open {
		if a.call < until {
			least, most = least+min(0, a.delta), most+max(0, a.delta)
		}
	}
	return least, most
}

// final judges what the replicas hold in the end.
func (h *hidden) final(k ref, replicas []history.Replica, last *act, was int64) *violation {
	for _, rep := range replicas {
		if rep.Keyspace != k.keyspace {
			continue
		}
		for _, d := range rep.Keys {
			if d.Key != k.key || len(held(&d)) == 0 {
				continue
			}
			now, err := strconv.ParseInt(held(&d)[0], 10, 64)
			least, most := h.reach(history.Open)
			if left := h.used + now - was; err != nil || left < least || left > most {
				var ops []*history.Op
				if last != nil {
					ops = append(ops, last.op)
				}
				return broken(ops, "after the heal %s holds %s for the counter %s; the last sum acknowledged was %d, and incrs without outcome explain %d to %d more",
					show(rep.Node), show(held(&d)[0]), k, was, least-h.used, most-h.used)
			}
		}
	}
	return nil
}
