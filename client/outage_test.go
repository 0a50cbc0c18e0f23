package client_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// outage is a way in which no node serves anything.
type outage struct {
	name string
	do   func(n *node, ctx context.Context) error
}

var outages = []outage{
	{"nobody has a majority", func(*node, context.Context) error { return store.Unavailable }},
	{"nobody leads", func(*node, context.Context) error { return store.NotLeader }},
	{"all hang", func(_ *node, ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
	{"all break off", func(n *node, _ context.Context) error { n.cut(); return store.Unavailable }},
	{"all are flooded", func(*node, context.Context) error {
		return &store.Error{Code: store.Overloaded, RetryAfter: 50 * time.Millisecond}
	}},
}

// A cluster that serves nothing must not be finished off by those who ask again.
func TestTotalOutageIsAmplifiedByAFifthAtMost(t *testing.T) {
	for _, mode := range []store.Mode{store.CP, store.AP} {
		for _, out := range outages {
			t.Run(mode.String()+", "+out.name, func(t *testing.T) {
				world(t, mode, func(t *testing.T, w *cluster) {
					got := new(atomic.Int64)
					w.each(func(n *node) {
						n.read = func(ctx context.Context, _ store.Query) (store.Page, error) {
							got.Add(1)
							return store.Page{}, out.do(n, ctx)
						}
						n.write = func(ctx context.Context, c store.Command) (store.Result, error) {
							if c.Op == store.OpenSession {
								return store.Result{Revision: 100}, nil
							}
							got.Add(1)
							return store.Result{}, out.do(n, ctx)
						}
					})
					ks, calls := w.keyspace(), 0
					var wg sync.WaitGroup
					for range 500 { // 5 s
						time.Sleep(10 * time.Millisecond)
						calls += 2
						wg.Go(func() {
							began := time.Now()
							if _, err := ks.Get(t.Context(), "k", client.WithTimeout(time.Second)); err == nil || time.Since(began) > time.Second {
								t.Errorf("a read ended after %v: %v", time.Since(began), err)
							}
						})
						wg.Go(func() {
							began := time.Now()
							if _, err := ks.Put(t.Context(), "k", value, client.WithTimeout(time.Second)); err == nil || time.Since(began) > time.Second {
								t.Errorf("a write ended after %v: %v", time.Since(began), err)
							}
						})
					}
					wg.Wait()
					t.Logf("%d calls became %d requests", calls, got.Load())
					if got.Load() > int64(calls)*12/10 {
						t.Errorf("%d calls became %d requests", calls, got.Load())
					}
				})
			})
		}
	}
}
