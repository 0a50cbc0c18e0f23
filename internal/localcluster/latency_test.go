package localcluster_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

// lateness is how long local writes and eventual reads took that were served, at every
// node, and how many were not.
type lateness struct {
	write, read []time.Duration
	failed      []error
}

func (l lateness) calls() int { return len(l.write) + len(l.read) + len(l.failed) }

func p99(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)*99/100]
}

// measure makes writes of w=local and eventual reads at every node at a time.
func measure(t *testing.T, desks []*desk) lateness {
	t.Helper()
	var mu sync.Mutex
	var all lateness
	var nodes sync.WaitGroup
	for _, d := range desks {
		nodes.Go(func() {
			for i := range 320 {
				ks, key := d.c.Keyspace("carts"), fmt.Sprint(d.node, "-", i)
				began := time.Now()
				_, notPut := ks.Put(within(t, 5*time.Second), key, []byte("v"), client.In(d.session))
				wrote := time.Now()
				_, notGot := ks.Get(within(t, 5*time.Second), key, client.At(store.Eventual))
				read := time.Since(wrote)
				mu.Lock()
				all.add(&all.write, wrote.Sub(began), notPut)
				all.add(&all.read, read, notGot)
				mu.Unlock()
			}
		})
	}
	nodes.Wait()
	return all
}

func (l *lateness) add(to *[]time.Duration, took time.Duration, err error) {
	if err != nil {
		l.failed = append(l.failed, err)
		return
	}
	*to = append(*to, took)
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

// compare wants no more than a tenth lost.
func compare(t *testing.T, what string, got, healthy time.Duration) {
	t.Helper()
	ratio := float64(got) / float64(healthy)
	t.Logf("%s is %v, %.2f times the %v when healthy", what, got, ratio, healthy)
	if ratio > 1.1 {
		t.Errorf("%s is %v, %.2f times the %v when healthy", what, got, ratio, healthy)
	}
}

const noRaft = "nothing of raft arrives" // and all else does

// Neither a cut nor a cp group without its quorum, on the same nodes, costs local writes
// and eventual reads of an ap keyspace more than a tenth of their time, or makes one of ten
// thousand fail. Every sync of a disk takes a millisecond.
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
		calls, failed := healthy.calls(), healthy.failed
		for _, fault := range []string{"n1,n2|n3,n4", "n1|n2,n3,n4", "n1|n2|n3|n4", noRaft} {
			if fault != noRaft {
				partition(t, c, fault)
			} else if err := c.SetFaults(t.Context(), []link.Rule{{From: link.Any, To: link.Any, Kind: link.Raft, Action: link.Hole}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second) // until cp groups have lost their leaders
			if _, err := desks[0].c.Keyspace("orders").Put(within(t, time.Second), "k", nil); err == nil && (fault == noRaft || fault == "n1|n2|n3|n4") {
				t.Errorf("%s: a cp group without quorum takes a write", fault)
			}
			got := measure(t, desks)
			calls, failed = calls+got.calls(), append(failed, got.failed...)
			compare(t, fault+": p99 of a local write", p99(got.write), p99(healthy.write))
			compare(t, fault+": p99 of an eventual read", p99(got.read), p99(healthy.read))
			heal(t, c)
			time.Sleep(5 * time.Second)
		}
		t.Logf("%d of %d calls failed", len(failed), calls)
		if len(failed)*10_000 > calls || calls < 10_000 {
			t.Errorf("%d of %d calls failed, the first with %v", len(failed), calls, failed[:min(1, len(failed))])
		}
	})
}

// There is no sloppy quorum, and no hint at a stranger: the side of a cut that holds no
// replica says so, of local writes and eventual reads too, in the time that the call has.
// Of a put that left before the side knew that nobody answers, nobody can say that it was
// not taken.
func TestSideWithoutAReplicaSaysSoWithinASecond(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 5)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap", Replicas: 3})
		held, _ := replicas(t, c, "carts")
		var with, without []string
		for _, node := range c.Nodes() {
			if slices.Contains(slices.Concat(slices.Collect(maps.Values(held))...), node) {
				with = append(with, node)
			} else {
				without = append(without, node)
			}
		}
		if len(with) != 3 || len(without) != 2 {
			t.Fatalf("%v hold it, %v do not", with, without)
		}
		desks := make(map[string]*desk)
		for _, node := range c.Nodes() {
			desks[node] = deskAt(t, c, node)
			desks[node].put("carts", "before") // a side that has not heard of the keyspace would say Unavailable too
		}
		partition(t, c, strings.Join(with, ",")+"|"+strings.Join(without, ","))
		began := time.Now()
		for time.Since(began) < time.Minute {
			for _, node := range c.Nodes() {
				d, may := desks[node], []store.Code{""}
				if slices.Contains(without, node) {
					may = []store.Code{store.Unavailable}
				}
				took := d.call(t, "get", may, func(ctx context.Context, ks *client.Keyspace) error {
					_, err := ks.Get(ctx, "k", client.At(store.Eventual))
					return err
				})
				if slices.Contains(without, node) && time.Since(began) < 15*time.Second {
					may = append(may, store.Unknown)
				}
				took = max(took, d.call(t, "put", may, func(ctx context.Context, ks *client.Keyspace) error {
					_, err := ks.Put(ctx, node, []byte("v"))
					return err
				}))
				if took >= time.Second {
					t.Errorf("at %s, %v after the cut, a call took %v", node, time.Since(began), took)
				}
			}
			time.Sleep(2 * time.Second)
		}
	})
}

// call gives a call nine tenths of a second, and wants it to end with one of these codes.
func (d *desk) call(t *testing.T, what string, may []store.Code, do func(context.Context, *client.Keyspace) error) time.Duration {
	t.Helper()
	began, got := time.Now(), store.Code("")
	err := do(within(t, 900*time.Millisecond), d.c.Keyspace("carts"))
	if err != nil {
		got = store.AsError(err).Code
	}
	if !slices.Contains(may, got) {
		t.Errorf("%s at %s: %v, want one of %q", what, d.node, err, may)
	}
	return time.Since(began)
}
