package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// group is all replicas of one group of one keyspace, as they were dumped.
type group struct {
	keyspace, name string
	replicas       []dumped
}

// dumped is one of them, with its entries by key.
type dumped struct {
	history.Replica
	at map[string]*history.Dump
}

// sortDumps sorts the dumps. The error says why they prove nothing: a dump that did not
// finish, or one taken while a fault was still in force.
func (r *record) sortDumps() ([]group, *violation) {
	var out []group
	for _, rep := range r.h.Replicas {
		if !rep.Whole {
			return nil, broken(nil, "the dump of %s on %s did not finish", show(rep.Keyspace), show(rep.Node))
		}
		if r.h.InFault(rep.Seq) {
			return nil, broken(nil, "%s was dumped from %s while a fault was in force", show(rep.Keyspace), show(rep.Node))
		}
		i := slices.IndexFunc(out, func(g group) bool { return g.keyspace == rep.Keyspace && g.name == rep.Group })
		if i < 0 {
			i = len(out)
			out = append(out, group{keyspace: rep.Keyspace, name: rep.Group})
		}
		out[i].replicas = append(out[i].replicas, dumped{rep, byKey(rep)})
	}
	return out, nil
}

// convergence judges that after the heal all replicas of a group hold the same
// values under the same names, and serve the same. It reads dumps that each node
// wrote of itself: a coordinator would repair what it shows.
func convergence(r *record) Result {
	groups, unfit := r.groups()
	if unfit != nil || len(groups) == 0 {
		return unfitDump(unfit)
	}
	var c Compared
	entries := 0
	twice := map[string]bool{} // keyspaces of which a group was dumped from two nodes
	for _, g := range groups {
		if len(g.replicas) > 1 {
			twice[g.keyspace] = true
		}
		n, v := r.equal(g)
		entries += n
		if v != nil {
			return withCompared(v.result("dumps"), c)
		}
	}
	if len(twice) == 0 {
		return Result{Verdict: Invalid, Sentence: "no group was dumped from two nodes, so there is nothing to compare", Compared: c}
	}
	c.Ops = r.writesTo(twice)
	return Result{Verdict: Pass, Compared: c, Stage: "dumps", Sentence: fmt.Sprintf("after %d writes, %d entries of %d groups are the same on every replica", c.Ops, entries, len(groups))}
}

// writesTo counts the writes that may have shaped what was dumped. The floor is in
// writes, not in entries: a delete leaves no entry, and replicas that agree that a key
// is gone were compared too.
func (r *record) writesTo(keyspaces map[string]bool) int {
	n := 0
	for name := range keyspaces {
		n += len(r.others[name])
	}
	for k, t := range r.types {
		if keyspaces[k.keyspace] {
			n += len(t.effects) + len(t.removals)
		}
	}
	for _, op := range r.ops {
		if keyspaces[op.Keyspace] && r.rich[op.Keyspace] && op.Write() && !op.Failed() {
			n++
		}
	}
	for k, ops := range r.keys {
		if !keyspaces[k.keyspace] {
			continue
		}
		for _, op := range ops {
			if op.Write() && !op.Failed() {
				n++
			}
		}
	}
	return n
}

func unfitDump(v *violation) Result {
	if v == nil {
		v = broken(nil, "the history holds no dump of any replica")
	}
	return Result{Verdict: Invalid, Sentence: v.sentence}
}

// equal compares each replica with the first, key by key.
func (r *record) equal(g group) (compared int, v *violation) {
	first := g.replicas[0]
	for _, rep := range g.replicas[1:] {
		for _, k := range union(first.Replica, rep.Replica) {
			want, have := first.at[k], rep.at[k]
			compared++
			if a, b := describe(want), describe(have); a != b {
				return compared, broken(r.writersOfBoth(k, want, have), "after the heal %s holds %s for %s, and %s holds %s",
					show(first.Node), a, ref{g.keyspace, k}, show(rep.Node), b)
			}
		}
	}
	return compared, nil
}

func byKey(rep history.Replica) map[string]*history.Dump {
	m := make(map[string]*history.Dump, len(rep.Keys))
	for i := range rep.Keys {
		m[rep.Keys[i].Key] = &rep.Keys[i]
	}
	return m
}

func union(a, b history.Replica) []string {
	var keys []string
	for _, d := range slices.Concat(a.Keys, b.Keys) {
		keys = append(keys, d.Key)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// describe prints an entry so that two are equal when they are the same: siblings in
// the order of their dots, the value served, the revision.
func describe(d *history.Dump) string {
	if d == nil || len(d.Siblings) == 0 && d.Value == nil && d.Revision == nil {
		return "nothing"
	}
	var parts []string
	if d.Value != nil {
		parts = append(parts, show(*d.Value))
	}
	if d.Revision != nil {
		parts = append(parts, fmt.Sprintf("revision %d", *d.Revision))
	}
	var held []string
	for _, s := range d.Siblings {
		name := ""
		if s.Field != "" {
			name = show(s.Field) + " "
		}
		held = append(held, name+fmt.Sprintf("%s (dot %s, stamp %s)", show(s.Value), show(s.Dot), show(s.Stamp)))
	}
	slices.Sort(held)
	return strings.Join(append(parts, held...), ", ")
}

// held are the values of an entry.
func held(d *history.Dump) []string {
	if d == nil {
		return nil
	}
	var values []string
	for _, s := range d.Siblings {
		values = append(values, s.Value)
	}
	if d.Value != nil && !slices.Contains(values, *d.Value) {
		values = append(values, *d.Value)
	}
	return values
}

func (r *record) writersOfBoth(k string, dumps ...*history.Dump) []*history.Op {
	var ops []*history.Op
	for _, d := range dumps {
		for _, v := range held(d) {
			if w := r.writers[ref{d.Keyspace, k}][v]; w != nil {
				ops = append(ops, w)
			}
		}
	}
	return ops
}
