package check

import (
	"strconv"

	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// act is what one operation did to one register, which is absent or holds a value.
// An operation can both read and write: a cas that succeeded reads what it expected.
// A delete writes absence.
type act struct {
	op        *history.Op
	on        string // the key, if the operation names several
	call, ret int64  // ret is history.Open while the operation may still take effect

	reads  bool
	absent bool   // it read absence
	seen   string // else it read this
	not    string // a failed cas: it must not have read what it expected

	writes  bool
	deletes bool
	value   string
	adds    bool // an incr: it reads what value is without delta
	delta   int64

	sure bool   // it certainly took effect
	rev  uint64 // the revision it names, 0 if none
	rank rank   // its place in the order, once the witness lined it up
}

// name is the key of the act.
func (a *act) name() ref {
	if a.on != "" {
		return ref{a.op.Keyspace, a.on}
	}
	return key(a.op)
}

// registerOf turns the operations of one cp key into acts. What was told nothing and
// changed nothing is left out: reads that did not answer, writes that failed.
func registerOf(ops []*history.Op) []act {
	var acts []act
	for _, op := range ops {
		if !strong(op) {
			continue
		}
		a := act{op: op, call: op.Begin, ret: op.End, sure: true}
		if op.Revision != nil {
			a.rev = *op.Revision
		}
		seen, told := op.Seen()
		switch {
		case told:
			a.reads, a.absent = true, len(seen) == 0
			if !a.absent {
				a.seen = seen[0]
			}
			if op.Kind == history.CAS {
				a.not = op.Expect
			}
		case !op.Write() || op.Failed():
			continue
		default:
			a.writes, a.deletes, a.value = true, op.Kind == history.Delete, op.Call.Value
			a.sure = op.Outcome == store.OK
			if op.Kind == history.CAS {
				a.reads, a.seen = a.sure, op.Expect
			}
			if !a.sure {
				a.ret, a.rev = history.Open, 0
			}
		}
		acts = append(acts, a)
	}
	return acts
}

// prune settles the writes of which nobody knows the outcome. One whose value was
// never seen is dropped: if it happened, it can have happened after everything. One
// whose value was seen happened, and before the first that saw it was answered. A
// cas whose value was seen had itself seen what it expected, so the argument runs
// down the chain. Deletes carry no value that could be seen and stay open.
func prune(acts []act) []act {
	first := firstSeen(acts)
	kept := make([]act, 0, len(acts))
	for _, a := range acts {
		if !a.sure && !a.deletes {
			seen, ok := first[a.value]
			if !ok {
				continue
			}
			a.sure, a.ret = true, seen
			a.reads = a.op.Kind == history.CAS
		}
		kept = append(kept, a)
	}
	return kept
}

// firstSeen gives, for each value, a moment by which it certainly had been written.
func firstSeen(acts []act) map[string]int64 {
	first := map[string]int64{}
	note := func(value string, seq int64) bool {
		old, ok := first[value]
		if ok && old <= seq {
			return false
		}
		first[value] = seq
		return true
	}
	cas := map[string]act{}
	for _, a := range acts {
		if a.op.Kind == history.CAS && a.writes && !a.sure {
			cas[a.value] = a
		}
	}
	for _, a := range acts {
		if !a.sure || !a.reads || a.absent {
			continue
		}
		value := a.seen
		for note(value, a.ret) {
			c, unknown := cas[value]
			if !unknown {
				break
			}
			value = c.seen
		}
	}
	return first
}

// step applies an act to a register. ok is false if the act cannot happen there. An
// act that is not sure can always happen: at the very end it stands for not at all.
func (a *act) step(s register) (next register, ok bool) {
	if a.adds {
		return a.add(s)
	}
	match := s.here != a.absent && (a.absent || s.value == a.seen)
	switch {
	case a.reads && !match:
		return s, false
	case a.not != "" && s.here && s.value == a.not:
		return s, false
	case !a.writes:
		return s, true
	case !a.sure && a.op.Kind == history.CAS && !match:
		return s, true
	case a.deletes:
		return register{}, true
	}
	return register{here: true, value: a.value}, true
}

// add applies an incr. An absent key counts as 0. One without outcome changes nothing
// where there is no number.
func (a *act) add(s register) (next register, ok bool) {
	was, number := s.number()
	switch {
	case a.sure:
		return register{here: true, value: a.value}, number && a.value == sum(was, a.delta)
	case !number:
		return s, true
	}
	return register{here: true, value: sum(was, a.delta)}, true
}

func sum(was, delta int64) string { return strconv.FormatInt(was+delta, 10) }

// number is the integer that the key holds.
func (s register) number() (n int64, ok bool) {
	if !s.here {
		return 0, true
	}
	n, err := strconv.ParseInt(s.value, 10, 64)
	return n, err == nil
}

// register is the state of a key.
type register struct {
	here  bool
	value string
}
