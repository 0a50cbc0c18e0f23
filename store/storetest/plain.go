package storetest

import (
	"slices"

	"github.com/dialkv/dialkv/store"
)

var plainLaws = []law{
	{name: "an absent key is found at no level", check: func(g *group) {
		for i := range g.replicas {
			for _, level := range append(g.sessionLevels(), store.Eventual) {
				g.shows(i, at(level, "nobody", nil))
			}
		}
	}},
	{name: "a put is found by the session at every level where it was written", check: func(g *group) {
		wrote := g.put("k", "v")
		for _, level := range g.sessionLevels() {
			g.shows(g.home, at(level, "k", wrote.Entry), "v")
		}
	}},
	{name: "an eventual read sees a put in the end, everywhere", check: func(g *group) {
		g.put("k", "v")
		for i := range g.replicas {
			g.eventually(i, "k", "v")
		}
	}},
	{name: "the empty value is a value", check: func(g *group) {
		g.put("k", "")
		g.holds("k", "")
	}},
	{name: "a put after a delete is found, and nothing in between", check: func(g *group) {
		g.put("k", "first")
		g.deleteRead("k")
		g.holds("k")
		g.put("k", "second")
		g.holds("k", "second")
	}},
	{name: "a delete of an absent key changes nothing", check: func(g *group) {
		if gone := g.delete("nobody"); gone.Found {
			g.Errorf("found a key that nobody wrote")
		}
		g.holds("nobody")
	}},
	{name: "a write says whether the key was there", check: func(g *group) {
		if first := g.put("k", "1"); first.Found {
			g.Errorf("the first put found the key")
		}
		if gone := g.deleteRead("k"); !gone.Found {
			g.Errorf("the delete did not find the key")
		}
		if again := g.put("k", "2"); again.Found {
			g.Errorf("the put after the delete found the key")
		}
	}},
	{name: "a delete leaves nothing in a scan", check: func(g *group) {
		for _, key := range []string{"a", "b", "c"} {
			g.put(key, "v")
		}
		for _, key := range []string{"a", "b", "c"} {
			g.deleteRead(key)
		}
		if left := g.all(g.home, store.Query{Limit: 10, Level: g.freshest(), Siblings: true}); len(left) != 0 {
			g.Errorf("%d keys left: %v", len(left), left)
		}
	}},
	{name: "an answer says where it is from and what it served", check: func(g *group) {
		wrote := g.put("k", "v")
		for i, r := range g.replicas {
			for _, level := range append(g.sessionLevels(), store.Eventual) {
				p := g.read(i, at(level, "k", wrote.Entry)).Proof
				if p.Node != r.Status().Node || p.Asked != level.Or(g.cfg.Mode) || p.Served < p.Asked || p.Degraded {
					g.Errorf("level %v at %s: proof %+v", level, r.Status().Node, p)
				}
			}
		}
	}},
	{name: "a replica says which group it is a copy of", check: func(g *group) {
		g.put("k", "v")
		var nodes []string
		for _, r := range g.replicas {
			nodes = append(nodes, r.Status().Node)
		}
		slices.Sort(nodes)
		for _, r := range g.replicas {
			s := r.Status()
			if s.Mode != g.cfg.Mode || s.Group != g.replicas[0].Status().Group || !slices.Equal(s.Members, nodes) {
				g.Errorf("status %+v, want mode %v and members %v", s, g.cfg.Mode, nodes)
			}
		}
	}},
	{name: "a replica that wrote and read is ready", check: func(g *group) {
		wrote := g.put("k", "v")
		for i, r := range g.replicas {
			g.read(i, store.Query{Key: "k", Level: store.Causal, After: wrote.Entry})
			if s := r.Status(); !s.Ready {
				g.Errorf("%s is not ready: %s", s.Node, s.Detail)
			}
		}
	}},
}

// deleteRead deletes what a read at home sees, as a client of either mode does.
func (g *group) deleteRead(key string) store.Result {
	g.Helper()
	return g.do(store.Command{Op: store.Delete, Key: key, Context: g.read(g.home, store.Query{Key: key, Level: g.freshest()}).Context})
}
