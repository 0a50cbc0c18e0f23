package cp

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/dialkv/dialkv/internal/logpb"
)

// Whatever recent says of a key is what was put last.
func TestRecentSaysWhatWasPutLastOrNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, model := newRecent(), map[string]*logpb.Record{}
		for range rapid.IntRange(1, 400).Draw(t, "puts") {
			key := fmt.Sprint(rapid.IntRange(0, 20).Draw(t, "key"))
			var rec *logpb.Record
			if size := rapid.SampledFrom([]int{-1, 0, 100, recentMost / 2, 2 * recentMost}).Draw(t, "size"); size >= 0 {
				rec = &logpb.Record{Value: make([]byte, size)}
			}
			r.put(key, rec)
			if model[key] = rec; r.bytes > recentBytes/100 { // as if it were full: halves change often
				r.young, r.old, r.bytes = make(map[string]*logpb.Record), r.young, 0
			}
			for key, want := range model {
				if got, ok := r.get(key); ok && got != want {
					t.Fatalf("%s: %p, want %p", key, got, want)
				}
			}
		}
	})
}

func TestRecentIsBounded(t *testing.T) {
	r := newRecent()
	for i := range 100_000 {
		r.put(fmt.Sprint(i), &logpb.Record{Value: make([]byte, 256)})
	}
	most := recentBytes/(recordCost+256) + 1
	if len(r.young) > most || len(r.old) > most {
		t.Errorf("%d and %d records, want %d at most", len(r.young), len(r.old), most)
	}
	if _, ok := r.get("99999"); !ok {
		t.Error("what was put last is not there")
	}
}
