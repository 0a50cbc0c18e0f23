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

// Closures are the first so many that there are. The nil one knows of none. It never
// changes, and is shared.
type Closures struct {
	ends Vector   // of all; an actor that left nothing ended at zero
	each []Vector // by number, less one
	sums []uint64 // the same: of writes up to that number
}

// Number is of the newest.
func (c *Closures) Number() uint64 {
	if c == nil {
		return 0
	}
	return uint64(len(c.each))
}

// With is what is known with the next closure.
func (c *Closures) With(next Vector) *Closures {
	more := &Closures{ends: maps.Clone(next)}
	if c != nil {
		more.each, more.sums = slices.Clip(c.each), slices.Clip(c.sums)
		for a, n := range c.ends {
			more.ends[a] = n // the first word is the last
		}
	}
	more.each, more.sums = append(more.each, next), append(more.sums, c.Sum(c.Number())+next.Sum())
	return more
}

// Sum is how many writes were closed up to a number that is known.
func (c *Closures) Sum(number uint64) uint64 {
	if number == 0 {
		return 0
	}
	return c.sums[number-1]
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

// Covered is the largest number up to which v has all that was closed, from one on of
// which that is known.
func (c *Closures) Covered(v Vector, from uint64) uint64 {
	for from < c.Number() && v.Covers(c.each[from]) {
		from++
	}
	return from
}

// Open is v without what the closures up to a number, which it covers, say of it.
func (c *Closures) Open(v Vector, number uint64) Vector {
	open := v.Clone()
	if c != nil {
		for _, ends := range c.each[:number] {
			for a := range ends {
				delete(open, a)
			}
		}
	}
	return open
}

// Up is all that the closures up to a number say. It reports false of a number that is
// not known yet.
func (c *Closures) Up(number uint64) (Vector, bool) {
	all := Vector{}
	if number > c.Number() {
		return nil, false
	}
	for i := range number {
		all.Join(c.each[i])
	}
	return all, true
}
