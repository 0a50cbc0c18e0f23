package token

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/dialkv/dialkv/store"
)

// seen is what a part of a token asks for, where a number up to 5 stands for the ends of so
// many actors.
func seen(t *rapid.T, e store.Entry, ends map[uint64]uint64) map[uint64]uint64 {
	components, err := DecodeEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	all := map[uint64]uint64{}
	for _, c := range components {
		switch c.ID {
		case ClosedSum:
		case ClosedID:
			for a := range c.N {
				all[a+1] = max(all[a+1], ends[a+1])
			}
		default:
			all[c.ID] = max(all[c.ID], c.N)
		}
	}
	return all
}

// TestFoldedTokenAsksForAsMuch: whatever was sent, and whatever the session has seen since,
// a token asks for no less after an answer was folded in, at any level; and it names no actor
// that was sent and is closed.
func TestFoldedTokenAsksForAsMuch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ends := map[uint64]uint64{}
		for a := range uint64(5) {
			ends[a+1] = rapid.Uint64Range(1, 4).Draw(t, "end")
		}
		some := func(label string, lost bool) store.Entry {
			var components []Component
			for a := range uint64(8) {
				n := rapid.Uint64Range(0, 4).Draw(t, label)
				if end, ok := ends[a+1]; ok && !lost {
					n = min(n, end)
				}
				components = append(components, Component{a + 1, n})
			}
			return EncodeEntry(components)
		}
		before, since, read, written := some("sent", false), some("since", true), some("read", false), rapid.Bool().Draw(t, "written")
		tok := Token{Cluster: cluster, Epoch: 1}
		fold := (*Token).Read
		if written {
			fold = (*Token).Wrote
		}
		for i, err := range []error{tok.Read(group, before), tok.Wrote(group, some("wrote", false))} {
			if err != nil {
				t.Fatal(i, err)
			}
		}
		level := []store.Level{store.LevelDefault, store.Monotonic, store.ReadYourWrites, store.Eventual}[rapid.IntRange(0, 3).Draw(t, "level")]
		sent := tok.For(group, level)
		if err := tok.Read(group, since); err != nil { // of another call of the session
			t.Fatal(err)
		}
		// The answer covers what was sent, and names the actors above the number.
		number := rapid.Uint64Range(0, 5).Draw(t, "number")
		covered, err := Join(sent, read)
		if err != nil {
			t.Fatal(err)
		}
		components, _ := DecodeEntry(covered)
		var named []Component
		for _, c := range components {
			if c.ID > number {
				named = append(named, c)
			}
		}
		came := EncodeEntry(append(named, Component{ClosedID, number}))
		if err := fold(&tok, group, came); err != nil {
			t.Fatal(err)
		}
		levels := []store.Level{store.LevelDefault, store.Monotonic, store.ReadYourWrites}
		var want []map[uint64]uint64
		for _, l := range levels {
			want = append(want, seen(t, tok.For(group, l), ends))
		}
		if err := tok.Fold(group, sent, came); err != nil {
			t.Fatal(err)
		}
		for i, l := range levels {
			got := seen(t, tok.For(group, l), ends)
			for a, n := range want[i] {
				if got[a] < n {
					t.Errorf("at %v it asks for %v, and before for %v", l, got, want[i])
				}
			}
		}
		if b, err := tok.Encode(); err != nil {
			t.Error(err)
		} else if _, err := Decode(b); err != nil {
			t.Errorf("it cannot be read again: %v", err)
		}
		left, _ := DecodeEntry(tok.For(group, store.LevelDefault))
		for _, c := range left {
			m := tok.groups[group][c.ID]
			had, _ := DecodeEntry(sent)
			for _, s := range had {
				if s.ID == c.ID && c.ID <= number && m.read <= s.N && m.write <= s.N {
					t.Errorf("it names %d still", c.ID)
				}
			}
		}
	})
}

func TestSumDoesNotCountTheNumberOfAClosure(t *testing.T) {
	if n, err := Sum(entry(1, 5, ClosedSum, 30, ClosedID, 7)); n != 35 || err != nil {
		t.Errorf("it is %d, %v", n, err)
	}
}
