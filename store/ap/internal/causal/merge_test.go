package causal

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func same(a, b []Sibling) bool {
	return slices.EqualFunc(a, b, func(x, y Sibling) bool { return x.Dot == y.Dot })
}

// What is merged is what a replica would hold that has applied all that the two have.
func TestMergeIsTheStateAtTheJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		writes, seen := play(t)
		for a := range Actor(4) {
			for b := range Actor(4) {
				left, leftSeen := replay(writes, seen[a])
				right, rightSeen := replay(writes, seen[b])
				both := maps.Clone(seen[a])
				if both == nil {
					both = map[Dot]bool{}
				}
				maps.Copy(both, seen[b])
				want, wantSeen := replay(writes, both)
				got := Merge(left, leftSeen, right, rightSeen)
				if !same(got, want) || !maps.Equal(joined(leftSeen, rightSeen), wantSeen) {
					t.Fatalf("%v at %v and %v at %v become %v, want %v", left, leftSeen, right, rightSeen, got, want)
				}
				if !same(got, Merge(right, rightSeen, left, leftSeen)) {
					t.Fatalf("%v and %v: the order counts", left, right)
				}
			}
		}
	})
}

func TestMergeKeepsTheValuesOfTheFirst(t *testing.T) {
	a := []Sibling{{Dot: Dot{1, 1}, Value: []byte("here")}}
	b := []Sibling{{Dot: Dot{1, 1}}, {Dot: Dot{2, 1}, Value: []byte("there")}}
	got := Merge(a, Vector{1: 1}, b, Vector{1: 1, 2: 1})
	if len(got) != 2 || string(got[0].Value) != "here" || string(got[1].Value) != "there" {
		t.Errorf("merged: %v", got)
	}
}
