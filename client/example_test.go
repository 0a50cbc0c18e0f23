package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

// The examples share a cluster of three nodes in this process, in real time, with a cp
// keyspace "orders" of one group, cp keyspaces "accounts", "ledger" and "archive" of four, and ap keyspaces:
// "carts" of siblings, "likes" of counters, "tags" of sets and "profiles" of maps.
var lab = sync.OnceValue(func() *localcluster.Memory {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	m, err := localcluster.NewMemory(ctx, localcluster.MemoryConfig{Nodes: 3, Seed: 1})
	check(err)
	admin, err := m.Admin("n1")
	check(err)
	for _, r := range []*kvpb.CreateKeyspaceRequest{
		{Name: "orders", Mode: "cp"}, {Name: "accounts", Mode: "cp", Groups: 4}, {Name: "ledger", Mode: "cp", Groups: 4},
		{Name: "archive", Mode: "cp", Groups: 4},
		{Name: "carts", Mode: "ap", Conflict: "siblings"},
		{Name: "likes", Mode: "ap", Conflict: "counter"}, {Name: "tags", Mode: "ap", Conflict: "set"}, {Name: "profiles", Mode: "ap", Conflict: "map"},
	} {
		_, err := admin.CreateKeyspace(ctx, r)
		check(kvpb.FromStatus(err))
	}
	started = true
	return m
})

var started bool // the lab, by an example

func TestMain(m *testing.M) {
	code := m.Run()
	if started {
		check(lab().Close())
	}
	os.Exit(code)
}

// open is client.Open, for the lab.
func open(ctx context.Context) *client.Client {
	c, err := lab().Client(ctx, "")
	check(err)
	return c
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx) // client.Open(ctx, client.Config{Seeds: []string{"127.0.0.1:7400"}})
	defer c.Close()
	orders := c.Keyspace("orders")

	_, err := orders.Put(ctx, "o17", []byte("paid"))
	check(err)
	item, err := orders.Get(ctx, "o17")
	check(err)
	fmt.Printf("%s, at level %v\n", item.Value, item.Proof.Served)
	// Output: paid, at level strong
}

func ExampleClient_NewSession() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	carts := c.Keyspace("carts")

	session := c.NewSession()
	_, err := carts.Put(ctx, "u42", []byte("shoes"), client.In(session))
	check(err)
	// Whatever replica answers, it has what the session wrote.
	item, err := carts.Get(ctx, "u42", client.In(session), client.At(client.Causal))
	check(err)
	fmt.Printf("%s\n", item.Value)
	// Output: shoes
}

func ExampleClient_ResumeSession() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	session := c.NewSession()
	_, err := c.Keyspace("carts").Put(ctx, "u43", []byte("hat"), client.In(session))
	check(err)
	token := session.Token() // travels in a header, a cookie, a message

	other := open(ctx) // in another process
	defer other.Close()
	resumed, err := other.ResumeSession(token)
	check(err)
	item, err := other.Keyspace("carts").Get(ctx, "u43", client.In(resumed), client.At(client.ReadYourWrites))
	check(err)
	fmt.Printf("%s\n", item.Value)
	// Output: hat
}

func ExampleKeyspace_Get() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	item, err := c.Keyspace("orders").Get(ctx, "nothing", client.At(client.Eventual))
	check(err)
	fmt.Println(item.Found, item.Proof.Served)
	// Output: false eventual
}

func ExampleBounded() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	orders := c.Keyspace("orders")
	_, err := orders.Put(ctx, "o18", []byte("open"))
	check(err)
	// Any replica may answer that has everything but the last second.
	item, err := orders.Get(ctx, "o18", client.Bounded(time.Second))
	check(err)
	fmt.Println(item.Proof.Served, item.Proof.Staleness <= time.Second)
	// Output: bounded true
}

func ExampleKeyspace_Put() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	orders := c.Keyspace("orders")
	_, err := orders.Put(ctx, "o19", []byte("open"), client.Create())
	check(err)
	r, err := orders.Put(ctx, "o19", []byte("again"), client.Create())
	fmt.Printf("%v: it holds %s\n", errors.Is(err, store.Conflict), r.Value)
	// Output: true: it holds open
}

func ExampleWithContext() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	carts := c.Keyspace("carts")
	for _, thing := range []string{"tea", "jam"} {
		_, err := carts.Put(ctx, "u44", []byte(thing), client.Blind()) // as if written on two sides of a cut
		check(err)
	}
	item, err := carts.Get(ctx, "u44")
	check(err)
	// The write supersedes exactly what was read.
	_, err = carts.Put(ctx, "u44", []byte("tea, jam"), client.WithContext(item.Context))
	check(err)
	merged, err := carts.Get(ctx, "u44")
	check(err)
	fmt.Printf("%d values, then %s\n", len(item.Values), merged.Value)
	// Output: 2 values, then tea, jam
}

func ExampleKeyspace_Delete() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	orders := c.Keyspace("orders")
	_, err := orders.Put(ctx, "o20", []byte("open"))
	check(err)
	r, err := orders.Delete(ctx, "o20")
	check(err)
	fmt.Println("it was there:", r.Found)
	// Output: it was there: true
}

func ExampleKeyspace_CompareAndSwap() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	orders := c.Keyspace("orders")
	_, err := orders.Put(ctx, "o21", []byte("paid"))
	check(err)
	r, err := orders.CompareAndSwap(ctx, "o21", []byte("open"), []byte("cancelled"))
	fmt.Printf("%v: it holds %s\n", errors.Is(err, store.Conflict), r.Value)
	// Output: true: it holds paid
}

func ExampleKeyspace_Increment() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	orders := c.Keyspace("orders")
	_, _, err := orders.Increment(ctx, "visits", 2)
	check(err)
	sum, _, err := orders.Increment(ctx, "visits", 40)
	check(err)
	fmt.Println(sum)
	// Output: 42
}

// On an ap keyspace every side of a cut counts, and nothing is lost.
func ExampleKeyspace_Increment_counter() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	likes := c.Keyspace("likes")
	_, _, err := likes.Increment(ctx, "post-17", 1)
	check(err)
	sum, _, err := likes.Increment(ctx, "post-17", 1)
	check(err)
	fmt.Println(sum)
	// Output: 2
}

func ExampleKeyspace_Add() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	tags := c.Keyspace("tags")
	for _, tag := range []string{"tall", "blue", "blue"} {
		_, err := tags.Add(ctx, "house-4", tag)
		check(err)
	}
	item, err := tags.Get(ctx, "house-4")
	check(err)
	fmt.Printf("%s\n", item.Values)
	// Output: [blue tall]
}

func ExampleKeyspace_Remove() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	tags := c.Keyspace("tags")
	_, err := tags.Add(ctx, "house-5", "old")
	check(err)
	r, err := tags.Remove(ctx, "house-5", "old")
	check(err)
	item, err := tags.Get(ctx, "house-5")
	check(err)
	fmt.Println(r.Found, item.Found)
	// Output: true false
}

func ExampleKeyspace_PutField() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	profiles := c.Keyspace("profiles")
	for field, value := range map[string]string{"name": "Ada", "town": "London", "pet": "none"} {
		_, err := profiles.PutField(ctx, "u1", field, []byte(value))
		check(err)
	}
	_, err := profiles.RemoveField(ctx, "u1", "pet")
	check(err)
	item, err := profiles.Get(ctx, "u1")
	check(err)
	name, _ := item.Field("name")
	fmt.Printf("%s of %q\n", name, item.Fields)
	// Output: Ada of ["name" "town"]
}

func ExampleKeyspace_Txn() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	accounts := c.Keyspace("accounts")
	_, err := accounts.Put(ctx, "{u1}/balance", []byte("100"))
	check(err)
	pay := store.Txn{
		If:   []store.Compare{client.Absent("{u1}/paid")},
		Then: []store.Step{client.IncrementStep("{u1}/balance", -30), client.PutStep("{u1}/paid", []byte("o17"))},
		Else: []store.Step{client.GetStep("{u1}/balance")},
	}
	for range 2 {
		r, err := accounts.Txn(ctx, pay)
		check(err)
		fmt.Printf("%v %s\n", r.Held, r.Steps[0].Value)
	}
	// Output:
	// true 70
	// false 70
}

func ExampleKeyspace_Scan() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	accounts := c.Keyspace("accounts") // of four groups
	for _, name := range []string{"ada", "bob", "cyd", "dan"} {
		_, err := accounts.Put(ctx, "name/"+name, []byte("here"))
		check(err)
	}
	for item, err := range accounts.Scan(ctx, store.Query{Prefix: "name/", To: "name/d", Reverse: true}) {
		check(err)
		fmt.Println(item.Key)
	}
	// Output:
	// name/cyd
	// name/bob
	// name/ada
}

func ExampleKeyspace_Count() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	accounts := c.Keyspace("accounts")
	for i := range 20 {
		_, err := accounts.Put(ctx, fmt.Sprint("count/", i), nil)
		check(err)
	}
	n, err := accounts.Count(ctx, store.Query{Prefix: "count/"})
	check(err)
	fmt.Println(n)
	// Output: 20
}

func ExampleKeyspace_Read() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	accounts := c.Keyspace("accounts")
	for i := range 3 {
		_, err := accounts.Put(ctx, fmt.Sprint("{u2}/", i), nil)
		check(err)
	}
	q := store.Query{Prefix: "{u2}/", Limit: 2} // a tag, so it is of one group
	for {
		page, err := accounts.Read(ctx, q)
		check(err)
		fmt.Println(len(page.Items), "items")
		if q.Page = page.Next; q.Page == "" {
			break
		}
	}
	// Output:
	// 2 items
	// 1 items
}

func ExampleKeyspace_Write() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	r, err := c.Keyspace("orders").Write(ctx, store.Command{Op: store.Increment, Key: "stock", Delta: -1})
	check(err)
	fmt.Printf("%s\n", r.Value)
	// Output: -1
}

func ExampleKeyspace_Watch() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	orders := c.Keyspace("orders")
	watch, err := orders.Watch(ctx, store.WatchQuery{Prefix: "watched/"})
	check(err)
	defer watch.Close()

	_, err = orders.Txn(ctx, store.Txn{Then: []store.Step{
		client.PutStep("watched/a", []byte("1")), client.PutStep("watched/b", []byte("2")),
	}})
	check(err)
	_, err = orders.Delete(ctx, "watched/a")
	check(err)
	for range 2 {
		change, err := watch.Next(ctx)
		check(err)
		for _, e := range change.Events {
			fmt.Printf("%s = %q deleted=%v\n", e.Key, e.Value, e.Deleted)
		}
	}
	// Output:
	// watched/a = "1" deleted=false
	// watched/b = "2" deleted=false
	// watched/a = "" deleted=true
}

func ExampleWithTTL() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	orders := c.Keyspace("orders")
	watch, err := orders.Watch(ctx, store.WatchQuery{Key: "code"})
	check(err)
	defer watch.Close()
	_, err = orders.Put(ctx, "code", []byte("1234"), client.WithTTL(200*time.Millisecond))
	check(err)
	for range 2 {
		change, err := watch.Next(ctx)
		check(err)
		fmt.Println("expired:", change.Events[0].Expired)
	}
	// Output:
	// expired: false
	// expired: true
}

func ExampleKeyspace_Grant() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	accounts := c.Keyspace("accounts")
	lease, err := accounts.Grant(ctx, "{u3}", 10*time.Second)
	check(err)
	for _, key := range []string{"{u3}/online", "{u3}/screen"} {
		_, err := accounts.Put(ctx, key, []byte("yes"), client.WithLease(lease))
		check(err)
	}
	check(lease.KeepAlive(ctx)) // every now and then
	check(lease.Revoke(ctx))    // both are gone
	n, err := accounts.Count(ctx, store.Query{Prefix: "{u3}/"})
	check(err)
	fmt.Println(n, errors.Is(lease.KeepAlive(ctx), store.NotFound))
	// Output: 0 true
}

func ExampleKeyspace_Lease() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	accounts := c.Keyspace("accounts")
	granted, err := accounts.Grant(ctx, "{u4}", 10*time.Second)
	check(err)

	lease := accounts.Lease("{u4}", granted.ID()) // in another process
	check(lease.KeepAlive(ctx))
	fmt.Println(lease.TTL())
	check(lease.Revoke(ctx))
	// Output: 10s
}

func ExampleKeyspace_Leases() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	accounts := c.Keyspace("accounts")
	lease, err := accounts.Grant(ctx, "{u5}", time.Minute)
	check(err)
	_, err = accounts.Put(ctx, "{u5}/online", nil, client.WithLease(lease))
	check(err)
	for l, err := range accounts.Leases(ctx) {
		check(err)
		fmt.Println(l.TTL, l.Keys, "key")
	}
	check(lease.Revoke(ctx))
	// Output: 1m0s 1 key
}

func ExampleKeyspace_Lock() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	accounts := c.Keyspace("accounts")
	lock, err := accounts.Lock(ctx, "{u6}", 5*time.Second)
	check(err)

	// The write happens only while the lock is held, whatever this process believes.
	_, err = accounts.Put(ctx, "{u6}/state", []byte("mine"), client.Fenced(lock.Fence()))
	check(err)
	check(lock.Unlock(ctx))
	_, err = accounts.Put(ctx, "{u6}/state", []byte("too late"), client.Fenced(lock.Fence()))
	fmt.Println(errors.Is(err, store.Conflict))
	// Output: true
}

func ExampleKeyspace_Restore() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	ledger := c.Keyspace("ledger")
	_, err := ledger.Put(ctx, "balance", []byte("100"))
	check(err)
	f, err := os.CreateTemp("", "*.snap")
	check(err)
	defer func() { check(os.Remove(f.Name())) }()
	defer f.Close()
	check(ledger.Save(ctx, f))

	_, err = ledger.Put(ctx, "balance", []byte("a slip of the keyboard"))
	check(err)
	done, err := ledger.Restore(ctx, f)
	check(err)
	// The sessions of before have ended, this client's own among them.
	item, err := ledger.Get(ctx, "balance", client.In(c.NewSession()))
	check(err)
	fmt.Printf("%d key in %d groups; the balance is %s\n", done.Keys, len(done.Groups), item.Value)
	// Output: 1 key in 4 groups; the balance is 100
}

func ExampleVerifySnapshot() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	var out bytes.Buffer
	check(c.Keyspace("accounts").Save(ctx, &out))

	whole := out.Bytes()
	saved, err := client.VerifySnapshot(bytes.NewReader(whole))
	check(err)
	fmt.Println(saved.Keyspace, len(saved.Groups), "groups")
	_, err = client.VerifySnapshot(bytes.NewReader(whole[:len(whole)/2]))
	fmt.Println(errors.Is(err, store.Corrupt))
	// Output:
	// accounts 4 groups
	// true
}

func ExampleKeyspace_TryLock() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	orders := c.Keyspace("orders")
	lock, err := orders.TryLock(ctx, "nightly", 5*time.Second)
	check(err)
	_, err = orders.TryLock(ctx, "nightly", 5*time.Second)
	fmt.Println(errors.Is(err, store.Conflict))
	check(lock.Unlock(ctx))
	// Output: true
}

func ExampleLock_Lost() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	orders := c.Keyspace("orders")
	lock, err := orders.Lock(ctx, "report", 5*time.Second)
	check(err)
	_, err = orders.Delete(ctx, lock.Fence().Key) // by somebody who breaks the lock
	check(err)
	select {
	case <-lock.Lost():
		fmt.Println("stop at once")
	case <-time.After(10 * time.Second):
	}
	check(lock.Unlock(ctx))
	// Output: stop at once
}

func ExampleKeyspace_Campaign() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	orders := c.Keyspace("orders")
	leadership, err := orders.Campaign(ctx, "scheduler", []byte("10.0.0.7:80"), 5*time.Second)
	check(err)
	leader, err := orders.Leader(ctx, "scheduler")
	check(err)
	fmt.Printf("%s leads\n", leader.Value)
	check(leadership.Resign(ctx))
	// Output: 10.0.0.7:80 leads
}

func ExampleKeyspace_Leader() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	leader, err := c.Keyspace("orders").Leader(ctx, "nobody stands for this")
	check(err)
	fmt.Println(leader.Found)
	// Output: false
}

func ExampleKeyspace_Observe() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	orders := c.Keyspace("orders")
	first, err := orders.Campaign(ctx, "shard 7", []byte("first"), 5*time.Second)
	check(err)
	for leader, err := range orders.Observe(ctx, "shard 7") {
		check(err)
		if !leader.Found {
			fmt.Println("nobody leads")
			break
		}
		fmt.Printf("%s leads\n", leader.Value)
		check(first.Resign(ctx))
	}
	// Output:
	// first leads
	// nobody leads
}

func ExamplePrefer() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	orders := c.Keyspace("orders")

	_, err := orders.Put(ctx, "o18", []byte("sent"))
	check(err)
	item, err := orders.Get(ctx, "o18", client.Prefer(
		client.Try(client.Strong, 5*time.Second), // a second or less, in earnest
		client.Try(client.Eventual, time.Second),
		client.LastSeen(time.Hour),
		client.Static([]byte("unknown")),
	))
	check(err)
	if item.Degraded {
		log.Printf("answered by %s, at level %v, %v old", item.Fallback, item.Proof.Served, item.Age)
	}
	fmt.Printf("%s, degraded: %v\n", item.Value, item.Degraded)
	// Output: sent, degraded: false
}

func ExampleResilience() {
	cfg := client.Config{
		Seeds: []string{"127.0.0.1:7400"},
		Resilience: client.Resilience{
			Backoff:  client.Backoff{Kind: client.FullJitter, Most: 200 * time.Millisecond},
			Budget:   0.1,
			Breaker:  client.Breaker{Rate: 0.3, Open: 2 * time.Second},
			Bulkhead: client.Bulkhead{Calls: 64},
		},
		Observe: client.Observer{
			Breaker: func(e client.BreakerEvent) { log.Printf("circuit of %s: %s", e.Node, e.To) },
		},
	}
	c, err := client.Open(context.Background(), cfg)
	check(err)
	check(c.Close())
	// Output:
}

func ExampleKeyspace_Batch() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	accounts := c.Keyspace("accounts")

	done, err := accounts.Batch(ctx, []store.Command{
		{Op: store.Put, Key: "b1", Value: []byte("tea")},
		{Op: store.Put, Key: "b2", Value: []byte("milk"), If: store.Condition{Kind: store.IfRevision, Revision: 99}},
	})
	check(err)
	for _, d := range done {
		fmt.Println(store.OutcomeOf(d.Err), errors.Is(d.Err, store.Conflict))
	}
	got, err := accounts.GetMulti(ctx, []string{"b2", "b1"})
	check(err)
	for _, g := range got {
		check(g.Err)
		fmt.Printf("%s: %v %q\n", g.Key, g.Found, g.Value)
	}
	// Output:
	// ok false
	// fail true
	// b2: false ""
	// b1: true "tea"
}
