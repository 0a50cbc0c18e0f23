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

// slow makes every read take so long, from the moment in which the state is looked at; it
// counts the reads. The value of a key is how many reads there were before.
func (w *cluster) slow(d time.Duration, proof store.Proof) *atomic.Int64 {
	got := new(atomic.Int64)
	synctest.Wait()
	w.each(func(n *node) {
		n.read = func(ctx context.Context, q store.Query) (store.Page, error) {
			value := fmt.Sprint(got.Add(1))
			select {
			case <-ctx.Done():
			case <-time.After(d):
			}
			return store.Page{Items: []store.Item{{Key: q.Key, Values: [][]byte{[]byte(value)}}}, Entry: revision(3), Proof: proof}, nil
		}
	})
	return got
}

func TestIdenticalEventualReadsAreOneCall(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		got, joined := w.slow(10*time.Millisecond, store.Proof{}), new(atomic.Int64)
		c := w.open(func(cfg *client.Config) { cfg.Observe.Joined = func(string) { joined.Add(1) } })
		ks := c.Keyspace("ks")
		_, err := ks.Get(t.Context(), "warm")
		must(t, err)
		got.Store(0)
		var wg sync.WaitGroup
		tokens := make([]string, 50)
		for i := range tokens {
			session := c.NewSession()
			wg.Go(func() {
				item, err := ks.Get(t.Context(), "k", client.At(client.Eventual), client.In(session))
				if err != nil || string(item.Value) != "1" {
					t.Errorf("%s, %v", item.Value, err)
				}
				item.Value[0] = 'X' // it is the caller's
				tokens[i] = session.Token()
			})
		}
		wg.Wait()
		if got.Load() != 1 || joined.Load() != 49 {
			t.Errorf("50 reads made %d calls, and %d joined", got.Load(), joined.Load())
		}
		for _, tok := range tokens {
			if tok == "" || tok != tokens[0] {
				t.Fatalf("a session does not remember what it was shown: %q", tok)
			}
		}
		// What has ended is over.
		item, err := ks.Get(t.Context(), "k", client.At(client.Eventual))
		if must(t, err); string(item.Value) != "2" {
			t.Errorf("a later read got %s", item.Value)
		}
	})
}

// pair makes two reads of a key, the second while the first is in progress.
func pair(t *testing.T, ks *client.Keyspace, after time.Duration, one, two []client.Option) (first, second string) {
	t.Helper()
	var wg sync.WaitGroup
	get := func(into *string, opts []client.Option) {
		item, err := ks.Get(t.Context(), "k", opts...)
		if err != nil {
			t.Error(err)
		}
		*into = string(item.Value)
	}
	wg.Go(func() { get(&first, one) })
	synctest.Wait()
	time.Sleep(after)
	wg.Go(func() { get(&second, two) })
	wg.Wait()
	return first, second
}

func TestStrongReadJoinsNothing(t *testing.T) {
	for _, level := range []store.Level{client.Strong, client.Quorum, client.Causal, client.ReadYourWrites, client.Monotonic} {
		world(t, store.CP, func(t *testing.T, w *cluster) {
			w.slow(10*time.Millisecond, store.Proof{Fresh: true})
			ks := w.keyspace()
			for _, other := range []store.Level{level, client.Eventual} {
				first, second := pair(t, ks, time.Millisecond, []client.Option{client.At(other)}, []client.Option{client.At(level)})
				if first == second {
					t.Errorf("a %v read has the answer of a %v one that began before it", level, other)
				}
			}
		})
	}
}

// A bounded read joins if what the earlier one was shown is fresh enough for the later.
func TestBoundedReadJoinsWithinItsBound(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		bound := []client.Option{client.Bounded(40 * time.Millisecond)}
		c := w.open(nil)
		ks := c.Keyspace("ks")
		for _, test := range []struct {
			after time.Duration
			proof store.Proof
			joins bool
		}{
			{10 * time.Millisecond, store.Proof{Fresh: true, Staleness: 20 * time.Millisecond}, true},
			{20 * time.Millisecond, store.Proof{Fresh: true, Staleness: 20 * time.Millisecond}, true},
			{21 * time.Millisecond, store.Proof{Fresh: true, Staleness: 20 * time.Millisecond}, false},
			{0, store.Proof{Staleness: 20 * time.Millisecond}, false}, // there is no proof
			{45 * time.Millisecond, store.Proof{Fresh: true}, false},
		} {
			w.slow(50*time.Millisecond, test.proof)
			if first, second := pair(t, ks, test.after, bound, bound); (first == second) != test.joins {
				t.Errorf("%v after the other, %+v: %s and %s", test.after, test.proof, first, second)
			}
		}
		// Another session may have seen more.
		w.slow(50*time.Millisecond, store.Proof{Fresh: true})
		if first, second := pair(t, ks, 0, bound, append(bound, client.In(c.NewSession()))); first == second {
			t.Error("a session joined the read of another that has seen something else")
		}
	})
}

func TestWhoJoinedOutlivesWhoBegan(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		got := w.slow(10*time.Millisecond, store.Proof{})
		ks := w.keyspace()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = ks.Get(ctx, "k", client.At(client.Eventual)) })
		synctest.Wait()
		for range 20 {
			wg.Go(func() {
				if _, err := ks.Get(t.Context(), "k", client.At(client.Eventual)); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		_, err := ks.Get(t.Context(), "k", client.At(client.Eventual), client.WithTimeout(time.Millisecond))
		wantCode(t, err, store.Unavailable)
		if time.Since(began) != time.Millisecond {
			t.Errorf("who does not wait waited %v", time.Since(began))
		}
		cancel()
		wg.Wait()
		if got.Load() != 2 {
			t.Errorf("they made %d calls", got.Load())
		}
	})
}

func TestSingleFlightCanBeSwitchedOff(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		got := w.slow(10*time.Millisecond, store.Proof{})
		ks := w.open(func(cfg *client.Config) { cfg.Resilience.NoSingleFlight = true }).Keyspace("ks")
		eventual := []client.Option{client.At(client.Eventual)}
		if pair(t, ks, 0, eventual, eventual); got.Load() != 2 {
			t.Errorf("two reads made %d calls", got.Load())
		}
	})
}
