package client_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// shelf serves scans of a fixed set of keys from every node, in views that only the node
// of the first page keeps. It notes who was asked for what.
type shelf struct {
	keys []string
	ks   shard.Keyspace

	mu    sync.Mutex
	pages []string // node of each page, with a + if it continued another
	first []store.Query
}

func (w *cluster) shelve(n int) *shelf {
	s := &shelf{ks: w.topology.Keyspaces[0]}
	for i := range n {
		s.keys = append(s.keys, fmt.Sprintf("k%03d", i))
	}
	w.each(func(n *node) {
		n.scan = func(group store.GroupID, q store.Query) (store.Page, error) { return s.page(n.name, group, q) }
	})
	return s
}

func (s *shelf) page(node string, group store.GroupID, q store.Query) (store.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := ""
	if q.Page == "" {
		s.pages, s.first = append(s.pages, node), append(s.first, q)
	} else {
		s.pages = append(s.pages, node+"+")
		at, err := token.ParsePage(q.Page)
		if err != nil || at.Node != node {
			return store.Page{}, &store.Error{Code: store.Compacted, Msg: "no view of that name"}
		}
		from = at.Key
	}
	page := store.Page{Revision: 9, Entry: revision(9), Proof: store.Proof{Node: node, Group: group}}
	keys := slices.Clone(s.keys)
	if q.Reverse {
		slices.Reverse(keys)
	}
	for _, key := range keys {
		switch behind := key < from; {
		case s.ks.Group(key) != group, !strings.HasPrefix(key, q.Prefix), from != "" && key != from && behind != q.Reverse:
		case q.Count:
			page.Count++
		case len(page.Items) == q.Limit:
			page.Next = token.Page{Node: node, View: 1, Key: key}.Encode()
			return page, nil
		default:
			page.Items = append(page.Items, store.Item{Key: key, Values: [][]byte{[]byte(key)}, Revision: 5, Created: 4, Version: 2})
		}
	}
	return page, nil
}

// collect runs a scan to its end.
func collect(ks *client.Keyspace, t *testing.T, q store.Query, opts ...client.Option) (keys []string, err error) {
	t.Helper()
	for item, err := range ks.Scan(t.Context(), q, opts...) {
		if err != nil {
			return keys, err
		}
		if string(item.Value) != item.Key || !item.Found || item.Created != 4 || item.Version != 2 {
			t.Errorf("item is %+v", item)
		}
		keys = append(keys, item.Key)
	}
	return keys, nil
}

func TestScanStaysWithTheNodeThatKeepsItsView(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		s := w.shelve(700)
		keys, err := collect(w.keyspace(), t, store.Query{})
		must(t, err)
		home := s.pages[0]
		if want := []string{home, home + "+", home + "+"}; !slices.Equal(s.pages, want) || !slices.Equal(keys, s.keys) {
			t.Errorf("%d keys from pages of %v", len(keys), s.pages)
		}
	})
}

func TestScanMergesGroupsInKeyOrder(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		w.sharded(3)
		s, ks := w.shelve(900), w.keyspace()
		up, err := collect(ks, t, store.Query{})
		must(t, err)
		if !slices.Equal(up, s.keys) {
			t.Errorf("%d keys up, or not in order", len(up))
		}
		down, err := collect(ks, t, store.Query{Reverse: true, Prefix: "k0"})
		must(t, err)
		slices.Reverse(down)
		if !slices.Equal(down, s.keys[:100]) {
			t.Errorf("%d keys down: %v", len(down), down)
		}
		for _, limit := range []int{1, 300, 2000} {
			some, err := collect(ks, t, store.Query{Limit: limit})
			must(t, err)
			if !slices.Equal(some, s.keys[:min(limit, 900)]) {
				t.Errorf("limit %d: %d keys", limit, len(some))
			}
		}
		count, err := ks.Count(t.Context(), store.Query{})
		if must(t, err); count != 900 {
			t.Errorf("count is %d", count)
		}
	})
}

func TestScanOfATagAsksOneGroup(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.sharded(3)
		s, ks := w.shelve(0), w.keyspace()
		s.keys = []string{"{u1}/a", "{u1}/b"}
		for _, q := range []store.Query{{Prefix: "{u1}/"}, {Prefix: "{u1}/", Reverse: true}} {
			if keys, err := collect(ks, t, q); err != nil || len(keys) != 2 {
				t.Errorf("%v, %v", keys, err)
			}
		}
		n := s.ks.Shard("{u1}/")
		if keys, err := collect(ks, t, store.Query{}, client.InGroup(n)); err != nil || len(keys) != 2 {
			t.Errorf("by its number: %v, %v", keys, err)
		}
		if len(s.pages) != 3 {
			t.Errorf("asked were %v", s.pages)
		}
		page, err := ks.Read(t.Context(), store.Query{Limit: 1, Prefix: "{u1}/"})
		if must(t, err); len(page.Items) != 1 || page.Next == "" {
			t.Errorf("one page is %+v", page)
		}
		_, err = ks.Read(t.Context(), store.Query{Limit: 1})
		wantCode(t, err, store.Unsupported)
		_, err = collect(ks, t, store.Query{}, client.InGroup(3))
		wantCode(t, err, store.Invalid)
		_, err = collect(ks, t, store.Query{Prefix: "{u1}/"}, client.InGroup((n+1)%3))
		wantCode(t, err, store.Invalid)
	})
}

func TestScanBreaksOffAfterAPage(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		s := w.shelve(700)
		for item, err := range w.keyspace().Scan(t.Context(), store.Query{}) {
			if must(t, err); item.Key == "k010" {
				break
			}
		}
		if len(s.pages) != 1 {
			t.Errorf("pages: %v", s.pages)
		}
	})
}

// Nobody else has the view: to go on elsewhere would show another instant.
func TestScanWhoseNodeIsGoneEnds(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		s, ks := w.shelve(700), w.keyspace()
		n, began := 0, time.Now()
		for item, err := range ks.Scan(t.Context(), store.Query{}) {
			if n++; item.Key == "k000" {
				w.nodes[s.pages[0]].unreachable(refused)
			}
			if err != nil {
				wantCode(t, err, store.Unavailable)
			}
		}
		if n != 257 || len(s.pages) != 1 || time.Since(began) > 2*time.Second {
			t.Errorf("%d elements, pages of %v, after %v", n, s.pages, time.Since(began))
		}
	})
}

func TestScanWhoseViewIsGoneEnds(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		s, ks := w.shelve(700), w.keyspace()
		home := ""
		keys := 0
		for _, err := range ks.Scan(t.Context(), store.Query{}) {
			if err != nil {
				wantCode(t, err, store.Compacted)
				break
			}
			if keys++; home == "" {
				home = s.pages[0]
				w.nodes[home].scan = func(store.GroupID, store.Query) (store.Page, error) {
					return store.Page{}, &store.Error{Code: store.Compacted}
				}
			}
		}
		if keys != 256 {
			t.Errorf("%d keys", keys)
		}
		_, err := ks.Read(t.Context(), store.Query{Limit: 1, Page: token.Page{Node: "n9", View: 1, Key: "k"}.Encode()})
		wantCode(t, err, store.Compacted)
	})
}

func TestScanIsOfASession(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		s := w.shelve(700)
		c := w.open(nil)
		session := c.NewSession()
		_, err := c.Keyspace("ks").Put(t.Context(), "k", value, client.In(session))
		must(t, err)
		_, err = collect(c.Keyspace("ks"), t, store.Query{}, client.In(session), client.At(client.Causal))
		must(t, err)
		if got := s.first[0].After; string(got) != string(revision(4)) {
			t.Errorf("the first page came after %v", got)
		}
		asked := w.asked()
		_, err = c.Keyspace("ks").Get(t.Context(), "k", client.In(session), client.Bounded(time.Second))
		must(t, err)
		if got := (*asked)[0]; string(got) != string(revision(9)) {
			t.Errorf("what was scanned is not remembered: %v", got)
		}
	})
}

func TestScanEntersByANode(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.sharded(2)
		s := w.shelve(600)
		c := w.open(func(cfg *client.Config) { cfg.At = "n2" })
		keys, err := collect(c.Keyspace("ks"), t, store.Query{})
		if must(t, err); !slices.Equal(keys, s.keys) {
			t.Errorf("%d keys", len(keys))
		}
	})
}

func TestBoundReachesTheReplica(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		s, ks := w.shelve(1), w.keyspace()
		_, err := collect(ks, t, store.Query{}, client.Bounded(3*time.Second))
		must(t, err)
		if q := s.first[0]; q.Level != store.Bounded || q.Bound != 3*time.Second {
			t.Errorf("asked was %v of %v", q.Level, q.Bound)
		}
		for _, opt := range []client.Option{client.At(store.Bounded), client.Bounded(0), client.Bounded(-1)} {
			if _, err := ks.Get(t.Context(), "k", opt); !errors.Is(err, store.Invalid) {
				t.Errorf("it is not refused: %v", err)
			}
		}
	})
}
