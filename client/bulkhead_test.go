package client_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// stuck makes replicas of keyspace 7 keep every call until the end of the test, at the
// nodes; it counts the calls.
func (w *cluster) stuck(t *testing.T, nodes ...string) *atomic.Int64 {
	got, end := new(atomic.Int64), make(chan struct{})
	t.Cleanup(func() { close(end) })
	for _, name := range nodes {
		n := w.nodes[name]
		n.read = func(context.Context, store.Query) (store.Page, error) {
			got.Add(1)
			<-end
			return store.Page{}, store.Unavailable
		}
		n.write = func(_ context.Context, c store.Command) (store.Result, error) {
			if c.Op == store.OpenSession {
				return store.Result{Revision: 100}, nil
			}
			got.Add(1)
			<-end
			return store.Result{}, store.Unavailable
		}
	}
	return got
}

func small(cfg *client.Config) {
	cfg.Resilience.Bulkhead = client.Bulkhead{Calls: 4}
	cfg.Resilience.Breaker.Off = true
}

func TestFullBulkheadSendsNothing(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		ks, _ := w.near(small)
		_, err := ks.Put(t.Context(), "k", value)
		must(t, err)
		got := w.stuck(t, "n1")
		w.led("n1")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { _, _ = ks.Put(ctx, "k", value) })
		}
		synctest.Wait()
		began := time.Now()
		_, err = ks.Put(t.Context(), "k", value)
		wantCode(t, err, store.Overloaded)
		if store.OutcomeOf(err) != store.Failed || time.Since(began) != 100*time.Millisecond || store.AsError(err).RetryAfter == 0 {
			t.Errorf("after %v: %+v", time.Since(began), err)
		}
		cancel()
		wg.Wait()
		if got.Load() != 4 {
			t.Errorf("the node got %d writes", got.Load())
		}
		w.nodes["n1"].write = nil // a place is free again
		_, err = ks.Put(t.Context(), "k", value)
		must(t, err)
	})
}

// What one node keeps another takes: and a keyspace in trouble holds up no other.
func TestBulkheadKeepsTroubleWhereItIs(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		w.change(func(topology *shard.Topology) {
			other := topology.Keyspaces[0]
			other.ID, other.Name = 8, "other"
			topology.Keyspaces = append(topology.Keyspaces[:1:1], other)
		})
		stuck, end := new(atomic.Int64), make(chan struct{})
		defer close(end)
		w.each(func(n *node) {
			n.scan = func(group store.GroupID, _ store.Query) (store.Page, error) {
				if group.Keyspace == 7 && n.name == "n1" {
					stuck.Add(1)
					<-end
				}
				return store.Page{Proof: store.Proof{Node: n.name}, Entry: revision(1)}, nil
			}
		})
		c := w.open(func(cfg *client.Config) { cfg.Near = "n1"; small(cfg) })
		page := func(keyspace string) (store.Page, time.Duration) {
			began := time.Now()
			p, err := c.Keyspace(keyspace).Read(t.Context(), store.Query{Limit: 1, Level: store.Eventual})
			must(t, err)
			return p, time.Since(began)
		}
		_, err := c.Topology(t.Context())
		must(t, err)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { page("ks") })
		}
		synctest.Wait()
		if p, took := page("ks"); p.Proof.Node == "n1" || took != 100*time.Millisecond || stuck.Load() != 4 {
			t.Errorf("%s answered after %v; %d are stuck", p.Proof.Node, took, stuck.Load())
		}
		if p, took := page("other"); p.Proof.Node != "n1" || took > 0 {
			t.Errorf("another keyspace: %s answered after %v", p.Proof.Node, took)
		}
		wg.Wait()
	})
}

func TestBulkheadCountsWhatIsInProgressOnly(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		got := w.nodes["n1"].counted()
		ks, _ := w.near(func(cfg *client.Config) { cfg.Resilience.Bulkhead = client.Bulkhead{Calls: 1, Wait: -1} })
		for range 500 {
			if failed := crowd(t, ks, 1); failed > 0 {
				t.Fatal("it is full")
			}
		}
		w.nodes["n1"].unreachable(refused)
		for range 20 {
			crowd(t, ks, 1) // attempts that end before anything is sent give their place back
		}
		w.nodes["n1"].unreachable(nil)
		time.Sleep(20 * time.Second)
		crowd(t, ks, 1)
		time.Sleep(time.Second)
		if crowd(t, ks, 1); got.Load() < 501 {
			t.Errorf("the node got %d", got.Load())
		}
	})
}
