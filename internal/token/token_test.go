package token

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dialkv/dialkv/store"
)

const cluster = "00112233445566778899aabbccddeeff"

var group = store.GroupID{Keyspace: 7, Shard: 2}

func entry(pairs ...uint64) store.Entry {
	var components []Component
	for i := 0; i < len(pairs); i += 2 {
		components = append(components, Component{ID: pairs[i], N: pairs[i+1]})
	}
	return EncodeEntry(components)
}

func TestEntryHasOneForm(t *testing.T) {
	want := store.Entry{2, 0, 0, 0, 0, 0, 0, 0, 1, 5, 0, 0, 0, 0, 0, 0, 0, 9, 0x80, 1}
	for _, got := range []store.Entry{entry(1, 5, 9, 128), entry(9, 128, 1, 5), entry(9, 7, 9, 128, 1, 5, 4, 0)} {
		if !bytes.Equal(got, want) {
			t.Errorf("entry is %v, want %v", got, want)
		}
	}
	if e := EncodeEntry([]Component{{ID: 3}}); e != nil {
		t.Errorf("a vector of zeros is %v, want the nil entry", e)
	}
}

func TestEntryRefusesWhatNobodyWrote(t *testing.T) {
	for name, e := range map[string]store.Entry{
		"no count":         {},
		"too short":        {1, 0, 0},
		"unsorted":         {2, 0, 0, 0, 0, 0, 0, 0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1},
		"duplicate":        {2, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1},
		"trailing bytes":   {1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0},
		"zero":             {1, 0, 0, 0, 0, 0, 0, 0, 1, 0},
		"padded uvarint":   {1, 0, 0, 0, 0, 0, 0, 0, 1, 0x81, 0},
		"too many":         append(store.Entry{0x81, 0x20}, make(store.Entry, 4097*9)...),
		"huge count":       {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
		"overlong uvarint": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
	} {
		if _, err := DecodeEntry(e); !errors.Is(err, store.Invalid) {
			t.Errorf("%s: error is %v, want Invalid", name, err)
		}
	}
}

func entries(t *rapid.T, label string) store.Entry {
	m := rapid.MapOfN(rapid.Uint64Range(0, 6), rapid.Uint64(), 0, 6).Draw(t, label)
	var components []Component
	for id, n := range m {
		components = append(components, Component{ID: id, N: n})
	}
	return EncodeEntry(components)
}

func join(t *rapid.T, a, b store.Entry) store.Entry {
	j, err := Join(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestJoinIsALeastUpperBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := entries(t, "a"), entries(t, "b"), entries(t, "c")
		for law, pair := range map[string][2]store.Entry{
			"commutative": {join(t, a, b), join(t, b, a)},
			"associative": {join(t, join(t, a, b), c), join(t, a, join(t, b, c))},
			"idempotent":  {join(t, a, a), a},
			"identity":    {join(t, a, nil), a},
			"upper bound": {join(t, join(t, a, b), a), join(t, a, b)},
		} {
			if !bytes.Equal(pair[0], pair[1]) {
				t.Errorf("%s: %v is not %v", law, pair[0], pair[1])
			}
		}
	})
}

func TestLevelsPickTheirPartOfTheToken(t *testing.T) {
	tok := Token{Cluster: cluster, Epoch: 1}
	must(t, tok.Read(group, entry(1, 5, 2, 3)))
	must(t, tok.Wrote(group, entry(2, 9, 3, 1)))
	must(t, tok.Read(store.GroupID{Keyspace: 8}, entry(0, 44)))
	for level, want := range map[store.Level]store.Entry{
		store.Eventual:       nil,
		store.Monotonic:      entry(1, 5, 2, 3),
		store.ReadYourWrites: entry(2, 9, 3, 1),
		store.Causal:         entry(1, 5, 2, 9, 3, 1),
		store.Strong:         entry(1, 5, 2, 9, 3, 1),
		store.LevelDefault:   entry(1, 5, 2, 9, 3, 1),
	} {
		if got := tok.For(group, level); !bytes.Equal(got, want) {
			t.Errorf("%s asks for %v, want %v", level, got, want)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTokenTravelsUnchanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tok := Token{Cluster: cluster, Epoch: rapid.Uint64().Draw(t, "epoch")}
		for range rapid.IntRange(0, 5).Draw(t, "steps") {
			g := store.GroupID{Keyspace: rapid.Uint64Range(1, 3).Draw(t, "keyspace"), Shard: rapid.Uint32().Draw(t, "shard")}
			fold := rapid.SampledFrom([]func(store.GroupID, store.Entry) error{tok.Read, tok.Wrote}).Draw(t, "part")
			if err := fold(g, entries(t, "entry")); err != nil {
				t.Fatal(err)
			}
		}
		back, err := Parse(tok.String())
		if err != nil || back.String() != tok.String() || back.Epoch != tok.Epoch {
			t.Fatalf("got %v (%v), want %v", back, err, tok)
		}
	})
}

func TestZeroTokenIsNoBytes(t *testing.T) {
	var tok Token
	if s := tok.String(); s != "" {
		t.Errorf("string is %q", s)
	}
	back, err := Parse("")
	if err != nil || back.Check(cluster, 3) != nil {
		t.Errorf("the empty token is refused: %v", err)
	}
}

func TestTokenOfFiveActorsIsSmall(t *testing.T) {
	tok := Token{Cluster: cluster, Epoch: 9}
	for actor := range uint64(5) {
		e := entry(0xdeadbeef00000000+actor, 1<<40) // a write a microsecond for twelve days
		must(t, tok.Read(group, e))
		must(t, tok.Wrote(group, e))
	}
	b, err := tok.Encode()
	must(t, err)
	if len(b) > 128 {
		t.Errorf("it has %d bytes, the limit is 128", len(b))
	}
}

func TestTokenOfAnotherClusterOrEpochIsRefused(t *testing.T) {
	tok := Token{Cluster: cluster, Epoch: 2}
	must(t, tok.Check(cluster, 2))
	for _, err := range []error{tok.Check(cluster, 3), tok.Check(strings.Repeat("ab", 16), 2), tok.Merge(Token{Cluster: cluster, Epoch: 1})} {
		if !errors.Is(err, store.TokenMismatch) || store.AsError(err).Try == "" {
			t.Errorf("error is %v, want TokenMismatch with a way out", err)
		}
	}
}

func TestTokenOverItsLimitsIsRefusedNotThinned(t *testing.T) {
	tok := Token{Cluster: cluster}
	for shard := range uint32(MaxGroups) {
		g := store.GroupID{Keyspace: 7, Shard: shard}
		must(t, tok.Room(g))
		must(t, tok.Read(g, entry(0, 1)))
	}
	must(t, tok.Room(store.GroupID{Keyspace: 7}))
	over := store.GroupID{Keyspace: 8}
	if err := tok.Room(over); !errors.Is(err, store.TooLarge) {
		t.Errorf("room for group 33: %v", err)
	}
	must(t, tok.Read(over, entry(0, 1)))
	if _, err := tok.Encode(); !errors.Is(err, store.TooLarge) {
		t.Errorf("33 groups: %v", err)
	}
	if _, err := Parse(tok.String()); err == nil {
		t.Error("33 groups were parsed")
	}

	wide := Token{Cluster: cluster}
	for actor := range uint64(500) {
		must(t, wide.Read(group, entry(actor+1, 1)))
	}
	if _, err := wide.Encode(); !errors.Is(err, store.TooLarge) {
		t.Errorf("500 actors: %v", err)
	}
}

func TestDamagedTokenIsInvalid(t *testing.T) {
	tok := Token{Cluster: cluster, Epoch: 1}
	must(t, tok.Read(group, entry(1, 5)))
	b, err := tok.Encode()
	must(t, err)
	for i := range b {
		damaged := bytes.Clone(b)
		damaged[i] ^= 4
		if _, err := Decode(damaged); !errors.Is(err, store.Invalid) {
			t.Errorf("byte %d: %v", i, err)
		}
		if _, err := Decode(b[:i]); i > 0 && !errors.Is(err, store.Invalid) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	if _, err := Parse("not base64!"); !errors.Is(err, store.Invalid) {
		t.Error(err)
	}
}

func TestContextOpensOnlyWhereItWasSealed(t *testing.T) {
	e := entry(4, 2)
	sealed, err := SealContext(cluster, 3, group, OfKey("k"), e)
	must(t, err)
	opened, err := OpenContext(cluster, 3, group, "k", sealed)
	if err != nil || !bytes.Equal(opened, e) {
		t.Errorf("opened as %v, %v", opened, err)
	}
	_, epoch := OpenContext(cluster, 4, group, "k", sealed)
	_, other := OpenContext(strings.Repeat("00", 16), 3, group, "k", sealed)
	if !errors.Is(epoch, store.TokenMismatch) || !errors.Is(other, store.TokenMismatch) {
		t.Errorf("another epoch: %v, another cluster: %v", epoch, other)
	}
	_, elsewhere := OpenContext(cluster, 3, store.GroupID{Keyspace: 8}, "k", sealed)
	_, asToken := Decode(sealed)
	if !errors.Is(elsewhere, store.Invalid) || !errors.Is(asToken, store.Invalid) {
		t.Errorf("another group: %v, as a token: %v", elsewhere, asToken)
	}
}

func TestContextIsOfTheKeysThatWereRead(t *testing.T) {
	page := func(next string, keys ...string) store.Page {
		p := store.Page{Next: next}
		for _, key := range keys {
			p.Items = append(p.Items, store.Item{Key: key})
		}
		return p
	}
	for name, c := range map[string]struct {
		q       store.Query
		page    store.Page
		in, out []string
	}{
		"a get":                  {store.Query{Key: "k"}, page("", "k"), []string{"k"}, []string{"", "j", "k\x00", "kk"}},
		"a get of nothing":       {store.Query{Key: "k"}, page(""), []string{"k"}, []string{"j"}},
		"a scan of all":          {store.Query{Limit: 9}, page("", "k"), []string{"a", "k", "z"}, nil},
		"a prefix":               {store.Query{Limit: 9, Prefix: "k/"}, page("", "k/1"), []string{"k/", "k/9"}, []string{"k", "l"}},
		"a range":                {store.Query{Limit: 9, Key: "b", To: "d"}, page("", "b"), []string{"b", "c"}, []string{"a", "d"}},
		"a page, and more":       {store.Query{Limit: 2}, page("more", "a", "c"), []string{"a", "b", "c"}, []string{"c\x00", "d"}},
		"a reverse page of more": {store.Query{Limit: 2, Reverse: true}, page("more", "z", "c"), []string{"c", "d", "z"}, []string{"b"}},
	} {
		t.Run(name, func(t *testing.T) {
			sealed, err := SealContext(cluster, 3, group, OfPage(c.q, c.page), entry(4, 2))
			must(t, err)
			for _, key := range c.in {
				if opened, err := OpenContext(cluster, 3, group, key, sealed); err != nil || !bytes.Equal(opened, entry(4, 2)) {
					t.Errorf("%q: opened as %v, %v", key, opened, err)
				}
			}
			for _, key := range c.out {
				if _, err := OpenContext(cluster, 3, group, key, sealed); !errors.Is(err, store.Invalid) {
					t.Errorf("%q: %v", key, err)
				}
			}
		})
	}
}

func TestContextTellsNothingReadFromNothingThere(t *testing.T) {
	none, err := SealContext(cluster, 3, group, OfKey("k"), nil)
	if none != nil || err != nil {
		t.Errorf("nothing read is sealed as %v, %v", none, err)
	}
	empty, err := SealContext(cluster, 3, group, OfKey("k"), store.Entry{0})
	must(t, err)
	if opened, err := OpenContext(cluster, 3, group, "k", empty); err != nil || opened == nil {
		t.Errorf("nothing there is opened as %v, %v", opened, err)
	}
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add([]byte(entry(1, 5, 9, 128)))
	f.Fuzz(func(t *testing.T, b []byte) {
		components, err := DecodeEntry(b)
		if err != nil || len(components) == 0 {
			return
		}
		if again := EncodeEntry(components); !bytes.Equal(again, b) {
			t.Errorf("%v was read as %v, which is %v", b, components, again)
		}
	})
}

func FuzzDecode(f *testing.F) {
	tok := Token{Cluster: cluster, Epoch: 1}
	if err := errors.Join(tok.Read(group, entry(1, 5)), tok.Wrote(group, entry(2, 7))); err != nil {
		f.Fatal(err)
	}
	b, err := tok.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:len(b)-4])
	f.Fuzz(func(t *testing.T, body []byte) {
		b := seal(bytes.Clone(body)) // else the checksum keeps the fuzzer out
		if tok, err := Decode(b); err == nil && len(b) > 0 {
			if again, err := tok.Encode(); err != nil || !bytes.Equal(again, b) {
				t.Errorf("%x was read as %v, which is %x (%v)", b, tok, again, err)
			}
		}
	})
}

func FuzzOpenContext(f *testing.F) {
	for _, of := range []Scope{OfKey("k"), {scan: true, key: "a", to: "z", prefix: "k"}} {
		sealed, err := SealContext(cluster, 1, group, of, entry(1, 5))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(sealed[:len(sealed)-4])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b := seal(bytes.Clone(body))
		opened, err := OpenContext(cluster, 1, group, "k", b)
		if err != nil {
			return
		}
		var ofCluster string
		var ofEpoch uint64
		r := unseal(b, contextForm, &ofCluster, &ofEpoch)
		r.group()
		if again, err := SealContext(cluster, 1, group, r.scope(), opened); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x was opened as %v, which is %x (%v)", b, opened, again, err)
		}
	})
}

func ExampleToken() {
	session := Token{Cluster: cluster, Epoch: 1}
	_ = session.Read(group, EncodeEntry([]Component{{ID: 1, N: 5}}))
	_ = session.Wrote(group, EncodeEntry([]Component{{ID: 2, N: 7}}))
	for _, level := range []store.Level{store.Eventual, store.Monotonic, store.ReadYourWrites, store.Causal} {
		components, _ := DecodeEntry(session.For(group, level))
		fmt.Println(level, components)
	}
	// Output:
	// eventual []
	// monotonic [{1 5}]
	// read-your-writes [{2 7}]
	// causal [{1 5} {2 7}]
}
