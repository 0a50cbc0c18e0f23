package storetest

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dialkv/dialkv/store"
)

var watchEventLaws = []law{
	{name: "watch: an event tells what the write did to the key", mode: store.CP, check: func(g *group) {
		w := g.watch(g.home, store.WatchQuery{Key: "k", From: g.put("other", "v").Revision})
		lease := g.grant(time.Hour).Lease
		first := g.put("k", "1")
		w.tells(first, store.Event{Key: "k", Value: []byte("1"), Version: 1})
		second := g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("2"), Lease: lease})
		w.tells(second, store.Event{Key: "k", Value: []byte("2"), Replaced: first.Revision, Version: 2, Lease: lease})
		third := g.increase("k", 40)
		w.tells(third, store.Event{Key: "k", Value: []byte("42"), Replaced: second.Revision, Version: 3, Lease: lease})
		w.tells(g.delete("k"), store.Event{Key: "k", Deleted: true, Replaced: third.Revision})
		g.delete("k")
		short := g.do(store.Command{Op: store.Put, Key: "k", TTL: time.Hour})
		w.tells(short, store.Event{Key: "k", Version: 1, Lease: short.Lease})
		txn := g.transact(store.Txn{Then: []store.Step{getStep("k"), putStep("k", "5"), putStep("elsewhere", "v")}})
		w.tells(txn, store.Event{Key: "k", Value: []byte("5"), Replaced: short.Revision, Version: 2})
	}},
	{name: "watch: a txn that writes a key more than once leaves what it came to", mode: store.CP, check: func(g *group) {
		was := g.put("k", "1")
		w := g.watch(g.home, store.WatchQuery{Key: "k"})
		wrote := g.transact(store.Txn{Then: []store.Step{putStep("k", "2"), incrStep("k", 1), putStep("new", "v"), deleteStep("new")}})
		events := folded([]store.Change{w.next()})
		want := []store.Event{{Key: "k", Value: []byte("3"), Replaced: was.Revision, Version: 3}}
		if !slices.EqualFunc(events[wrote.Revision], want, sameEvent) {
			g.Errorf("the events of the txn at %d come to %+v, want %+v", wrote.Revision, events, want)
		}
	}},
	{name: "watch: of a key, of a prefix and of all returns nothing beside it", mode: store.CP, check: func(g *group) {
		from := g.put("first", "v").Revision + 1
		all := map[string]uint64{}
		for _, key := range scanKeys {
			all[key] = g.put(key, "v").Revision
		}
		after := g.put("zz", "last").Entry
		for _, q := range []store.WatchQuery{{All: true}, {Prefix: "p"}, {Prefix: "p/"}, {Prefix: "é"}, {Key: "p/1"}, {Key: "p"}, {Prefix: "none"}} {
			q.From, q.After = from, after
			var want []uint64
			for key, revision := range all {
				if q.Matches(key) {
					want = append(want, revision)
				}
			}
			slices.Sort(want)
			w := g.watch(len(g.replicas)-1, q)
			if got := w.revisions(len(want)); !slices.Equal(got, want) {
				g.Errorf("watch %+v: changes at %v, want %v", q, got, want)
			}
			if !q.All {
				w.notice(all[scanKeys[0]])
			}
		}
	}},
	{name: "watch: a txn shows of its keys those that were asked for", mode: store.CP, check: func(g *group) {
		w := g.watch(g.home, store.WatchQuery{Prefix: "p/", After: g.put("k", "v").Entry})
		wrote := g.do(txnOf(putStep("p/a", "1"), putStep("q", "2"), putStep("p/b", "3")))
		c := w.next()
		if got := eventKeys(c); c.Revision != wrote.Revision || len(c.Events) != 2 || !got["p/a"] || !got["p/b"] {
			g.Errorf("the change is %+v, want p/a and p/b at %d", c, wrote.Revision)
		}
	}},
	{name: "watch: what it returns makes the state that a scan shows", mode: store.CP, check: func(g *group) {
		w := g.watch(g.home, store.WatchQuery{All: true, From: g.put("k0", "0").Revision})
		for n := range 40 {
			key := "k" + strconv.Itoa(n%7)
			switch {
			case n%5 == 3:
				g.delete(key)
			case n%5 == 4:
				g.do(txnOf(putStep(key, strconv.Itoa(n)), deleteStep("k0"), incrStep("sum", int64(n))))
			default:
				g.put(key, strconv.Itoa(n))
			}
		}
		last := g.put("last", "v")
		mirror := map[string]store.Item{}
		for w.last < last.Revision {
			c := w.next()
			for _, e := range c.Events {
				if was := mirror[e.Key].Revision; e.Replaced != was && e.Replaced != c.Revision {
					g.Errorf("the event at %d says it replaced %d, the key was of %d: %+v", c.Revision, e.Replaced, was, e)
				}
				if e.Deleted {
					delete(mirror, e.Key)
				} else {
					mirror[e.Key] = store.Item{Values: [][]byte{e.Value}, Revision: c.Revision, Version: e.Version}
				}
			}
		}
		items := g.all(g.home, store.Query{Limit: 100})
		for _, item := range items {
			if was := mirror[item.Key]; was.Revision != item.Revision || was.Version != item.Version || string(was.Values[0]) != string(item.Values[0]) {
				g.Errorf("%q: the scan shows %+v, the watch came to %+v", item.Key, item, was)
			}
		}
		if len(items) != len(mirror) {
			g.Errorf("the scan shows %d keys, the watch came to %d", len(items), len(mirror))
		}
	}},
}

// tells wants the next change to be of the write, with one event.
func (w *watcher) tells(r store.Result, want store.Event) {
	w.g.Helper()
	c := w.next()
	if c.Revision != r.Revision || len(c.Events) != 1 || !sameEvent(c.Events[0], want) {
		w.g.Errorf("the change is %+v, want %+v at %d", c, want, r.Revision)
	}
}

// sameEvent compares events; of a delete it is not said which lease the key had.
func sameEvent(a, b store.Event) bool {
	return a.Key == b.Key && a.Deleted == b.Deleted && a.Expired == b.Expired && string(a.Value) == string(b.Value) &&
		a.Replaced == b.Replaced && a.Version == b.Version && (a.Lease == b.Lease || a.Deleted)
}

// folded is, by revision, what the events of each key come to, in key order: a
// transaction may show every step, or only what was left in the end.
func folded(changes []store.Change) map[uint64][]store.Event {
	all := map[uint64][]store.Event{}
	for _, c := range changes {
		last := map[string]store.Event{}
		for _, e := range c.Events {
			if earlier, twice := last[e.Key]; twice {
				e.Replaced = earlier.Replaced
			}
			last[e.Key] = e
		}
		for _, e := range last {
			if !e.Deleted || e.Replaced != 0 {
				all[c.Revision] = append(all[c.Revision], e)
			}
		}
		slices.SortFunc(all[c.Revision], func(a, b store.Event) int { return strings.Compare(a.Key, b.Key) })
	}
	return all
}
