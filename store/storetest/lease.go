package storetest

import (
	"slices"
	"strconv"
	"time"

	"github.com/dialkv/dialkv/store"
)

var leaseLaws = []law{
	{name: "a lease is named by the revision that granted it, and listed", mode: store.CP, check: func(g *group) {
		var want []store.Lease
		for n, ttl := range []time.Duration{time.Minute, time.Hour, store.MaxTTL} {
			r := g.grant(ttl)
			for i := range n {
				g.attach(string(rune('a'+n))+strconv.Itoa(i), r.Lease)
			}
			want = append(want, store.Lease{ID: r.Lease, TTL: ttl, Keys: uint64(n)})
		}
		for i := range g.replicas {
			g.leased(i, 100, want)
			g.leased(i, 3, want)
			g.leased(i, 2, want[:2])
		}
	}},
	{name: "a list of leases goes on page by page, on one view", mode: store.CP, check: func(g *group) {
		var want []uint64
		for range 25 {
			want = append(want, g.grant(time.Hour).Lease)
		}
		q := store.Query{Leases: true, Limit: 10}
		var got []uint64
		for pages := 1; ; pages++ {
			page := g.read(g.home, q)
			for _, l := range page.Leases {
				got = append(got, l.ID)
			}
			if q.Page = page.Next; q.Page == "" {
				break
			}
			if len(page.Leases) != 10 || pages > 3 {
				g.Fatalf("page %d has %d leases and is not the last", pages, len(page.Leases))
			}
			g.grant(time.Hour)
			g.do(store.Command{Op: store.Revoke, Lease: want[len(want)-pages]})
		}
		if !slices.Equal(got, want) {
			g.Errorf("the leases are %v, want %v", got, want)
		}
	}},
	{name: "the leader says how long a lease has left", mode: store.CP, check: func(g *group) {
		r := g.grant(time.Minute)
		for range 2 {
			left := g.leases(g.home, 1)[0].Remaining
			if left <= 0 || left > time.Minute {
				g.Errorf("a lease of %v has %v left", time.Minute, left)
			}
			g.keepAlive(r.Lease)
		}
	}},
	{name: "a key is attached to the lease of its last put", mode: store.CP, check: func(g *group) {
		one, two := g.grant(time.Hour).Lease, g.grant(time.Hour).Lease
		for _, lease := range []uint64{one, two, 0, two} {
			g.attach("k", lease)
			if item := g.holds("k", "v").Items[0]; item.Lease != lease {
				g.Errorf("put with lease %d: %+v", lease, item)
			}
		}
		g.increase("n", 1)
		g.do(txnOf(store.Step{Op: store.Put, Key: "n", Value: []byte("1"), Lease: one}))
		g.increase("n", 1)
		g.do(txnOf(incrStep("n", 1)))
		if item := g.holds("n", "3").Items[0]; item.Lease != one {
			g.Errorf("an increment does not change the lease, which was %d: %+v", one, item)
		}
		g.leased(g.home, 9, []store.Lease{{ID: one, TTL: time.Hour, Keys: 1}, {ID: two, TTL: time.Hour, Keys: 1}})
		g.delete("k")
		g.do(txnOf(deleteStep("n"), putStep("n", "4")))
		g.leased(g.home, 9, []store.Lease{{ID: one, TTL: time.Hour}, {ID: two, TTL: time.Hour}})
	}},
	{name: "a revoke deletes what is attached, at one revision, and nothing else", mode: store.CP, check: func(g *group) {
		mine, other := g.grant(time.Hour).Lease, g.grant(time.Hour).Lease
		for _, key := range []string{"a", "b", "c", "detached", "moved", "deleted"} {
			g.attach(key, mine)
		}
		g.attach("detached", 0)
		g.attach("moved", other)
		g.attach("theirs", other)
		g.delete("deleted")
		g.put("deleted", "v")
		gone := g.do(store.Command{Op: store.Revoke, Lease: mine})
		for i := range g.replicas {
			page := g.read(i, store.Query{Limit: 10, KeysOnly: true, Level: store.Causal, After: gone.Entry})
			if got := keysOf(page.Items); !slices.Equal(got, []string{"deleted", "detached", "moved", "theirs"}) {
				g.Errorf("replica %d holds %q after the revoke", i, got)
			}
		}
		g.leased(g.home, 9, []store.Lease{{ID: other, TTL: time.Hour, Keys: 2}})
	}},
	{name: "what names a lease that is none is NotFound and changes nothing", mode: store.CP, check: func(g *group) {
		was := g.put("k", "v")
		gone := g.grant(time.Hour).Lease
		g.do(store.Command{Op: store.Revoke, Lease: gone})
		short := g.do(store.Command{Op: store.Put, Key: "t", TTL: time.Hour})
		g.delete("t")
		for _, lease := range []uint64{gone, short.Lease, was.Revision, short.Revision + 1<<40} {
			for _, c := range []store.Command{
				{Op: store.KeepAlive, Lease: lease},
				{Op: store.Revoke, Lease: lease},
				{Op: store.Put, Key: "k", Value: []byte("w"), Lease: lease},
				{Op: store.Put, Key: "new", Value: []byte("w"), Lease: lease},
				txnOf(putStep("new", "w"), store.Step{Op: store.Put, Key: "k", Lease: lease}),
			} {
				g.refused(store.NotFound, c)
			}
		}
		if page := g.holds("k", "v"); page.Items[0].Revision != was.Revision {
			g.Errorf("written at %d, now of %d", was.Revision, page.Items[0].Revision)
		}
		g.holds("new")
		g.leased(g.home, 9, nil)
	}},
	{name: "a put with a TTL has a lease of its own, which ends with its key", mode: store.CP, check: func(g *group) {
		short := store.Command{Op: store.Put, Key: "k", Value: []byte("v"), TTL: time.Hour}
		for what, end := range map[string]func(){
			"a put without": func() { g.put("k", "w") },
			"a put with a TTL of its own": func() {
				g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("w"), TTL: time.Minute})
			},
			"a delete":           func() { g.delete("k") },
			"a txn":              func() { g.do(txnOf(putStep("k", "w"))) },
			"a txn that deletes": func() { g.do(txnOf(deleteStep("k"))) },
		} {
			r := g.do(short)
			if r.Lease == 0 || r.Lease != r.Revision || r.TTL != short.TTL {
				g.Errorf("a put with a TTL of %v: %+v", short.TTL, r)
			}
			if item := g.holds("k", "v").Items[0]; item.Lease != r.Lease {
				g.Errorf("the lease of the put is %d, the item's %+v", r.Lease, item)
			}
			g.increase("other", 1)
			end()
			if slices.ContainsFunc(g.leases(g.home, 9), func(l store.Lease) bool { return l.ID == r.Lease }) {
				g.Errorf("%s left the lease of the key that it replaced", what)
			}
			g.refused(store.NotFound, store.Command{Op: store.KeepAlive, Lease: r.Lease})
			g.delete("k")
		}
		g.leased(g.home, 9, nil)
	}},
	{name: "no key is attached to a lease that has ended, also where others joined that of a put", mode: store.CP, check: func(g *group) {
		alone := store.Command{Op: store.Put, Key: "k", Value: []byte("v"), TTL: time.Hour}
		join := func(key string, lease uint64) store.Step {
			return store.Step{Op: store.Put, Key: key, Value: []byte("v"), Lease: lease}
		}
		for what, steps := range map[string]func(lease uint64) []store.Step{
			"put again with its own":             func(l uint64) []store.Step { return []store.Step{join("k", l)} },
			"joined, then deleted":               func(l uint64) []store.Step { return []store.Step{join("j", l), deleteStep("k")} },
			"joined, then put again":             func(l uint64) []store.Step { return []store.Step{join("j", l), putStep("k", "w")} },
			"deleted, then joined":               func(l uint64) []store.Step { return []store.Step{deleteStep("k"), join("j", l)} },
			"put without, then with":             func(l uint64) []store.Step { return []store.Step{putStep("k", "w"), join("k", l)} },
			"deleted, joined and counted":        func(l uint64) []store.Step { return []store.Step{deleteStep("k"), join("k", l), incrStep("k", 1)} },
			"joined by two, one of which leaves": func(l uint64) []store.Step { return []store.Step{join("i", l), join("j", l), deleteStep("j")} },
		} {
			for _, together := range []bool{false, true} {
				lease := g.do(alone).Lease
				// A step may be refused, when the lease has ended by then.
				if together {
					_, _ = g.write(txnOf(steps(lease)...))
				} else {
					for _, s := range steps(lease) {
						_, _ = g.write(store.Command{Op: s.Op, Key: s.Key, Value: s.Value, Delta: s.Delta, Lease: s.Lease})
					}
				}
				g.leasesLive(what)
				for _, key := range []string{"i", "j", "k"} {
					g.delete(key)
				}
				g.leased(g.home, 9, nil)
			}
		}
	}},
	{name: "a condition that does not hold makes no lease", mode: store.CP, check: func(g *group) {
		g.put("k", "v")
		g.refused(store.Conflict, store.Command{Op: store.Put, Key: "k", TTL: time.Hour, If: store.Condition{Kind: store.IfAbsent}})
		g.leased(g.home, 9, nil)
	}},
}

// grant is a lease that lives for ttl.
func (g *group) grant(ttl time.Duration) store.Result {
	g.Helper()
	r := g.do(store.Command{Op: store.Grant, TTL: ttl})
	if r.Lease == 0 || r.Lease != r.Revision || r.TTL < ttl || r.TTL >= ttl+time.Millisecond { // a group may count in milliseconds
		g.Fatalf("a grant of %v: %+v", ttl, r)
	}
	return r
}

func (g *group) keepAlive(lease uint64) {
	g.Helper()
	if r := g.do(store.Command{Op: store.KeepAlive, Lease: lease}); r.Lease != lease || r.TTL == 0 {
		g.Errorf("a keep-alive of %d: %+v", lease, r)
	}
}

// attach puts "v" with a lease, or with none.
func (g *group) attach(key string, lease uint64) {
	g.Helper()
	g.do(store.Command{Op: store.Put, Key: key, Value: []byte("v"), Lease: lease})
}

// leases lists the first leases at replica i.
func (g *group) leases(i, limit int) []store.Lease {
	g.Helper()
	page := g.read(i, store.Query{Leases: true, Limit: limit})
	if len(page.Items) != 0 {
		g.Errorf("a list of leases has %d items", len(page.Items))
	}
	return page.Leases
}

// leased wants the first leases at replica i to be want, but for the time they have left.
func (g *group) leased(i, limit int, want []store.Lease) {
	g.Helper()
	got := g.leases(i, limit)
	for n := range got {
		if got[n].Remaining < 0 || got[n].Remaining > got[n].TTL {
			g.Errorf("replica %d: %+v has more left than it was given", i, got[n])
		}
		got[n].Remaining = 0
	}
	if !slices.Equal(got, want) {
		g.Errorf("replica %d: the leases are\n%+v\nwant\n%+v", i, got, want)
	}
}

func keysOf(items []store.Item) []string {
	var keys []string
	for _, item := range items {
		keys = append(keys, item.Key)
	}
	return keys
}

// leasesLive wants every key's lease to be listed, with as many keys as name it.
func (g *group) leasesLive(what string) {
	g.Helper()
	keys := map[uint64]uint64{}
	for _, item := range g.all(g.home, store.Query{Limit: 100}) {
		keys[item.Lease]++
	}
	delete(keys, 0)
	for _, l := range g.leases(g.home, 100) {
		if l.Keys != keys[l.ID] {
			g.Errorf("%s: lease %d says that it has %d keys, it has %d", what, l.ID, l.Keys, keys[l.ID])
		}
		delete(keys, l.ID)
	}
	if len(keys) > 0 {
		g.Errorf("%s: keys by leases that have ended: %v", what, keys)
	}
}
