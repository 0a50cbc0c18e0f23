package storetest

import (
	"time"

	"github.com/dialkv/dialkv/store"
)

var levelLaws = []law{
	{name: "a quorum read is served as strong, and says so", mode: store.CP, check: func(g *group) {
		for _, value := range []string{"1", "2", "3"} {
			g.put("k", value)
			for i := range g.replicas {
				p := g.shows(i, store.Query{Key: "k", Level: store.Quorum}, value).Proof
				if p.Asked != store.Quorum || p.Served != store.Strong || p.Degraded {
					g.Errorf("replica %d: proof %+v", i, p)
				}
			}
		}
	}},
	{name: "a quorum read sees what a majority holds, at any replica", mode: store.AP, check: func(g *group) {
		c := store.Command{Op: store.Put, Key: "k", W: store.WMajority}
		for i := range g.replicas {
			for _, value := range []string{"1", "2", "3"} {
				c.Value = []byte(value)
				c.Context = g.doAt(i, c).Context
				for j := range g.replicas {
					p := g.shows(j, store.Query{Key: "k", Level: store.Quorum}, value).Proof
					if p.Asked != store.Quorum || p.Served != store.Quorum || p.Degraded {
						g.Errorf("replica %d: proof %+v", j, p)
					}
				}
			}
		}
	}},
	{name: "a quorum read is folded into the session, and its context supersedes what it saw", mode: store.AP, check: func(g *group) {
		last := len(g.replicas) - 1
		g.put("k", "1")
		for i := range g.replicas {
			page := g.read(i, store.Query{Key: "k", Level: store.Quorum})
			g.shows(last-i, store.Query{Key: "k", Level: store.Causal, After: page.Entry}, valuesOf(page)...)
		}
		seen := g.read(g.home, store.Query{Key: "k", Level: store.Quorum})
		next := g.doAt(last, store.Command{Op: store.Put, Key: "k", Value: []byte("2"), Context: seen.Context})
		g.shows(0, store.Query{Key: "k", Level: store.Quorum, After: next.Entry}, "2")
	}},
	{name: "a bounded read shows what was acknowledged before its bound, at any replica", check: func(g *group) {
		const bound = 100 * time.Millisecond
		c := store.Command{Op: store.Put, Key: "k"}
		for _, value := range []string{"1", "2", "3"} {
			c.Value = []byte(value)
			c.Context = g.do(c).Context
			g.sleep(bound)
			for i := range g.replicas {
				g.shows(i, store.Query{Key: "k", Level: store.Bounded, Bound: bound}, value)
			}
		}
	}},
	{name: "a bounded read proves its bound", check: func(g *group) {
		g.put("k", "v")
		g.sleep(2 * time.Second) // an age that the shorter bounds do not allow
		for _, bound := range []time.Duration{50 * time.Millisecond, time.Second, 20 * time.Second} {
			for i := range g.replicas {
				p := g.shows(i, store.Query{Key: "k", Level: store.Bounded, Bound: bound}, "v").Proof
				if p.Asked != store.Bounded || p.Served < store.Bounded || !p.Fresh || p.Staleness < 0 || p.Staleness > bound {
					g.Errorf("replica %d, within %v: proof %+v", i, bound, p)
				}
			}
		}
	}},
	{name: "a bounded scan keeps its bound too", check: func(g *group) {
		const bound = 100 * time.Millisecond
		g.fill()
		g.sleep(bound)
		for i := range g.replicas {
			if page := g.read(i, store.Query{Limit: 100, Level: store.Bounded, Bound: bound}); len(page.Items) != len(scanKeys) {
				g.Errorf("replica %d: %d of %d keys", i, len(page.Items), len(scanKeys))
			}
		}
	}},
}
