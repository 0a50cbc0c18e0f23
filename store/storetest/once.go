package storetest

import (
	"bytes"
	"slices"

	"github.com/dialkv/dialkv/store"
)

var onceLaws = []law{
	{name: "a repeated request is applied once and answered the same", mode: store.CP, check: func(g *group) {
		id := g.session()
		first := named("k", "1", id, 1)
		wrote := g.do(first)
		g.put("k", "2")
		g.same(g.do(again(first)), wrote)
		g.holds("k", "2")

		gone := store.Command{Op: store.Delete, Key: "k", Request: store.Request{Session: id, Number: 2, Lowest: 1}}
		deleted := g.do(gone)
		g.put("k", "3")
		g.same(g.do(again(gone)), deleted)
		g.same(g.do(again(first)), wrote)
		g.holds("k", "3")
	}},
	{name: "a repeated request that arrives twice at once is applied once", mode: store.CP, check: func(g *group) {
		id := g.session()
		results := g.together(5, func(int) store.Command { return named("k", "v", id, 1) })
		for _, r := range results {
			g.same(r, results[0])
		}
		if page := g.holds("k", "v"); page.Items[0].Revision != results[0].Revision {
			g.Errorf("written at %d, read at %d", results[0].Revision, page.Items[0].Revision)
		}
	}},
	{name: "a failed condition is answered the same when it is repeated", mode: store.CP, check: func(g *group) {
		id := g.session()
		there := g.put("k", "1")
		swap := named("k", "new", id, 1)
		swap.If = store.Condition{Kind: store.IfValue, Value: []byte("2")}
		saw := g.refused(store.Conflict, swap)
		g.saw(saw, "1", there.Revision)
		g.put("k", "2") // now the condition would hold
		g.same(g.refused(store.Conflict, again(swap)), saw)
		g.holds("k", "2")
	}},
	{name: "a session that was closed executes nothing more", mode: store.CP, check: func(g *group) {
		id := g.session()
		done := named("k", "1", id, 1)
		g.do(done)
		leave := store.Command{Op: store.CloseSession, Request: store.Request{Session: id}}
		g.do(leave)
		g.refused(store.SessionExpired, again(done))
		g.refused(store.SessionExpired, named("k", "2", id, 2))
		g.holds("k", "1")
		g.do(leave) // nothing is left to close
		g.refused(store.Invalid, store.Command{Op: store.CloseSession})
	}},
	{name: "a request below the lowest open number is refused", mode: store.CP, check: func(g *group) {
		id := g.session()
		done := named("k", "1", id, 1)
		g.do(done)
		later := named("k", "5", id, 5)
		later.Request.Lowest = 4
		g.do(later)
		if _, err := g.write(named("k", "straggler", id, 2)); err == nil {
			g.Error("a straggler below the lowest open number was taken")
		}
		if _, err := g.write(again(done)); err == nil || !g.typed(err).MaybeApplied() {
			g.Errorf("a repetition whose answer is forgotten, and that was applied: %v", err)
		}
		g.holds("k", "5")
	}},
	{name: "a request of a session that was never opened is not done", mode: store.CP, check: func(g *group) {
		id := g.session()
		g.refused(store.SessionExpired, named("k", "v", id+1<<40, 1))
		g.holds("k")
	}},
	{name: "sessions do not share their numbers", mode: store.CP, check: func(g *group) {
		one, two := g.session(), g.session()
		if one == two {
			g.Fatalf("two sessions with the id %d", one)
		}
		a, b := g.do(named("k", "a", one, 1)), g.do(named("k", "b", two, 1))
		if a.Revision == b.Revision || b.Replaced != a.Revision {
			g.Errorf("number 1 of two sessions: %+v, then %+v", a, b)
		}
		g.holds("k", "b")
	}},
	{name: "a repeated increment is counted once and answered the same", mode: store.CP, check: func(g *group) {
		id := g.session()
		g.put("k", "40")
		add := store.Command{Op: store.Increment, Key: "k", Delta: 2, Request: store.Request{Session: id, Number: 1, Lowest: 1}}
		first := g.do(add)
		g.increase("k", 1)
		for range 3 {
			g.same(g.do(again(add)), first)
		}
		g.holds("k", "43")
	}},
	{name: "an increment that arrives many times at once is counted once", mode: store.CP, check: func(g *group) {
		id := g.session()
		results := g.together(8, func(int) store.Command {
			return store.Command{Op: store.Increment, Key: "k", Delta: 1, Request: store.Request{Session: id, Number: 1, Lowest: 1}}
		})
		for _, r := range results {
			g.same(r, results[0])
		}
		g.holds("k", "1")
	}},
	{name: "a repeated txn is done once and answered the same, step by step", mode: store.CP, check: func(g *group) {
		id := g.session()
		was := g.put("k", "1")
		both := store.Command{Op: store.Transact, Request: store.Request{Session: id, Number: 1, Lowest: 1}, Txn: &store.Txn{
			If:   []store.Compare{{Key: "k", Target: store.TargetChanged, Relation: store.Equal, Number: was.Revision}},
			Then: []store.Step{getStep("k"), incrStep("k", 1), putStep("new", "v")},
			Else: []store.Step{deleteStep("k"), deleteStep("new")},
		}}
		first := g.do(both)
		g.put("k", "7") // now the comparison would not hold
		g.same(g.do(again(both)), first)
		g.holds("k", "7")
		g.holds("new", "v")

		both.Request.Number = 2
		second := g.do(both)
		if second.Held {
			g.Error("a comparison holds with a revision that was replaced")
		}
		g.put("new", "v")
		g.same(g.do(again(both)), second)
		g.holds("new", "v")
	}},
	{name: "a refused request is answered the same when it is repeated", mode: store.CP, check: func(g *group) {
		id := g.session()
		g.put("k", "text")
		add := store.Command{Op: store.Increment, Key: "k", Delta: 1, Request: store.Request{Session: id, Number: 1, Lowest: 1}}
		g.refused(store.Invalid, add)
		g.put("k", "1") // now it would be done
		g.refused(store.Invalid, again(add))
		g.holds("k", "1")
	}},
	{name: "a repeated grant makes one lease, a repeated revoke ends one", mode: store.CP, check: func(g *group) {
		id := g.session()
		grant := store.Command{Op: store.Grant, TTL: store.MaxTTL, Request: store.Request{Session: id, Number: 1, Lowest: 1}}
		first := g.do(grant)
		g.same(g.do(again(grant)), first)
		g.leased(g.home, 9, []store.Lease{{ID: first.Lease, TTL: store.MaxTTL}})
		keep := store.Command{Op: store.KeepAlive, Lease: first.Lease, Request: store.Request{Session: id, Number: 2, Lowest: 1}}
		kept := g.do(keep)
		revoke := store.Command{Op: store.Revoke, Lease: first.Lease, Request: store.Request{Session: id, Number: 3, Lowest: 1}}
		ended := g.do(revoke)
		g.same(g.do(again(grant)), first)
		g.same(g.do(again(keep)), kept)
		g.same(g.do(again(revoke)), ended)
		g.leased(g.home, 9, nil)
	}},
	{name: "a repeated request is applied once also under another leader", mode: store.CP, check: func(g *group) {
		id := g.session()
		g.put("text", "v")
		asked := []store.Command{
			named("k", "v", id, 1),
			{Op: store.Increment, Key: "n", Delta: 5, Request: store.Request{Session: id, Number: 2, Lowest: 1}},
			{Op: store.Transact, Txn: &store.Txn{Then: []store.Step{incrStep("n", 1), getStep("n")}}, Request: store.Request{Session: id, Number: 3, Lowest: 1}},
			{Op: store.Grant, TTL: store.MaxTTL, Request: store.Request{Session: id, Number: 4, Lowest: 1}},
		}
		var answered []store.Result
		for _, c := range asked {
			answered = append(answered, g.do(c))
		}
		for range 2 {
			g.depose()
			g.put("k", "v")
			for i, c := range asked {
				g.same(g.do(again(c)), answered[i])
			}
			g.holds("n", "6")
			g.leased(g.home, 9, []store.Lease{{ID: answered[3].Lease, TTL: store.MaxTTL}})
		}
	}},
	{name: "a repeated request is applied once where it was taken", mode: store.AP, check: func(g *group) {
		first := named("k", "1", 77, 1)
		wrote := g.doAt(0, first)
		next := g.doAt(0, store.Command{Op: store.Put, Key: "k", Value: []byte("2"), Context: wrote.Context})
		repeated := g.doAt(0, again(first))
		g.holds("k", "2")
		for i := range g.replicas {
			g.shows(i, store.Query{Key: "k", Level: store.Causal, After: next.Entry}, "2")
		}
		// The answer is good for the next write, as the first one was.
		g.shows(0, store.Query{Key: "k", Level: store.Causal, After: repeated.Entry}, "2")
	}},
	{name: "a repetition that is not known here is unknown, and not done", mode: store.AP, check: func(g *group) {
		g.refused(store.Unknown, again(named("k", "v", 78, 1)))
		g.holds("k")
	}},
}

// named is a put with a request number.
func named(key, value string, session, number uint64) store.Command {
	return store.Command{Op: store.Put, Key: key, Value: []byte(value), Request: store.Request{Session: session, Number: number, Lowest: 1}}
}

// again is the repetition of c.
func again(c store.Command) store.Command {
	c.Request.Retry = true
	return c
}

func (g *group) session() uint64 {
	g.Helper()
	opened := g.do(store.Command{Op: store.OpenSession})
	if opened.Revision == 0 {
		g.Fatal("a session with the id 0")
	}
	return opened.Revision
}

// same wants two answers to one request.
func (g *group) same(got, want store.Result) {
	g.Helper()
	if got.Revision != want.Revision || got.Replaced != want.Replaced || got.Found != want.Found || !bytes.Equal(got.Value, want.Value) ||
		got.Lease != want.Lease || got.TTL != want.TTL || got.Held != want.Held || !slices.EqualFunc(got.Steps, want.Steps, sameStep) {
		g.Errorf("answered %+v, and the first time %+v", got, want)
	}
}
