package client_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// race is a cluster that n1 is the near node of, and that serves reads in 1 to 2 ms; those
// of n1 take longer, if that is said. It notes what was asked of each node.
type race struct {
	ks     *client.Keyspace
	c      *client.Client
	n1     atomic.Int64 // nanoseconds
	mu     sync.Mutex
	reads  int
	asked  []string
	hedges []client.HedgeEvent
}

func (w *cluster) race(t *testing.T, change func(*client.Config)) *race {
	r := &race{}
	w.each(func(n *node) {
		n.read = func(ctx context.Context, q store.Query) (store.Page, error) {
			r.mu.Lock()
			r.reads++
			wait := time.Millisecond + time.Duration(r.reads%20)*50*time.Microsecond // no two alike
			r.asked = append(r.asked, fmt.Sprintf("%s %v %v %x", n.name, q.Level, q.Bound, q.After))
			r.mu.Unlock()
			if n.name == "n1" {
				wait += time.Duration(r.n1.Load())
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			return store.Page{Entry: revision(3), Proof: store.Proof{Node: n.name, Served: q.Level}}, nil
		}
	})
	r.c = w.open(func(cfg *client.Config) {
		cfg.Near, cfg.Resilience.Hedge.On = "n1", true
		cfg.Observe.Hedge = func(e client.HedgeEvent) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.hedges = append(r.hedges, e)
		}
		if change != nil {
			change(cfg)
		}
	})
	r.ks = r.c.Keyspace("ks")
	return r
}

func (r *race) warm(t *testing.T, opts ...client.Option) {
	t.Helper()
	for range 100 {
		_, err := r.ks.Get(t.Context(), "k", opts...)
		must(t, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked, r.hedges = nil, nil
}

func TestSlowReadIsHedgedAtTheSameLevelWithTheSameToken(t *testing.T) {
	for _, opts := range [][]client.Option{
		{client.At(client.Causal)}, {client.At(client.Eventual)}, {client.Bounded(time.Second)}, {client.At(client.ReadYourWrites)},
	} {
		world(t, store.AP, func(t *testing.T, w *cluster) {
			r := w.race(t, nil)
			_, err := r.ks.Put(t.Context(), "k", value)
			must(t, err)
			r.warm(t, opts...)
			r.n1.Store(int64(200 * time.Millisecond))
			began := time.Now()
			item, err := r.ks.Get(t.Context(), "k", opts...)
			must(t, err)
			if took := time.Since(began); item.Proof.Node == "n1" || took > 5*time.Millisecond {
				t.Errorf("%s answered after %v", item.Proof.Node, took)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(r.asked) != 2 || r.asked[0][:2] != "n1" || r.asked[0][2:] != r.asked[1][2:] || r.asked[1][:2] == "n1" {
				t.Errorf("they were asked %q", r.asked)
			}
			if len(r.hedges) != 1 || !r.hedges[0].Won {
				t.Errorf("the observer was told %v", r.hedges)
			}
		})
	}
}

func TestWritesAndScansAreNeverHedged(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		r := w.race(t, nil)
		r.warm(t)
		w.each(func(n *node) {
			n.write = func(context.Context, store.Command) (store.Result, error) {
				time.Sleep(200 * time.Millisecond)
				return store.Result{Entry: revision(4)}, nil
			}
		})
		_, err := r.ks.Put(t.Context(), "k", value)
		must(t, err)
		r.n1.Store(int64(200 * time.Millisecond))
		_, err = r.ks.Read(t.Context(), store.Query{Limit: 1})
		must(t, err)
		if len(w.writes()) != 1 || len(r.asked) != 1 || len(r.hedges) != 0 {
			t.Errorf("%d writes, reads %q", len(w.writes()), r.asked)
		}
	})
}

// Hedges are paid for: a cluster that is slow as a whole is not asked for twice as much.
func TestHedgesAreWithinTheBudget(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		r := w.race(t, func(cfg *client.Config) { cfg.Resilience.Budget = 0.1 })
		r.warm(t)
		r.n1.Store(int64(200 * time.Millisecond))
		for range 400 {
			r.n1.Add(int64(time.Millisecond)) // always later than what was
			_, err := r.ks.Get(t.Context(), "k")
			must(t, err)
		}
		if n := len(r.hedges); n == 0 || n > 50 {
			t.Errorf("%d hedges of 500 reads", n)
		}
	})
}

func TestHedgedReadEndsWithItsCaller(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		r := w.race(t, nil)
		r.warm(t)
		synctest.Wait()
		w.each(func(n *node) {
			n.read = func(ctx context.Context, _ store.Query) (store.Page, error) {
				<-ctx.Done()
				return store.Page{}, ctx.Err()
			}
		})
		began := time.Now()
		_, err := r.ks.Get(t.Context(), "k", client.WithTimeout(100*time.Millisecond))
		wantCode(t, err, store.Unavailable)
		if time.Since(began) > 100*time.Millisecond || store.AsError(err).Op != "get" {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestReadsAreNotHedgedUnlessAskedFor(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		r := w.race(t, func(cfg *client.Config) { cfg.Resilience.Hedge.On = false })
		r.warm(t)
		r.n1.Store(int64(200 * time.Millisecond))
		_, err := r.ks.Get(t.Context(), "k")
		if must(t, err); len(r.asked) != 1 {
			t.Errorf("they were asked %q", r.asked)
		}
	})
}
