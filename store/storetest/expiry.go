package storetest

import (
	"fmt"
	"time"

	"github.com/dialkv/dialkv/store"
)

// ttl is what a lease lives for where a law waits for its end.
const ttl = time.Second

var expiryLaws = []law{
	{name: "a lease never ends early, and it ends", mode: store.CP, check: func(g *group) {
		g.put("k", "v")
		began := time.Now()
		lease := g.grant(ttl).Lease
		g.attach("k", lease)
		g.ends("k", began)
		g.refused(store.NotFound, store.Command{Op: store.KeepAlive, Lease: lease})
		g.leased(g.home, 9, nil)
	}},
	{name: "a put with a TTL never ends early, and it ends", check: func(g *group) {
		g.put("other", "v")
		for range 3 {
			began := time.Now()
			r := g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("v"), TTL: ttl})
			g.ends("k", began)
			if g.cfg.Mode == store.CP {
				g.refused(store.NotFound, store.Command{Op: store.KeepAlive, Lease: r.Lease})
			}
		}
		g.holds("other", "v")
	}},
	{name: "a put with a TTL ends at every replica, also when nobody asks", check: func(g *group) {
		last := g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("v"), TTL: ttl})
		for i := range g.replicas {
			g.shows(i, at(store.Causal, "k", last.Entry), "v")
		}
		g.sleep(ttl + patience/4)
		for i := range g.replicas {
			if left := g.all(i, store.Query{Limit: 10, Level: store.Eventual, Siblings: true}); len(left) != 0 {
				g.Errorf("replica %d still has %+v", i, left)
			}
		}
	}},
	{name: "a read says how long a value has left", mode: store.AP, check: func(g *group) {
		g.put("stays", "v")
		for range 2 {
			wrote := g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("v"), TTL: time.Hour, Context: g.contextOf("k")})
			g.sleep(10 * ttl)
			for i := range g.replicas {
				page := g.read(i, at(store.Causal, "k", wrote.Entry))
				if left := page.Items[0].Remaining; len(left) != 1 || left[0] <= 0 || left[0] > time.Hour-10*ttl+time.Millisecond {
					g.Errorf("replica %d: %v are left of %v, %v later", i, left, time.Hour, 10*ttl)
				}
			}
		}
		for key, want := range map[string]int{"k": 1, "stays": 0} {
			if item := g.read(g.home, store.Query{Key: key}).Items[0]; len(item.Remaining) != want {
				g.Errorf("%s: %+v", key, item)
			}
		}
		for _, item := range g.all(g.home, store.Query{Limit: 10}) {
			if (item.Key == "k") != (len(item.Remaining) == 1) {
				g.Errorf("a scan shows %+v", item)
			}
		}
	}},
	{name: "a read says which of several values ends", mode: store.AP, policy: store.Siblings, check: func(g *group) {
		g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("short"), TTL: time.Hour})
		g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("stays"), Blind: true})
		item := g.read(g.home, store.Query{Key: "k"}).Items[0]
		if len(item.Remaining) != 2 || (item.Remaining[0] > 0) != (string(item.Values[0]) == "short") || (item.Remaining[1] > 0) != (string(item.Values[1]) == "short") {
			g.Errorf("%q have %v left", item.Values, item.Remaining)
		}
	}},
	{name: "a value that was put again outlives the TTL it had", mode: store.AP, check: func(g *group) {
		for _, c := range []store.Command{{Value: []byte("longer"), TTL: time.Hour}, {Value: []byte("for ever")}} {
			g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("short"), TTL: ttl, Context: g.contextOf("k")})
			c.Op, c.Key, c.Context = store.Put, "k", g.contextOf("k")
			g.do(c)
			g.sleep(3 * ttl)
			g.holds("k", string(c.Value))
		}
	}},
	{name: "the end of a value leaves those that stand beside it", mode: store.AP, policy: store.Siblings, check: func(g *group) {
		g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("short"), TTL: ttl})
		g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("stays"), Blind: true})
		g.holds("k", "short", "stays")
		g.sleep(3 * ttl)
		g.holds("k", "stays")
	}},
	{name: "the keys of a lease end together", mode: store.CP, check: func(g *group) {
		const keys = 10
		lease := g.grant(ttl).Lease
		changes := g.watch(g.home, store.WatchQuery{All: true})
		for n := range keys {
			g.attach(fmt.Sprintf("k%d", n), lease)
		}
		for seen := keys; seen != 0; {
			page := g.read(g.home, store.Query{Limit: 100, Level: store.Strong})
			if seen = len(page.Items); seen != 0 && seen != keys {
				g.Fatalf("%d of %d keys at revision %d", seen, keys, page.Revision)
			}
			g.tick()
		}
		for range keys {
			changes.next()
		}
		end := changes.next()
		if len(end.Events) != keys {
			g.Fatalf("%d of %d keys ended at revision %d", len(end.Events), keys, end.Revision)
		}
		for _, e := range end.Events {
			if !e.Deleted || !e.Expired {
				g.Errorf("the lease ended, and the event is %+v", e)
			}
		}
		changes.quiet(end.Revision)
	}},
	{name: "a lease that is kept alive lives on", mode: store.CP, check: func(g *group) {
		lease := g.grant(ttl).Lease
		g.attach("k", lease)
		var kept time.Time
		for range 10 {
			g.sleep(ttl / 2)
			kept = time.Now()
			g.keepAlive(lease)
		}
		g.ends("k", kept)
	}},
	{name: "a put with a TTL can be kept alive too", mode: store.CP, check: func(g *group) {
		lease := g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("v"), TTL: ttl}).Lease
		var kept time.Time
		for range 5 {
			g.sleep(ttl / 2)
			kept = time.Now()
			g.keepAlive(lease)
		}
		g.ends("k", kept)
	}},
	{name: "a key that was put again without a lease outlives the one it had", mode: store.CP, check: func(g *group) {
		lease := g.grant(ttl).Lease
		g.attach("put", lease)
		g.attach("txn", lease)
		g.attach("again", lease)
		g.do(store.Command{Op: store.Put, Key: "ttl", Value: []byte("v"), TTL: ttl})
		g.put("put", "w")
		g.put("ttl", "w")
		g.do(txnOf(putStep("txn", "w")))
		g.delete("again")
		g.put("again", "w")
		g.sleep(3 * ttl)
		for _, key := range []string{"put", "txn", "again", "ttl"} {
			g.holds(key, "w")
		}
	}},
	{name: "a key that is counted keeps its lease and ends with it", mode: store.CP, check: func(g *group) {
		began := time.Now()
		lease := g.grant(ttl).Lease
		g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("1"), Lease: lease})
		g.increase("k", 1)
		g.do(txnOf(incrStep("k", 1)))
		g.ends("k", began)
	}},
	{name: "a lease ends by itself, also when nobody asks", mode: store.CP, check: func(g *group) {
		g.attach("k", g.grant(ttl).Lease)
		changes := g.watch(g.home, store.WatchQuery{Key: "k"})
		if e := changes.next().Events[0]; !e.Deleted || !e.Expired {
			g.Errorf("the lease ended, and the event is %+v", e)
		}
		for i := range g.replicas {
			g.shows(i, store.Query{Key: "k", Level: store.Strong})
		}
	}},
	{name: "a lease never ends early under another leader, and it ends", mode: store.CP, check: func(g *group) {
		for n := range 5 {
			g.put("other", "v")
			began := time.Now()
			lease := g.grant(ttl).Lease
			g.attach("k", lease)
			g.sleep(ttl * time.Duration(n) / 8)
			g.depose()
			if n%2 == 0 {
				began = time.Now()
				g.keepAlive(lease)
			}
			g.ends("k", began)
		}
	}},
	{name: "a lease that lives is not hurt by those that end", mode: store.CP, check: func(g *group) {
		long := g.grant(time.Hour).Lease
		g.attach("long", long)
		for n := range 5 {
			g.attach(fmt.Sprintf("short%d", n), g.grant((ttl / time.Duration(n+1)).Truncate(time.Millisecond)).Lease)
		}
		g.sleep(3 * ttl)
		if left := g.all(g.home, store.Query{Limit: 10}); len(left) != 1 || left[0].Key != "long" || left[0].Lease != long {
			g.Errorf("left: %+v", left)
		}
	}},
}

// ends wants key to be found until ttl after since, when its lease was last asked for,
// and to end not long after. What is not found was gone when the read came back.
func (g *group) ends(key string, since time.Time) {
	g.Helper()
	for {
		page := g.read(g.home, store.Query{Key: key, Level: g.freshest()})
		lived := time.Since(since)
		switch {
		case len(page.Items) == 0 && lived < ttl:
			g.Fatalf("%q ended %v after its lease was asked for, which was of %v", key, lived, ttl)
		case len(page.Items) == 0:
			return
		case lived > ttl+patience/4:
			g.Fatalf("%q lives %v after its lease was asked for, which was of %v", key, lived, ttl)
		}
		g.tick()
	}
}

// tick is a moment in which a lease may end.
func (g *group) tick() { g.sleep(ttl / 50) }

func (g *group) sleep(d time.Duration) {
	ctx, cancel := g.within(d)
	defer cancel()
	<-ctx.Done()
}
