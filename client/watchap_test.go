package client_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

func TestWatchOfAPGoesOnBehindTheEntryOfWhatItHasSeen(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		f := w.feed()
		w.each(func(n *node) { f.ends(n, 2, func(context.Context) error { return store.Unavailable }) })
		watch, err := w.keyspace().Watch(t.Context(), everything)
		must(t, err)
		defer watch.Close()
		f.write(9)
		wants(t, watch, 4, 12)
		for i, since := range f.since {
			if from := revision(3 + 2*uint64(i)); string(since) != string(from) || f.opened[i][2:] != "@0" {
				t.Errorf("watch %d, %s, went on behind %v, want %v", i, f.opened[i], since, from)
			}
		}
	})
}

func TestWatchOfAPIsContinuedByAnother(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		f, ks := w.feed(), w.keyspace()
		watch, err := ks.Watch(t.Context(), store.WatchQuery{All: true, From: 1})
		must(t, err)
		wants(t, watch, 1, 2)
		c, err := watch.Next(t.Context())
		must(t, err)
		watch.Close()
		f.write(2)
		again, err := w.open(nil).Keyspace("ks").Watch(t.Context(), everything, client.Since(c.Resume))
		must(t, err)
		defer again.Close()
		wants(t, again, 4, 5)

		_, err = ks.Watch(t.Context(), store.WatchQuery{All: true, From: 1}, client.Since(c.Resume))
		wantCode(t, err, store.Invalid)
		_, err = ks.Watch(t.Context(), store.WatchQuery{All: true, From: 2})
		wantCode(t, err, store.Invalid)
		_, err = ks.Watch(t.Context(), everything, client.Since("no token"))
		wantCode(t, err, store.Invalid)
		_, err = ks.Get(t.Context(), "k", client.Since(c.Resume))
		wantCode(t, err, store.Invalid)
		_, err = ks.Put(t.Context(), "k", value, client.Since(c.Resume))
		wantCode(t, err, store.Invalid)
	})
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.feed()
		_, err := w.keyspace().Watch(t.Context(), everything, client.Since(""))
		wantCode(t, err, store.Invalid)
	})
}

// endless is a watch whose only change stands behind an entry that no token has room for.
type endless struct{}

func (endless) Close() {}

func (endless) Next(context.Context) (store.Change, error) {
	all := make([]token.Component, 500)
	for i := range all {
		all[i] = token.Component{ID: uint64(i + 1), N: 1}
	}
	return store.Change{Revision: 500, Entry: token.EncodeEntry(all)}, nil
}

// No change is returned that another watch could not go on behind.
func TestWatchThatNoTokenHasRoomForEnds(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		w.feed()
		w.each(func(n *node) {
			n.watch = func(context.Context, store.WatchQuery) (store.Changes, error) { return endless{}, nil }
		})
		watch, err := w.keyspace().Watch(t.Context(), everything, client.Progress())
		must(t, err)
		defer watch.Close()
		_, err = watch.Next(t.Context()) // where it begins
		must(t, err)
		_, err = watch.Next(t.Context())
		wantCode(t, err, store.TooLarge)
	})
}

// follow takes changes of whole nodes until it has seen so many events, each once.
func follow(t *testing.T, w *client.Watch, seen map[string]bool, n int) (resume string) {
	t.Helper()
	for range n {
		c, err := w.Next(within(t, time.Minute))
		must(t, err)
		for _, e := range c.Events {
			if seen[e.Key] || e.Dot == "" || len(e.Values) != 1 || string(e.Value) != "v" {
				t.Errorf("event %+v, after %d others", e, len(seen))
			}
			seen[e.Key] = true
		}
		resume = c.Resume
	}
	return resume
}

// A watch of two groups loses its node and finds others, is closed and continued by
// another client that enters by a node; every write comes once.
func TestWatchOfWholeAPNodesSurvivesThem(t *testing.T) {
	whole(t, 2, func(t *testing.T, m *localcluster.Memory, _ *client.Keyspace) {
		c := join(t, m, "")
		ks, reader := c.Keyspace("ap"), c.NewSession()
		_, err := ks.Put(t.Context(), "before", []byte("v"), client.In(reader))
		must(t, err)
		for _, err := range ks.Scan(t.Context(), store.Query{}, client.In(reader)) {
			must(t, err)
		}
		want, seen := map[string]bool{}, map[string]bool{}
		write := func(n int) {
			for range n {
				key := fmt.Sprint("k", len(want))
				_, err := ks.Put(within(t, 20*time.Second), key, []byte("v"))
				must(t, err)
				want[key] = true
			}
		}
		write(10)
		watch, err := ks.Watch(t.Context(), everything, client.In(reader), client.Since(reader.Token()))
		must(t, err)
		follow(t, watch, seen, 10)
		for _, node := range m.Nodes() {
			must(t, m.Kill(t.Context(), node))
			write(10)
			follow(t, watch, seen, 10)
			must(t, m.Restart(t.Context(), node))
			time.Sleep(2 * time.Second)
		}
		write(5)
		resume := follow(t, watch, seen, 3)
		watch.Close()
		write(5)
		time.Sleep(time.Second)
		for _, at := range m.Nodes() {
			here := maps.Clone(seen)
			again, err := join(t, m, at).Keyspace("ap").Watch(t.Context(), everything, client.Since(resume))
			must(t, err)
			resume2 := follow(t, again, here, 4)
			again.Close()
			third, err := join(t, m, at).Keyspace("ap").Watch(t.Context(), everything, client.Since(resume2))
			must(t, err)
			follow(t, third, here, 3)
			third.Close()
			if !maps.Equal(here, want) {
				t.Errorf("entered by %s: %d of %d writes: %v", at, len(here), len(want), slices.Sorted(maps.Keys(here)))
			}
		}
	})
}

func TestTTLOfWholeAPNodes(t *testing.T) {
	whole(t, 1, func(t *testing.T, m *localcluster.Memory, _ *client.Keyspace) {
		ks := join(t, m, "").Keyspace("ap")
		_, err := ks.Put(t.Context(), "k", []byte("v"), client.WithTTL(2*time.Second))
		must(t, err)
		watch, err := ks.Watch(t.Context(), store.WatchQuery{Key: "k"})
		must(t, err)
		defer watch.Close()
		began := time.Now()
		c, err := watch.Next(within(t, 10*time.Second))
		must(t, err)
		if e := c.Events[0]; !e.Deleted || !e.Expired || time.Since(began) > 3*time.Second {
			t.Errorf("after %v the event is %+v", time.Since(began), e)
		}
		if item, err := ks.Get(t.Context(), "k"); err != nil || item.Found {
			t.Errorf("%+v, %v", item, err)
		}
	})
}
