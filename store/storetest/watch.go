package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/dialkv/dialkv/store"
)

// The laws of watches have the names that etcd gives to its guarantees (etcd.io,
// "KV API guarantees", Watch APIs).
var watchLaws = []law{
	{name: "watch: ordered, changes come in the order of revisions at every replica", mode: store.CP, check: func(g *group) {
		var watchers []*watcher
		before := g.put("before", "v")
		for i := range g.replicas {
			watchers = append(watchers, g.watch(i, store.WatchQuery{All: true, After: before.Entry}))
		}
		wrote := g.together(20, func(n int) store.Command {
			return store.Command{Op: store.Put, Key: "k" + strconv.Itoa(n%3), Value: []byte(strconv.Itoa(n))}
		})
		want := revisionsOf(wrote)
		for i, w := range watchers {
			if got := w.revisions(len(want)); !slices.Equal(got, want) {
				g.Errorf("replica %d: changes at %v, writes at %v", i, got, want)
			}
		}
	}},
	{name: "watch: unique, a change comes once", mode: store.CP, check: func(g *group) {
		w := g.watch(g.home, store.WatchQuery{All: true, From: g.put("k", "0").Revision})
		for n := range 5 {
			g.put("k", strconv.Itoa(n+1))
		}
		g.delete("nobody")
		for n := range 6 {
			if c := w.next(); len(c.Events) != 1 || string(c.Events[0].Value) != strconv.Itoa(n) {
				g.Errorf("change %d is %+v", n, c)
			}
		}
		w.quiet(g.put("other", "v").Revision - 1)
	}},
	{name: "watch: atomic, all events of a revision come together", mode: store.CP, check: func(g *group) {
		lease := g.grant(time.Hour).Lease
		w := g.watch(g.home, store.WatchQuery{All: true})
		want := map[string]bool{}
		var many store.Txn
		for n := range store.MaxSteps {
			key := fmt.Sprintf("k%03d", n)
			want[key] = true
			many.Then = append(many.Then, store.Step{Op: store.Put, Key: key, Lease: lease})
		}
		wrote := g.transact(many)
		gone := g.do(store.Command{Op: store.Revoke, Lease: lease})
		for _, r := range []store.Result{wrote, gone} {
			c := w.next()
			if got := eventKeys(c); c.Revision != r.Revision || !maps.Equal(got, want) {
				g.Errorf("the change at %d has %d keys, want %d at %d", c.Revision, len(got), len(want), r.Revision)
			}
		}
	}},
	{name: "watch: reliable, no change is left out, however many write", mode: store.CP, check: func(g *group) {
		const writers, each = 4, 25
		from := g.put("before", "v").Revision + 1
		var watchers []*watcher
		for i := range g.replicas {
			watchers = append(watchers, g.watch(i, store.WatchQuery{Prefix: "k", From: from, After: g.put("here", "v").Entry}))
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		var wrote []store.Result
		for n := range writers {
			client := *g
			wg.Go(func() {
				for range each {
					r, err := client.write(store.Command{Op: store.Increment, Key: "k" + strconv.Itoa(n%2), Delta: 1})
					if err != nil {
						g.Errorf("write: %v", err)
						return
					}
					mu.Lock()
					wrote = append(wrote, r)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		want := revisionsOf(wrote)
		for i, w := range watchers {
			if got := w.revisions(len(want)); !slices.Equal(got, want) {
				g.Errorf("replica %d: %d changes at %v, %d writes at %v", i, len(got), got, len(want), want)
			}
		}
	}},
	{name: "watch: resumable, the next one begins where the last one stopped, at any replica", mode: store.CP, check: func(g *group) {
		const writes = 12
		from := g.put("k", "before").Revision + 1
		for n := range writes {
			g.put("k", strconv.Itoa(n))
		}
		after := g.put("other", "v").Entry
		for n := range writes {
			i := n % len(g.replicas)
			w := g.watch(i, store.WatchQuery{Key: "k", From: from, After: after})
			c := w.next()
			if string(c.Events[0].Value) != strconv.Itoa(n) {
				g.Fatalf("from %d at replica %d: %+v, want the write of %d", from, i, c, n)
			}
			from, after = c.Revision+1, c.Entry
			w.Close()
		}
	}},
	{name: "watch: bookmarkable, a notice of progress says that nothing was left out", mode: store.CP, check: func(g *group) {
		for i := range g.replicas {
			w := g.watch(i, store.WatchQuery{Key: "k", After: g.put("k", "seen before").Entry})
			quiet := g.put("other", "v")
			notice := w.notice(quiet.Revision)
			w.Close()
			wrote := g.put("k", "v")
			for j := range g.replicas {
				again := g.watch(j, store.WatchQuery{Key: "k", From: notice.Revision + 1, After: notice.Entry})
				if c := again.next(); c.Revision != wrote.Revision {
					g.Errorf("resumed after the notice at %d: a change at %d, want %d", notice.Revision, c.Revision, wrote.Revision)
				}
			}
		}
	}},
	{name: "watch: reliable under another leader, nothing is left out and nothing comes twice", mode: store.CP, check: func(g *group) {
		before := g.put("before", "v")
		var watchers []*watcher
		for i := range g.replicas {
			watchers = append(watchers, g.watch(i, store.WatchQuery{Prefix: "k", From: before.Revision, After: before.Entry}))
		}
		var wrote []store.Result
		for n := range 4 {
			for range 5 {
				wrote = append(wrote, g.put("k"+strconv.Itoa(n), "v"))
			}
			g.depose()
		}
		want := revisionsOf(wrote)
		for i, w := range watchers {
			if got := w.revisions(len(want)); !slices.Equal(got, want) {
				g.Errorf("replica %d: changes at %v, writes at %v", i, got, want)
			}
		}
	}},
	{name: "watch: what was seen is covered at every replica", mode: store.CP, check: func(g *group) {
		for i := range g.replicas {
			w := g.watch(i, store.WatchQuery{Key: "k", After: g.put("other", "v").Entry})
			value := strconv.Itoa(i)
			g.put("k", value)
			seen := w.next()
			for j := range g.replicas {
				g.shows(j, at(store.Causal, "k", seen.Entry), value)
			}
		}
	}},
	{name: "watch: one that names no revision begins behind what its session has seen", mode: store.CP, check: func(g *group) {
		for i := range g.replicas {
			before := g.put("k", "before")
			w := g.watch(i, store.WatchQuery{Key: "k", After: before.Entry})
			wrote := g.put("k", "after")
			if c := w.next(); c.Revision != wrote.Revision {
				g.Errorf("replica %d: the first change is %+v, want the first write after the watch began, %d", i, c, wrote.Revision)
			}
		}
	}},
	{name: "watch: a revision that the group has not reached is Invalid", mode: store.CP, check: func(g *group) {
		wrote := g.put("k", "v")
		for i, r := range g.replicas {
			ctx, cancel := g.within(patience)
			_, err := r.Watch(ctx, store.WatchQuery{Key: "k", From: wrote.Revision + 1000, After: wrote.Entry})
			cancel()
			if err == nil || g.typed(err).Code != store.Invalid {
				g.Errorf("replica %d: got %v, want Invalid", i, err)
			}
		}
		g.watch(g.home, store.WatchQuery{Key: "k", From: wrote.Revision + 1, After: wrote.Entry}) // the next one is not
	}},
	{name: "watch: a session from the future is waited for, and then it says so", check: func(g *group) {
		future := g.future()
		for _, r := range g.replicas {
			ctx, cancel := g.within(short)
			_, err := r.Watch(ctx, store.WatchQuery{Key: "k", After: future})
			cancel()
			g.uncovered(err)
		}
	}},
	{name: "watch: waiting for a change ends with its context", check: func(g *group) {
		g.put("k", "v")
		for i := range g.replicas {
			w := g.watch(i, store.WatchQuery{Key: "k"})
			ctx, cancel := g.within(short)
			var err error
			for err == nil { // notices of progress
				_, err = w.Next(ctx)
			}
			cancel()
			if e := g.typed(err); e.MaybeApplied() || !errors.Is(err, store.Unavailable) {
				g.Errorf("replica %d: got %v, want Unavailable", i, err)
			}
		}
	}},
}

// watcher is a watch that checks, of every change, what holds of all of them.
type watcher struct {
	store.Changes
	g    *group
	q    store.WatchQuery
	last uint64 // the revision up to which all was returned
}

func (g *group) watch(i int, q store.WatchQuery) *watcher {
	g.Helper()
	var changes store.Changes
	err := g.patiently(func(context.Context) (err error) {
		changes, err = g.replicas[i].Watch(g.Context(), q) // some may take it for that of the whole watch
		return err
	})
	if err != nil {
		g.Fatalf("watch %+v at replica %d: %v", q, i, err)
	}
	g.Cleanup(changes.Close)
	w := &watcher{Changes: changes, g: g, q: q}
	if q.From > 0 {
		w.last = q.From - 1
	}
	return w
}

// step is the next change or notice.
func (w *watcher) step() store.Change {
	w.g.Helper()
	ctx, cancel := w.g.within(patience)
	defer cancel()
	c, err := w.Next(ctx)
	if err != nil {
		w.g.Fatalf("watch %+v, after %d: %v", w.q, w.last, err)
	}
	if len(c.Events) > 0 && c.Revision <= w.last || c.Revision < w.last {
		w.g.Fatalf("watch %+v: %+v came after %d", w.q, c, w.last)
	}
	if len(c.Entry) == 0 {
		w.g.Errorf("watch %+v: %+v has no entry for the session", w.q, c)
	}
	for _, e := range c.Events {
		if !w.q.Matches(e.Key) {
			w.g.Errorf("watch %+v: event of %q", w.q, e.Key)
		}
	}
	w.last = c.Revision
	return c
}

// next is the next change that is no notice.
func (w *watcher) next() store.Change {
	w.g.Helper()
	for began := time.Now(); time.Since(began) < patience; {
		if c := w.step(); len(c.Events) > 0 {
			return c
		}
	}
	w.g.Fatalf("watch %+v: no change after %d in %v", w.q, w.last, patience)
	return store.Change{}
}

// notice is the first notice of progress up to revision, before which nothing comes.
func (w *watcher) notice(revision uint64) store.Change {
	w.g.Helper()
	for began := time.Now(); time.Since(began) < patience; {
		c := w.step()
		if len(c.Events) > 0 {
			w.g.Fatalf("watch %+v: %+v, want nothing", w.q, c)
		}
		if c.Revision >= revision {
			return c
		}
	}
	w.g.Fatalf("watch %+v: no notice of progress to %d in %v, only to %d", w.q, revision, patience, w.last)
	return store.Change{}
}

// quiet wants no change up to revision that has not been returned.
func (w *watcher) quiet(revision uint64) {
	w.g.Helper()
	mark := w.g.put("mark", "v")
	if c := w.next(); c.Revision <= revision || c.Revision > mark.Revision {
		w.g.Errorf("watch %+v: %+v, want nothing up to %d", w.q, c, revision)
	}
}

// revisions are those of the next n changes.
func (w *watcher) revisions(n int) []uint64 {
	w.g.Helper()
	var revisions []uint64
	for range n {
		revisions = append(revisions, w.next().Revision)
	}
	return revisions
}

func revisionsOf(results []store.Result) []uint64 {
	var revisions []uint64
	for _, r := range results {
		revisions = append(revisions, r.Revision)
	}
	slices.Sort(revisions)
	return revisions
}

func eventKeys(c store.Change) map[string]bool {
	keys := map[string]bool{}
	for _, e := range c.Events {
		keys[e.Key] = true
	}
	return keys
}
