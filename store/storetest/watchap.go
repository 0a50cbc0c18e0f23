package storetest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dialkv/dialkv/store"
)

// The laws of watches of ap groups: each write once, in the order in which a replica
// applied it, and the key as it was after it. Where a watch goes on is the entry of the
// last change, at any replica.
var watchAPLaws = []law{
	{name: "watch: every replica returns every write once, and each writer's in order", mode: store.AP, check: func(g *group) {
		const each = 10
		before := g.put("before", "v")
		var watchers []*watcher
		for i := range g.replicas {
			watchers = append(watchers, g.watch(i, store.WatchQuery{Prefix: "k", After: before.Entry}))
		}
		for n := range each {
			for i := range g.replicas {
				g.doAt(i, store.Command{Op: store.Put, Key: fmt.Sprintf("k%d/%d", i, n), Value: []byte("v")})
			}
		}
		for i, w := range watchers {
			last, dots := map[string]int{}, map[string]bool{}
			for range each * len(g.replicas) {
				e := w.next().Events[0]
				writer, n, _ := strings.Cut(e.Key, "/")
				if n != strconv.Itoa(last[writer]) || dots[e.Dot] || e.Dot == "" {
					g.Errorf("replica %d: the write of %q, %s, came after %d of that writer", i, e.Key, e.Dot, last[writer])
				}
				last[writer]++
				dots[e.Dot] = true
			}
		}
	}},
	{name: "watch: an event shows what a read shows after the write", mode: store.AP, check: func(g *group) {
		w := g.watch(g.home, store.WatchQuery{Key: "k"})
		for n, write := range []func(){
			func() { g.put("k", "1") },
			func() { g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("2"), Blind: true}) },
			func() { g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("3"), Blind: true}) },
			func() { g.putRead("k", "4") },
			func() { g.deleteRead("k") },
			func() { g.put("k", "") },
		} {
			write()
			page := g.read(g.home, store.Query{Key: "k"})
			e := w.next().Events[0]
			var want [][]byte
			for _, item := range page.Items {
				want = item.Values
			}
			if !slices.EqualFunc(e.Values, want, slices.Equal) || e.Deleted != (len(want) == 0) || len(want) == 1 && string(e.Value) != string(want[0]) {
				g.Errorf("write %d: the event is %+v, a read shows %q", n, e, want)
			}
		}
		g.deleteRead("k")
		w.next()
		g.delete("k") // changes nothing, and is no change
		w.notice(0)
	}},
	{name: "watch: resumable behind the entry of a change, at any replica", mode: store.AP, check: func(g *group) {
		const writes = 12
		q := store.WatchQuery{Prefix: "k", From: 1}
		var after store.Entry
		for n := range writes {
			after = g.do(store.Command{Op: store.Put, Key: "k" + strconv.Itoa(n), Value: []byte("v"), After: after}).Entry
		}
		for n := range writes {
			q.After = after
			w := g.watch(n%len(g.replicas), q)
			c := w.next()
			if c.Events[0].Key != "k"+strconv.Itoa(n) {
				g.Fatalf("at replica %d: %+v, want the write of %d", n%len(g.replicas), c, n)
			}
			q.From, q.Since = 0, c.Entry
			w.Close()
		}
	}},
	{name: "watch: a read and a watch from behind it leave nothing out", mode: store.AP, check: func(g *group) {
		for i := range g.replicas {
			g.put(fmt.Sprintf("k%d/before", i), "v")
			page := g.read(i, store.Query{Limit: 1})
			wrote := g.put(fmt.Sprintf("k%d/after", i), "v")
			for j := range g.replicas {
				w := g.watch(j, store.WatchQuery{Prefix: fmt.Sprintf("k%d/a", i), Since: page.Entry, After: wrote.Entry})
				if e := w.next().Events[0]; e.Key != fmt.Sprintf("k%d/after", i) {
					g.Errorf("read at %d, watched at %d: %+v", i, j, e)
				}
			}
		}
	}},
	{name: "watch: bookmarkable, a notice of progress says that nothing was left out", mode: store.AP, check: func(g *group) {
		for i := range g.replicas {
			key := "k" + strconv.Itoa(i)
			w := g.watch(i, store.WatchQuery{Key: key, After: g.put("other"+key, "v").Entry})
			notice := w.notice(1)
			w.Close()
			g.put(key, "v")
			for j := range g.replicas {
				again := g.watch(j, store.WatchQuery{Key: key, Since: notice.Entry})
				if e := again.next().Events[0]; string(e.Value) != "v" {
					g.Errorf("resumed after the notice: %+v", e)
				}
			}
		}
	}},
	{name: "watch: what was seen is covered at every replica", mode: store.AP, check: func(g *group) {
		for i := range g.replicas {
			key := "k" + strconv.Itoa(i)
			w := g.watch(i, store.WatchQuery{Key: key})
			g.doAt(i, store.Command{Op: store.Put, Key: key, Value: []byte("v")})
			seen := w.next()
			for j := range g.replicas {
				g.shows(j, at(store.Causal, key, seen.Entry), "v")
			}
		}
	}},
	{name: "watch: one that names nothing begins behind what its session has seen", mode: store.AP, check: func(g *group) {
		for i := range g.replicas {
			before := g.put(fmt.Sprintf("k%d", i), "before")
			w := g.watch(i, store.WatchQuery{All: true, After: before.Entry})
			g.put(fmt.Sprintf("after%d", i), "v")
			if e := w.next().Events[0]; e.Key != fmt.Sprintf("after%d", i) {
				g.Errorf("replica %d: the first change is of %+v", i, e)
			}
		}
	}},
	{name: "watch: the end of a TTL is a change", mode: store.AP, check: func(g *group) {
		w := g.watch(len(g.replicas)-1, store.WatchQuery{Key: "k", From: 1})
		g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("v"), TTL: ttl})
		put, end := w.next().Events[0], w.next().Events[0]
		if put.Deleted || put.Expired || !end.Deleted || !end.Expired {
			g.Errorf("the put is %+v, its end %+v", put, end)
		}
	}},
	{name: "watch: what it returns makes the state that a scan shows", mode: store.AP, check: func(g *group) {
		w := g.watch(len(g.replicas)-1, store.WatchQuery{All: true, From: 1})
		var last store.Result
		for n := range 40 {
			key := "k" + strconv.Itoa(n%7)
			switch {
			case n%5 == 3:
				last = g.deleteRead(key)
			case n%5 == 4:
				last = g.do(store.Command{Op: store.Put, Key: key, Value: []byte(strconv.Itoa(n)), Blind: true})
			default:
				last = g.putRead(key, strconv.Itoa(n))
			}
		}
		g.do(store.Command{Op: store.Put, Key: "last", After: last.Entry})
		mirror := map[string]string{}
		for mirror["last"] == "" {
			e := w.next().Events[0]
			if mirror[e.Key] = fmt.Sprintf("%q", e.Values); e.Deleted {
				delete(mirror, e.Key)
			}
		}
		state := map[string]string{}
		for _, item := range g.all(g.home, store.Query{Limit: 100}) {
			state[item.Key] = fmt.Sprintf("%q", item.Values)
		}
		if !maps.Equal(mirror, state) {
			g.Errorf("the watch came to %v, a scan shows %v", mirror, state)
		}
	}},
	{name: "watch: of a key, of a prefix and of all returns nothing beside it", mode: store.AP, check: func(g *group) {
		var last store.Entry
		for _, key := range scanKeys {
			last = g.do(store.Command{Op: store.Put, Key: key, After: last}).Entry
		}
		for _, q := range []store.WatchQuery{{All: true}, {Prefix: "p"}, {Prefix: "p/"}, {Prefix: "é"}, {Key: "p/1"}, {Prefix: "none"}} {
			q.From, q.After = 1, last
			w := g.watch(len(g.replicas)-1, q)
			for _, key := range scanKeys {
				if !q.Matches(key) {
					continue
				}
				if e := w.next().Events[0]; e.Key != key {
					g.Errorf("watch %+v: %q, want %q", q, e.Key, key)
				}
			}
			w.notice(1)
		}
	}},
	{name: "watch: one that waits goes on when a write comes", mode: store.AP, check: func(g *group) {
		w := g.watch(g.home, store.WatchQuery{Key: "k"})
		g.sleep(3 * time.Second)
		g.put("k", "v")
		if e := w.next().Events[0]; string(e.Value) != "v" {
			g.Errorf("the change is %+v", e)
		}
	}},
}
