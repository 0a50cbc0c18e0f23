package check

import (
	"fmt"
	"maps"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// versions judges the names that a store gives to its writes. On cp a revision names
// one write of a key and a write one revision, in any read at any level, each write
// replaces the one before it, and the order of the revisions is one that explains
// the key. On ap a dot names one write, and stamps follow causality. It fails, and linearizable does not, when
// the values are right and only the revisions lie.
func versions(r *record) Result {
	var c Compared
	for _, k := range r.order {
		ops := r.keys[k]
		c.Ops += len(ops)
		if ops[0].Mode != "cp" {
			continue
		}
		v := r.names(k)
		if v == nil && len(r.others[k.keyspace]) == 0 {
			v = replaced(registerOf(ops))
		}
		if v == nil && slices.ContainsFunc(ops, strong) && len(r.others[k.keyspace]) == 0 {
			v = r.rule(k).lies
		}
		if v != nil {
			return withCompared(v.result("revisions"), c)
		}
	}
	for _, space := range slices.Sorted(maps.Keys(r.rich)) {
		c.Ops += r.size(space)
		if v := r.lies(space); v != nil {
			return withCompared(v.result("revisions"), c)
		}
	}
	if v := r.dots(); v != nil {
		return withCompared(v.result("dots"), c)
	}
	if v := r.stamps(); v != nil {
		return withCompared(v.result("stamps"), c)
	}
	return Result{Verdict: Pass, Compared: c, Sentence: fmt.Sprintf("every revision and dot seen by %d operations names one write", c.Ops)}
}

func (r *record) size(space string) int {
	n := 0
	for _, op := range r.ops {
		if op.Keyspace == space {
			n++
		}
	}
	return n
}

// lies finds what is wrong with the revisions of a group whose values are right.
func (r *record) lies(space string) *violation {
	for _, l := range r.ledgersOf(space) {
		if v := l.sound(); v != nil {
			return v
		}
	}
	for _, k := range r.touched {
		if k.keyspace == space && !r.opaque(k) && r.rule(k).verdict == Fail {
			return nil
		}
	}
	return r.whole(space).wrong
}

// names finds a revision with two writes, or a write with two revisions.
func (r *record) names(k ref) *violation {
	byRevision := map[uint64]*history.Op{}
	byValue := map[string]*history.Op{}
	for _, op := range r.keys[k] {
		id, ok := named(op)
		if !ok || op.Revision == nil || *op.Revision == 0 {
			continue
		}
		rev := *op.Revision
		if old := byRevision[rev]; old != nil {
			if was, _ := named(old); was != id {
				return broken([]*history.Op{old, op}, "revision %d of %s is both %s and %s", rev, k, show(was), show(id))
			}
			if old.Write() && old.OK() && op.Write() && op.OK() {
				return broken([]*history.Op{old, op}, "revision %d of %s was given to two writes", rev, k)
			}
		}
		if byRevision[rev] == nil || op.Write() && op.OK() {
			byRevision[rev] = op
		}
		if _, ambiguous := r.twice[k]; ambiguous {
			continue
		}
		if old := byValue[id]; old != nil && *old.Revision != rev {
			return broken([]*history.Op{old, op}, "%s of %s has revision %d, and also %d", show(id), k, *old.Revision, rev)
		}
		byValue[id] = op
	}
	return nil
}

// named is the value that the operation's revision belongs to. An absence has the
// revision of its group, which names no write of the key.
func named(op *history.Op) (value string, ok bool) {
	if seen, told := op.Seen(); told {
		if len(seen) == 0 {
			return "", false
		}
		return seen[0], true
	}
	return op.Call.Value, op.Write() && op.OK()
}

// replaced checks what each write says it replaced. The write before it must be that
// one; if it names another, there must be a write without outcome that could have
// stood between.
func replaced(acts []act) *violation {
	hidden := slices.ContainsFunc(acts, func(a act) bool { return a.writes && !a.sure })
	acts = prune(acts)
	for _, a := range acts {
		if a.writes && a.sure && a.op.Replaced != nil && a.rev != 0 && *a.op.Replaced >= a.rev {
			return broken([]*history.Op{a.op}, "%s of %s at %s has revision %d and says it replaced %d, which is not older",
				a.op.Kind, a.name(), at(a.op.Start), a.rev, *a.op.Replaced)
		}
	}
	ranks, wrong, enough := ranksOf(acts)
	if wrong != nil || !enough {
		return nil // names and the witness judge those
	}
	line, _, spare := lineUp(acts, ranks)
	line = slices.DeleteFunc(line, func(a act) bool { return !a.writes })
	// a write right before a cas that alone saw it has no revision of its own
	for i, a := range line {
		if a.op.Replaced == nil || !a.op.OK() || i > 0 && line[i-1].rank.step < 0 {
			continue
		}
		var prev act
		if i > 0 {
			prev = line[i-1]
		}
		if v := a.follows(prev, *a.op.Replaced, hidden, len(spare) > 0); v != nil {
			return v
		}
	}
	return nil
}

// follows judges one write by the write before it in the order of revisions.
func (a act) follows(prev act, says uint64, hidden, deletes bool) *violation {
	there := prev.rank.rev
	if prev.op == nil || prev.deletes {
		there = 0
	}
	switch {
	case says == there, says > prev.rank.rev && hidden, says == 0 && deletes:
		return nil
	case prev.deletes && says == prev.rank.rev:
		return nil // counts the delete itself as what was there
	}
	if prev.op == nil {
		return broken([]*history.Op{a.op}, "%s of %s at %s (revision %d) says it replaced revision %d, which no write has",
			a.op.Kind, a.name(), at(a.op.Start), a.rev, says)
	}
	return broken([]*history.Op{prev.op, a.op}, "%s of %s at %s (revision %d) says it replaced revision %d, but revision %d (%s) came before it",
		a.op.Kind, a.name(), at(a.op.Start), a.rev, says, prev.rank.rev, wrote(prev.op))
}

// dots finds a dot with two writes, or a write with two dots, over all dumps.
func (r *record) dots() *violation {
	type dot struct{ keyspace, dot string }
	type write struct{ key, value, stamp string }
	type value struct{ keyspace, key, value string }
	writes, dots := map[dot]write{}, map[value]string{}
	for _, rep := range r.h.Replicas {
		for _, d := range rep.Keys {
			for _, s := range d.Siblings {
				id, w := dot{rep.Keyspace + "\x00" + rep.Group, s.Dot}, write{d.Key, s.Value, s.Stamp}
				if was, ok := writes[id]; ok && was != w {
					return broken(r.writersOf(d, was.value, s.Value), "dot %s of %s is both %s=%s and %s=%s (stamps %s and %s)",
						show(s.Dot), show(rep.Keyspace), show(was.key), show(was.value), show(w.key), show(w.value), show(was.stamp), show(w.stamp))
				}
				writes[id] = w
				v := value{rep.Keyspace, d.Key, s.Value}
				if was, ok := dots[v]; ok && was != s.Dot && r.twice[ref{v.keyspace, v.key}][0] == nil && r.types[ref{v.keyspace, v.key}] == nil {
					return broken(r.writersOf(d, s.Value), "%s of %s has dot %s, and also %s", show(s.Value), ref{v.keyspace, v.key}, show(was), show(s.Dot))
				}
				dots[v] = s.Dot
			}
		}
	}
	return nil
}

func (r *record) writersOf(d history.Dump, values ...string) []*history.Op {
	var ops []*history.Op
	for _, v := range values {
		if w := r.writers[ref{d.Keyspace, d.Key}][v]; w != nil {
			ops = append(ops, w)
		}
	}
	return ops
}
