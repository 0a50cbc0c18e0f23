package ap

import (
	"cmp"
	"slices"

	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// shown shows the siblings of a key, of which there is at least one that is not gone,
// by the conflict policy.
func (r *Replica) shown(key string, siblings []causal.Sibling, dots bool) store.Item {
	item := store.Item{Key: key}
	var deadlines []uint64 // of Values; 0: it stays
	switch r.cfg.Policy {
	case store.LWW:
		if winner, ok := causal.Winner(siblings); ok {
			item.Values, deadlines = [][]byte{winner.Value}, []uint64{winner.Deadline}
		}
	case store.Siblings:
		for _, s := range siblings {
			item.Values, deadlines = append(item.Values, s.Value), append(deadlines, s.Deadline)
		}
	case store.Counter:
		item.Values = [][]byte{[]byte(causal.Total(siblings).String())}
	case store.Set:
		for _, of := range byField(siblings) {
			item.Values, deadlines = append(item.Values, []byte(of[0].Field)), append(deadlines, lastDeadline(of))
		}
	case store.Map:
		for _, of := range byField(siblings) {
			winner, _ := causal.Winner(of)
			item.Fields, item.Values = append(item.Fields, winner.Field), append(item.Values, winner.Value)
			deadlines = append(deadlines, winner.Deadline)
		}
	}
	item.Remaining = remaining(r.cfg.Clock(), deadlines)
	if dots {
		item.Siblings = dotted(siblings)
	}
	return item
}

// dotted is every sibling with its dot.
func dotted(siblings []causal.Sibling) []store.Sibling {
	out := make([]store.Sibling, len(siblings))
	for i, s := range siblings {
		out[i] = store.Sibling{Dot: s.Dot.String(), Stamp: uint64(s.Stamp), Field: s.Field, Value: s.Value}
		if s.Sum != nil {
			out[i].Value = []byte(s.Sum.Value().String())
		}
	}
	return out
}

// byField sorts siblings by what they are of, in byte order.
func byField(siblings []causal.Sibling) [][]causal.Sibling {
	siblings = slices.Clone(siblings)
	slices.SortStableFunc(siblings, func(a, b causal.Sibling) int { return cmp.Compare(a.Field, b.Field) })
	var fields [][]causal.Sibling
	for i, s := range siblings {
		if i == 0 || siblings[i-1].Field != s.Field {
			fields = append(fields, nil)
		}
		last := &fields[len(fields)-1]
		*last = append(*last, s)
	}
	return fields
}
