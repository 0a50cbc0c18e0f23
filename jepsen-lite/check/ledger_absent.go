package check

import (
	"cmp"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// seenAbsent is a key that somebody found to be absent at a revision.
type seenAbsent struct {
	key string
	rev uint64
	op  *history.Op
}

// assume adds the deletes that absences give away.
func (l *ledger) assume() {
	var seen []seenAbsent
	for _, op := range l.r.ops {
		if l.of(op) {
			seen = l.absences(seen, op)
		}
	}
	slices.SortStableFunc(seen, func(a, b seenAbsent) int { return cmp.Compare(a.rev, b.rev) })
	for _, a := range seen {
		v, ok := l.at(a.key, a.rev)
		if !ok || v.gone || v.rev == a.rev || !l.mayRemove(a.key, a.op.End) {
			continue
		}
		vs := l.keys[a.key]
		i, _ := slices.BinarySearchFunc(vs, a.rev, func(v version, rev uint64) int { return cmp.Compare(v.rev, rev) })
		l.keys[a.key] = slices.Insert(vs, i, version{rev: a.rev, gone: true, seen: a.op, assumed: true})
	}
}

// absences are those that an operation saw of keys that somebody wrote.
func (l *ledger) absences(seen []seenAbsent, op *history.Op) []seenAbsent {
	rev := revision(op)
	if values, told := op.Seen(); told && len(values) == 0 && op.Revision != nil {
		return append(seen, seenAbsent{op.Key, rev, op})
	}
	if op.Kind == history.Scan && op.OK() && op.Revision != nil {
		shown := map[string]bool{}
		for _, item := range op.Items {
			shown[item.Key] = true
		}
		for key := range l.keys {
			if !shown[key] && inScan(op, key) {
				seen = append(seen, seenAbsent{key, rev, op})
			}
		}
	}
	branch, steps, ok := op.Branch()
	for i, s := range branch {
		if !ok || s.Kind != history.Get || steps[i].Found {
			continue
		}
		at := rev
		if l.writers[rev] == op {
			at--
		}
		seen = append(seen, seenAbsent{s.Key, at, op})
	}
	return seen
}
