package check

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// ledger is what is known of one group of a cp keyspace by its revisions: for each key, what
// every revision left there. All of it is certain: it comes from acknowledged writes
// and from those who saw something. A write without outcome is in it only if it was
// seen.
type ledger struct {
	r        *record
	keyspace string
	group    string
	only     bool                     // the keyspace has no other
	keys     map[string][]version     // by revision
	open     map[string][]*history.Op // writes without outcome that may have changed the key
	leased   map[string]bool          // keys that a lease may have deleted
	writers  map[uint64]*history.Op   // the acknowledged write of a revision
	clash    *violation               // a revision that is two things
	sources  map[*history.Op]bool     // writes without outcome that must have happened
}

// version is what one revision left at a key.
type version struct {
	rev      uint64
	gone     bool
	value    string
	by, seen *history.Op // the acknowledged write; who saw it
	replaced *uint64
	adds     bool
	delta    int64
	// assumed: nobody names the revision that deleted the key, but at this one it was
	// absent, and a delete without outcome or a lease can have done it.
	assumed bool
}

// op is the operation by which the version is known.
func (v *version) op() *history.Op { return cmp.Or(v.by, v.seen) }

// void reports a delete that found nothing to delete: it has a revision and changed
// nothing.
func (v *version) void() bool {
	return v.gone && v.by != nil && v.replaced != nil && *v.replaced == 0
}

func (v *version) holds() string {
	if v.gone {
		return "nothing"
	}
	return show(v.value)
}

// ledgersOf are the ledgers of a keyspace, one for each group that answers name: the
// revisions of different groups do not compare. Where none is named there is one.
func (r *record) ledgersOf(keyspace string) []*ledger {
	if ls, known := r.ledgers[keyspace]; known {
		return ls
	}
	groups := map[string]bool{}
	for _, op := range r.ops {
		if op.Keyspace == keyspace && op.Group != "" {
			groups[op.Group] = true
		}
	}
	if len(groups) == 0 {
		groups[""] = true
	}
	var ls []*ledger
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		ls = append(ls, r.ledgerOf(keyspace, group, len(groups) == 1))
	}
	r.ledgers[keyspace] = ls
	return ls
}

// ledgerOf builds one. An operation that names no group is of the only one.
func (r *record) ledgerOf(keyspace, group string, only bool) *ledger {
	l := &ledger{
		r: r, keyspace: keyspace, group: group, only: only, keys: map[string][]version{}, open: map[string][]*history.Op{},
		leased: map[string]bool{}, writers: map[uint64]*history.Op{}, sources: map[*history.Op]bool{},
	}
	facts := map[string]map[uint64]version{}
	for _, op := range r.ops {
		if op.Keyspace != keyspace {
			continue
		}
		l.pend(op)
		if l.of(op) {
			l.facts(op, func(key string, v version) { l.note(facts, key, v) })
		}
	}
	for key, revs := range facts {
		l.keys[key] = slices.SortedFunc(maps.Values(revs), func(a, b version) int { return cmp.Compare(a.rev, b.rev) })
	}
	l.assume()
	return l
}

// of reports whether the operation's revision is one of this group.
func (l *ledger) of(op *history.Op) bool {
	return op.Keyspace == l.keyspace && (op.Group == l.group || op.Group == "" && l.only)
}

// ledger is the one of an operation's group, nil if nobody can say which that is.
func (r *record) ledger(op *history.Op) *ledger {
	for _, l := range r.ledgersOf(op.Keyspace) {
		if l.of(op) {
			return l
		}
	}
	return nil
}

// ledgerAt is the one that knows of a key.
func (r *record) ledgerAt(k ref) *ledger {
	for _, l := range r.ledgersOf(k.keyspace) {
		if len(l.keys[k.key]) > 0 {
			return l
		}
	}
	return nil
}

// opaque keys belong to recipes whose own writes are not in the history.
func (r *record) opaque(k ref) bool {
	return r.locks[k.keyspace] && strings.HasPrefix(k.key, "lock/")
}

// pend notes what a write without outcome, or a lease, may do.
func (l *ledger) pend(op *history.Op) {
	if op.TTL > 0 || op.Call.Lease > 0 {
		l.leased[op.Key] = true
	}
	if !op.Write() || !op.Unclear() {
		return
	}
	if op.Kind != history.Txn {
		l.open[op.Key] = append(l.open[op.Key], op)
		return
	}
	touched := map[string]bool{}
	for _, s := range slices.Concat(op.Then, op.Else) {
		if s.Kind != history.Get && !touched[s.Key] {
			touched[s.Key] = true
			l.open[s.Key] = append(l.open[s.Key], op)
		}
	}
}

// facts gives what the operation certainly says of revisions.
func (l *ledger) facts(op *history.Op, note func(key string, v version)) {
	rev := revision(op)
	switch op.Kind {
	case history.Watch:
		for _, c := range op.Changes {
			for _, e := range c.Events {
				note(e.Key, version{rev: c.Revision, gone: e.Deleted, value: e.Value, seen: op, replaced: &e.Replaced})
			}
		}
	case history.Scan:
		for _, item := range op.Items {
			if op.OK() {
				note(item.Key, version{rev: item.Revision, value: item.Value, seen: op})
			}
		}
	case history.Txn:
		l.txnFacts(op, note)
	case history.Get, history.CAS, history.Put, history.Delete, history.Incr:
		if seen, told := op.Seen(); told {
			if len(seen) > 0 {
				note(op.Key, version{rev: rev, value: seen[0], seen: op})
			}
			return
		}
		if !op.Write() || !op.OK() || op.Kind == history.Incr && !summed(op) {
			return
		}
		v := version{rev: rev, value: op.Call.Value, by: op, replaced: op.Replaced, gone: op.Kind == history.Delete}
		if op.Kind == history.Incr {
			v.value, v.adds, v.delta = op.Answer.Value, true, op.Delta
		}
		note(op.Key, v)
	}
}

// txnFacts notes what the txn left at each key, and what its gets saw of others.
func (l *ledger) txnFacts(op *history.Op, note func(key string, v version)) {
	branch, seen, ok := op.Branch()
	if !ok {
		return
	}
	last := map[string]version{}
	for i, s := range branch {
		own, wrote := last[s.Key]
		v := version{rev: revision(op), by: op, replaced: &seen[i].Replaced}
		if wrote {
			v.replaced = own.replaced
		}
		switch s.Kind {
		case history.Get:
			if seen[i].Found && !wrote {
				note(s.Key, version{rev: seen[i].Revision, value: seen[i].Value, seen: op})
			}
			continue
		case history.Delete:
			v.gone = true
		case history.Put:
			v.value = s.Value
		case history.Incr:
			v.value, v.adds, v.delta = seen[i].Value, !wrote, s.Delta
		}
		last[s.Key] = v
	}
	for key, v := range last {
		note(key, v)
	}
}

func (l *ledger) note(facts map[string]map[uint64]version, key string, v version) {
	if v.rev == 0 || l.r.opaque(ref{l.keyspace, key}) {
		return
	}
	if v.gone {
		v.value = "" // a delete's names the delete
	}
	if v.by != nil {
		if first := l.writers[v.rev]; first != nil && first != v.by && l.clash == nil {
			l.clash = broken([]*history.Op{first, v.by}, "revision %d of %s was given to two writes", v.rev, show(l.keyspace))
		}
		l.writers[v.rev] = v.by
	}
	if facts[key] == nil {
		facts[key] = map[uint64]version{}
	}
	old, known := facts[key][v.rev]
	if !known {
		facts[key][v.rev] = v
		return
	}
	if (old.gone != v.gone || old.value != v.value) && l.clash == nil {
		l.clash = broken([]*history.Op{old.op(), v.op()}, "revision %d of %s is both %s and %s", v.rev, ref{l.keyspace, key}, old.holds(), v.holds())
	}
	if old.by == nil && v.by != nil {
		v.seen = old.seen
		old, v = v, old
	}
	if old.replaced == nil {
		old.replaced = v.replaced
	}
	old.seen = cmp.Or(old.seen, v.seen)
	facts[key][v.rev] = old
}

// at is the version of a key at a revision of the group: the last one up to it.
func (l *ledger) at(key string, rev uint64) (version, bool) {
	vs := l.keys[key]
	i, exact := slices.BinarySearchFunc(vs, rev, func(v version, rev uint64) int { return cmp.Compare(v.rev, rev) })
	if !exact {
		i--
	}
	if i < 0 {
		return version{}, false
	}
	return vs[i], true
}

// next is the version that follows a revision of a key.
func (l *ledger) next(key string, rev uint64) (version, bool) {
	vs := l.keys[key]
	i, exact := slices.BinarySearchFunc(vs, rev, func(v version, rev uint64) int { return cmp.Compare(v.rev, rev) })
	if exact {
		i++
	}
	if i >= len(vs) {
		return version{}, false
	}
	return vs[i], true
}

// mayHide reports whether a write without outcome that was called before a moment may
// have changed the key unseen.
func (l *ledger) mayHide(key string, before int64) bool {
	return slices.ContainsFunc(l.open[key], func(op *history.Op) bool { return op.Begin < before })
}

// mayRemove reports the same of what leaves the key absent.
func (l *ledger) mayRemove(key string, before int64) bool {
	return l.leased[key] || slices.ContainsFunc(l.open[key], func(op *history.Op) bool { return op.Begin < before && removes(op, key) })
}

func removes(op *history.Op, key string) bool {
	if op.Kind == history.Delete {
		return true
	}
	return slices.ContainsFunc(slices.Concat(op.Then, op.Else), func(s history.Step) bool { return s.Kind == history.Delete && s.Key == key })
}

// explains reports whether a write without outcome may have left that version.
func explains(op *history.Op, key string, v version) bool {
	if v.gone {
		return removes(op, key)
	}
	switch op.Kind {
	case history.Incr:
		return true
	case history.Put, history.CAS:
		return op.Call.Value == v.value
	}
	return slices.ContainsFunc(slices.Concat(op.Then, op.Else), func(s history.Step) bool {
		return s.Key == key && (s.Kind == history.Incr || s.Kind == history.Put && s.Value == v.value)
	})
}
