package causal

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func vectors() *rapid.Generator[Vector] {
	return rapid.Custom(func(t *rapid.T) Vector {
		return Vector(rapid.MapOfN(rapid.Custom(func(t *rapid.T) Actor {
			return Actor(rapid.Uint64Range(1, 4).Draw(t, "actor"))
		}), rapid.Uint64Range(1, 5), 0, 4).Draw(t, "vector"))
	})
}

func joined(vs ...Vector) Vector {
	sum := Vector{}
	for _, v := range vs {
		sum.Join(v)
	}
	return sum
}

func TestJoinIsALeastUpperBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := vectors().Draw(t, "a"), vectors().Draw(t, "b"), vectors().Draw(t, "c")
		switch ab := joined(a, b); {
		case !maps.Equal(ab, joined(b, a)):
			t.Error("not commutative")
		case !maps.Equal(joined(ab, c), joined(a, joined(b, c))):
			t.Error("not associative")
		case !maps.Equal(joined(a, a), a):
			t.Error("not idempotent")
		case !ab.Covers(a) || !ab.Covers(b):
			t.Error("not an upper bound")
		case c.Covers(a) && c.Covers(b) && !c.Covers(ab):
			t.Error("not the least")
		}
	})
}

func TestMeetIsAGreatestLowerBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := vectors().Draw(t, "a"), vectors().Draw(t, "b"), vectors().Draw(t, "c")
		ab := a.Clone()
		ab.Meet(b)
		switch {
		case !a.Covers(ab) || !b.Covers(ab):
			t.Error("not a lower bound")
		case a.Covers(c) && b.Covers(c) && !ab.Covers(c):
			t.Error("not the greatest")
		}
	})
}

func TestCoversIsAPartialOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := vectors().Draw(t, "a"), vectors().Draw(t, "b"), vectors().Draw(t, "c")
		switch {
		case !a.Covers(a) || !a.Covers(nil):
			t.Error("not reflexive")
		case a.Covers(b) && b.Covers(a) && !maps.Equal(a, b):
			t.Error("not antisymmetric")
		case a.Covers(b) && b.Covers(c) && !a.Covers(c):
			t.Error("not transitive")
		case a.Covers(b) != (len(a.Missing(b)) == 0):
			t.Error("what is missing is not what is not covered")
		}
	})
}

func TestVectorIsItsDots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := vectors().Draw(t, "v")
		if !maps.Equal(VectorOf(v.Dots()...), v) || !slices.IsSortedFunc(v.Dots(), Dot.Compare) {
			t.Errorf("%v became %v", v, v.Dots())
		}
		copied := v.Clone()
		copied[9]++
		if v.Has(Dot{9, 1}) {
			t.Error("a clone shares memory")
		}
	})
}

func TestContextSurvivesItsDots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Context{Seen: vectors().Draw(t, "seen"), Exact: rapid.Bool().Draw(t, "exact")}
		back := ContextOf(c.Dots())
		for actor := range Actor(5) {
			for n := range uint64(6) {
				if d := (Dot{actor + 1, n + 1}); c.Covers(d) != back.Covers(d) {
					t.Errorf("%v covers %s: %v, afterwards %v", c, d, c.Covers(d), back.Covers(d))
				}
			}
		}
		if len(c.Dots()) == 0 {
			t.Error("to have read nothing must not look like not having read")
		}
	})
}

func TestStampsOnlyRise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c Clock
		var last Stamp
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "observe") {
				c.Observe(Stamp(rapid.Uint64Range(0, 1<<40).Draw(t, "stamp")))
				last = max(last, c.Last())
				continue
			}
			now := time.UnixMilli(rapid.Int64Range(-5, 1<<25).Draw(t, "now"))
			got := c.Next(now)
			if got <= last || got.Time().Before(now) && now.UnixMilli() >= 0 {
				t.Fatalf("at %v after %x the clock gave %x", now, last, got)
			}
			last = got
		}
	})
}

func TestFullCounterCarriesIntoTheMilliseconds(t *testing.T) {
	var c Clock
	now := time.UnixMilli(1000)
	c.Observe(c.Next(now) | 0xffff)
	if got := c.Next(now); got.Time() != time.UnixMilli(1001) {
		t.Errorf("the stamp after a full millisecond is at %v", got.Time())
	}
	c.Observe(^Stamp(0))
	if got := c.Next(now); got != ^Stamp(0) {
		t.Errorf("the clock wrapped to %x", got)
	}
}

// play makes writes to one key, in an order in which causes come first, and says what
// each actor has applied in the end.
func play(t *rapid.T) (writes []Write, seen map[Actor]map[Dot]bool) {
	seen = map[Actor]map[Dot]bool{}
	for i := range rapid.IntRange(1, 12).Draw(t, "writes") {
		actor := Actor(rapid.IntRange(1, 3).Draw(t, "actor"))
		if seen[actor] == nil {
			seen[actor] = map[Dot]bool{}
		}
		if from := Actor(rapid.IntRange(1, 3).Draw(t, "from")); rapid.Bool().Draw(t, "sync") {
			maps.Copy(seen[actor], seen[from])
		}
		siblings, n := replay(writes, seen[actor])
		w := Write{
			Dot:    Dot{actor, n[actor] + 1},
			Stamp:  Stamp(i),
			Delete: rapid.Bool().Draw(t, "delete"),
		}
		for _, s := range siblings {
			if rapid.Bool().Draw(t, "covered") {
				w.Supersedes = append(w.Supersedes, s.Dot)
			}
		}
		seen[actor][w.Dot] = true
		writes = append(writes, w)
	}
	return writes, seen
}

func histories() *rapid.Generator[[]Write] {
	return rapid.Custom(func(t *rapid.T) []Write {
		writes, _ := play(t)
		return writes
	})
}

func replay(writes []Write, seen map[Dot]bool) ([]Sibling, Vector) {
	var siblings []Sibling
	n := Vector{}
	for _, w := range writes {
		if seen[w.Dot] {
			siblings = Apply(siblings, w)
			n[w.Dot.Actor] = w.Dot.N
		}
	}
	return siblings, n
}

// A permutation respects causality if no write comes before one of its own actor
// or one that it supersedes; that is all that Apply needs.
func TestSiblingsDoNotDependOnTheOrderOfDelivery(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		left := histories().Draw(t, "history")
		want := []Sibling{}
		for _, w := range left {
			want = Apply(want, w)
		}
		got, have, applied := []Sibling{}, Vector{}, map[Dot]bool{}
		for len(left) > 0 {
			ready := slices.DeleteFunc(slices.Clone(left), func(w Write) bool {
				return have[w.Dot.Actor]+1 != w.Dot.N ||
					slices.ContainsFunc(w.Supersedes, func(d Dot) bool { return !applied[d] })
			})
			w := rapid.SampledFrom(ready).Draw(t, "next")
			got, have[w.Dot.Actor], applied[w.Dot] = Apply(got, w), w.Dot.N, true
			left = slices.DeleteFunc(left, func(o Write) bool { return o.Dot == w.Dot })
		}
		if !slices.EqualFunc(got, want, func(a, b Sibling) bool { return a.Dot == b.Dot }) {
			t.Fatalf("one order gives %v, another %v", got, want)
		}
		a, okA := Winner(got)
		b, okB := Winner(want)
		if a.Dot != b.Dot || okA != okB {
			t.Fatalf("one order shows %v, another %v", a, b)
		}
	})
}

func TestApplyLeavesItsArgumentsAlone(t *testing.T) {
	before := []Sibling{{Dot: Dot{1, 1}}, {Dot: Dot{2, 1}}}
	kept := slices.Clone(before)
	after := Apply(before, Write{Dot: Dot{1, 2}, Supersedes: []Dot{{1, 1}}})
	if len(after) != 2 || after[0].Dot != (Dot{1, 2}) || after[1].Dot != (Dot{2, 1}) {
		t.Errorf("after: %v", after)
	}
	if !slices.EqualFunc(before, kept, func(a, b Sibling) bool { return a.Dot == b.Dot }) {
		t.Errorf("before became %v", before)
	}
}

func TestWriterOfADotHasNotReadItsElders(t *testing.T) {
	siblings := []Sibling{{Dot: Dot{1, 3}}, {Dot: Dot{1, 5}}, {Dot: Dot{2, 9}}}
	if got := Of(Dot{1, 5}).Supersedes(siblings); len(got) != 1 || got[0] != (Dot{1, 5}) {
		t.Errorf("the context of 1:5 supersedes %v", got)
	}
	read := Context{Seen: Vector{1: 4, 2: 9}}
	if got := read.Supersedes(siblings); len(got) != 2 || got[0] != (Dot{1, 3}) || got[1] != (Dot{2, 9}) {
		t.Errorf("a read up to 1:4,2:9 supersedes %v", got)
	}
}

func TestWinnerIsHighestByStampThenDot(t *testing.T) {
	siblings := []Sibling{{Dot: Dot{1, 7}, Stamp: 5}, {Dot: Dot{2, 1}, Stamp: 9}, {Dot: Dot{3, 1}, Stamp: 9}, {Dot: Dot{3, 2}, Stamp: 8}}
	if w, ok := Winner(siblings); !ok || w.Dot != (Dot{3, 1}) {
		t.Errorf("the winner is %v, %v", w, ok)
	}
	if _, ok := Winner(nil); ok {
		t.Error("nothing has a winner")
	}
}

// A history that two replicas have seen parts of: what a merge gives is what applying
// the writes of both gives.
func TestMergeIsWhatBothLogsWouldGive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		writes := histories().Draw(t, "history")
		// Any causally closed part, which has no gap in an actor's writes either.
		part := func(label string) ([]Sibling, Vector) {
			seen := map[Dot]bool{}
			n := Vector{}
			for _, w := range writes {
				known := n[w.Dot.Actor]+1 == w.Dot.N && !slices.ContainsFunc(w.Supersedes, func(d Dot) bool { return !seen[d] })
				if known && rapid.Bool().Draw(t, label) {
					seen[w.Dot], n[w.Dot.Actor] = true, w.Dot.N
				}
			}
			siblings, _ := replay(writes, seen)
			return siblings, n
		}
		a, va := part("a")
		b, vb := part("b")
		both := joined(va, vb)
		seen := map[Dot]bool{}
		for _, w := range writes {
			seen[w.Dot] = both.Has(w.Dot)
		}
		want, _ := replay(writes, seen)
		got, other := Merge(a, va, b, vb), Merge(b, vb, a, va)
		same := func(x, y []Sibling) bool {
			return slices.EqualFunc(x, y, func(a, b Sibling) bool { return a.Dot == b.Dot })
		}
		switch {
		case !same(got, want):
			t.Fatalf("merged %v, the logs give %v", got, want)
		case !same(got, other):
			t.Fatalf("not commutative: %v and %v", got, other)
		case !same(Merge(got, va, b, vb), got):
			t.Fatalf("not idempotent: %v", Merge(got, va, b, vb))
		}
	})
}
