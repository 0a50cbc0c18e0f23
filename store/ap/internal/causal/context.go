package causal

// Context is what a writer has read of one key, and so what its write
// supersedes. A session's token is not a context: it joins what was seen of many
// keys, and a write with it would supersede siblings that nobody has read.
//
// A read gives a vector: everything in the view that was read. A write gives one
// exact dot: its own. A vector up to that dot would cover whatever else the actor
// took before it, among them siblings of other writers that this one never read;
// and what the write itself superseded is gone wherever the write is.
type Context struct {
	Seen  Vector
	Exact bool // Seen holds single dots, not all up to them
}

// Of is the context of the writer of d, who has read nothing else.
func Of(d Dot) Context { return Context{Seen: VectorOf(d), Exact: true} }

// Covers reports whether the writer has read the write d.
func (c Context) Covers(d Dot) bool {
	if c.Exact {
		return c.Seen[d.Actor] == d.N
	}
	return c.Seen.Has(d)
}

// exactly marks an exact context among the dots of its encoding. No actor is zero.
var exactly = Dot{Actor: 0, N: 1}

// Dots returns the context in a form that ContextOf reads. It is never empty: to
// have read and found nothing is not the same as not to have read.
func (c Context) Dots() []Dot {
	dots := c.Seen.Dots()
	if c.Exact || len(dots) == 0 {
		return append([]Dot{exactly}, dots...)
	}
	return dots
}

// ContextOf reads what Dots returned.
func ContextOf(dots []Dot) Context {
	c := Context{Seen: VectorOf(dots...)}
	if n, marked := c.Seen[exactly.Actor]; marked {
		c.Exact = n == exactly.N
		delete(c.Seen, exactly.Actor)
	}
	return c
}
