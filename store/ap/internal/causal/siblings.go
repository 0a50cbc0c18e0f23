package causal

import (
	"cmp"
	"slices"
)

// Sibling is one value of a key that no applied write has superseded.
type Sibling struct {
	Dot   Dot
	Stamp Stamp
	Field string // of a set the member, of a map the field, that it is of
	Value []byte
	Sum   *Sum // of a counter, in place of a value; never changed
	// Deadline is when the value is to be deleted, in milliseconds since 1970; 0 never.
	// It travels with the value and means nothing to the algebra.
	Deadline uint64
}

// Write is what one write does to its key. It is applied once at every replica.
type Write struct {
	Dot        Dot
	Stamp      Stamp
	Supersedes []Dot // siblings that its coordinator held and its context covered
	Delete     bool  // only supersede, add nothing
	Field      string
	Value      []byte
	Count      *Count // of a counter
	Deadline   uint64 // of the sibling it adds
}

// Apply returns the siblings, in dot order, after w. It does not change its
// arguments, and shares values with them.
func Apply(siblings []Sibling, w Write) []Sibling {
	if w.Count != nil {
		return count(siblings, w)
	}
	next := make([]Sibling, 0, len(siblings)+1)
	for _, s := range siblings {
		if !slices.Contains(w.Supersedes, s.Dot) {
			next = append(next, s)
		}
	}
	if w.Delete {
		return next
	}
	at, _ := slices.BinarySearchFunc(next, w.Dot, func(s Sibling, d Dot) int { return s.Dot.Compare(d) })
	return slices.Insert(next, at, Sibling{Dot: w.Dot, Stamp: w.Stamp, Field: w.Field, Value: w.Value, Deadline: w.Deadline})
}

// Supersedes returns the dots, in order, of the siblings that c covers.
//
// They say all there is to say about the context, at every replica. What another
// replica holds of the key when the write reaches it was either unknown to the
// coordinator, then no context could cover it; or known and still there, then it
// is in this list if it is covered; or known and gone, then the write that
// superseded it is causally before this one and was applied there first.
func (c Context) Supersedes(siblings []Sibling) []Dot {
	var dots []Dot
	for _, s := range siblings {
		if c.Covers(s.Dot) {
			dots = append(dots, s.Dot)
		}
	}
	return dots
}

// Winner is the sibling that a last-writer-wins reader sees: the highest by
// stamp, then actor, then number. Causality is obeyed already: what a write
// supersedes is no sibling any more, and of the rest none is before another.
// ok is false if there are none.
func Winner(siblings []Sibling) (winner Sibling, ok bool) {
	if len(siblings) == 0 {
		return Sibling{}, false
	}
	return slices.MaxFunc(siblings, func(a, b Sibling) int {
		return cmp.Or(cmp.Compare(a.Stamp, b.Stamp), a.Dot.Compare(b.Dot))
	}), true
}
