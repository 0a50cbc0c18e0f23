package storetest

import (
	"math"
	"slices"
	"strconv"

	"github.com/dialkv/dialkv/store"
)

var incrementLaws = []law{
	{name: "an increment adds to the number that is there, and an absent one is 0", mode: store.CP, check: func(g *group) {
		var before uint64
		for n, c := range []struct {
			delta int64
			sum   string
		}{{5, "5"}, {-7, "-2"}, {0, "-2"}, {2, "0"}, {math.MaxInt64, "9223372036854775807"}, {math.MinInt64, "-1"}, {math.MinInt64 + 1, "-9223372036854775808"}} {
			r := g.increase("k", c.delta)
			if string(r.Value) != c.sum || r.Found != (n > 0) || r.Replaced != before {
				g.Errorf("increment by %d: %+v, want the sum %s, found %v, replaced %d", c.delta, r, c.sum, n > 0, before)
			}
			item := g.holds("k", c.sum).Items[0]
			if item.Revision != r.Revision || item.Version != uint64(n+1) {
				g.Errorf("increment %d at %d: item %+v", n+1, r.Revision, item)
			}
			before = r.Revision
		}
	}},
	{name: "an increment of what is no integer is Invalid and changes nothing", mode: store.CP, check: func(g *group) {
		for _, value := range []string{"", " 1", "1 ", "+1", "-", "-0", "01", "-01", "1.0", "1e3", "0x1", "1_000", "one", "٣", "1\x00", "9223372036854775808", "-9223372036854775809"} {
			wrote := g.put("k", value)
			g.refused(store.Invalid, store.Command{Op: store.Increment, Key: "k", Delta: 1})
			if page := g.holds("k", value); page.Items[0].Revision != wrote.Revision {
				g.Errorf("%q was written at %d and is now of %d", value, wrote.Revision, page.Items[0].Revision)
			}
		}
	}},
	{name: "a sum beyond 64 bits is Invalid and changes nothing", mode: store.CP, check: func(g *group) {
		for _, c := range []struct {
			value string
			delta int64
		}{{"9223372036854775807", 1}, {"-9223372036854775808", -1}, {"1", math.MaxInt64}, {"-1", math.MinInt64}, {"-9223372036854775808", math.MinInt64}} {
			g.put("k", c.value)
			g.refused(store.Invalid, store.Command{Op: store.Increment, Key: "k", Delta: c.delta})
			g.holds("k", c.value)
		}
	}},
	{name: "an increment keeps its condition too", mode: store.CP, check: func(g *group) {
		first := g.increase("k", 1)
		at := store.Command{Op: store.Increment, Key: "k", Delta: 1, If: store.Condition{Kind: store.IfRevision, Revision: first.Revision}}
		second := g.do(at)
		g.saw(g.refused(store.Conflict, at), "2", second.Revision)
		g.refused(store.Conflict, store.Command{Op: store.Increment, Key: "k", Delta: 1, If: store.Condition{Kind: store.IfAbsent}})
		g.holds("k", "2")
	}},
	{name: "increments at the same time are each counted once", mode: store.CP, check: func(g *group) {
		const clients = 20
		g.put("other", "v")
		var sums []int
		for _, r := range g.together(clients, func(int) store.Command {
			return store.Command{Op: store.Increment, Key: "k", Delta: 1}
		}) {
			n, err := strconv.Atoi(string(r.Value))
			if err != nil {
				g.Fatal(err)
			}
			sums = append(sums, n)
		}
		slices.Sort(sums)
		for i, n := range sums {
			if n != i+1 {
				g.Fatalf("the sums are %v, want every number from 1 to %d once", sums, clients)
			}
		}
		g.holds("k", strconv.Itoa(clients))
	}},
	{name: "an applied write takes one revision, a refused one none", mode: store.CP, check: func(g *group) {
		last := g.put("text", "v").Revision
		lease := g.grant(store.MaxTTL)
		next := func(what string, r store.Result) {
			g.Helper()
			if last++; r.Revision != last {
				g.Fatalf("%s has revision %d, want %d", what, r.Revision, last)
			}
		}
		next("a grant", lease)
		next("a session", g.do(store.Command{Op: store.OpenSession}))
		next("an increment", g.increase("n", 1))
		g.refused(store.Invalid, store.Command{Op: store.Increment, Key: "text", Delta: 1})
		g.refused(store.Conflict, store.Command{Op: store.Put, Key: "text", If: store.Condition{Kind: store.IfAbsent}})
		g.refused(store.NotFound, store.Command{Op: store.Revoke, Lease: last + 1<<40})
		next("a delete of nothing", g.delete("nobody"))
		g.refused(store.Invalid, store.Command{Op: store.Transact, Txn: &store.Txn{Then: []store.Step{putStep("a", "1"), incrStep("text", 1)}}})
		next("a txn of one get", g.transact(store.Txn{Then: []store.Step{getStep("n")}}))
		next("a txn with an empty branch", g.transact(store.Txn{If: []store.Compare{version("n", 7)}, Then: []store.Step{putStep("n", "7")}}))
		next("a txn of many writes", g.transact(store.Txn{Then: []store.Step{putStep("a", "1"), putStep("b", "2"), deleteStep("a")}}))
		if kept := g.do(store.Command{Op: store.KeepAlive, Lease: lease.Lease}); kept.Revision != last {
			g.Errorf("a keep-alive has revision %d, the group is at %d", kept.Revision, last)
		}
		next("a revoke", g.do(store.Command{Op: store.Revoke, Lease: lease.Lease}))
		next("a put with a TTL", g.do(store.Command{Op: store.Put, Key: "short", TTL: store.MaxTTL}))
		if page := g.holds("text", "v"); page.Revision != last {
			g.Errorf("the group is at %d, want %d", page.Revision, last)
		}
	}},
}

// increase is an increment that must succeed.
func (g *group) increase(key string, delta int64) store.Result {
	g.Helper()
	return g.do(store.Command{Op: store.Increment, Key: key, Delta: delta})
}
