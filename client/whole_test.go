package client_test

import (
	"context"
	"errors"
	"fmt"
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

// whole runs a test in virtual time on three whole nodes, with a cp keyspace "ks" of so
// many groups and an ap keyspace "ap".
func whole(t *testing.T, groups uint32, f func(t *testing.T, m *localcluster.Memory, ks *client.Keyspace)) {
	t.Helper()
	linktest.Bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		m, err := localcluster.NewMemory(ctx, localcluster.MemoryConfig{
			Nodes: 3, Seed: 1, Latency: 500 * time.Microsecond, Jitter: 200 * time.Microsecond,
		})
		must(t, err)
		defer func() { must(t, m.Close()) }()
		admin, err := m.Admin("n1")
		must(t, err)
		for _, r := range []*kvpb.CreateKeyspaceRequest{{Name: "ks", Mode: "cp", Groups: groups}, {Name: "ap", Mode: "ap", Groups: groups}} {
			_, err = admin.CreateKeyspace(ctx, r)
			must(t, kvpb.FromStatus(err))
		}
		f(t, m, join(t, m, "").Keyspace("ks"))
	})
}

// join returns a client that enters by a node, or finds its own way.
func join(t *testing.T, m *localcluster.Memory, at string) *client.Client {
	t.Helper()
	c, err := m.Client(t.Context(), at)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// isolate cuts a node off from all others, and nothing else.
func isolate(t *testing.T, m *localcluster.Memory, node string) {
	t.Helper()
	must(t, m.SetFaults(t.Context(), link.Isolate(node, m.Nodes())))
}

// within is a context of the test with a deadline.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestIncrementsAreDoneOnceAcrossAChangeOfLeader(t *testing.T) {
	whole(t, 1, func(t *testing.T, m *localcluster.Memory, ks *client.Keyspace) {
		var wg sync.WaitGroup
		for range 8 {
			mine := join(t, m, "").Keyspace("ks")
			wg.Go(func() {
				for range 50 {
					if _, _, err := mine.Increment(within(t, 10*time.Second), "n", 1); err != nil {
						t.Error(err)
					}
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
		time.Sleep(300 * time.Millisecond)
		item, err := ks.Get(t.Context(), "n")
		must(t, err)
		must(t, m.Kill(t.Context(), leader(t, m)))
		wg.Wait()
		sum, _, err := ks.Increment(within(t, 5*time.Second), "n", 0)
		must(t, err)
		if sum != 400 || string(item.Value) == "400" {
			t.Errorf("400 increments made %d, after %s", sum, item.Value)
		}
	})
}

// leader is the node that leads the first group of "ks".
func leader(t *testing.T, m *localcluster.Memory) string {
	t.Helper()
	topology, err := join(t, m, "").Topology(t.Context())
	must(t, err)
	ks, ok := topology.Keyspace("ks")
	if name := topology.Leaders[ks.Group("")]; ok && name != "" {
		return name
	}
	t.Fatal("nobody is known to lead")
	return ""
}

func TestScanShowsOneInstantWhateverIsWrittenMeanwhile(t *testing.T) {
	whole(t, 2, func(t *testing.T, m *localcluster.Memory, ks *client.Keyspace) {
		for i, ks := range []*client.Keyspace{ks, join(t, m, "n2").Keyspace("ks")} {
			prefix := fmt.Sprintf("%d/", i)
			write := func(value string, from, to, step int) {
				var wg sync.WaitGroup
				for n := from; n < to; n += step {
					wg.Go(func() {
						if _, err := ks.Put(within(t, 5*time.Second), fmt.Sprintf("%s%04d", prefix, n), []byte(value)); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
			}
			write("before", 0, 700, 1)
			n := 0
			for item, err := range ks.Scan(t.Context(), store.Query{Prefix: prefix}) {
				must(t, err)
				if string(item.Value) != "before" || item.Key != fmt.Sprintf("%s%04d", prefix, n) {
					t.Fatalf("%s: item %d is %s = %s", ks.Name(), n, item.Key, item.Value)
				}
				if n++; n == 10 {
					write("after", 0, 750, 5)
				}
			}
			count, err := ks.Count(t.Context(), store.Query{Prefix: prefix})
			if must(t, err); n != 700 || count != 710 {
				t.Errorf("%s: %d keys, then %d", ks.Name(), n, count)
			}
		}
	})
}

func TestScanOfAnAPKeyspaceFindsEveryKey(t *testing.T) {
	whole(t, 3, func(t *testing.T, m *localcluster.Memory, _ *client.Keyspace) {
		ks := join(t, m, "").Keyspace("ap")
		for n := range 50 {
			_, err := ks.Put(t.Context(), fmt.Sprintf("k%02d", n), value)
			must(t, err)
		}
		n := 0
		for item, err := range ks.Scan(t.Context(), store.Query{Prefix: "k"}) {
			if must(t, err); item.Key != fmt.Sprintf("k%02d", n) || string(item.Value) != "v" || item.Context == nil {
				t.Fatalf("item %d is %+v", n, item)
			}
			n++
		}
		if n != 50 {
			t.Errorf("%d keys", n)
		}
	})
}

func TestTxnSeesAndChangesAGroupAtOneInstant(t *testing.T) {
	whole(t, 3, func(t *testing.T, m *localcluster.Memory, ks *client.Keyspace) {
		for key, amount := range map[string]string{"{bank}/a": "100", "{bank}/b": "0"} {
			_, err := ks.Put(t.Context(), key, []byte(amount))
			must(t, err)
		}
		var wg sync.WaitGroup
		for range 4 {
			mine := join(t, m, "").Keyspace("ks")
			wg.Go(func() {
				for range 20 {
					_, err := mine.Txn(within(t, 5*time.Second), store.Txn{
						If:   []store.Compare{{Key: "{bank}/a", Target: store.TargetValue, Relation: store.NotEqual, Value: []byte("40")}},
						Then: []store.Step{client.IncrementStep("{bank}/a", -1), client.IncrementStep("{bank}/b", 1)},
						Else: []store.Step{client.GetStep("{bank}/a")},
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		r, err := ks.Txn(t.Context(), store.Txn{Then: []store.Step{client.GetStep("{bank}/a"), client.GetStep("{bank}/b")}})
		must(t, err)
		if a, b := string(r.Steps[0].Value), string(r.Steps[1].Value); !r.Held || a != "40" || b != "60" {
			t.Errorf("a has %s, b has %s", a, b)
		}
	})
}

func TestWatchSurvivesItsNodes(t *testing.T) {
	for _, at := range []string{"", "n2"} {
		whole(t, 1, func(t *testing.T, m *localcluster.Memory, ks *client.Keyspace) {
			watch, err := join(t, m, at).Keyspace("ks").Watch(t.Context(), store.WatchQuery{Prefix: "k"})
			must(t, err)
			defer watch.Close()
			go func() {
				for i := range 120 {
					if _, err := ks.Put(within(t, 20*time.Second), fmt.Sprintf("k%d", i), value); err != nil {
						t.Error(err)
					}
					time.Sleep(250 * time.Millisecond)
				}
			}()
			go func() {
				for _, node := range []string{"n1", "n3", "n2"} {
					time.Sleep(3 * time.Second)
					isolate(t, m, node)
					time.Sleep(4 * time.Second)
					must(t, m.SetFaults(t.Context(), nil))
					time.Sleep(2 * time.Second)
				}
			}()
			last := uint64(0)
			for i := range 120 {
				c, err := watch.Next(within(t, time.Minute))
				must(t, err)
				if len(c.Events) != 1 || c.Events[0].Key != fmt.Sprint("k", i) || c.Revision <= last {
					t.Fatalf("change %d is %+v, after revision %d", i, c, last)
				}
				last = c.Revision
			}
		})
	}
}

func TestKeysEndWithTheirLease(t *testing.T) {
	whole(t, 3, func(t *testing.T, m *localcluster.Memory, ks *client.Keyspace) {
		there := func(key string) bool {
			item, err := ks.Get(within(t, 5*time.Second), key)
			must(t, err)
			return item.Found
		}
		l, err := ks.Grant(t.Context(), "{s}", 2*time.Second)
		must(t, err)
		_, err = ks.Put(t.Context(), "{s}/a", value, client.WithLease(l))
		must(t, err)
		_, err = ks.Put(t.Context(), "t", value, client.WithTTL(2*time.Second))
		must(t, err)
		for range 5 {
			time.Sleep(1500 * time.Millisecond)
			must(t, l.KeepAlive(t.Context()))
		}
		if !there("{s}/a") || there("t") {
			t.Error("the key whose lease was kept alive is gone, or the other is not")
		}
		n := 0
		for item, err := range ks.Leases(t.Context()) {
			if must(t, err); item.ID != l.ID() || item.Keys != 1 || item.TTL != 2*time.Second {
				t.Errorf("lease %+v", item)
			}
			n++
		}
		if time.Sleep(time.Until(l.Expires()) - 10*time.Millisecond); !there("{s}/a") {
			t.Error("it ended early")
		}
		if time.Sleep(3 * time.Second); there("{s}/a") || n != 1 {
			t.Errorf("it did not end, of %d leases", n)
		}
		wantCode(t, l.KeepAlive(t.Context()), store.NotFound)
		wantCode(t, l.Revoke(t.Context()), store.NotFound)
	})
}

func TestOneHoldsTheLockAtATimeInTheOrderOfTheQueue(t *testing.T) {
	whole(t, 3, func(t *testing.T, m *localcluster.Memory, ks *client.Keyspace) {
		var mu sync.Mutex
		var holding int
		var order []int
		var fences []uint64
		var wg sync.WaitGroup
		for i := range 6 {
			mine := join(t, m, "").Keyspace("ks")
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				l, err := mine.Lock(t.Context(), "job", 2*time.Second)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if holding++; holding != 1 {
					t.Errorf("%d hold the lock", holding)
				}
				order, fences = append(order, i), append(fences, l.Fence().Revision)
				mu.Unlock()
				time.Sleep(5 * time.Second) // more than the TTL: it is kept alive
				_, err = mine.Put(t.Context(), "{job}/done", fmt.Append(nil, i), client.Fenced(l.Fence()))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				holding--
				mu.Unlock()
				if err := l.Unlock(t.Context()); err != nil {
					t.Error(err)
				}
				<-l.Lost()
				_, err = mine.Put(t.Context(), "{job}/done", nil, client.Fenced(l.Fence()))
				wantCode(t, err, store.Conflict)
			})
		}
		wg.Wait()
		for i := range order {
			if order[i] != i || i > 0 && fences[i] <= fences[i-1] {
				t.Errorf("order %v, fences %v", order, fences)
			}
		}
		if n, err := ks.Count(t.Context(), store.Query{Prefix: "lock/"}); err != nil || n != 0 || len(order) != 6 {
			t.Errorf("%d keys are left, %v", n, err)
		}
	})
}

// The holder is cut off from everybody. It must know before anybody else holds the lock,
// and whatever it still writes must be refused.
func TestHolderThatIsCutOffKnowsBeforeTheNextHolds(t *testing.T) {
	whole(t, 1, func(t *testing.T, m *localcluster.Memory, ks *client.Keyspace) {
		follower := "n1"
		if leader(t, m) == follower {
			follower = "n2"
		}
		cut := join(t, m, follower).Keyspace("ks")
		const ttl = 3 * time.Second
		l, err := cut.Lock(t.Context(), "{a}", ttl)
		must(t, err)
		var lost, next time.Time
		var second *client.Lock
		var wg sync.WaitGroup
		wg.Go(func() { <-l.Lost(); lost = time.Now() })
		wg.Go(func() {
			other := "n3"
			var err error
			if second, err = join(t, m, other).Keyspace("ks").Lock(t.Context(), "{a}", ttl); err != nil {
				t.Error(err)
			}
			next = time.Now()
		})
		time.Sleep(5 * time.Second)
		if !lost.IsZero() || !next.IsZero() {
			t.Fatal("it was lost while it was kept alive")
		}
		isolate(t, m, follower)
		began := time.Now()
		wg.Wait()
		if lost.Sub(began) > ttl || next.Before(lost) || next.Sub(began) > 3*ttl {
			t.Errorf("lost after %v, held by the next after %v", lost.Sub(began), next.Sub(began))
		}
		must(t, m.SetFaults(t.Context(), nil))
		_, err = cut.Put(within(t, 10*time.Second), "{a}/x", []byte("late"), client.Fenced(l.Fence()))
		wantCode(t, err, store.Conflict)
		_, err = ks.Put(t.Context(), "{a}/x", []byte("mine"), client.Fenced(second.Fence()))
		must(t, err)
		if second.Fence().Revision <= l.Fence().Revision {
			t.Errorf("fence %v after %v", second.Fence(), l.Fence())
		}
		wantCode(t, l.Unlock(t.Context()), store.NotFound)
		must(t, second.Unlock(t.Context()))
	})
}

func TestLockWhoseKeyIsDeletedIsLost(t *testing.T) {
	whole(t, 1, func(t *testing.T, m *localcluster.Memory, ks *client.Keyspace) {
		l, err := ks.Lock(t.Context(), "a", time.Minute)
		must(t, err)
		time.Sleep(time.Second)
		_, err = ks.Delete(t.Context(), l.Fence().Key)
		must(t, err)
		began := time.Now()
		if <-l.Lost(); time.Since(began) > time.Second {
			t.Errorf("it was noticed after %v", time.Since(began))
		}
		must(t, l.Unlock(t.Context())) // the lease was there still
	})
}

func TestTryLockDoesNotWait(t *testing.T) {
	whole(t, 1, func(t *testing.T, m *localcluster.Memory, ks *client.Keyspace) {
		l, err := ks.TryLock(t.Context(), "a", time.Second)
		must(t, err)
		began := time.Now()
		_, err = ks.TryLock(t.Context(), "a", time.Second)
		wantCode(t, err, store.Conflict)
		if time.Since(began) > 100*time.Millisecond {
			t.Errorf("it took %v", time.Since(began))
		}
		must(t, l.Unlock(t.Context()))
		l, err = ks.TryLock(t.Context(), "a", time.Second)
		must(t, err)
		must(t, l.Unlock(t.Context()))
		_, err = ks.TryLock(t.Context(), "}a", time.Second)
		wantCode(t, err, store.Invalid)
		_, err = join(t, m, "").Keyspace("ap").TryLock(t.Context(), "a", time.Second)
		wantCode(t, err, store.Unsupported)
	})
}

func TestWhoStopsWaitingLeavesTheQueue(t *testing.T) {
	whole(t, 1, func(t *testing.T, m *localcluster.Memory, ks *client.Keyspace) {
		l, err := ks.Lock(t.Context(), "a", time.Second)
		must(t, err)
		_, err = ks.Lock(t.Context(), "a", time.Second, client.WithTimeout(3*time.Second))
		wantCode(t, err, store.Unavailable)
		time.Sleep(100 * time.Millisecond)
		if n, err := ks.Count(t.Context(), store.Query{Prefix: "lock/"}); err != nil || n != 1 {
			t.Errorf("%d keys in the queue, %v", n, err)
		}
		must(t, l.Unlock(t.Context()))
	})
}

// A client that is closed right after it has waited in vain takes its place out of the
// queue first: it would hold up those behind it until its lease ends.
func TestCloseWaitsForThoseWhoLeaveAQueue(t *testing.T) {
	whole(t, 3, func(t *testing.T, m *localcluster.Memory, ks *client.Keyspace) {
		first, err := ks.Lock(t.Context(), "a", time.Hour)
		must(t, err)
		other := join(t, m, "n2")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := other.Keyspace("ks").Lock(ctx, "a", time.Hour); err == nil {
			t.Fatal("two hold the lock")
		}
		must(t, other.Close())
		must(t, first.Unlock(t.Context()))
		next, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		third, err := ks.Lock(next, "a", time.Hour)
		must(t, err)
		must(t, third.Unlock(t.Context()))
	})
}

func TestElectionsShowWhoLeads(t *testing.T) {
	whole(t, 3, func(t *testing.T, m *localcluster.Memory, ks *client.Keyspace) {
		var seen []string
		var watching sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		watching.Go(func() {
			for leader, err := range ks.Observe(ctx, "jobs") {
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				seen = append(seen, string(leader.Value))
			}
		})
		time.Sleep(time.Second)
		var wg sync.WaitGroup
		for i := range 3 {
			mine := join(t, m, "").Keyspace("ks")
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				l, err := mine.Campaign(t.Context(), "jobs", fmt.Append(nil, "node", i), 2*time.Second)
				if err != nil {
					t.Error(err)
					return
				}
				leader, err := mine.Leader(t.Context(), "jobs")
				if err != nil || leader.Fence != l.Fence() || string(leader.Value) != fmt.Sprint("node", i) {
					t.Errorf("the leader is %+v, %v", leader, err)
				}
				time.Sleep(3 * time.Second)
				if err := l.Resign(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		leader, err := ks.Leader(t.Context(), "jobs")
		if must(t, err); leader.Found {
			t.Errorf("%+v leads", leader)
		}
		stop()
		watching.Wait()
		if fmt.Sprint(seen) != "[ node0 node1 node2 ]" {
			t.Errorf("observed was %q", seen)
		}
	})
}

func TestBoundedReadIsServedAndRefused(t *testing.T) {
	whole(t, 1, func(t *testing.T, m *localcluster.Memory, ks *client.Keyspace) {
		_, err := ks.Put(t.Context(), "k", value)
		must(t, err)
		time.Sleep(2 * time.Second)
		item, err := ks.Get(t.Context(), "k", client.Bounded(2*time.Second))
		must(t, err)
		if !item.Found || item.Proof.Asked != store.Bounded {
			t.Errorf("item is %+v", item)
		}
		isolate(t, m, "n2")
		time.Sleep(5 * time.Second)
		alone := join(t, m, "n2").Keyspace("ks")
		if _, err := alone.Get(within(t, time.Second), "k", client.Bounded(2*time.Second)); !errors.Is(err, store.TooStale) {
			t.Errorf("a node that was cut off for longer: %v", err)
		}
	})
}
