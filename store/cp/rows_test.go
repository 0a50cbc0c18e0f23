package cp

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

func TestPrefixEndsBehindAllThatBeginsWithIt(t *testing.T) {
	for prefix, want := range map[string]string{"": "", "a": "b", "a\xff": "b", "\xff\xff": "", "p/": "p0", "é": "ê"} {
		if got := prefixEnd(prefix); got != want {
			t.Errorf("%q: %q, want %q", prefix, got, want)
		}
	}
}

func TestCountEndsWithItsContext(t *testing.T) {
	e, err := engine.Open(engine.Config{Dir: "/data", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s, err := loadState(e, store.GroupID{Keyspace: 7})
	if err != nil {
		t.Fatal(err)
	}
	const keys = 3 * countStride
	b := s.space.Batch()
	for i := range keys {
		b.Set(s.key(keyRecord, fmt.Appendf(nil, "k%06d", i)), nil)
	}
	if err := b.Commit(false); err != nil {
		t.Fatal(err)
	}
	v := s.view()
	defer v.Close()
	all := rowsOf(v, store.Query{Count: true})
	if n, err := all.count(t.Context()); n != keys || err != nil {
		t.Errorf("%d, %v, want %d", n, err, keys)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if n, err := all.count(ended); n > countStride || !errors.Is(err, store.Unavailable) {
		t.Errorf("an ended count came to %d: %v", n, err)
	}
}

func TestSessionIsOfOneEpoch(t *testing.T) {
	entry := func(components ...token.Component) store.Entry { return token.EncodeEntry(components) }
	for what, c := range map[string]struct {
		entry store.Entry
		want  seen
		code  store.Code
	}{
		"nothing":         {nil, seen{}, ""},
		"a revision":      {entry(token.Component{N: 5}), seen{0, 5}, ""},
		"a later epoch's": {entry(token.Component{ID: 3, N: 5}), seen{3, 5}, ""},
		"two epochs'":     {entry(token.Component{N: 5}, token.Component{ID: 1, N: 6}), seen{}, store.TokenMismatch},
		"an ap entry":     {entry(token.Component{ID: 1 << 40, N: 5}), seen{}, store.TokenMismatch},
		"garbage":         {store.Entry{9, 9}, seen{}, store.Invalid},
	} {
		got, err := seenIn(c.entry)
		if got != c.want || c.code == "" && err != nil || c.code != "" && !errors.Is(err, c.code) {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	// A view of an earlier epoch may still come to what was seen; one of a later never.
	for _, c := range []struct {
		view    view
		met, ok bool
	}{
		{view{epoch: 2, revision: 4}, false, true},
		{view{epoch: 2, revision: 5}, true, true},
		{view{epoch: 1, revision: 9}, false, true},
		{view{epoch: 3, revision: 1}, true, false},
		{view{epoch: 3, revision: 9}, true, false},
	} {
		s := seen{2, 5}
		if met, err := s.met(&c.view), s.check(&c.view); met != c.met || (err == nil) != c.ok || err != nil && !errors.Is(err, store.TokenMismatch) {
			t.Errorf("at revision %d of epoch %d: %v, %v", c.view.revision, c.view.epoch, met, err)
		}
	}
}
