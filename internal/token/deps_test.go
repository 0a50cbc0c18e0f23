package token

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/dialkv/dialkv/store"
)

// manyDeps draws of few groups, cp and ap, so that what is drawn overlaps.
func manyDeps() *rapid.Generator[Deps] {
	return rapid.Custom(func(t *rapid.T) Deps {
		var d Deps
		for range rapid.IntRange(0, 4).Draw(t, "entries") {
			group := store.GroupID{Keyspace: rapid.Uint64Range(2, 3).Draw(t, "keyspace"), Shard: uint32(rapid.IntRange(0, 1).Draw(t, "shard"))}
			id := rapid.Uint64Range(0, 2).Draw(t, "epoch")
			if group.Shard == 1 { // of an ap keyspace
				id += MaxEpoch
			}
			one, err := DepsOf(group, EncodeEntry([]Component{{id, rapid.Uint64Range(1, 3).Draw(t, "n")}}))
			if err != nil {
				t.Fatal(err)
			}
			d = d.Join(one)
		}
		return d
	})
}

func same(a, b Deps) bool { return bytes.Equal(a.Encode(), b.Encode()) }

func TestDependenciesAreJoined(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := manyDeps().Draw(t, "a"), manyDeps().Draw(t, "b"), manyDeps().Draw(t, "c")
		ab := a.Join(b)
		switch {
		case !same(ab, b.Join(a)):
			t.Error("not commutative")
		case !same(ab.Join(c), a.Join(b.Join(c))):
			t.Error("not associative")
		case !same(a.Join(a), a):
			t.Error("not idempotent")
		case !a.Beyond(ab).Empty() || !b.Beyond(ab).Empty():
			t.Error("a part is beyond the whole")
		case !same(a.Beyond(b).Join(b), ab):
			t.Error("what is beyond, and the rest, are not the whole")
		}
	})
}

func TestDependenciesAreReadAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := manyDeps().Draw(t, "deps")
		b := d.Encode()
		got, err := DecodeDeps(b)
		if err != nil || !same(got, d) {
			t.Fatalf("%x reads as %x, %v", b, got.Encode(), err)
		}
		if len(b) == 0 {
			return
		}
		// There is no checksum: where it lies, and when it travels, there is one around it.
		bad := bytes.Clone(b)
		bad[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if got, err := DecodeDeps(bad); err == nil && !bytes.Equal(got.Encode(), bad) {
			t.Errorf("%x is read, and would be written %x", bad, got.Encode())
		}
		if _, err := DecodeDeps(append(bytes.Clone(b), 0)); !errors.Is(err, store.Invalid) {
			t.Errorf("with a byte left over: %v", err)
		}
	})
}

func FuzzDependenciesFromTheWire(f *testing.F) {
	one, _ := DepsOf(store.GroupID{Keyspace: 7}, EncodeEntry([]Component{{1, 9}}))
	two, _ := DepsOf(store.GroupID{Keyspace: 8, Shard: 3}, EncodeEntry([]Component{{MaxEpoch, 9}, {MaxEpoch + 1, 2}}))
	f.Add([]byte(one.Join(two).Encode()))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := DecodeDeps(b)
		switch {
		case err != nil && !errors.Is(err, store.Invalid):
			t.Error(err)
		case err == nil && !d.Empty():
			if !bytes.Equal(d.Encode(), b) {
				t.Errorf("%x is read, and would be written %x", b, d.Encode())
			}
		}
	})
}

func depsOf(t *testing.T, group store.GroupID, components ...Component) Deps {
	t.Helper()
	d, err := DepsOf(group, EncodeEntry(components))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// After a restore nobody can have what was seen before it, so nobody is to wait for it.
func TestOnlyTheNewestEpochOfAGroupIsDependedOn(t *testing.T) {
	orders := store.GroupID{Keyspace: 2}
	old, now := depsOf(t, orders, Component{0, 900}), depsOf(t, orders, Component{1, 5})
	if got := old.Join(now); !same(got, now) {
		t.Errorf("joined they are %x", got.Encode())
	}
	if !old.Beyond(now).Empty() || now.Beyond(old).Empty() {
		t.Error("the old epoch is beyond the new one")
	}
}

func TestSessionTellsWhatItHasSeenOfOthersAndLearns(t *testing.T) {
	orders, carts, notes := store.GroupID{Keyspace: 2}, store.GroupID{Keyspace: 3}, store.GroupID{Keyspace: 4}
	tok := Token{Cluster: "00112233445566778899aabbccddeeff"}
	for _, err := range []error{
		tok.Read(orders, EncodeEntry([]Component{{0, 5}})), tok.Wrote(orders, EncodeEntry([]Component{{0, 7}})),
		tok.Wrote(carts, EncodeEntry([]Component{{MaxEpoch, 3}})),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, want := tok.Others(carts), depsOf(t, orders, Component{0, 7}); !same(got, want) {
		t.Errorf("beside carts it has seen %x, want %x", got.Encode(), want.Encode())
	}
	if err := tok.Learn(carts, depsOf(t, notes, Component{0, 4})); err != nil {
		t.Fatal(err)
	}
	if got := tok.For(notes, store.Causal); !bytes.Equal(got, EncodeEntry([]Component{{0, 4}})) {
		t.Errorf("it must cover %x of what it has learned of", got)
	}
	if got := tok.For(notes, store.ReadYourWrites); got != nil {
		t.Errorf("it wrote %x of what it has only learned of", got)
	}
}

func TestMoreDependenciesThanFitAreRefusedAndChangeNothing(t *testing.T) {
	var d Deps
	tok := Token{Cluster: "00112233445566778899aabbccddeeff"}
	for i := range uint64(MaxGroups) {
		if err := d.Check(); err != nil {
			t.Fatalf("%d groups: %v", i, err)
		}
		d = d.Join(depsOf(t, store.GroupID{Keyspace: 2 + i}, Component{0, 1}))
	}
	if err := d.Check(); !errors.Is(err, store.TooLarge) {
		t.Errorf("%d groups: %v", MaxGroups, err)
	}
	if err := tok.Read(store.GroupID{Keyspace: 1}, EncodeEntry([]Component{{0, 1}})); err != nil {
		t.Fatal(err)
	}
	read := store.GroupID{Keyspace: 999}
	fits := d.Without(store.GroupID{Keyspace: 2}).Without(store.GroupID{Keyspace: 3}) // with two more it is full
	for what, of := range map[string]Deps{"too many": d, "one too many": fits.Join(depsOf(t, store.GroupID{Keyspace: 2}, Component{0, 1}))} {
		if err := tok.Learn(read, of); !errors.Is(err, store.TooLarge) {
			t.Errorf("a token learns of %s groups: %v", what, err)
		}
	}
	if !tok.Others(store.GroupID{Keyspace: 1}).Empty() {
		t.Error("what did not fit in is there in part")
	}
	full := tok
	if err := full.Learn(read, fits); err != nil {
		t.Fatal(err)
	}
	if err := full.Read(read, EncodeEntry([]Component{{0, 1}})); err != nil {
		t.Fatal(err)
	}
	if _, err := full.Encode(); err != nil {
		t.Errorf("what fitted in does not: %v", err)
	}
	var long []Component
	for i := range uint64(MaxBytes / 16) {
		long = append(long, Component{MaxEpoch + i, 1})
	}
	if err := depsOf(t, store.GroupID{Keyspace: 2}, long...).Check(); !errors.Is(err, store.TooLarge) {
		t.Errorf("%d actors: %v", len(long), err)
	}
	for i := range uint64(MaxBytes / 16) {
		long = append(long, Component{2*MaxEpoch + i, 1})
	}
	if err := (&Token{Cluster: tok.Cluster}).Learn(read, depsOf(t, store.GroupID{Keyspace: 2}, long...)); !errors.Is(err, store.TooLarge) {
		t.Errorf("a token learns of %d actors: %v", len(long), err)
	}
}
