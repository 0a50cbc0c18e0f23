package check

import (
	"fmt"
	"maps"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

func (r *record) hasMaps() bool { return len(r.ofPolicy("map")) > 0 }

// maplike judges ap maps. A field is there if one of its puts had reached the replica and
// no remove may have seen that; it holds a value that was put to it, which no remove had
// certainly seen, and no later put of the field certainly replaced. A put wins over a
// concurrent remove.
func maplike(r *record) Result {
	var c Compared
	keys, looked := r.ofPolicy("map"), 0
	for _, k := range keys {
		t := r.types[k]
		byField := t.fields()
		for _, op := range t.seen {
			looked++
			have, v := fieldsSeen(op)
			if v == nil {
				v = t.holds(k, sighting{op, op.End}, byField, have, fmt.Sprintf("%s at %s", op.Kind, at(op.Start)))
			}
			if v != nil {
				return withCompared(v.result("answers"), c)
			}
		}
		v := r.dumped(k, func(rep history.Replica, d *history.Dump) *violation {
			looked++
			have := map[string][]string{}
			if d != nil {
				for _, s := range d.Siblings {
					have[s.Field] = append(have[s.Field], s.Value)
				}
			}
			return t.holds(k, afterHeal(rep), byField, have, "after the heal "+show(rep.Node))
		})
		if v != nil {
			return withCompared(v.result("dumps"), c)
		}
		r.comparedTypes(&c, t)
	}
	return Result{
		Verdict: Pass, Compared: c, Stage: "answers and dumps",
		Sentence: fmt.Sprintf("%d times one of %d maps had every field that was put and not removed, and no other, with a value of its own", looked, len(keys)),
	}
}

// fieldsSeen is what a read showed of a map: the value of each field.
func fieldsSeen(op *history.Op) (map[string][]string, *violation) {
	values, _ := op.Seen()
	if len(values) != len(op.Fields) {
		return nil, broken([]*history.Op{op}, "get at %s showed %d fields and %d values", at(op.Start), len(op.Fields), len(values))
	}
	have := map[string][]string{}
	for i, f := range op.Fields {
		if have[f] != nil {
			return nil, broken([]*history.Op{op}, "get at %s showed the field %s twice", at(op.Start), show(f))
		}
		have[f] = []string{values[i]}
	}
	return have, nil
}

// fields sorts the puts of a map by what they put, each with the removes that it may
// meet.
func (t *typed) fields() map[string]*typed {
	by := map[string]*typed{}
	for _, w := range t.effects {
		if by[w.Field] == nil {
			by[w.Field] = &typed{removals: slices.DeleteFunc(slices.Clone(t.removals), func(d *history.Op) bool {
				return d.Kind != history.Delete && d.Field != w.Field
			})}
		}
		by[w.Field].effects = append(by[w.Field].effects, w)
	}
	return by
}

// holds judges one sight of a map. A replica's own dump shows all values of a field.
func (t *typed) holds(k ref, m sighting, byField map[string]*typed, have map[string][]string, who string) *violation {
	for _, f := range slices.Sorted(maps.Keys(have)) {
		of := byField[f]
		for _, value := range have[f] {
			if of == nil || !slices.ContainsFunc(of.effects, func(w *history.Op) bool { return w.Call.Value == value }) {
				return broken(t.culprits(m), "%s shows %s in the field %s of %s, which nobody put there", who, show(value), show(f), k)
			}
		}
	}
	all := func(*history.Op) bool { return true }
	for _, f := range slices.Sorted(maps.Keys(byField)) {
		of, must := byField[f], false
		for _, w := range of.effects {
			fate := of.fateOf(w, m, all)
			must = must || fate.there && !fate.absent
			if !slices.Contains(have[f], w.Call.Value) {
				continue
			}
			if !fate.there {
				return broken(of.culprits(m), "%s shows %s in the field %s of %s, and a remove had seen that", who, show(w.Call.Value), show(f), k)
			}
			if by := of.replaced(w, m); by != nil {
				return broken(append(of.culprits(m), w, by), "%s shows %s in the field %s of %s, which %s had replaced", who, show(w.Call.Value), show(f), k, wrote(by))
			}
		}
		if must && len(have[f]) == 0 {
			return broken(of.culprits(m), "%s does not show the field %s of %s, which was put, and no remove can have seen it", who, show(f), k)
		}
	}
	return nil
}

// replaced finds a put of the field that certainly is where was looked, and had certainly
// met w where it was taken.
func (t *typed) replaced(w *history.Op, m sighting) *history.Op {
	for _, by := range t.effects {
		if by != w && w.OK() && w.End < by.Begin && reached(w, by) && m.shows(by) {
			return by
		}
	}
	return nil
}
