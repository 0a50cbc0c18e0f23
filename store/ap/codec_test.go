package ap

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

func dots(t *rapid.T, label string) []causal.Dot {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) causal.Dot {
		return causal.Dot{Actor: causal.Actor(rapid.Uint64Min(1).Draw(t, "actor")), N: rapid.Uint64Min(1).Draw(t, "n")}
	}), 0, 5).Draw(t, label)
}

func TestEntrySurvivesItsEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := &entry{key: rapid.StringN(1, 20, 100).Draw(t, "key")}
		e.Dot = causal.Dot{Actor: causal.Actor(rapid.Uint64Min(1).Draw(t, "actor")), N: rapid.Uint64Min(1).Draw(t, "n")}
		e.Stamp = causal.Stamp(rapid.Uint64().Draw(t, "stamp"))
		e.request = store.Request{Session: rapid.Uint64().Draw(t, "session"), Number: rapid.Uint64().Draw(t, "number")}
		if e.Delete = rapid.Bool().Draw(t, "delete"); !e.Delete {
			e.Value = rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "value")
			e.Deadline = rapid.Uint64Max(maxDeadline).Draw(t, "deadline")
		}
		e.expired = e.Delete && rapid.Bool().Draw(t, "expired")
		if d := dots(t, "supersedes"); len(d) > 0 {
			e.Supersedes = d
		}
		if err := e.encode(); err != nil {
			t.Fatal(err)
		}
		back, err := decodeEntry(e.raw)
		if err != nil || !reflect.DeepEqual(&back, e) {
			t.Fatalf("%+v became %+v: %v", e, back, err)
		}
	})
}

func TestSiblingsSurviveTheirEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		siblings := []causal.Sibling{}
		for _, d := range dots(t, "dots") {
			siblings = append(siblings, causal.Sibling{
				Dot: d, Stamp: causal.Stamp(rapid.Uint64().Draw(t, "stamp")),
				Value: rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "value"), Deadline: rapid.Uint64Max(maxDeadline).Draw(t, "deadline"),
			})
		}
		row, err := encodeSiblings(siblings)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeSiblings(row); err != nil || !reflect.DeepEqual(back, siblings) {
			t.Fatalf("%+v became %+v: %v", siblings, back, err)
		}
	})
}

func TestDeadlineIsNeverBeforeTheTTLIsOver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "s"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns"))
		ttl := time.Duration(rapid.Int64Range(int64(store.MinTTL), int64(store.MaxTTL)).Draw(t, "ttl"))
		ends := time.UnixMilli(int64(deadlineOf(now, ttl)))
		if d := ends.Sub(now) - ttl; d < 0 || d >= time.Millisecond {
			t.Fatalf("put at %v for %v, it ends at %v", now, ttl, ends)
		}
	})
}

func TestVectorSurvivesTheWireAndTheSession(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := causal.VectorOf(dots(t, "dots")...)
		for actor, n := range v {
			v[actor] = min(n, 1<<62)
		}
		back, err := vectorOf(protoVector(v))
		if err != nil || !reflect.DeepEqual(back, v) {
			t.Fatalf("%s became %s: %v", v, back, err)
		}
		decoded, err := decodeDots(encodeDots(v.Dots()))
		if err != nil || !reflect.DeepEqual(causal.VectorOf(decoded...), v) {
			t.Fatalf("%s became %v: %v", v, decoded, err)
		}
	})
}

// Whatever comes from the wire is refused or is a write that could have been made:
// its name is the same for those who read all of it and those who read the name.
func FuzzEntryFromTheWire(f *testing.F) {
	for _, e := range []*entry{
		{key: "k", Write: causal.Write{Dot: causal.Dot{Actor: 1, N: 1}, Value: []byte("v")}},
		{key: "k", Write: causal.Write{Dot: causal.Dot{Actor: 1 << 63, N: 1 << 40}, Delete: true, Supersedes: []causal.Dot{{Actor: 2, N: 3}}}},
		{key: "k", Write: causal.Write{Dot: causal.Dot{Actor: 1, N: 2}, Value: []byte("v"), Deadline: 1 << 41}},
		{key: "k", expired: true, Write: causal.Write{Dot: causal.Dot{Actor: 1, N: 3}, Delete: true, Supersedes: []causal.Dot{{Actor: 1, N: 2}}}},
		{key: strings.Repeat("k", store.MaxKey), request: store.Request{Session: 1, Number: 2}, Write: causal.Write{Dot: causal.Dot{Actor: 5, N: 6}, Stamp: 7}},
	} {
		if err := e.encode(); err != nil {
			f.Fatal(err)
		}
		f.Add(e.raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := decodeEntry(raw)
		if err != nil {
			return
		}
		if store.CheckKey(e.key) != nil || store.CheckValue(e.Value) != nil || e.Dot.Actor == 0 || e.Dot.N == 0 {
			t.Errorf("accepted %+v", e)
		}
		if e.Deadline > maxDeadline || e.Delete && e.Deadline > 0 || e.expired && !e.Delete {
			t.Errorf("accepted an end that cannot be: %+v", e)
		}
		if d, err := dotOf(raw); err != nil || d != e.Dot {
			t.Errorf("its name is %s or %s: %v", d, e.Dot, err)
		}
		if !bytes.Equal(e.raw, raw) {
			t.Error("other bytes would be logged than came")
		}
	})
}

func FuzzRowsAndVectors(f *testing.F) {
	f.Add([]byte{})
	if closure, err := encodeClosure(causal.Vector{7: 0, 9: 3}, 2); err == nil {
		f.Add(closure)
	}
	f.Add([]byte("\x0a\x0b\x09\x01\x00\x00\x00\x00\x00\x00\x00\x10\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if siblings, err := decodeSiblings(b); err == nil {
			causal.Winner(siblings)
		}
		if ends, after, err := decodeClosure(b); err == nil {
			again, err := encodeClosure(ends, after)
			if back, _, undecoded := decodeClosure(again); err != nil || undecoded != nil || !reflect.DeepEqual(back, ends) {
				t.Errorf("the closure %v became %v: %v, %v", ends, back, err, undecoded)
			}
		}
		if n, err := decodeNeed(b); err == nil {
			_ = n.text()
		}
		if dots, err := decodeDots(b); err == nil {
			causal.ContextOf(dots).Covers(causal.Dot{Actor: 1, N: 1})
		}
	})
}
