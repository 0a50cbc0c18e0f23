package clienttest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/client/clienttest"
	"github.com/dialkv/dialkv/store"
)

// What a cluster leaves behind fails the package.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, c *client.Client, keyspace, key, value string, opts ...client.Option) {
	t.Helper()
	_, err := c.Keyspace(keyspace).Put(t.Context(), key, []byte(value), opts...)
	must(t, err)
}

// cluster has a cp and an ap keyspace.
func cluster(t *testing.T, nodes int) *clienttest.Cluster {
	t.Helper()
	c := clienttest.Start(t, clienttest.Config{Nodes: nodes, Seed: 1})
	c.Create(clienttest.Keyspace{Name: "orders", Mode: store.CP})
	c.Create(clienttest.Keyspace{Name: "carts", Mode: store.AP, Policy: store.Siblings})
	return c
}

// partition is what a cut does to both modes, and what is so after it.
func partition(t *testing.T, c *clienttest.Cluster) {
	minority, majority := c.At("n1"), c.At("n2")
	c.Cut("n1|n2,n3")
	if _, err := minority.Keyspace("orders").Put(t.Context(), "o", []byte("x"), client.WithTimeout(time.Second)); store.OutcomeOf(err) == store.OK {
		t.Error("a minority took a write of a cp keyspace")
	}
	put(t, majority, "orders", "o", "paid", client.WithTimeout(10*time.Second))
	put(t, minority, "carts", "u", "tea")
	put(t, majority, "carts", "u", "milk")
	c.Heal()
	c.Settle()
	for _, node := range c.Nodes() {
		item, err := c.At(node).Keyspace("carts").Get(t.Context(), "u", client.At(client.Eventual))
		must(t, err)
		values := fmt.Sprintf("%s", item.Values)
		if len(item.Values) != 2 || !strings.Contains(values, "tea") || !strings.Contains(values, "milk") {
			t.Errorf("%s shows %s", node, values)
		}
	}
	item, err := minority.Keyspace("orders").Get(t.Context(), "o")
	must(t, err)
	if string(item.Value) != "paid" {
		t.Errorf("the order is %q", item.Value)
	}
}

func TestBothSidesOfACutInRealTime(t *testing.T) { partition(t, cluster(t, 3)) }

func TestBothSidesOfACutInVirtualTime(t *testing.T) {
	clienttest.Bubble(t, func(t *testing.T) { partition(t, cluster(t, 3)) })
}

// A test of an application that does not know Bubble.
func TestClusterLivesInAPlainBubble(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector crashes in a bubble on several processors: docs/adr/0008")
	}
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, 3)
		began := time.Now()
		_, err := c.Client().Keyspace("orders").Put(t.Context(), "hold", nil, client.WithTTL(time.Minute))
		must(t, err)
		time.Sleep(65 * time.Second)
		item, err := c.Client().Keyspace("orders").Get(t.Context(), "hold")
		must(t, err)
		if item.Found || time.Since(began) < time.Minute {
			t.Errorf("found %v after %v", item.Found, time.Since(began))
		}
	})
}

func TestLeaderThatIsKilledIsSucceeded(t *testing.T) {
	clienttest.Bubble(t, func(t *testing.T) {
		c := cluster(t, 3)
		put(t, c.Client(), "orders", "o", "1")
		first := c.Leader("orders", "o")
		c.Kill(first)
		put(t, c.Client(), "orders", "o", "2", client.WithTimeout(10*time.Second))
		if next := c.Leader("orders", "o"); next == first || !slices.Contains(c.Nodes(), next) {
			t.Errorf("%s leads, %s did and is down", next, first)
		}
		c.Restart(first)
		c.Settle()
		item, err := c.At(first).Keyspace("orders").Get(t.Context(), "o", client.At(client.Eventual))
		must(t, err)
		if string(item.Value) != "2" || item.Proof.Node != first {
			t.Errorf("%s shows %q from %s", first, item.Value, item.Proof.Node)
		}
	})
}

func TestNodeThatIsStoppedKeepsWhatItHad(t *testing.T) {
	clienttest.Bubble(t, func(t *testing.T) {
		c := clienttest.Start(t, clienttest.Config{Nodes: 1})
		c.Create(clienttest.Keyspace{Name: "ap", Mode: store.AP, Durability: store.OS})
		put(t, c.Client(), "ap", "k", "v")
		c.Stop("n1")
		_, err := c.Client().Keyspace("ap").Get(t.Context(), "k")
		if !errors.Is(err, store.Unavailable) {
			t.Errorf("the only node is down, and a read says %v", err)
		}
		c.Restart("n1")
		item, err := c.Client().Keyspace("ap").Get(t.Context(), "k", client.WithTimeout(10*time.Second))
		must(t, err)
		if string(item.Value) != "v" {
			t.Errorf("%q is left", item.Value)
		}
		c.Restart("n1") // while it runs
		item, err = c.Client().Keyspace("ap").Get(t.Context(), "k", client.WithTimeout(10*time.Second))
		must(t, err)
		if string(item.Value) != "v" {
			t.Errorf("after a restart %q is left", item.Value)
		}
	})
}

func TestCutsAndIsolationsAddUp(t *testing.T) {
	clienttest.Bubble(t, func(t *testing.T) {
		c := cluster(t, 3)
		c.Isolate("n1")
		c.Isolate("n2")
		for _, node := range c.Nodes() {
			_, err := c.At(node).Keyspace("orders").Put(t.Context(), "k", nil)
			if err == nil {
				t.Errorf("%s took a write, and each node is alone", node)
			}
		}
		c.Cut("n1|n2,n3") // in the place of both
		put(t, c.At("n3"), "orders", "k", "v", client.WithTimeout(10*time.Second))
	})
}

func TestSlowLinksMakeAWriteSlow(t *testing.T) {
	clienttest.Bubble(t, func(t *testing.T) {
		c := cluster(t, 3)
		put(t, c.Client(), "orders", "k", "v")
		took := func() time.Duration {
			began := time.Now()
			put(t, c.Client(), "orders", "k", "v")
			return time.Since(began)
		}
		before := took()
		c.Slow("*", 20*time.Millisecond)
		slow := took()
		c.Heal()
		after := took()
		if before > 20*time.Millisecond || slow < 40*time.Millisecond || after > 20*time.Millisecond {
			t.Errorf("a write took %v, over links that are 20ms slower %v, and after that %v", before, slow, after)
		}
	})
}

func TestNodeJoins(t *testing.T) {
	clienttest.Bubble(t, func(t *testing.T) {
		c := cluster(t, 2)
		put(t, c.Client(), "orders", "k", "v")
		node := c.Add()
		item, err := c.At(node).Keyspace("orders").Get(t.Context(), "k")
		must(t, err)
		if node != "n3" || string(item.Value) != "v" || len(c.Nodes()) != 3 {
			t.Errorf("%s of %v reads %q", node, c.Nodes(), item.Value)
		}
	})
}

// The application may open clients of its own.
func TestApplicationOpensItsOwnClient(t *testing.T) {
	clienttest.Bubble(t, func(t *testing.T) {
		c := cluster(t, 3)
		cfg := c.Config()
		cfg.Timeout = 300 * time.Millisecond
		own, err := client.Open(t.Context(), cfg)
		must(t, err)
		defer own.Close()
		put(t, own, "orders", "k", "v")
		c.Cut("n1|n2|n3")
		began := time.Now()
		if _, err := own.Keyspace("orders").Get(t.Context(), "k"); err == nil || time.Since(began) > 400*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// failing is a test that is expected to fail.
type failing struct {
	*testing.T
	said []string
}

func (f *failing) Errorf(format string, args ...any) {
	f.said = append(f.said, fmt.Sprintf(format, args...))
}

func (f *failing) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	panic(f)
}

func (f *failing) Context() context.Context { return f.T.Context() }

func TestWhatCannotBeDoneFailsTheTest(t *testing.T) {
	clienttest.Bubble(t, func(t *testing.T) {
		ft := &failing{T: t}
		c := clienttest.Start(ft, clienttest.Config{})
		c.Create(clienttest.Keyspace{Name: "carts", Mode: store.AP})
		for want, try := range map[string]func(){
			`there is no node "n9"`:               func() { c.Isolate("n9") },
			`partition "n1|n2": n3 is on no side`: func() { c.Cut("n1|n2") },
			`links "n1->n9"`:                      func() { c.Slow("n1->n9", time.Second) },
			`the delay is -1s`:                    func() { c.Slow("*", -time.Second) },
			`there is no node "x"`:                func() { c.At("x") },
			"AlreadyExists":                       func() { c.Create(clienttest.Keyspace{Name: "carts", Mode: store.AP}) },
			"a conflict policy, w and a":          func() { c.Create(clienttest.Keyspace{Name: "o", Mode: store.CP, Policy: store.LWW}) },
			"carts is not a cp keyspace":          func() { c.Leader("carts", "") },
			"NoSuchKeyspace":                      func() { c.Leader("x", "") },
			"10 nodes":                            func() { clienttest.Start(ft, clienttest.Config{Nodes: 10}) },
			"did not come in 30s":                 func() { c.Isolate("n1"); put(t, c.At("n1"), "carts", "k", "v"); c.Settle() },
		} {
			ft.said = nil
			func() {
				defer func() {
					if r := recover(); r != nil && r != any(ft) {
						panic(r)
					}
				}()
				try()
			}()
			if len(ft.said) != 1 || !strings.Contains(ft.said[0], want) {
				t.Errorf("it says %q, want %q", ft.said, want)
			}
			c.Heal()
		}
	})
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		t := new(standIn)
		clienttest.Start(t, clienttest.Config{})
		t.end()
	}
}
