package cp

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// Whatever recent says of a key is what was put last.
func TestRecentSaysWhatWasPutLastOrNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, model := newRecent(), map[string]mark{}
		for i := range rapid.IntRange(1, 400).Draw(t, "puts") {
			key := fmt.Sprint(rapid.IntRange(0, 20).Draw(t, "key"))
			m := mark{version: uint64(i) * rapid.Uint64Range(0, 1).Draw(t, "found")}
			r.put(key, m)
			model[key] = m
			if rapid.IntRange(0, 9).Draw(t, "full") == 0 {
				r.turn()
			}
			for key, want := range model {
				if got, ok := r.get(key); ok && got != want {
					t.Fatalf("%s: %v, want %v", key, got, want)
				}
			}
			if got, ok := r.get(key); !r.turned() && (!ok || got != m) {
				t.Fatalf("%s: %v, %v, just put", key, got, ok)
			}
		}
	})
}

func (r *recent) turned() bool { return len(r.young) == 0 }

func TestRecentIsBounded(t *testing.T) {
	r := newRecent()
	for i := range 200_000 {
		r.put(fmt.Sprintf("%020d", i), mark{version: 1})
		r.put("again", mark{version: uint64(i)})
	}
	most := recentBytes/(markCost+20) + 2
	if len(r.young) > most || len(r.old) > most || len(r.old) < most/2 {
		t.Errorf("%d and %d marks, want %d at most", len(r.young), len(r.old), most)
	}
	if _, ok := r.get(fmt.Sprintf("%020d", 199_999)); !ok {
		t.Error("what was put last is not there")
	}
}
