package check

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

func (r *record) holds() bool {
	return r.any(func(op *history.Op) bool { return op.Kind == history.Lock || op.Lock != "" })
}

// lock judges locks by their fences and not by time: two clients may both believe to
// hold a lock, but only one of them can still write. Each holder has a fence of its
// own; a holder that came later has a larger one; and once a write with a fence has
// happened, none with a smaller one does (Kleppmann, "How to do distributed locking",
// 2016).
func lock(r *record) Result {
	var c Compared
	holders, guarded := map[ref][]*history.Op{}, map[ref][]*history.Op{}
	for _, op := range r.ops {
		switch {
		case !op.OK():
		case op.Kind == history.Lock:
			holders[key(op)] = append(holders[key(op)], op)
		case op.Lock != "":
			k := ref{op.Keyspace, op.Lock}
			guarded[k] = append(guarded[k], op)
		}
	}
	writes := 0
	for _, k := range sorted(holders) {
		c.Ops += len(holders[k])
		if v := growing(k, holders[k]); v != nil {
			return withCompared(v.result("fences"), c)
		}
	}
	for _, k := range sorted(guarded) {
		c.Ops += len(guarded[k])
		writes += len(guarded[k])
		if v := fencedOff(k, guarded[k]); v != nil {
			return withCompared(v.result("fences"), c)
		}
	}
	if writes == 0 {
		return Result{Verdict: Invalid, Compared: c, Sentence: "no write was guarded by a fence, so nothing shows whether fences hold"}
	}
	return Result{Verdict: Pass, Compared: c, Stage: "fences", Sentence: fmt.Sprintf("%d holders of %d locks, and %d writes that their fences guarded", c.Ops-writes, len(holders), writes)}
}

// growing judges the fences of one lock's holders.
func growing(k ref, holders []*history.Op) *violation {
	by := map[uint64]*history.Op{}
	for _, op := range holders {
		if other := by[op.Fence]; other != nil {
			return broken([]*history.Op{other, op}, "lock %s was given to two holders with fence %d", k, op.Fence)
		}
		by[op.Fence] = op
	}
	return inOrder(holders, func(op *history.Op) uint64 { return op.Fence }, func(old, op *history.Op) *violation {
		return broken([]*history.Op{old, op}, "lock %s was taken at %s with fence %d, but at %s, before, with fence %d", k, at(op.Start), op.Fence, at(old.Stop), old.Fence)
	})
}

// fencedOff judges the writes that one lock guards: by real time, and by revision.
func fencedOff(k ref, writes []*history.Op) *violation {
	v := inOrder(writes, func(op *history.Op) uint64 { return op.Guard }, func(old, op *history.Op) *violation {
		return broken([]*history.Op{old, op}, "a write guarded by fence %d of %s happened at %s; one with fence %d had happened before, at %s", op.Guard, k, at(op.Start), old.Guard, at(old.Stop))
	})
	if v != nil || slices.ContainsFunc(writes, func(op *history.Op) bool { return revision(op) == 0 }) {
		return v
	}
	byRevision := slices.SortedFunc(slices.Values(writes), func(a, b *history.Op) int { return cmp.Compare(revision(a), revision(b)) })
	for i := 1; i < len(byRevision); i++ {
		if old, op := byRevision[i-1], byRevision[i]; old.Guard > op.Guard {
			return broken([]*history.Op{old, op}, "revision %d was written with fence %d of %s, and revision %d, after it, with fence %d", revision(old), old.Guard, k, revision(op), op.Guard)
		}
	}
	return nil
}

// inOrder finds an operation that was called after one with a larger number was over.
func inOrder(ops []*history.Op, number func(*history.Op) uint64, wrong func(old, op *history.Op) *violation) *violation {
	ended := slices.SortedFunc(slices.Values(ops), func(a, b *history.Op) int { return cmp.Compare(a.End, b.End) })
	begun := slices.SortedFunc(slices.Values(ops), func(a, b *history.Op) int { return cmp.Compare(a.Begin, b.Begin) })
	var largest *history.Op
	i := 0
	for _, op := range begun {
		for ; i < len(ended) && ended[i].End < op.Begin; i++ {
			if largest == nil || number(ended[i]) > number(largest) {
				largest = ended[i]
			}
		}
		if largest != nil && number(largest) > number(op) {
			return wrong(largest, op)
		}
	}
	return nil
}
