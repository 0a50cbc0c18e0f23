package check

import (
	"cmp"
	"hash/maphash"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	searchOps   = 300  // operations on one key that porcupine always looks at
	patientOps  = 2000 // and briefly, when nothing else decided: its memory grows with time × length
	unprunedOps = 60   // below this it looks at the history as it is, too
)

// searcher asks porcupine. check is a field so that a test can put a liar there.
type searcher struct {
	timeout time.Duration
	check   func([]act, time.Duration) porcupine.CheckResult
}

func (s searcher) run(acts []act) porcupine.CheckResult { return s.check(acts, s.timeout) }

// quick is run when the answer is known and only to be confirmed.
func (s searcher) quick(acts []act) porcupine.CheckResult { return s.check(acts, s.timeout/10+1) }

func porcupineCheck(acts []act, timeout time.Duration) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(model, operations(acts), timeout)
}

var seed = maphash.MakeSeed()

// model is one register. A key is linearizable by itself (Herlihy & Wing, theorem 1),
// so keys are never searched together.
var model = porcupine.Model{
	Init: func() any { return register{} },
	Step: func(state, input, _ any) (bool, any) {
		next, ok := input.(*act).step(state.(register))
		return ok, next
	},
	Equal: func(a, b any) bool { return a == b },
	Hash:  func(state any) uint64 { return maphash.Comparable(seed, state.(register)) },
}

func operations(acts []act) []porcupine.Operation {
	out := make([]porcupine.Operation, 0, len(acts))
	for i := range acts {
		a := &acts[i]
		out = append(out, porcupine.Operation{ClientId: a.op.Process, Input: a, Call: a.call, Return: a.ret})
	}
	return out
}

// windows searches a key too long to search as a whole, 300 operations at a time.
// Only a failure of a window says something of the whole: a part of a linearizable
// history is linearizable as long as the writes that it reads come with it.
func (s searcher) windows(acts []act) []act {
	byCall := slices.Clone(acts)
	slices.SortFunc(byCall, func(a, b act) int { return cmp.Compare(a.call, b.call) })
	deadline := time.Now().Add(s.timeout)
	for i := 0; i < len(byCall) && time.Now().Before(deadline); i += searchOps / 2 {
		part := window(byCall, i, min(i+searchOps, len(byCall)))
		if s.quick(part) == porcupine.Illegal {
			return part
		}
	}
	return nil
}

// window is byCall[from:to] without its reads of absence, which a delete outside
// could explain, and with the writes its reads need, as plain puts.
func window(byCall []act, from, to int) []act {
	need, have := map[string]bool{}, map[string]bool{}
	var part []act
	for _, a := range byCall[from:to] {
		if a.reads && a.absent {
			continue
		}
		part = append(part, a)
		if a.reads {
			need[a.seen] = true
		}
		if a.writes && !a.deletes {
			have[a.value] = true
		}
	}
	for _, a := range byCall {
		if a.writes && !a.deletes && need[a.value] && !have[a.value] {
			a.reads = false
			part = append(part, a)
		}
	}
	return part
}

// shrink drops acts from a history that is not linearizable as long as what remains
// still is not, and is a fair part: with the writer of every value read and, if an
// absence is read, all deletes.
func (s searcher) shrink(acts []act) []act {
	left := time.Now().Add(s.timeout)
	for size := len(acts) / 2; size >= 1 && time.Now().Before(left); {
		smaller := false
		for from := 0; from < len(acts) && time.Now().Before(left); {
			rest := slices.Delete(slices.Clone(acts), from, min(from+size, len(acts)))
			if len(rest) > 0 && fair(rest, acts) && s.quick(rest) == porcupine.Illegal {
				acts, smaller = rest, true
				continue
			}
			from += size
		}
		if !smaller {
			size /= 2
		}
	}
	return acts
}

func fair(part, whole []act) bool {
	written, deletes, absences := map[string]bool{}, 0, false
	for _, a := range part {
		switch {
		case a.deletes:
			deletes++
		case a.writes:
			written[a.value] = true
		case a.absent:
			absences = true
		}
	}
	for _, a := range part {
		if a.reads && !a.absent && !written[a.seen] {
			return false
		}
	}
	if !absences {
		return true
	}
	for _, a := range whole {
		if a.deletes {
			deletes--
		}
	}
	return deletes == 0
}
