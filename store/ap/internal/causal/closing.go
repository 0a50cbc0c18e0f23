package causal

import (
	"maps"
	"slices"
)

// An actor ends when its process does, and is in every vector from then on. A closure
// says at which number it ended, once nobody can ever hold more of it. Closures are
// numbered, and learned in order, so one number stands for all actors that were closed
// up to it. What is known of an actor is never forgotten: a merge with somebody who has
// its writes still would bring them back.

// Report is what one member says of itself when it is asked which actors have ended.
type Report struct {
	Node  string
	Epoch uint64 // of the placement that it has confirmed
	Actor Actor  // its own, of this life
	Holds Vector // as durable as anything can be
	// Hears is of each other member the life whose log it is taking in, if there is one
	// now. Nothing that an earlier life had sent can come any more.
	Hears map[string]Actor
	Known uint64 // number of the newest closure that it has learned
}

// Ended returns which of the actors have ended, and at which number, by the reports of
// all members of a placement. The actors must have been known before the first member was
// asked: whose life began after its member's report is not a life that is over.
//
// The reports need not be of one moment. Let some member be the first to take in more of
// an ended actor than all of them held, after its report. It does not come from the actor
// itself, as no member is that any more, and from nobody else who is not in the placement,
// as all have confirmed it. So it was sent by another member; not in the life in which that
// one reported, or a later one, as it would have been the first then; nor in an earlier one,
// as those are heard no more.
func Ended(actors []Actor, members []string, epoch uint64, reports []Report) Vector {
	by := make(map[string]Report, len(reports))
	for _, r := range reports {
		by[r.Node] = r
	}
	for _, node := range members {
		r, reported := by[node]
		if !reported || r.Epoch != epoch {
			return nil
		}
		for _, other := range members {
			if other != node && r.Hears[other] != by[other].Actor {
				return nil
			}
		}
	}
	ends := Vector{}
	for _, a := range actors {
		n := by[members[0]].Holds[a]
		open := slices.ContainsFunc(members, func(node string) bool { return by[node].Actor == a || by[node].Holds[a] != n })
		if !open {
			ends[a] = n
		}
	}
	return ends
}

// Closures are all that there are up to one of them. The nil one is none. It never changes,
// and is shared. Their numbers grow, and need not be without gaps.
type Closures struct {
	ends    Vector   // of all; an actor that left nothing ended at zero
	each    []Vector // in order
	numbers []uint64
	sums    []uint64 // of the writes up to each
}

// Number is of the newest, 0 if there is none.
func (c *Closures) Number() uint64 {
	if c == nil {
		return 0
	}
	return c.numbers[len(c.numbers)-1]
}

// With is what is known with the next closure.
func (c *Closures) With(number uint64, next Vector) *Closures {
	more := &Closures{ends: maps.Clone(next)}
	if c != nil {
		*more = Closures{more.ends, slices.Clip(c.each), slices.Clip(c.numbers), slices.Clip(c.sums)}
		maps.Copy(more.ends, c.ends) // the first word is the last
	}
	more.each, more.numbers = append(more.each, next), append(more.numbers, number)
	more.sums = append(more.sums, c.Sum(c.Number())+next.Sum())
	return more
}

// upTo is how many there are up to a number, and whether that is one of theirs.
func (c *Closures) upTo(number uint64) (n int, known bool) {
	if c == nil || number == 0 {
		return 0, number == 0
	}
	n, known = slices.BinarySearch(c.numbers, number)
	if known {
		n++
	}
	return n, known
}

// Knows reports whether a number is of one of them, or 0.
func (c *Closures) Knows(number uint64) bool {
	_, known := c.upTo(number)
	return known
}

// Since are the numbers behind one.
func (c *Closures) Since(number uint64) []uint64 {
	n, _ := c.upTo(number)
	if c == nil {
		return nil
	}
	return c.numbers[n:]
}

// Sum is how many writes were closed up to a number.
func (c *Closures) Sum(number uint64) uint64 {
	if n, _ := c.upTo(number); n > 0 {
		return c.sums[n-1]
	}
	return 0
}

// Count is how many actors were closed.
func (c *Closures) Count() int {
	if c == nil {
		return 0
	}
	return len(c.ends)
}

// End is at which number an actor was closed.
func (c *Closures) End(a Actor) (n uint64, closed bool) {
	if c == nil {
		return 0, false
	}
	n, closed = c.ends[a]
	return n, closed
}

// Beyond is what v has of closed actors that there never was, or is no more: the last dot
// of each.
func (c *Closures) Beyond(v Vector) []Dot {
	if c == nil {
		return nil
	}
	return slices.DeleteFunc(v.Dots(), func(d Dot) bool {
		n, closed := c.ends[d.Actor]
		return !closed || d.N <= n
	})
}

// Covered is the number up to which v has all that was closed. Up to from it is known to.
func (c *Closures) Covered(v Vector, from uint64) uint64 {
	n, _ := c.upTo(from)
	for c != nil && n < len(c.each) && v.Covers(c.each[n]) {
		from = c.numbers[n]
		n++
	}
	return from
}

// Open is v without what the closures up to a number, which it covers, say of it.
func (c *Closures) Open(v Vector, number uint64) Vector {
	open := v.Clone()
	for n, _ := c.upTo(number); n > 0; n-- {
		for a := range c.each[n-1] {
			delete(open, a)
		}
	}
	return open
}

// Up is all that the closures up to a number say. It reports false of a number that is
// not known.
func (c *Closures) Up(number uint64) (Vector, bool) {
	n, known := c.upTo(number)
	if !known {
		return nil, false
	}
	all := Vector{}
	for ; n > 0; n-- {
		for a, end := range c.each[n-1] {
			if end > 0 {
				all[a] = end
			}
		}
	}
	return all, true
}
