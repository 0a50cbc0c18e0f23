package storetest

import (
	"bytes"
	"fmt"

	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

var depsLaws = []law{
	{name: "what a writer had seen elsewhere is told at every replica", check: func(g *group) {
		first := g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("v"), Deps: g.elsewhere(2, 1)})
		for i := range g.replicas {
			page := g.read(i, store.Query{Key: "k", Level: store.Causal, After: first.Entry})
			g.tells("a read", page.Deps, g.elsewhere(2, 1))
		}
		second := g.do(store.Command{Op: store.Put, Key: "l", Value: []byte("v"), After: first.Entry, Deps: g.elsewhere(3, 4)})
		both := g.elsewhere(2, 1, 3, 4)
		g.tells("a write", second.Deps, both)
		for i := range g.replicas {
			page := g.read(i, store.Query{Limit: 1, Level: store.Causal, After: second.Entry})
			g.tells("a scan", page.Deps, both)
			g.tells("a later page", g.read(i, store.Query{Limit: 1, Page: page.Next}).Deps, both)
			g.tells("an eventual read", g.read(i, store.Query{Key: "k", Level: store.Eventual}).Deps, both)
		}
	}},
	{name: "what a writer had seen elsewhere is told of a delete, too", check: func(g *group) {
		g.put("k", "v")
		gone := g.do(store.Command{Op: store.Delete, Key: "k", Context: g.contextOf("k"), Deps: g.elsewhere(2, 1)})
		for i := range g.replicas {
			page := g.shows(i, store.Query{Key: "k", Level: store.Causal, After: gone.Entry})
			g.tells("a read that finds nothing", page.Deps, g.elsewhere(2, 1))
		}
	}},
	{name: "what a writer had seen elsewhere is told to those who watch", check: func(g *group) {
		watch := g.watch(g.home, store.WatchQuery{All: true})
		g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("v"), Deps: g.elsewhere(2, 1)})
		for {
			if c := watch.next(); len(c.Events) > 0 {
				g.tells("a change", c.Deps, g.elsewhere(2, 1))
				return
			}
		}
	}},
	{name: "a write that was refused leaves nothing to depend on", mode: store.CP, check: func(g *group) {
		g.put("k", "v")
		g.refused(store.Conflict, store.Command{
			Op: store.Put, Key: "k", Value: []byte("w"), If: store.Condition{Kind: store.IfAbsent}, Deps: g.elsewhere(2, 1),
		})
		g.tells("a read", g.holds("k", "v").Deps, nil)
	}},
	{name: "a write is refused that would depend on too many groups", check: func(g *group) {
		for i := range uint64(token.MaxGroups - 1) {
			g.do(store.Command{Op: store.Put, Key: fmt.Sprint("k", i), Value: []byte("v"), Deps: g.elsewhere(2+i, 1)})
		}
		g.refused(store.TooLarge, store.Command{Op: store.Put, Key: "more", Value: []byte("v"), Deps: g.elsewhere(2+token.MaxGroups, 1)})
		g.holds("more")
		g.do(store.Command{Op: store.Put, Key: "same", Value: []byte("v"), Deps: g.elsewhere(2, 9)})
	}},
}

// elsewhere is what one has seen who saw revision n of each keyspace.
func (g *group) elsewhere(keyspacesAndN ...uint64) store.Deps {
	g.Helper()
	var all token.Deps
	for i := 0; i < len(keyspacesAndN); i += 2 {
		one, err := token.DepsOf(store.GroupID{Keyspace: 1000 + keyspacesAndN[i]}, token.EncodeEntry([]token.Component{{N: keyspacesAndN[i+1]}}))
		if err != nil {
			g.Fatal(err)
		}
		all = all.Join(one)
	}
	return all.Encode()
}

func (g *group) tells(what string, got, want store.Deps) {
	g.Helper()
	if !bytes.Equal(got, want) {
		g.Errorf("%s tells of other groups %x, want %x", what, got, want)
	}
}
