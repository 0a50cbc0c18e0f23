package storetest

import (
	"strconv"
	"sync"

	"github.com/dialkv/dialkv/store"
)

var conditionLaws = []law{
	{name: "revisions grow with every write, and a read names its write's", mode: store.CP, check: func(g *group) {
		var last uint64
		var before = map[string]uint64{}
		for n := range 30 {
			key := "k" + strconv.Itoa(n%3)
			wrote := g.put(key, strconv.Itoa(n))
			if wrote.Revision <= last {
				g.Fatalf("write %d has revision %d, the one before %d", n, wrote.Revision, last)
			}
			if wrote.Replaced != before[key] {
				g.Errorf("write %d replaced %d, want %d", n, wrote.Replaced, before[key])
			}
			page := g.holds(key, strconv.Itoa(n))
			if page.Items[0].Revision != wrote.Revision || page.Revision < wrote.Revision {
				g.Errorf("read of write %d at %d: item %d, group %d", n, wrote.Revision, page.Items[0].Revision, page.Revision)
			}
			last, before[key] = wrote.Revision, wrote.Revision
		}
	}},
	{name: "a delete has a revision and leaves nothing to replace", mode: store.CP, check: func(g *group) {
		wrote := g.put("k", "v")
		gone := g.delete("k")
		if gone.Revision <= wrote.Revision || gone.Replaced != wrote.Revision || !gone.Found {
			g.Errorf("put %+v, delete %+v", wrote, gone)
		}
		if page := g.holds("k"); page.Revision < gone.Revision {
			g.Errorf("not found at revision %d, deleted at %d", page.Revision, gone.Revision)
		}
		if again := g.put("k", "w"); again.Replaced != 0 || again.Revision <= gone.Revision {
			g.Errorf("put after delete %+v: %+v", gone, again)
		}
	}},
	{name: "writes at the same time have each their own revision", mode: store.CP, check: func(g *group) {
		g.put("k", "v")
		results := g.together(20, func(n int) store.Command {
			return store.Command{Op: store.Put, Key: "k" + strconv.Itoa(n), Value: []byte("v")}
		})
		seen := map[uint64]bool{}
		for n, r := range results {
			if seen[r.Revision] {
				g.Errorf("revision %d twice", r.Revision)
			}
			seen[r.Revision] = true
			if page := g.holds("k"+strconv.Itoa(n), "v"); page.Items[0].Revision != r.Revision {
				g.Errorf("k%d: written at %d, read at %d", n, r.Revision, page.Items[0].Revision)
			}
		}
	}},
	{name: "if-absent creates, and then tells what is there", mode: store.CP, check: func(g *group) {
		create := func(value string) store.Command {
			return store.Command{Op: store.Put, Key: "k", Value: []byte(value), If: store.Condition{Kind: store.IfAbsent}}
		}
		first := g.do(create("1"))
		g.saw(g.refused(store.Conflict, create("2")), "1", first.Revision)
		g.holds("k", "1")
		g.delete("k")
		g.do(create("3"))
		g.holds("k", "3")
	}},
	{name: "if-value compares the value, and an absent key has none", mode: store.CP, check: func(g *group) {
		swap := func(expect, value string) store.Command {
			return store.Command{Op: store.Put, Key: "k", Value: []byte(value), If: store.Condition{Kind: store.IfValue, Value: []byte(expect)}}
		}
		g.nothingSeen(g.refused(store.Conflict, swap("", "1")))
		g.holds("k")
		g.put("k", "")
		second := g.do(swap("", "2"))
		g.saw(g.refused(store.Conflict, swap("", "3")), "2", second.Revision)
		third := g.do(swap("2", "3"))
		if third.Replaced != second.Revision {
			g.Errorf("replaced %d, want %d", third.Replaced, second.Revision)
		}
		g.holds("k", "3")
	}},
	{name: "if-revision compares the last write, also when the value came back", mode: store.CP, check: func(g *group) {
		at := func(revision uint64, value string) store.Command {
			return store.Command{Op: store.Put, Key: "k", Value: []byte(value), If: store.Condition{Kind: store.IfRevision, Revision: revision}}
		}
		first := g.put("k", "a")
		g.nothingSeen(g.refused(store.Conflict, store.Command{Op: store.Put, Key: "nobody", If: store.Condition{Kind: store.IfRevision, Revision: first.Revision}}))
		second := g.do(at(first.Revision, "b"))
		third := g.do(at(second.Revision, "a"))
		g.saw(g.refused(store.Conflict, at(first.Revision, "c")), "a", third.Revision)
		g.delete("k")
		g.nothingSeen(g.refused(store.Conflict, at(third.Revision, "c")))
		g.holds("k")
	}},
	{name: "a delete keeps its condition too", mode: store.CP, check: func(g *group) {
		wrote := g.put("k", "v")
		g.saw(g.refused(store.Conflict, store.Command{Op: store.Delete, Key: "k", If: store.Condition{Kind: store.IfValue, Value: []byte("w")}}), "v", wrote.Revision)
		g.saw(g.refused(store.Conflict, store.Command{Op: store.Delete, Key: "k", If: store.Condition{Kind: store.IfRevision, Revision: wrote.Revision + 1}}), "v", wrote.Revision)
		g.holds("k", "v")
		g.do(store.Command{Op: store.Delete, Key: "k", If: store.Condition{Kind: store.IfRevision, Revision: wrote.Revision}})
		g.holds("k")
	}},
	{name: "compare and set loses no update", mode: store.CP, check: func(g *group) {
		const clients, each = 4, 5
		g.put("counter", "0")
		var wg sync.WaitGroup
		for range clients {
			client := *g // each follows the leader by itself
			wg.Go(func() {
				for range each {
					client.increment("counter")
				}
			})
		}
		wg.Wait()
		g.holds("counter", strconv.Itoa(clients*each))
	}},
}

// saw wants what a failed condition saw.
func (g *group) saw(r store.Result, value string, revision uint64) {
	g.Helper()
	if !r.Found || string(r.Value) != value || r.Revision != revision {
		g.Errorf("the condition saw found %v, %q at %d; want %q at %d", r.Found, r.Value, r.Revision, value, revision)
	}
}

// nothingSeen wants a condition that failed on an absent key.
func (g *group) nothingSeen(r store.Result) {
	g.Helper()
	if r.Found || len(r.Value) != 0 {
		g.Errorf("the condition saw found %v, %q on an absent key", r.Found, r.Value)
	}
}

// together sends n commands at the same time, each of which must succeed.
func (g *group) together(n int, command func(n int) store.Command) []store.Result {
	g.Helper()
	results := make([]store.Result, n)
	var wg sync.WaitGroup
	for i := range n {
		client := *g
		wg.Go(func() {
			var err error
			if results[i], err = client.write(command(i)); err != nil {
				g.Errorf("write %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if g.Failed() {
		g.FailNow()
	}
	return results
}

// increment adds one to a number by compare and set. It may run beside the test's
// goroutine, so it does not end the test.
func (g *group) increment(key string) {
	ctx, cancel := g.within(patience)
	defer cancel()
	for ctx.Err() == nil {
		page, err := g.replicas[g.home].Read(ctx, store.Query{Key: key, Level: store.Strong})
		if err != nil || len(page.Items) != 1 {
			g.Errorf("increment: read %d items: %v", len(page.Items), err)
			return
		}
		old := page.Items[0].Values[0]
		n, err := strconv.Atoi(string(old))
		if err != nil {
			g.Errorf("increment: %v", err)
			return
		}
		_, err = g.write(store.Command{
			Op: store.Put, Key: key, Value: []byte(strconv.Itoa(n + 1)),
			If: store.Condition{Kind: store.IfValue, Value: old},
		})
		switch {
		case err == nil:
			return
		case store.AsError(err).Code != store.Conflict:
			g.Errorf("increment: %v", err)
			return
		}
		g.pause(ctx) // somebody else was first
	}
	g.Errorf("increment: not done in %v", patience)
}
