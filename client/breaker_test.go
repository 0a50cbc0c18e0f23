package client_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// circuits is what a client says of its circuits.
type circuits struct {
	mu   sync.Mutex
	list []string
}

func (c *circuits) add(e client.BreakerEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, fmt.Sprintf("%s %s", e.Node, e.To))
}

func (c *circuits) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.list, ", ")
}

// near is a client that prefers n1 and writes down what becomes of the circuits.
func (w *cluster) near(change func(*client.Config)) (*client.Keyspace, *circuits) {
	seen := &circuits{}
	return w.open(func(cfg *client.Config) {
		cfg.Near, cfg.Observe.Breaker = "n1", seen.add
		if change != nil {
			change(cfg)
		}
	}).Keyspace("ks"), seen
}

// counted counts the reads that a node gets.
func (n *node) counted() *atomic.Int64 {
	got := new(atomic.Int64)
	n.read = func(context.Context, store.Query) (store.Page, error) {
		got.Add(1)
		return store.Page{Revision: 3, Entry: revision(3), Proof: store.Proof{Node: n.name}}, nil
	}
	return got
}

// crowd makes n eventual reads at once, of a key each.
func crowd(t *testing.T, ks *client.Keyspace, n int, opts ...client.Option) (failed int) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			_, errs[i] = ks.Get(t.Context(), fmt.Sprintf("k%d", i), append(opts, client.At(client.Eventual))...)
		})
	}
	wg.Wait()
	return len(slices.DeleteFunc(errs, func(err error) bool { return err == nil }))
}

func TestCircuitOpensIsProbedAndCloses(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		got := w.nodes["n1"].counted()
		ks, seen := w.near(nil)
		if crowd(t, ks, 20); got.Load() != 20 {
			t.Fatalf("the near node got %d of 20", got.Load())
		}
		// Twenty calls were answered: it takes as many that were not.
		w.nodes["n1"].unreachable(hole)
		if failed := crowd(t, ks, 19); failed > 0 || seen.String() != "" {
			t.Fatalf("%d failed though others serve; %s", failed, seen)
		}
		opened := time.Now()
		crowd(t, ks, 20)
		if seen.String() != "" {
			t.Fatalf("it was asked though it was silent: %s", seen)
		}
		time.Sleep(5500 * time.Millisecond) // it is tried again, while what was before still counts
		if failed := crowd(t, ks, 20); failed > 0 || seen.String() != "n1 open" {
			t.Fatalf("after %v: %d failed; %s", time.Since(opened), failed, seen)
		}
		w.nodes["n1"].unreachable(nil)
		for range 40 { // 4 s
			time.Sleep(100 * time.Millisecond)
			crowd(t, ks, 1)
		}
		if got.Load() != 20 || seen.String() != "n1 open" {
			t.Fatalf("an open circuit let %d through; %s", got.Load()-20, seen)
		}
		for range 20 {
			time.Sleep(100 * time.Millisecond)
			crowd(t, ks, 1)
		}
		if seen.String() != "n1 open, n1 half-open, n1 closed" {
			t.Errorf("it is %s", seen)
		}
	})
}

// busy is a client that reads a hundred times a second and prefers n1. Every read is in
// time, or it counts as slow.
type busy struct {
	t    *testing.T
	ks   *client.Keyspace
	slow atomic.Int64
	wg   sync.WaitGroup
}

// alone makes every read a call.
func alone(cfg *client.Config) { cfg.Resilience.NoSingleFlight = true }

// keepReading goes on for so long, and does not wait for the reads that are in progress then.
func (b *busy) keepReading(d time.Duration) {
	for began := time.Now(); time.Since(began) < d; time.Sleep(10 * time.Millisecond) {
		b.wg.Go(func() {
			began := time.Now()
			if failed := crowd(b.t, b.ks, 1); failed > 0 {
				b.t.Errorf("a read failed though others serve")
			}
			if time.Since(began) > 100*time.Millisecond {
				b.slow.Add(1)
			}
		})
	}
}

// Though a busy client has a thousand answers of the last ten seconds from a node that
// hangs, and goes elsewhere after the first silence, the circuit opens when the node is
// asked again: half of the calls of ten seconds would have failed by then. Nobody waits
// for the node a second time.
func TestBusyClientOpensTheCircuitOfANodeThatHangs(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		w.nodes["n1"].counted()
		ks, seen := w.near(alone)
		b := &busy{t: t, ks: ks}
		b.keepReading(20 * time.Second)
		goOn := w.nodes["n1"].hang()
		b.keepReading(4 * time.Second)
		if seen.String() != "" {
			t.Errorf("after 4 s it is %s", seen)
		}
		b.keepReading(3 * time.Second)
		if seen.String() != "n1 open" {
			t.Errorf("after 7 s it is %q", seen)
		}
		b.keepReading(30 * time.Second)
		if n := b.slow.Load(); n < 30 || n > 75 { // 0.7 s of a hundred a second
			t.Errorf("%d reads waited for it", n)
		}
		goOn()
		b.keepReading(7 * time.Second)
		b.wg.Wait()
		if !strings.HasSuffix(seen.String(), "n1 closed") {
			t.Errorf("7 s after it is back it is %s", seen)
		}
	})
}

// A node that knows the topology and serves nothing is no better.
func TestAnswersToProbesAreNoService(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		w.nodes["n1"].counted()
		stuck, end := new(atomic.Bool), make(chan struct{})
		defer close(end)
		answer := w.nodes["n1"].read
		w.nodes["n1"].read = func(ctx context.Context, q store.Query) (store.Page, error) {
			if stuck.Load() {
				<-end
			}
			return answer(ctx, q)
		}
		ks, seen := w.near(alone)
		b := &busy{t: t, ks: ks}
		b.keepReading(20 * time.Second)
		stuck.Store(true)
		b.keepReading(7500 * time.Millisecond)
		b.wg.Wait()
		if seen.String() != "n1 open" {
			t.Errorf("after 7.5 s it is %q", seen)
		}
	})
}

func TestSlowAnswersOpenNoCircuit(t *testing.T) {
	for name, c := range map[string]struct {
		stall time.Duration // of the first answers
		slow  time.Duration // of all
	}{"slow all the time": {0, 600 * time.Millisecond}, "a second of silence": {time.Second, 0}} {
		t.Run(name, func(t *testing.T) {
			world(t, store.AP, func(t *testing.T, w *cluster) {
				got := w.nodes["n1"].counted()
				answer, from := w.nodes["n1"].read, time.Now().Add(20*time.Second)
				w.nodes["n1"].read = func(ctx context.Context, q store.Query) (store.Page, error) {
					if time.Now().After(from) {
						time.Sleep(max(c.slow, time.Until(from.Add(c.stall))))
					}
					return answer(ctx, q)
				}
				ks, seen := w.near(alone)
				b := &busy{t: t, ks: ks}
				b.keepReading(30 * time.Second)
				before := got.Load()
				b.keepReading(10 * time.Second)
				b.wg.Wait()
				if seen.String() != "" || got.Load()-before < 900 {
					t.Errorf("%d of a thousand came to it; %s", got.Load()-before, seen)
				}
			})
		})
	}
}

// A node that refuses answers, and comes last for a while. What goes elsewhere meanwhile was
// not lost by silence: the first call that is must not count for all of them.
func TestRefusalsBeforeASilenceDoNotCountWithIt(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		w.nodes["n1"].read = func(context.Context, store.Query) (store.Page, error) {
			return store.Page{}, &store.Error{Code: store.Unavailable}
		}
		ks, seen := w.near(alone)
		b := &busy{t: t, ks: ks}
		b.keepReading(4500 * time.Millisecond)
		w.nodes["n1"].hang()
		b.keepReading(2 * time.Second)
		b.wg.Wait()
		if seen.String() != "" {
			t.Errorf("it is %s", seen)
		}
	})
}

// When all were silent, the near one is still the likeliest: a node that enters its own
// cluster reads at itself first, though it waited too long for a majority just before.
func TestAmongSilentNodesTheNearOneComesFirst(t *testing.T) {
	for range 10 { // wherever a client begins
		world(t, store.AP, func(t *testing.T, w *cluster) {
			ks, _ := w.near(nil)
			crowd(t, ks, 1)
			goOn := w.nodes["n1"].hang()
			w.nodes["n2"].hang()
			w.nodes["n3"].hang()
			if failed := crowd(t, ks, 1); failed != 1 {
				t.Fatal("somebody answered")
			}
			goOn()
			began := time.Now()
			if failed := crowd(t, ks, 1); failed > 0 || time.Since(began) > 0 {
				t.Errorf("%d failed, after %v", failed, time.Since(began))
			}
		})
	}
}

// A probe is nobody's call: while a node is gone nobody waits for it.
func TestProbesHoldUpNoCall(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		ks, seen := w.near(nil)
		crowd(t, ks, 1)
		w.nodes["n1"].unreachable(hole)
		crowd(t, ks, 20)
		if seen.String() != "n1 open" {
			t.Fatalf("it is %s", seen)
		}
		for range 300 { // 30 s
			time.Sleep(100 * time.Millisecond)
			began := time.Now()
			if failed := crowd(t, ks, 1); failed > 0 || time.Since(began) > 0 {
				t.Fatalf("%d failed, after %v", failed, time.Since(began))
			}
		}
		if n := strings.Count(seen.String(), "half-open"); n < 4 || n > 7 {
			t.Errorf("in 30 s it was probed %d times: %s", n, seen)
		}
	})
}

func TestNodeThatIsBackStartsSlowly(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		ks, seen := w.near(nil)
		got := w.nodes["n1"].counted()
		crowd(t, ks, 1)
		w.nodes["n1"].unreachable(hole)
		crowd(t, ks, 20)
		w.nodes["n1"].unreachable(nil)
		for !strings.HasSuffix(seen.String(), "n1 closed") {
			time.Sleep(50 * time.Millisecond)
			crowd(t, ks, 1)
		}
		share := func() int64 {
			before := got.Load()
			for range 500 { // 2.5 s
				time.Sleep(5 * time.Millisecond)
				crowd(t, ks, 1)
			}
			return (got.Load() - before) / 5 // in a hundred
		}
		var shares []int64
		for range 5 {
			shares = append(shares, share())
		}
		for i, want := range []int64{12, 37, 62, 87, 100} {
			if shares[i] < want-9 || shares[i] > want+9 {
				t.Errorf("in each quarter it got %v of a hundred", shares)
				break
			}
		}
	})
}

func TestRefusalsOpenNoCircuit(t *testing.T) {
	for _, code := range []store.Code{store.Conflict, store.NotFound, store.Invalid, store.Unavailable, store.TooStale, store.Overloaded, store.Corrupt} {
		world(t, store.CP, func(t *testing.T, w *cluster) {
			w.each(func(n *node) {
				n.read = func(context.Context, store.Query) (store.Page, error) {
					return store.Page{}, &store.Error{Code: code, RetryAfter: time.Millisecond}
				}
			})
			ks, seen := w.near(nil)
			if failed := crowd(t, ks, 50); failed != 50 || seen.String() != "" {
				t.Errorf("%s: %d failed; %s", code, failed, seen)
			}
		})
	}
}

// Who does not wait learns nothing of the node, but that others may be faster.
func TestImpatientCallersOpenNoCircuit(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		got, end := new(atomic.Int64), make(chan struct{})
		defer close(end)
		w.nodes["n1"].read = func(context.Context, store.Query) (store.Page, error) {
			got.Add(1)
			<-end
			return store.Page{}, store.Unavailable
		}
		ks, seen := w.near(nil)
		if failed := crowd(t, ks, 50, client.WithTimeout(100*time.Millisecond)); failed != 50 || seen.String() != "" {
			t.Errorf("%d failed; %s", failed, seen)
		}
		if failed := crowd(t, ks, 50, client.WithTimeout(100*time.Millisecond)); failed > 0 || got.Load() != 50 {
			t.Errorf("%d failed; it got %d", failed, got.Load())
		}
	})
}

// When all circuits are open a call still finds out that a node is back: long before
// the circuits would be probed.
func TestNobodyIsLockedOutOfAClusterThatIsBack(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		ks, seen := w.near(nil)
		crowd(t, ks, 1)
		w.each(func(n *node) { n.unreachable(refused) })
		crowd(t, ks, 30, client.WithTimeout(50*time.Millisecond))
		for _, node := range []string{"n1", "n2", "n3"} {
			if !strings.Contains(seen.String(), node+" open") {
				t.Fatalf("it is %s", seen)
			}
		}
		_, err := ks.Get(t.Context(), "k", client.WithTimeout(100*time.Millisecond))
		wantCode(t, err, store.CircuitOpen)
		w.each(func(n *node) { n.unreachable(nil) })
		began := time.Now()
		if failed := crowd(t, ks, 1); failed > 0 || time.Since(began) > 2*time.Second {
			t.Errorf("%d failed, after %v", failed, time.Since(began))
		}
	})
}

func TestBreakerRefusesWhatMakesNoSense(t *testing.T) {
	for _, b := range []client.Breaker{{Rate: 1.5}, {Rate: -1}, {Window: -1}, {Window: time.Millisecond}, {Open: -1}, {SlowStart: -1}, {Probes: 1000}, {Calls: 1 << 30}} {
		_, err := client.Open(t.Context(), client.Config{Seeds: []string{"n1"}, Resilience: client.Resilience{Breaker: b}})
		wantCode(t, err, store.Invalid)
	}
}
