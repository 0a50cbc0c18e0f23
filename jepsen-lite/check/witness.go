package check

import (
	"cmp"
	"math"
	"slices"
	"sort"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// exhibit is what the witness says: proved (here is an order), a violation (the
// revisions give no order that explains the history), or neither, when the history
// does not carry enough revisions.
type exhibit struct {
	proved bool
	wrong  *violation
}

// witness proves a key linearizable without a search, by showing the order: the one
// the revisions give. It replays the operations in that order against a register,
// and then checks that no operation stands behind one that was called after it was
// answered. A server cannot forge it, because any order that passes is a proof,
// whoever proposed it. If it fails, either the values are wrong or the revisions
// are; only a search tells which. O(n log n). acts are pruned.
func witness(acts []act) exhibit {
	ranks, wrong, enough := ranksOf(acts)
	if wrong != nil || !enough {
		return exhibit{wrong: wrong}
	}
	line, floating, spare := lineUp(acts, ranks)
	if len(line) == 0 && len(floating) == 0 {
		return exhibit{proved: true}
	}
	line, placed := place(line, floating)
	if !placed {
		return exhibit{}
	}
	line, wrong = replay(line, spare)
	if wrong == nil {
		wrong = realTime(line)
	}
	return exhibit{proved: wrong == nil, wrong: wrong}
}

// rank is the place of a write in the order: its revision and, for a write that only
// a cas is known to have seen, how many steps before that cas, as a negative number.
type rank struct {
	rev  uint64
	step int
}

func (a rank) compare(b rank) int {
	return cmp.Or(cmp.Compare(a.rev, b.rev), cmp.Compare(a.step, b.step))
}

// ranksOf learns where each value stands, from its write or who read it. enough is
// false if some operation cannot be placed.
func ranksOf(acts []act) (ranks map[string]rank, wrong *violation, enough bool) {
	n := naming{ranks: map[string]rank{}, named: map[uint64]act{}, by: map[string]act{}}
	for _, a := range acts {
		value, absent := a.seen, a.absent
		if a.writes {
			value, absent = a.value, a.deletes
		}
		if wrong = n.note(a, value, absent); wrong != nil {
			return nil, wrong, false
		}
	}
	n.chains(acts)
	for _, a := range acts {
		if a.writes && a.sure && a.rev == 0 && (a.deletes || n.ranks[a.value] == rank{}) {
			return nil, nil, false
		}
		if a.reads && !a.absent && n.ranks[a.seen] == (rank{}) {
			return nil, nil, false
		}
	}
	return n.ranks, nil, true
}

// naming is what is known of the revisions of a key.
type naming struct {
	ranks map[string]rank
	named map[uint64]act
	by    map[string]act
}

func (n *naming) note(a act, value string, absent bool) *violation {
	if a.rev == 0 || absent && !a.writes {
		return nil // an absence names the revision of its group, not of the key
	}
	if old, ok := n.named[a.rev]; ok && subject(old) != subject(a) {
		return broken([]*history.Op{old.op, a.op}, "revision %d of %s is both %s and %s", a.rev, a.name(), wroteOrSaw(old), wroteOrSaw(a))
	}
	n.named[a.rev] = a
	if absent {
		return nil
	}
	if old, ok := n.ranks[value]; ok && old.rev != a.rev {
		return broken([]*history.Op{n.by[value].op, a.op}, "%s of %s has revision %d, and also %d", show(value), a.name(), old.rev, a.rev)
	}
	n.ranks[value], n.by[value] = rank{rev: a.rev}, a
	return nil
}

// chains places what nobody but a cas saw right before that cas, and what that had
// seen before it.
func (n *naming) chains(acts []act) {
	cas := map[string]act{} // by the value they wrote
	for _, a := range acts {
		if a.writes && a.reads {
			cas[a.value] = a
		}
	}
	for _, a := range acts {
		for at := n.ranks[a.value]; a.writes && a.reads && at.rev > 0 && n.ranks[a.seen].rev == 0; a = cas[a.seen] {
			at.step--
			n.ranks[a.seen] = at
		}
	}
}

// subject is what a revision names: a value, or the delete that left none.
func subject(a act) string {
	switch {
	case a.deletes:
		return "d" + a.value
	case a.writes:
		return "v" + a.value
	}
	return "v" + a.seen
}

func wroteOrSaw(a act) string {
	if a.writes {
		return wrote(a.op)
	}
	return show(a.seen)
}

// lineUp sorts the acts by rank, each write before those that read it. floating are
// the absences without revision, spare the deletes without outcome.
func lineUp(acts []act, ranks map[string]rank) (line, floating, spare []act) {
	for _, a := range acts {
		switch {
		case a.deletes && !a.sure:
			spare = append(spare, a)
			continue
		case a.writes && !a.deletes:
			a.rank = ranks[a.value]
		case a.reads && !a.absent:
			a.rank = ranks[a.seen]
		default:
			a.rank = rank{rev: a.rev}
		}
		if a.rank.rev == 0 {
			floating = append(floating, a)
			continue
		}
		line = append(line, a)
	}
	byCall := func(a, b act) int { return cmp.Compare(a.call, b.call) }
	slices.SortFunc(line, func(a, b act) int {
		return cmp.Or(a.rank.compare(b.rank), cmp.Compare(readsOnly(a), readsOnly(b)), byCall(a, b))
	})
	slices.SortFunc(floating, byCall)
	slices.SortFunc(spare, byCall)
	return line, floating, spare
}

func readsOnly(a act) int {
	if a.writes {
		return 0
	}
	return 1
}

// place puts each absence that names no revision at the first place where the key is
// absent and nobody behind it was answered before it was called.
func place(line, floating []act) ([]act, bool) {
	if len(floating) == 0 {
		return line, true
	}
	soonest := make([]int64, len(line)+1) // least ret from here on
	soonest[len(line)] = math.MaxInt64
	for i := len(line) - 1; i >= 0; i-- {
		soonest[i] = min(soonest[i+1], line[i].ret)
	}
	var absent []int // places, counted in acts before them
	here := false
	for i := 0; i <= len(line); i++ {
		if !here {
			absent = append(absent, i)
		}
		if i < len(line) && line[i].writes {
			here = !line[i].deletes
		}
	}
	behind := make([][]act, len(line)+1)
	for _, f := range floating {
		k := sort.Search(len(absent), func(k int) bool { return soonest[absent[k]] >= f.call })
		if k == len(absent) {
			return nil, false
		}
		behind[absent[k]] = append(behind[absent[k]], f)
	}
	out := make([]act, 0, len(line)+len(floating))
	for i := 0; i <= len(line); i++ {
		out = append(out, behind[i]...)
		if i < len(line) {
			out = append(out, line[i])
		}
	}
	return out, true
}

// replay runs the acts against a register. An absence that nothing explains is
// matched to a delete without outcome, the earliest called first.
func replay(line, spare []act) ([]act, *violation) {
	out := make([]act, 0, len(line)+len(spare))
	var state register
	var last act
	for _, a := range line {
		if a.reads && a.absent && state.here && len(spare) > 0 {
			out = append(out, spare[0])
			state, spare = register{}, spare[1:]
		}
		next, ok := a.step(state)
		if !ok {
			return nil, mismatch(a, last)
		}
		if a.writes {
			last = a
		}
		state = next
		out = append(out, a)
	}
	return out, nil
}

func mismatch(a, last act) *violation {
	if last.op == nil {
		return broken([]*history.Op{a.op}, "%s (revision %d), but no write of that key has a revision up to it", a.saw(), a.rank.rev)
	}
	return broken([]*history.Op{last.op, a.op}, "%s (revision %d), but at that revision %s (revision %d) was there",
		a.saw(), a.rank.rev, wrote(last.op), last.rank.rev)
}

// realTime finds an act that stands behind one called after it was answered.
func realTime(line []act) *violation {
	var late act
	for _, a := range line {
		if late.op != nil && a.ret < late.call {
			return broken([]*history.Op{a.op, late.op}, "%s at %s has revision %d of %s; revision %d was answered %s",
				late.op.Kind, at(late.op.Start), late.rank.rev, a.name(), a.rank.rev, before(late.op.Start-a.op.Stop))
		}
		if late.op == nil || a.call > late.call {
			late = a
		}
	}
	return nil
}
