package storetest

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/dialkv/dialkv/store"
)

// dataType reports whether the policy is more than a way to look at registers.
func dataType(p store.Policy) bool { return p == store.Counter || p.Fields() }

// writeType is writeAP of counters, sets and maps. With one replica nothing is
// concurrent: a counter is its sum, a member or field is a cell.
func (s *state) writeType(c store.Command, policy store.Policy) (store.Result, error) {
	here := s.keys[c.Key]
	of := slices.Clone(here)
	if c.Field != "" {
		of = slices.DeleteFunc(slices.Clone(here), func(x cell) bool { return x.field != c.Field })
	}
	result := store.Result{Found: len(of) > 0, Context: writeContext([]uint64{s.number}), Acked: 1, Wanted: c.W.Of(1)}
	switch {
	case (c.Op == store.Increment) != (policy == store.Counter) && c.Op != store.Delete,
		c.Blind, c.Op == store.Put && c.Field == "", c.Field != "" && !policy.Fields():
		return store.Result{}, refusal(store.Unsupported, "a "+policy.String()+" has no such "+c.Op.String(), "what it has")
	case policy == store.Set && len(c.Value) > 0:
		return store.Result{}, refusal(store.Invalid, "a member has no value", "a map")
	}
	read, err := readContext(c.Context)
	if err != nil {
		return result, err
	}
	if c.Context != nil && policy.Fields() {
		of = slices.DeleteFunc(of, func(x cell) bool { return !slices.Contains(read, x.number) })
	}
	left := slices.DeleteFunc(slices.Clone(here), func(x cell) bool { return slices.ContainsFunc(of, x.is) })
	var after *cell
	switch c.Op {
	case store.Increment:
		var before []byte
		if len(here) > 0 {
			before = here[0].value
		}
		sum, err := plus(before, len(here) > 0, c.Delta)
		if err != nil {
			return result, err
		}
		after, result.Value = &cell{number: s.number, value: sum}, bytes.Clone(sum)
	case store.Put:
		after = &cell{number: s.number, field: c.Field, value: bytes.Clone(c.Value)}
	}
	if after != nil {
		left = append(left, *after)
	}
	if s.keys[c.Key] = left; len(left) == 0 {
		delete(s.keys, c.Key)
	}
	return result, nil
}

func (c cell) is(other cell) bool { return c.number == other.number }

// showType shows the cells of a counter, a set or a map.
func showType(item *store.Item, cells []cell, policy store.Policy) {
	cells = slices.Clone(cells)
	slices.SortFunc(cells, func(a, b cell) int { return cmp.Compare(a.field, b.field) })
	for _, c := range cells {
		switch policy {
		case store.Set:
			item.Values = append(item.Values, []byte(c.field))
		case store.Map:
			item.Fields = append(item.Fields, c.field)
			fallthrough
		default:
			item.Values = append(item.Values, bytes.Clone(c.value))
		}
	}
}
