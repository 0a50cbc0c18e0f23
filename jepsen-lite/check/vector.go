package check

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// dot is the name of a write on ap: the number n of an actor. The zero dot names none.
type dot struct {
	actor string
	n     uint64
}

func (d dot) String() string { return d.actor + ":" + strconv.FormatUint(d.n, 10) }

// vector says, of each actor, up to which number its writes are included.
type vector map[string]uint64

// closedUpTo stands in a vector for the actors that were closed up to a number, in place of
// what they wrote. The history does not tell which those are.
const closedUpTo = "closed"

// has reports whether v surely includes a write.
func (v vector) has(d dot) bool { return d.n > 0 && v[d.actor] >= d.n }

// unsure reports whether v may include a write, or not: its actor may be one of those that
// were closed. Nothing is judged by it.
func (v vector) unsure(d dot) bool { return d.n > 0 && v[closedUpTo] > 0 && v[d.actor] == 0 }

// beyond is a write that u includes and v surely does not; zero if there is none.
func (v vector) beyond(u vector) dot {
	for actor, n := range u {
		if d := (dot{actor, n}); actor != closedUpTo && v[actor] < n && !v.unsure(d) {
			return d
		}
	}
	return dot{}
}

func (v vector) join(u vector) {
	for actor, n := range u {
		v[actor] = max(v[actor], n)
	}
}

// parseVector reads actor:n,actor:n in any order, and closed:number among them; the empty
// text is the empty vector.
func parseVector(text string) (vector, error) {
	v := vector{}
	if text == "" {
		return v, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		d, err := parseDot(part)
		if err != nil {
			return nil, err
		}
		v[d.actor] = max(v[d.actor], d.n)
	}
	return v, nil
}

func parseDot(text string) (dot, error) {
	actor, number, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n == 0 || actor == "" {
		return dot{}, fmt.Errorf("%s is not the name of a write: actor:number", show(text))
	}
	return dot{actor, n}, nil
}

// heights is how far a run of writes is, actor by actor: after its i-th write, the
// highest number of each. An actor that wrote only once costs one entry.
type heights map[string][]height

type height struct {
	index int32
	n     uint64
}

// add notes a write. Indexes grow.
func (h heights) add(index int32, d dot) {
	list := h[d.actor]
	if len(list) == 0 || list[len(list)-1].n < d.n {
		h[d.actor] = append(list, height{index, d.n})
	}
}

// beyond is a write up to an index that v surely does not include; zero if there is none.
func (h heights) beyond(v vector, index int32) dot {
	for actor, list := range h {
		i, exact := slices.BinarySearchFunc(list, index, func(h height, index int32) int { return cmp.Compare(h.index, index) })
		if !exact {
			i--
		}
		if i < 0 {
			continue
		}
		if d := (dot{actor, list[i].n}); v[actor] < d.n && !v.unsure(d) {
			return d
		}
	}
	return dot{}
}
