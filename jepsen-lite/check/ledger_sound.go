package check

import (
	"maps"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// sound finds what is wrong with the revisions themselves: one that is two things, one
// that nobody can have written, or a write that replaced what was not there.
func (l *ledger) sound() *violation {
	if l.clash != nil {
		return l.clash
	}
	torn := map[*history.Op]version{}
	for _, key := range slices.Sorted(maps.Keys(l.keys)) {
		vs := l.keys[key]
		for i := range vs {
			if v := l.torn(torn, key, vs[i]); v != nil {
				return v
			}
			var prev *version
			if i > 0 {
				prev = &vs[i-1]
			}
			if v := l.born(key, &vs[i]); v != nil {
				return v
			}
			if v := l.follows(key, prev, &vs[i]); v != nil {
				return v
			}
		}
		if v := l.r.counted(ref{l.keyspace, key}, new(Compared), nil); v != nil {
			return v
		}
	}
	return nil
}

// torn finds a txn without outcome that was seen at two revisions. A value names its
// write.
func (l *ledger) torn(seen map[*history.Op]version, key string, v version) *violation {
	w := l.r.writers[ref{l.keyspace, key}][v.value]
	if v.gone || v.by != nil || w == nil || w.Kind != history.Txn || !w.Unclear() {
		return nil
	}
	if old, known := seen[w]; known && old.rev != v.rev {
		return broken([]*history.Op{w, old.seen, v.seen}, "the txn at %s was seen at revision %d (%s) and at revision %d (%s)",
			at(w.Start), old.rev, show(old.value), v.rev, show(v.value))
	}
	seen[w] = v
	return nil
}

// born looks for the write of a version that no acknowledged write claims.
func (l *ledger) born(key string, v *version) *violation {
	if v.by != nil || v.assumed || v.gone && l.leased[key] {
		return nil
	}
	for _, op := range l.open[key] {
		if explains(op, key, *v) && op.Begin < v.seen.End {
			l.sources[op] = true
			return nil
		}
	}
	what := "%s of %s (revision %d), which operation %d saw, was written by nobody"
	ops := []*history.Op{v.seen}
	if w := l.r.writers[ref{l.keyspace, key}][v.value]; w != nil && !v.gone {
		ops = append(ops, w)
		what = "%s of %s has revision %d, which operation %d saw, and its own write says another"
	}
	return broken(ops, what, v.holds(), ref{l.keyspace, key}, v.rev, v.seen.ID)
}

// follows judges a version by the one before it.
func (l *ledger) follows(key string, prev, v *version) *violation {
	there, k := version{gone: true}, ref{l.keyspace, key}
	if prev != nil {
		there = *prev
	}
	hidden := l.mayHide(key, v.op().End)
	if v.replaced != nil && v.by != nil || v.replaced != nil && v.seen != nil && v.seen.Kind == history.Watch {
		says := *v.replaced
		fits := says == there.rev || there.gone && says == 0 || says == 0 && l.mayRemove(key, v.op().End) || says > there.rev && says < v.rev && hidden
		if !fits {
			ops := []*history.Op{v.op()}
			if prev != nil {
				ops = append(ops, prev.op())
			}
			return broken(ops, "revision %d of %s says it replaced revision %d, but revision %d (%s) came before it", v.rev, k, says, there.rev, there.holds())
		}
		hidden = hidden && says != there.rev
	}
	if !v.adds || hidden || l.leased[key] {
		return nil
	}
	was, number := register{here: !there.gone, value: there.value}.number()
	if number && sum(was, v.delta) == v.value {
		return nil
	}
	ops := []*history.Op{v.op()}
	if prev != nil {
		ops = append(ops, prev.op())
	}
	return broken(ops, "the incr of %s by %d gave %s (revision %d), but %s was there (revision %d)", k, v.delta, show(v.value), v.rev, there.holds(), there.rev)
}

// conflicted reports whether an operation is a condition that did not hold.
func conflicted(op *history.Op) bool { return op.Failed() && op.Code == store.Conflict }

// acknowledged counts the acknowledged writes of a key.
func (l *ledger) acknowledged(key string) int {
	n := 0
	for _, v := range l.keys[key] {
		if v.by != nil {
			n++
		}
	}
	return n
}

// kept compares what a replica holds of a key after the heal with its last version.
// Only that, or what a write without outcome or a lease left, may be there.
func (l *ledger) kept(k ref, rep dumped) *violation {
	vs := slices.DeleteFunc(slices.Clone(l.keys[k.key]), func(v version) bool { return v.assumed })
	if len(vs) == 0 {
		return nil
	}
	last := vs[len(vs)-1]
	now := version{gone: true, seen: last.op()}
	if d := rep.at[k.key]; len(held(d)) > 0 {
		now.gone, now.value = false, held(d)[0]
		if d.Revision != nil {
			now.rev = *d.Revision
		}
	}
	same := now.gone == last.gone && now.value == last.value
	switch {
	case same && (now.rev == last.rev || now.rev == 0), now.gone && l.leased[k.key]:
		return nil
	case now.rev == 0 || now.rev > last.rev:
		for _, op := range l.open[k.key] {
			if explains(op, k.key, now) {
				return nil
			}
		}
	}
	return broken([]*history.Op{last.op()}, "%s of %s (revision %d) was acknowledged or seen by %s, and after the heal %s holds %s (revision %d)",
		last.holds(), k, last.rev, at(last.op().Stop), show(rep.Node), now.holds(), now.rev)
}
