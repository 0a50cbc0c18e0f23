package engine

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/store"
)

// inMemory opens an engine on fs, closed when the test ends.
func inMemory(t *testing.T, fs vfs.FS) *Engine {
	t.Helper()
	e, err := Open(Config{Dir: "data", FS: fs, MemTable: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, e) })
	return e
}

func closed(t *testing.T, e *Engine) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// set commits one pair.
func set(t *testing.T, s *Space, key, value string) {
	t.Helper()
	b := s.Batch()
	b.Set([]byte(key), []byte(value))
	commit(t, b)
}

func commit(t *testing.T, b *Batch) {
	t.Helper()
	if err := b.Commit(true); err != nil {
		t.Fatal(err)
	}
}

// bound turns a test's "-" into the open end.
func bound(s string) []byte {
	if s == "-" {
		return nil
	}
	return []byte(s)
}

// scan lists key=value from lo up to hi.
func scan(t *testing.T, v *View, lo, hi string) []string {
	t.Helper()
	var pairs []string
	var failed error
	for k, value := range v.Scan(bound(lo), bound(hi), &failed) {
		pairs = append(pairs, fmt.Sprintf("%s=%s", k, value))
	}
	if failed != nil {
		t.Fatal(failed)
	}
	return pairs
}

// scanBack lists key=value from the last below hi down to lo.
func scanBack(t *testing.T, v *View, lo, hi string) []string {
	t.Helper()
	var pairs []string
	var failed error
	for k, value := range v.ScanBack(bound(lo), bound(hi), &failed) {
		pairs = append(pairs, fmt.Sprintf("%s=%s", k, value))
	}
	if failed != nil {
		t.Fatal(failed)
	}
	return pairs
}

// content lists what a space holds now.
func content(t *testing.T, s *Space) []string {
	t.Helper()
	v := s.View()
	defer v.Close()
	return scan(t, v, "-", "-")
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestSpacesDoNotSeeTheirNeighbours(t *testing.T) {
	e := inMemory(t, vfs.NewMem())
	var spaces []*Space
	for _, g := range []store.GroupID{
		{}, {Keyspace: 1}, {Keyspace: 1, Shard: 1}, {Keyspace: 1, Shard: 255}, {Keyspace: 1, Shard: 256},
		{Keyspace: 255}, {Keyspace: 256}, {Keyspace: 1<<64 - 1, Shard: 1<<32 - 2},
	} {
		for _, kind := range []byte{0, 1, 0xff} {
			spaces = append(spaces, e.Space(g, kind))
		}
	}
	keys := []string{"", "\x00", "k", "\xff", "\xff\xff"}
	for n, s := range spaces {
		for _, key := range keys {
			set(t, s, key, fmt.Sprint(n))
		}
	}
	own := func(n int) (pairs []string) {
		for _, key := range keys {
			pairs = append(pairs, fmt.Sprintf("%s=%d", key, n))
		}
		return pairs
	}
	for n, s := range spaces {
		want(t, fmt.Sprint("space ", n), content(t, s), own(n)...)
	}
	for n, s := range spaces {
		b := s.Batch()
		b.DeleteRange(nil, nil)
		commit(t, b)
		want(t, fmt.Sprint("space ", n, " emptied"), content(t, s))
		for after := n + 1; after < len(spaces); after++ {
			want(t, fmt.Sprint("space ", after, " after ", n, " was emptied"), content(t, spaces[after]), own(after)...)
		}
	}
}

func TestScanKeepsItsBounds(t *testing.T) {
	s := inMemory(t, vfs.NewMem()).Space(store.GroupID{Keyspace: 7}, 1)
	for _, key := range []string{"a", "b", "bb", "c"} {
		set(t, s, key, "")
	}
	v := s.View()
	defer v.Close()
	for _, c := range []struct {
		lo, hi string
		want   []string
	}{
		{"-", "-", []string{"a=", "b=", "bb=", "c="}},
		{"", "-", []string{"a=", "b=", "bb=", "c="}},
		{"b", "-", []string{"b=", "bb=", "c="}},
		{"b", "c", []string{"b=", "bb="}},
		{"-", "b", []string{"a="}},
		{"ba", "bb", nil},
		{"c", "a", nil},
		{"-", "", nil},
		{"d", "-", nil},
	} {
		want(t, c.lo+" to "+c.hi, scan(t, v, c.lo, c.hi), c.want...)
		back := scanBack(t, v, c.lo, c.hi)
		slices.Reverse(back)
		want(t, c.hi+" back to "+c.lo, back, c.want...)
	}
	var failed error
	for key := range v.Scan(nil, nil, &failed) {
		if string(key) != "a" {
			t.Errorf("the scan goes on to %q after it was left", key)
		}
		break
	}
	for key := range v.ScanBack(nil, nil, &failed) {
		if string(key) != "c" {
			t.Errorf("the scan back goes on to %q after it was left", key)
		}
		break
	}
	if failed != nil {
		t.Error(failed)
	}
}

func TestScanBackStaysInItsSpaceAndItsView(t *testing.T) {
	e := inMemory(t, vfs.NewMem())
	s := e.Space(store.GroupID{Keyspace: 7}, 1)
	set(t, e.Space(store.GroupID{Keyspace: 7}, 0), "z", "of the neighbour below")
	set(t, e.Space(store.GroupID{Keyspace: 7}, 2), "a", "of the neighbour above")
	for _, key := range []string{"a", "b"} {
		set(t, s, key, "1")
	}
	v := s.View()
	defer v.Close()
	set(t, s, "b", "2")
	set(t, s, "c", "2")
	want(t, "back", scanBack(t, v, "-", "-"), "b=1", "a=1")
}

func TestLastIsBelowItsBound(t *testing.T) {
	e := inMemory(t, vfs.NewMem())
	s := e.Space(store.GroupID{Keyspace: 7}, 1)
	set(t, e.Space(store.GroupID{Keyspace: 7}, 0), "z", "of the neighbour below")
	set(t, e.Space(store.GroupID{Keyspace: 7}, 2), "a", "of the neighbour above")
	empty := s.View()
	defer empty.Close()
	for _, key := range []string{"a", "b", "c"} {
		set(t, s, key, "v"+key)
	}
	full := s.View()
	defer full.Close()
	for _, c := range []struct {
		view *View
		hi   string
		want string
	}{
		{full, "-", "c"}, {full, "z", "c"}, {full, "c", "b"}, {full, "bb", "b"}, {full, "a", ""}, {full, "", ""}, {empty, "-", ""},
	} {
		key, value, ok, err := c.view.Last(bound(c.hi))
		if err != nil {
			t.Fatal(err)
		}
		if string(key) != c.want || ok != (c.want != "") || ok && string(value) != "v"+c.want {
			t.Errorf("last below %q: got %q=%q, %v; want %q", c.hi, key, value, ok, c.want)
		}
	}
}

func TestViewDoesNotChange(t *testing.T) {
	s := inMemory(t, vfs.NewMem()).Space(store.GroupID{Keyspace: 7}, 1)
	set(t, s, "a", "1")
	set(t, s, "b", "1")
	v := s.View()
	defer v.Close()
	set(t, s, "a", "2")
	set(t, s, "c", "2")
	b := s.Batch()
	b.Delete([]byte("b"))
	commit(t, b)
	want(t, "view", scan(t, v, "-", "-"), "a=1", "b=1")
	want(t, "space", content(t, s), "a=2", "c=2")
	if got, ok, err := v.Get([]byte("c")); ok || err != nil {
		t.Errorf("the view has %q, %v, %v", got, ok, err)
	}
	if got, ok, err := s.Get([]byte("a")); string(got) != "2" || !ok || err != nil {
		t.Errorf("the space has %q, %v, %v", got, ok, err)
	}
}

func TestBatchIsAllOrNothing(t *testing.T) {
	s := inMemory(t, vfs.NewMem()).Space(store.GroupID{Keyspace: 7}, 1)
	key, value := []byte("k"), []byte("v")
	dropped := s.Batch()
	dropped.Set(key, value)
	dropped.Close()
	dropped.Close()
	want(t, "after a batch was dropped", content(t, s))

	b := s.Batch()
	b.Set(key, value)
	key[0], value[0] = 'x', 'x' // the batch has copies
	b.Set([]byte("empty"), nil)
	b.Set([]byte("gone"), []byte("v"))
	b.DeleteRange([]byte("f"), []byte("h"))
	want(t, "before the commit", content(t, s))
	commit(t, b)
	want(t, "after the commit", content(t, s), "empty=", "k=v")
	if got, ok, err := s.Get([]byte("empty")); got == nil || len(got) != 0 || !ok || err != nil {
		t.Errorf("the empty value is %v, %v, %v", got, ok, err)
	}
}
