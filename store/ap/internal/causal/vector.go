package causal

import (
	"maps"
	"slices"
	"strings"
)

// Vector is a version vector: for each actor, the number up to which all its
// writes are included. A missing actor is zero. The nil Vector is empty and may
// be read.
type Vector map[Actor]uint64

// Has reports whether the write d is included.
func (v Vector) Has(d Dot) bool { return v[d.Actor] >= d.N }

// Covers reports whether v includes all that other includes.
func (v Vector) Covers(other Vector) bool {
	for actor, n := range other {
		if v[actor] < n {
			return false
		}
	}
	return true
}

// Join adds to v all that other includes.
func (v Vector) Join(other Vector) {
	for actor, n := range other {
		v[actor] = max(v[actor], n)
	}
}

// Meet leaves in v what other includes as well.
func (v Vector) Meet(other Vector) {
	for actor, n := range v {
		if v[actor] = min(n, other[actor]); v[actor] == 0 {
			delete(v, actor)
		}
	}
}

// Clone returns a copy that may be changed.
func (v Vector) Clone() Vector {
	if v == nil {
		return Vector{}
	}
	return maps.Clone(v)
}

// Missing returns what v lacks of want: the last dot wanted of each such actor.
func (v Vector) Missing(want Vector) []Dot {
	return slices.DeleteFunc(want.Dots(), v.Has)
}

// Beyond is the number of writes that v includes and other does not.
func (v Vector) Beyond(other Vector) uint64 {
	var sum uint64
	for actor, n := range v {
		if has := other[actor]; n > has {
			sum += n - has
		}
	}
	return sum
}

// Sum is the number of writes included.
func (v Vector) Sum() uint64 {
	var sum uint64
	for _, n := range v {
		sum += n
	}
	return sum
}

// Dots returns the last dot of each actor, in actor order. Whatever is encoded,
// printed or hashed goes through it, because a map has no order.
func (v Vector) Dots() []Dot {
	dots := make([]Dot, 0, len(v))
	for actor, n := range v {
		if n > 0 {
			dots = append(dots, Dot{actor, n})
		}
	}
	slices.SortFunc(dots, Dot.Compare)
	return dots
}

// VectorOf is the least vector that has the given dots.
func VectorOf(dots ...Dot) Vector {
	v := make(Vector, len(dots))
	for _, d := range dots {
		v[d.Actor] = max(v[d.Actor], d.N)
	}
	return v
}

// String is the vector for people: its dots, in actor order.
func (v Vector) String() string { return join(v.Dots()) }

func join(dots []Dot) string {
	var b strings.Builder
	for i, d := range dots {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(d.String())
	}
	return b.String()
}
