package client_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// turning makes a node turn away what is asked at the level, and count that.
func (n *node) turning(level store.Level, code store.Code) *atomic.Int64 {
	count := new(atomic.Int64)
	n.read = func(_ context.Context, q store.Query) (store.Page, error) {
		if q.Level == level {
			count.Add(1)
			return store.Page{}, &store.Error{Code: code}
		}
		return store.Page{Revision: 3, Entry: revision(3), Proof: store.Proof{Node: n.name}}, nil
	}
	return count
}

// Nodes that cannot prove their age, or have not what sessions have seen, turn their
// callers away for as long as a cut lasts. That must not leave a write without its retry.
func TestThoseWhoAreTurnedAwayLeaveRetriesToOthers(t *testing.T) {
	for _, code := range []store.Code{store.TooStale, store.SessionUnreachable} {
		world(t, store.CP, func(t *testing.T, w *cluster) {
			w.each(func(n *node) { n.turning(store.Bounded, code) })
			ks := w.open(nil).Keyspace("ks")
			for range 1000 { // 10 s
				time.Sleep(10 * time.Millisecond)
				_, err := ks.Get(t.Context(), "k", client.Bounded(time.Second), client.WithTimeout(100*time.Millisecond))
				wantCode(t, err, code)
			}
			fails := new(atomic.Bool)
			w.each(func(n *node) {
				n.write = func(_ context.Context, c store.Command) (store.Result, error) {
					if c.Op == store.Put && fails.CompareAndSwap(true, false) {
						return store.Result{}, store.Unavailable
					}
					return store.Result{Revision: 100, Entry: revision(100)}, nil
				}
			})
			for i := range 40 {
				fails.Store(true)
				if _, err := ks.Put(t.Context(), "k", value); err != nil {
					t.Fatalf("%s: write %d was not retried: %v", code, i, err)
				}
			}
		})
	}
}

// What the nearest node turns away another may serve: then calls of the kind begin there,
// and come back to the nearest to see whether it has caught up.
func TestCallsBeginWhereOthersWereServed(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		stale := w.nodes["n1"].turning(store.Bounded, store.TooStale)
		ks, _ := w.near(nil)
		for range 1200 { // 12 s
			time.Sleep(10 * time.Millisecond)
			if _, err := ks.Get(t.Context(), "k", client.Bounded(time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		if n := stale.Load(); n != 3 {
			t.Errorf("in 12 s the node that is too stale was asked %d times, not every five seconds", n)
		}
		if item, err := ks.Get(t.Context(), "k", client.At(client.Eventual)); err != nil || item.Proof.Node != "n1" {
			t.Errorf("any state will do, and %s served it: %v", item.Proof.Node, err)
		}
	})
}

func TestSessionBeginsWhereItWasServed(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		lacks := w.nodes["n1"].turning(store.Causal, store.SessionUnreachable)
		c := w.open(func(cfg *client.Config) { cfg.Near = "n1" })
		ks, session := c.Keyspace("ks"), c.NewSession()
		for range 100 { // 1 s
			time.Sleep(10 * time.Millisecond)
			if _, err := ks.Get(t.Context(), "k", client.In(session), client.At(client.Causal)); err != nil {
				t.Fatal(err)
			}
		}
		if n := lacks.Load(); n != 1 {
			t.Errorf("the node that has not what the session has seen was asked %d times", n)
		}
		w.nodes["n1"].counted()
		if item, err := ks.Get(t.Context(), "k", client.In(c.NewSession()), client.At(client.Causal)); err != nil || item.Proof.Node != "n1" {
			t.Errorf("another session was served by %s, %v", item.Proof.Node, err)
		}
		if _, err := ks.Put(t.Context(), "k", value, client.In(session)); err != nil || w.puts()[:2] == "n1" {
			t.Errorf("the session's write went to %s, %v", w.puts(), err)
		}
	})
}
