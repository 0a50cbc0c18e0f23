package clienttest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/client/clienttest"
	"github.com/dialkv/dialkv/store"
)

// standIn is what a *testing.T is to a test: an example is given none.
type standIn struct{ cleanups []func() }

func (*standIn) Helper()                      {}
func (*standIn) Context() context.Context     { return context.Background() }
func (s *standIn) Cleanup(f func())           { s.cleanups = append(s.cleanups, f) }
func (*standIn) Errorf(f string, args ...any) { log.Printf(f, args...) }
func (*standIn) Fatalf(f string, args ...any) { log.Fatalf(f, args...) }

func (s *standIn) end() {
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// A cp keyspace during a partition: the side with a majority goes on, and the other refuses
// and says that certainly nothing was done.
func Example() {
	t := new(standIn) // in a test: its *testing.T
	defer t.end()
	ctx := t.Context()
	c := clienttest.Start(t, clienttest.Config{Nodes: 3})
	c.Create(clienttest.Keyspace{Name: "orders", Mode: store.CP})

	c.Cut("n1|n2,n3")
	patient := client.WithTimeout(10 * time.Second)
	_, err := c.At("n2").Keyspace("orders").Put(ctx, "o17", []byte("paid"), patient)
	fmt.Println("on the side of two:", store.OutcomeOf(err))

	_, err = c.At("n1").Keyspace("orders").Put(ctx, "o17", []byte("cancelled"), client.WithTimeout(500*time.Millisecond))
	fmt.Println("on the side of one:", store.OutcomeOf(err), errors.Is(err, store.Unavailable))

	c.Heal()
	item, err := c.At("n1").Keyspace("orders").Get(ctx, "o17", patient)
	check(err)
	fmt.Printf("after it: %s\n", item.Value)
	// Output:
	// on the side of two: ok
	// on the side of one: fail true
	// after it: paid
}

// An ap keyspace during a partition: both sides take a write of the same key, both values
// are there after it, and the application makes one of them.
func Example_conflict() {
	t := new(standIn) // in a test: its *testing.T
	defer t.end()
	ctx := t.Context()
	c := clienttest.Start(t, clienttest.Config{Nodes: 3})
	carts := c.Create(clienttest.Keyspace{Name: "carts", Mode: store.AP, Policy: store.Siblings})

	c.Cut("n1|n2,n3")
	for node, what := range map[string]string{"n1": "tea", "n2": "milk"} {
		_, err := c.At(node).Keyspace("carts").Put(ctx, "u42", []byte(what))
		check(err)
	}
	c.Heal()
	c.Settle()

	item, err := carts.Get(ctx, "u42")
	check(err)
	slices.SortFunc(item.Values, slices.Compare)
	fmt.Printf("both: %s\n", item.Values)

	merged := slices.Concat(item.Values[0], []byte(" and "), item.Values[1])
	_, err = carts.Put(ctx, "u42", merged, client.WithContext(item.Context))
	check(err)
	c.Settle()
	item, err = c.At("n1").Keyspace("carts").Get(ctx, "u42")
	check(err)
	fmt.Printf("merged: %s\n", item.Values)
	// Output:
	// both: [milk tea]
	// merged: [milk and tea]
}

// What happens to a leader that dies.
func ExampleCluster_Kill() {
	t := new(standIn) // in a test: its *testing.T
	defer t.end()
	ctx := t.Context()
	c := clienttest.Start(t, clienttest.Config{Nodes: 3})
	orders := c.Create(clienttest.Keyspace{Name: "orders", Mode: store.CP})

	leader := c.Leader("orders", "o17")
	c.Kill(leader)
	_, err := orders.Put(ctx, "o17", []byte("paid"), client.WithTimeout(10*time.Second))
	fmt.Println("the write:", store.OutcomeOf(err))
	fmt.Println("led by another:", c.Leader("orders", "o17") != leader)
	c.Restart(leader)
	c.Settle()
	// Output:
	// the write: ok
	// led by another: true
}
