package check

import (
	"fmt"
	"maps"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

func (r *record) hasSets() bool { return len(r.ofPolicy("set")) > 0 }

// sets judges ap sets: every member of which an acknowledged add had reached the replica
// and no remove may have seen that add is there, and every member that is there was
// added, by an add that no remove had certainly seen. An add wins over a concurrent
// remove.
func sets(r *record) Result {
	var c Compared
	keys, looked := r.ofPolicy("set"), 0
	for _, k := range keys {
		t := r.types[k]
		byMember := t.members()
		for _, op := range t.seen {
			looked++
			values, _ := op.Seen()
			who := fmt.Sprintf("%s at %s", op.Kind, at(op.Start))
			if v := t.has(k, sighting{op, op.End}, byMember, values, who); v != nil {
				return withCompared(v.result("answers"), c)
			}
		}
		v := r.dumped(k, func(rep history.Replica, d *history.Dump) *violation {
			looked++
			var values []string
			if d != nil {
				for _, s := range d.Siblings {
					values = append(values, s.Field)
				}
			}
			return t.has(k, afterHeal(rep), byMember, values, "after the heal "+show(rep.Node))
		})
		if v != nil {
			return withCompared(v.result("dumps"), c)
		}
		r.comparedTypes(&c, t)
	}
	return Result{
		Verdict: Pass, Compared: c, Stage: "answers and dumps",
		Sentence: fmt.Sprintf("%d times one of %d sets had every member that was added and not removed, and no other", looked, len(keys)),
	}
}

// members sorts the adds of a set by what they added.
func (t *typed) members() map[string]*typed {
	by := map[string]*typed{}
	for _, w := range t.effects {
		m := w.Call.Value
		if by[m] == nil {
			by[m] = &typed{removals: t.removals}
		}
		by[m].effects = append(by[m].effects, w)
	}
	return by
}

// has judges one sight of a set.
func (t *typed) has(k ref, m sighting, byMember map[string]*typed, values []string, who string) *violation {
	for _, v := range values {
		if byMember[v] == nil {
			return broken(t.culprits(m), "%s shows %s in the set %s, which nobody added", who, show(v), k)
		}
	}
	for _, member := range slices.Sorted(maps.Keys(byMember)) {
		of := byMember[member]
		takes := func(d *history.Op) bool { return d.Kind == history.Delete || d.Call.Value == member }
		may, must := false, false
		for _, w := range of.effects {
			f := of.fateOf(w, m, takes)
			may, must = may || f.there, must || f.there && !f.absent
		}
		of = &typed{effects: of.effects, removals: slices.DeleteFunc(slices.Clone(t.removals), func(d *history.Op) bool { return !takes(d) })}
		switch there := slices.Contains(values, member); {
		case there && !may:
			return broken(of.culprits(m), "%s shows %s in the set %s, of which every add was seen by a remove", who, show(member), k)
		case !there && must:
			return broken(of.culprits(m), "%s does not show %s in the set %s, which was added, and no remove can have seen it", who, show(member), k)
		}
	}
	return nil
}
