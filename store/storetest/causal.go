package storetest

import (
	"slices"
	"strconv"

	"github.com/dialkv/dialkv/store"
)

var causalLaws = []law{
	{name: "two writes that read the same are both kept, in one order everywhere", mode: store.AP, policy: store.Siblings, check: func(g *group) {
		a, b := g.fork("k")
		order := g.converged("k", a, b)
		if !slices.Equal(slices.Sorted(slices.Values(order)), []string{"a", "b"}) {
			g.Errorf("got %q, want both values", order)
		}
	}},
	{name: "a write that read all siblings leaves one", mode: store.AP, policy: store.Siblings, check: func(g *group) {
		a, b := g.fork("k")
		g.converged("k", a, b)
		merged := g.doAt(0, store.Command{Op: store.Put, Key: "k", Value: []byte("merged"), Context: g.contextOf("k")})
		for i := range g.replicas {
			g.shows(i, store.Query{Key: "k", Level: store.Causal, After: merged.Entry}, "merged")
		}
	}},
	{name: "a writer's next write supersedes its own and not what it never read", mode: store.AP, policy: store.Siblings, check: func(g *group) {
		g.put("k", "0")
		read := g.contextOf("k")
		g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("theirs"), Context: read})
		mine := g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("mine"), Context: read})
		g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("mine, later"), Context: mine.Context})
		g.holds("k", "theirs", "mine, later")
	}},
	{name: "a put that read nothing is refused where there is a value, unless it is blind", mode: store.AP, policy: store.Siblings, check: func(g *group) {
		g.put("k", "1")
		g.refused(store.Conflict, store.Command{Op: store.Put, Key: "k", Value: []byte("2")})
		g.holds("k", "1")
		g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("2"), Blind: true})
		g.holds("k", "1", "2")
	}},
	{name: "a put that read nothing is taken where there is none, also after a delete", mode: store.AP, policy: store.Siblings, check: func(g *group) {
		g.put("k", "1")
		g.deleteRead("k")
		g.put("k", "2")
		g.holds("k", "2")
	}},
	{name: "blind writes at the same time are all kept", mode: store.AP, policy: store.Siblings, check: func(g *group) {
		const writers = 8
		g.together(writers, func(n int) store.Command {
			return store.Command{Op: store.Put, Key: "k", Value: []byte(strconv.Itoa(n)), Blind: true}
		})
		g.holds("k", "0", "1", "2", "3", "4", "5", "6", "7")
	}},
	{name: "a delete takes away what was read and nothing else", mode: store.AP, policy: store.Siblings, check: func(g *group) {
		g.put("k", "read")
		read := g.contextOf("k")
		g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("unread"), Blind: true})
		gone := g.do(store.Command{Op: store.Delete, Key: "k", Context: read})
		for i := range g.replicas {
			g.shows(i, store.Query{Key: "k", Level: store.Causal, After: gone.Entry}, "unread")
		}
	}},
	{name: "a delete leaves a newer value alone", mode: store.AP, policy: store.LWW, check: func(g *group) {
		g.put("k", "old")
		read := g.contextOf("k")
		g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("new"), Context: read})
		gone := g.do(store.Command{Op: store.Delete, Key: "k", Context: read})
		for i := range g.replicas {
			g.shows(i, store.Query{Key: "k", Level: store.Causal, After: gone.Entry}, "new")
		}
	}},
	{name: "lww shows one of two concurrent writes, the same everywhere, and hides the other", mode: store.AP, policy: store.LWW, check: func(g *group) {
		a, b := g.fork("k")
		shown := g.converged("k", a, b)
		if len(shown) != 1 || shown[0] != "a" && shown[0] != "b" {
			g.Fatalf("got %q, want one of a and b", shown)
		}
		if kept := g.siblings(0, "k", a, b); len(kept) != 2 || !latest(kept, shown[0]) {
			g.Errorf("shows %q of %+v", shown[0], kept)
		}
		// The context of the read covers the loser too, so it never comes back.
		gone := g.doAt(0, store.Command{Op: store.Delete, Key: "k", Context: g.contextOf("k")})
		for i := range g.replicas {
			g.shows(i, store.Query{Key: "k", Level: store.Causal, After: gone.Entry})
			if left := g.siblings(i, "k", gone); len(left) != 0 {
				g.Errorf("replica %d keeps %v", i, left)
			}
		}
	}},
	{name: "lww replaces what is here when the writer read nothing", mode: store.AP, policy: store.LWW, check: func(g *group) {
		var last store.Result
		for _, value := range []string{"1", "2", "3"} {
			last = g.put("k", value)
			g.holds("k", value)
		}
		if left := g.siblings(0, "k", last); len(left) != 1 {
			g.Errorf("%d values under the key: %v", len(left), left)
		}
		gone := g.delete("k")
		g.holds("k")
		if left := g.siblings(0, "k", gone); len(left) != 0 {
			g.Errorf("%d values under the key: %v", len(left), left)
		}
	}},
	{name: "every sibling has a name of its own, the same everywhere", mode: store.AP, check: func(g *group) {
		a, b := g.fork("k")
		g.converged("k", a, b)
		want := g.siblings(0, "k", a, b)
		if len(want) != 2 || want[0].Dot == want[1].Dot || want[0].Dot == "" || want[1].Dot == "" {
			g.Fatalf("siblings %+v", want)
		}
		for i := range g.replicas {
			got := g.siblings(i, "k", a, b)
			if !slices.EqualFunc(got, want, func(x, y store.Sibling) bool {
				return x.Dot == y.Dot && x.Stamp == y.Stamp && slices.Equal(x.Value, y.Value)
			}) {
				g.Errorf("replica %d: %+v, replica 0: %+v", i, got, want)
			}
		}
	}},
	{name: "a context of an empty view supersedes nothing", mode: store.AP, policy: store.Siblings, check: func(g *group) {
		nothing := g.contextOf("k")
		if len(nothing) == 0 {
			g.Fatal("having read that there is nothing must differ from having read nothing")
		}
		g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("1"), Context: nothing})
		g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("2"), Context: nothing})
		g.holds("k", "1", "2")
	}},
	{name: "a write is acknowledged when w replicas hold it", mode: store.AP, check: func(g *group) {
		for _, w := range []store.W{store.WLocal, store.WMajority, store.WAll} {
			r := g.do(store.Command{Op: store.Put, Key: "k/" + w.String(), Value: []byte("v"), W: w})
			if want := w.Of(len(g.replicas)); r.Wanted != want || r.Acked < want {
				g.Errorf("w %v: acknowledged by %d, wanted %d; want %d", w, r.Acked, r.Wanted, want)
			}
		}
	}},
}

// fork writes "a" and "b" at two replicas, where there are two, each having read
// the same value, which both supersede.
func (g *group) fork(key string) (a, b store.Result) {
	g.Helper()
	last := len(g.replicas) - 1
	wrote := g.doAt(0, store.Command{Op: store.Put, Key: key, Value: []byte("0")})
	first := g.shows(0, store.Query{Key: key, After: wrote.Entry}, "0")
	second := g.shows(last, store.Query{Key: key, After: wrote.Entry}, "0")
	a = g.doAt(0, store.Command{Op: store.Put, Key: key, Value: []byte("a"), Context: first.Context})
	b = g.doAt(last, store.Command{Op: store.Put, Key: key, Value: []byte("b"), Context: second.Context})
	return a, b
}

// latest reports whether no sibling is later than the one that holds value.
func latest(siblings []store.Sibling, value string) bool {
	var most, shown uint64
	for _, s := range siblings {
		most = max(most, s.Stamp)
		if string(s.Value) == value {
			shown = s.Stamp
		}
	}
	return shown == most
}

// converged reads key where all of the writes are covered: it wants the same values
// in the same order at every replica, and returns them.
func (g *group) converged(key string, writes ...store.Result) []string {
	g.Helper()
	var want []string
	for i := range g.replicas {
		var page store.Page
		for _, w := range writes { // a replica never goes back, so the last view covers them all
			page = g.read(i, store.Query{Key: key, Level: store.Causal, After: w.Entry})
		}
		if i == 0 {
			want = valuesOf(page)
		} else if got := valuesOf(page); !slices.Equal(got, want) {
			g.Errorf("replica %d shows %q, replica 0 %q", i, got, want)
		}
	}
	return want
}

// siblings lists what replica i keeps under key once it covers the writes.
func (g *group) siblings(i int, key string, writes ...store.Result) []store.Sibling {
	g.Helper()
	var page store.Page
	for _, w := range writes {
		page = g.read(i, store.Query{Key: key, Level: store.Causal, After: w.Entry, Siblings: true})
	}
	if len(page.Items) == 0 {
		return nil
	}
	return page.Items[0].Siblings
}
