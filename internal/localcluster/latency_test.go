package localcluster_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

// lateness is how long local writes and eventual reads took, at every node.
type lateness struct{ write, read []time.Duration }

func p99(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)*99/100]
}

// measure makes writes of w=local and eventual reads at every node at a time. All must
// be served.
func measure(t *testing.T, desks []*desk) lateness {
	t.Helper()
	var mu sync.Mutex
	var all lateness
	var nodes sync.WaitGroup
	for _, d := range desks {
		nodes.Go(func() {
			for i := range 200 {
				ks, key := d.c.Keyspace("carts"), fmt.Sprint(d.node, "-", i)
				began := time.Now()
				_, err := ks.Put(within(t, 5*time.Second), key, []byte("v"), client.In(d.session))
				wrote := time.Now()
				if err != nil {
					t.Errorf("put at %s: %v", d.node, err)
				}
				if _, err := ks.Get(within(t, 5*time.Second), key, client.At(store.Eventual)); err != nil {
					t.Errorf("get at %s: %v", d.node, err)
				}
				mu.Lock()
				all.write, all.read = append(all.write, wrote.Sub(began)), append(all.read, time.Since(wrote))
				mu.Unlock()
			}
		})
	}
	nodes.Wait()
	return all
}

// load writes to a cp keyspace from every node until it is stopped, whatever comes of it.
func load(t *testing.T, c localcluster.Cluster, keyspace string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for _, node := range c.Nodes() {
		d := deskAt(t, c, node)
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				try, end := context.WithTimeout(ctx, 200*time.Millisecond)
				_, _ = d.c.Keyspace(keyspace).Put(try, fmt.Sprint(node, i), []byte("v"))
				end()
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	return func() { cancel(); all.Wait() }
}

// Neither a cut nor a cp group without its quorum, on the same nodes, costs local writes
// and eventual reads of an ap keyspace anything, or makes one fail. Every sync of a disk
// takes a millisecond.
func TestCutAndLostQuorumCostLocalWritesNothing(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 4)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp", Replicas: 3})
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap", Replicas: 4})
		var desks []*desk
		for _, node := range c.Nodes() {
			if err := c.SlowDisk(t.Context(), node, time.Millisecond); err != nil {
				t.Fatal(err)
			}
			desks = append(desks, deskAt(t, c, node))
			desks[len(desks)-1].put("carts", "before")
		}
		stop := load(t, c, "orders")
		defer stop()
		healthy := measure(t, desks)
		for _, cut := range []string{"n1,n2|n3,n4", "n1|n2|n3|n4"} {
			partition(t, c, cut)
			time.Sleep(5 * time.Second) // until cp groups have lost their leaders
			got := measure(t, desks)
			for what, d := range map[string][2]time.Duration{
				"a local write":    {p99(got.write), p99(healthy.write)},
				"an eventual read": {p99(got.read), p99(healthy.read)},
			} {
				t.Logf("%s: p99 of %s %v, healthy %v", cut, what, d[0], d[1])
				if d[0] > d[1]*11/10 {
					t.Errorf("%s: p99 of %s is %v, and %v when healthy", cut, what, d[0], d[1])
				}
			}
			heal(t, c)
			time.Sleep(5 * time.Second)
		}
	})
}
