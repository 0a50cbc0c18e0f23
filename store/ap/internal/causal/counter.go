package causal

import (
	"cmp"
	"math/big"
	"slices"
)

// Sum is what a sibling of a counter holds: its actor's increments. An actor keeps one
// sibling of a counter, which its next increment replaces, so a counter is as large as
// the number of actors that count, whatever they counted.
//
// A delete takes away the increments that its coordinator had applied, and of an actor
// these are all up to some number. It names the sibling it saw of each, and that one's
// total. Who holds a later sibling keeps it and remembers up to where its increments
// were deleted, and how much of the total that was. So what a counter shows is, at
// every replica, the sum of the increments it has applied less those that an applied
// delete had seen: a function of the set of writes, in whatever order they came.
//
// That is a PN-counter (Shapiro et al., 2011) with a reset. Without the total in the
// delete, one that is concurrent with an increment would remove nothing, or all: the
// anomalies of Baquero, Almeida and Lerche, "The Problem with Embedded CRDT Counters
// and a Solution", PaPoC 2016.
type Sum struct {
	Total int64  // of the increments since the actor began this sum, up to the sibling's
	Base  uint64 // those up to this number are deleted
	Off   int64  // their part of Total
	By    Dot    // the delete that said so; of a sum that begins, nobody
}

// Value is the sum of the increments that are not deleted. Where several deletes met it
// may be beyond 64 bits though no total is.
func (s Sum) Value() *big.Int {
	return new(big.Int).Sub(big.NewInt(s.Total), big.NewInt(s.Off))
}

// Count is what a write does to a counter: add Delta or, with Write.Delete, take away
// what it supersedes.
type Count struct {
	Delta  int64
	Totals []int64 // of the siblings in Write.Supersedes, as its coordinator had them
}

// Gone reports whether all that the sibling stands for is deleted. It is kept all the
// same until nobody can have a later one of its actor that does not know of the delete:
// who has that knows the total at its own increment, and not at the deleted one.
func (s Sibling) Gone() bool { return s.Sum != nil && s.Sum.Base == s.Dot.N }

// Alive returns the siblings without those that are gone. It shares what it can.
func Alive(siblings []Sibling) []Sibling {
	if !slices.ContainsFunc(siblings, Sibling.Gone) {
		return siblings
	}
	return slices.DeleteFunc(slices.Clone(siblings), Sibling.Gone)
}

// Total is what a counter shows.
func Total(siblings []Sibling) *big.Int {
	sum := new(big.Int)
	for _, s := range siblings {
		if s.Sum != nil {
			sum.Add(sum, s.Sum.Value())
		}
	}
	return sum
}

// Counted is what an increment by an actor supersedes, and what it adds to: the
// actor's sibling, unless that is gone. Then the actor begins a new sum.
func Counted(siblings []Sibling, actor Actor) (supersedes []Dot, totals []int64) {
	i := slices.IndexFunc(siblings, func(s Sibling) bool { return s.Dot.Actor == actor && !s.Gone() })
	if i < 0 {
		return nil, nil
	}
	return []Dot{siblings[i].Dot}, []int64{siblings[i].Sum.Total}
}

// count is Apply of a write to a counter.
func count(siblings []Sibling, w Write) []Sibling {
	next := slices.Clone(siblings)
	if !w.Delete {
		return put(next, increment(next, w))
	}
	for i, d := range w.Supersedes {
		at := slices.IndexFunc(next, func(s Sibling) bool { return s.Dot.Actor == d.Actor })
		if at < 0 || next[at].Sum.Base >= d.N {
			continue // another delete has seen as much
		}
		sum := *next[at].Sum
		sum.Base, sum.Off, sum.By = d.N, w.Count.Totals[i], w.Dot
		next[at].Sum = &sum
	}
	return next
}

// increment is the sibling that w leaves of its actor. Where the one that w adds to is
// not there any more, all up to it is deleted.
func increment(siblings []Sibling, w Write) Sibling {
	sum := Sum{Total: w.Count.Delta, Base: w.Dot.N - 1}
	if len(w.Supersedes) > 0 {
		before := w.Count.Totals[0]
		sum = Sum{Total: before + w.Count.Delta, Base: w.Supersedes[0].N, Off: before}
		if i := slices.IndexFunc(siblings, func(s Sibling) bool { return s.Dot.Actor == w.Dot.Actor }); i >= 0 {
			had := siblings[i].Sum
			sum.Base, sum.Off, sum.By = had.Base, had.Off, had.By
		}
	}
	return Sibling{Dot: w.Dot, Stamp: w.Stamp, Sum: &sum}
}

// put sets the sibling of an actor, in actor order.
func put(siblings []Sibling, s Sibling) []Sibling {
	at, found := slices.BinarySearchFunc(siblings, s.Dot.Actor, func(s Sibling, a Actor) int { return cmp.Compare(s.Dot.Actor, a) })
	if found {
		siblings[at] = s
		return siblings
	}
	return slices.Insert(siblings, at, s)
}

// counter reports whether the siblings are of a counter.
func counter(siblings []Sibling) bool { return len(siblings) > 0 && siblings[0].Sum != nil }

// mergeCounter is Merge of a counter: of the siblings of one actor the later one, and
// of what was deleted of it the most.
func mergeCounter(local []Sibling, have Vector, remote []Sibling, theirs Vector) []Sibling {
	var merged []Sibling
	for _, s := range local {
		i := slices.IndexFunc(remote, func(r Sibling) bool { return r.Dot.Actor == s.Dot.Actor })
		switch {
		case i >= 0:
			merged = append(merged, s.join(remote[i]))
		case !theirs.Has(s.Dot):
			merged = append(merged, s)
		}
	}
	for _, s := range remote {
		known := slices.ContainsFunc(local, func(l Sibling) bool { return l.Dot.Actor == s.Dot.Actor })
		if !known && !have.Has(s.Dot) {
			merged = append(merged, s)
		}
	}
	slices.SortFunc(merged, func(a, b Sibling) int { return a.Dot.Compare(b.Dot) })
	return merged
}

// join is what two replicas know together of an actor's sibling. A base of both is of
// the later one, which may have begun anew behind the other's.
func (s Sibling) join(other Sibling) Sibling {
	if other.Dot.N > s.Dot.N {
		s, other = other, s
	}
	if other.Sum.Base > s.Sum.Base {
		sum := *s.Sum
		sum.Base, sum.Off, sum.By = other.Sum.Base, other.Sum.Off, other.Sum.By
		s.Sum = &sum
	}
	return s
}

// Settled returns the siblings without those that are gone by a delete that every
// replica is known to have applied, where this one has applied all that they had then.
func Settled(siblings []Sibling, applied func(Dot) bool) []Sibling {
	return slices.DeleteFunc(slices.Clone(siblings), func(s Sibling) bool { return s.Gone() && applied(s.Sum.By) })
}

// Same reports whether two replicas hold the same of a key.
func Same(a, b []Sibling) bool {
	return slices.EqualFunc(a, b, func(a, b Sibling) bool {
		return a.Dot == b.Dot && (a.Sum == nil || b.Sum == nil || a.Sum.Base == b.Sum.Base)
	})
}
