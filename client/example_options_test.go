package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

func ExampleWithW() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	// Every replica holds it, and not only the one that took it.
	r, err := c.Keyspace("carts").Put(ctx, "u50", []byte("tea"), client.Blind(), client.WithW(store.WAll))
	check(err)
	fmt.Println(r.Acked, "of", r.Wanted)
	// Output: 3 of 3
}

func ExampleInGroup() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	accounts := c.Keyspace("accounts") // of four groups
	for i := range 20 {
		_, err := accounts.Put(ctx, fmt.Sprint("ingroup/", i), nil)
		check(err)
	}
	sum := uint64(0)
	for shard := range uint32(4) { // by four workers, in earnest
		n, err := accounts.Count(ctx, store.Query{Prefix: "ingroup/"}, client.InGroup(shard))
		check(err)
		sum += n
	}
	fmt.Println(sum)
	// Output: 20
}

func ExampleProgress() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	orders := c.Keyspace("orders")
	r, err := orders.Put(ctx, "elsewhere", nil)
	check(err)
	watch, err := orders.Watch(ctx, store.WatchQuery{Key: "quiet"}, client.Progress())
	check(err)
	defer watch.Close()
	// Nothing has changed, up to a revision: who keeps it need not go through the past again.
	notice, err := watch.Next(ctx)
	check(err)
	fmt.Println(len(notice.Events), notice.Revision >= r.Revision)
	// Output: 0 true
}

func ExampleSince() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	tags := c.Keyspace("tags")
	reader := c.NewSession()
	_, err := tags.Add(ctx, "u51", "new")
	check(err)
	_, err = tags.Get(ctx, "u51", client.At(client.Quorum), client.In(reader))
	check(err)
	_, err = tags.Add(ctx, "u51", "regular")
	check(err)
	// What the session has read does not come again, and nothing behind it is left out.
	watch, err := tags.Watch(ctx, store.WatchQuery{Key: "u51"}, client.Since(reader.Token()))
	check(err)
	change, err := watch.Next(ctx)
	check(err)
	fmt.Printf("%s\n", change.Events[0].Values)
	watch.Close()

	// Another watch, of another process, goes on where that one ended.
	_, err = tags.Remove(ctx, "u51", "new")
	check(err)
	watch, err = tags.Watch(ctx, store.WatchQuery{Key: "u51"}, client.Since(change.Resume))
	check(err)
	defer watch.Close()
	change, err = watch.Next(ctx)
	check(err)
	fmt.Printf("%s\n", change.Events[0].Values)
	// Output:
	// [new regular]
	// [regular]
}

func ExampleFromAnywhere() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	_, err := c.Keyspace("accounts").Put(ctx, "year", []byte("2026"))
	check(err)
	var saved bytes.Buffer
	check(c.Keyspace("accounts").Save(ctx, &saved))
	archive := c.Keyspace("archive") // of as many groups
	_, err = archive.Restore(ctx, bytes.NewReader(saved.Bytes()))
	fmt.Println(errors.Is(err, store.Invalid))
	_, err = archive.Restore(ctx, bytes.NewReader(saved.Bytes()), client.FromAnywhere())
	check(err)
	item, err := archive.Get(ctx, "year", client.In(c.NewSession()))
	check(err)
	fmt.Printf("%s\n", item.Value)
	// Output:
	// true
	// 2026
}

func ExamplePresent() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	accounts := c.Keyspace("accounts")
	_, err := accounts.Put(ctx, "{u52}/cart", []byte("tea"))
	check(err)
	order := store.Txn{
		If:   []store.Compare{client.Present("{u52}/cart")},
		Then: []store.Step{client.DeleteStep("{u52}/cart"), client.PutStep("{u52}/order", []byte("tea"))},
	}
	for range 2 {
		r, err := accounts.Txn(ctx, order)
		check(err)
		fmt.Println(r.Held)
	}
	// Output:
	// true
	// false
}

func ExampleValueIs() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	accounts := c.Keyspace("accounts")
	_, err := accounts.Put(ctx, "{u53}/state", []byte("open"))
	check(err)
	r, err := accounts.Txn(ctx, store.Txn{
		If:   []store.Compare{client.ValueIs("{u53}/state", []byte("open"))},
		Then: []store.Step{client.PutStep("{u53}/state", []byte("paid")), client.PutStep("{u53}/order", []byte("o53"))},
		Else: []store.Step{client.GetStep("{u53}/state")},
	})
	check(err)
	fmt.Println(r.Held)
	// Output: true
}

func ExampleChangedAt() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	orders := c.Keyspace("orders")
	_, err := orders.Put(ctx, "o54", []byte("open"))
	check(err)
	_, err = orders.Put(ctx, "o54", []byte("paid"))
	check(err)
	item, err := orders.Get(ctx, "o54")
	check(err)
	// Only if it is the same order still, and nobody has changed it since it was read.
	r, err := orders.Txn(ctx, store.Txn{
		If:   []store.Compare{client.CreatedAt("o54", item.Created), client.ChangedAt("o54", item.Revision)},
		Then: []store.Step{client.PutStep("o54", []byte("sent"))},
	})
	check(err)
	fmt.Println(item.Created < item.Revision, r.Held)
	// Output: true true
}

func ExampleTryBounded() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	orders := c.Keyspace("orders")
	_, err := orders.Put(ctx, "o55", []byte("open"))
	check(err)
	item, err := orders.Get(ctx, "o55", client.Prefer(
		client.Try(client.Strong, 5*time.Second), // a second or less, in earnest
		client.TryBounded(time.Minute, time.Second),
	))
	check(err)
	fmt.Printf("%s, degraded: %v\n", item.Value, item.Degraded)
	// Output: open, degraded: false
}

// The nodes of a cluster are gone, and the application has something to say all the same.
func ExampleAsk() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	item, err := c.Keyspace("orders").Get(ctx, "o56", client.Prefer(
		client.Try(client.Strong, time.Nanosecond), // in which nobody can answer
		client.Ask(func(_ context.Context, key string, cause error) ([]byte, error) {
			return []byte(key + " is on paper"), nil
		}),
	))
	check(err)
	fmt.Printf("%s, degraded: %v\n", item.Value, item.Degraded)
	// Output: o56 is on paper, degraded: true
}
