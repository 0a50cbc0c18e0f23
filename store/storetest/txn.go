package storetest

import (
	"fmt"
	"slices"

	"github.com/dialkv/dialkv/store"
)

var txnLaws = []law{
	{name: "a txn does then if every comparison holds, else else", mode: store.CP, check: func(g *group) {
		first := g.put("k", "a").Revision
		lease := g.grant(store.MaxTTL).Lease
		second := g.do(store.Command{Op: store.Put, Key: "k", Value: []byte("b"), Lease: lease}).Revision
		for target, n := range map[store.Target]uint64{
			store.TargetVersion: 2, store.TargetCreated: first, store.TargetChanged: second, store.TargetLease: lease,
		} {
			g.compares("k", target, n)
			g.compares("nobody", target, 0)
		}
		for value, want := range map[string][4]bool{ // =, !=, <, >
			"b": {true, false, false, false}, "a": {false, true, false, true}, "c": {false, true, true, false},
			"": {false, true, false, true}, "b\x00": {false, true, true, false}, "\xff": {false, true, true, false},
		} {
			for i, relation := range relations {
				g.branch(store.Compare{Key: "k", Target: store.TargetValue, Relation: relation, Value: []byte(value)}, want[i])
				g.branch(store.Compare{Key: "nobody", Target: store.TargetValue, Relation: relation, Value: []byte(value)}, false)
			}
		}
		yes, no := version("k", 2), version("k", 3)
		g.branches(true, yes, yes, yes)
		g.branches(false, yes, yes, no)
		g.branches(false, no, yes)
		g.branches(true)
	}},
	{name: "all that a txn writes has its revision", mode: store.CP, check: func(g *group) {
		old := g.put("b", "old")
		gone := g.put("c", "gone")
		r := g.transact(store.Txn{Then: []store.Step{putStep("a", "1"), putStep("b", "2"), deleteStep("c"), incrStep("d", 4), deleteStep("nobody")}})
		g.steps(r, []store.StepResult{
			{Revision: r.Revision},
			{Revision: r.Revision, Found: true, Replaced: old.Revision},
			{Revision: r.Revision, Found: true, Replaced: gone.Revision},
			{Revision: r.Revision, Value: []byte("4")},
			{Revision: r.Revision},
		})
		for key, value := range map[string]string{"a": "1", "b": "2", "d": "4"} {
			if page := g.holds(key, value); page.Items[0].Revision != r.Revision {
				g.Errorf("%q is of revision %d, the txn of %d", key, page.Items[0].Revision, r.Revision)
			}
		}
		g.holds("c")
	}},
	{name: "a step sees what the steps before it did", mode: store.CP, check: func(g *group) {
		old := g.put("k", "old").Revision
		r := g.transact(store.Txn{Then: []store.Step{
			getStep("k"), putStep("k", "1"), getStep("k"), incrStep("k", 4), getStep("k"),
			deleteStep("k"), getStep("k"), deleteStep("k"), putStep("k", "2"), incrStep("k", 1),
		}})
		g.steps(r, []store.StepResult{
			{Found: true, Value: []byte("old"), Revision: old},
			{Found: true, Revision: r.Revision, Replaced: old},
			{Found: true, Value: []byte("1"), Revision: r.Revision},
			{Found: true, Value: []byte("5"), Revision: r.Revision, Replaced: r.Revision},
			{Found: true, Value: []byte("5"), Revision: r.Revision},
			{Found: true, Revision: r.Revision, Replaced: r.Revision},
			{},
			{Revision: r.Revision},
			{Revision: r.Revision},
			{Found: true, Value: []byte("3"), Revision: r.Revision, Replaced: r.Revision},
		})
		item := g.holds("k", "3").Items[0]
		if item.Version != 2 || item.Created != r.Revision {
			g.Errorf("made new by a txn at %d and written twice there: %+v", r.Revision, item)
		}
	}},
	{name: "a step that is refused undoes the whole txn", mode: store.CP, check: func(g *group) {
		g.put("text", "no number")
		was := g.put("k", "1")
		for what, c := range map[string]struct {
			last store.Step
			code store.Code
		}{
			"an increment of text": {incrStep("text", 1), store.Invalid},
			"a lease that is none": {store.Step{Op: store.Put, Key: "x", Lease: was.Revision + 1<<40}, store.NotFound},
		} {
			_, err := g.write(txnOf(putStep("k", "2"), deleteStep("text"), putStep("text", "no number"), putStep("new", "v"), c.last))
			if err == nil || g.typed(err).Code != c.code {
				g.Errorf("%s: got %v, want %s", what, err, c.code)
			}
			g.holds("new")
			g.holds("text", "no number")
			if page := g.holds("k", "1"); page.Items[0].Revision != was.Revision || page.Items[0].Version != 1 {
				g.Errorf("%s: %+v after a txn that was not done", what, page.Items[0])
			}
		}
	}},
	{name: "a comparison sees what was before the txn, and none of its steps", mode: store.CP, check: func(g *group) {
		create := store.Txn{If: []store.Compare{version("k", 0)}, Then: []store.Step{putStep("k", "mine")}, Else: []store.Step{getStep("k")}}
		first := g.transact(create)
		if !first.Held {
			g.Fatal("an absent key has another version than 0")
		}
		second := g.transact(create)
		if second.Held {
			g.Error("the key was created twice")
		}
		g.steps(second, []store.StepResult{{Found: true, Value: []byte("mine"), Revision: first.Revision}})
	}},
	{name: "a get in a txn changes nothing", mode: store.CP, check: func(g *group) {
		wrote := g.put("k", "v")
		r := g.transact(store.Txn{Then: []store.Step{getStep("k"), getStep("nobody")}})
		g.steps(r, []store.StepResult{{Found: true, Value: []byte("v"), Revision: wrote.Revision}, {}})
		if item := g.holds("k", "v").Items[0]; item.Revision != wrote.Revision || item.Version != 1 {
			g.Errorf("written at %d, now %+v", wrote.Revision, item)
		}
	}},
	{name: "an item says which write created it and how many there were since", mode: store.CP, check: func(g *group) {
		for range 2 {
			created := g.put("k", "0").Revision
			for version := uint64(1); version <= 5; version++ {
				item := g.read(g.home, store.Query{Key: "k"}).Items[0]
				if item.Created != created || item.Version != version {
					g.Errorf("created at %d, written %d times: %+v", created, version, item)
				}
				g.increase("k", 1)
			}
			g.delete("k")
		}
	}},
	{name: "a txn at the limits is done, one past them is not", mode: store.CP, check: func(g *group) {
		var full store.Txn
		for n := range store.MaxSteps {
			key := fmt.Sprintf("k%d", n)
			full.If = append(full.If, version(key, 0))
			full.Then = append(full.Then, putStep(key, "v"))
			full.Else = append(full.Else, getStep(key))
		}
		if r := g.transact(full); !r.Held || len(r.Steps) != store.MaxSteps {
			g.Errorf("held %v, %d steps done", r.Held, len(r.Steps))
		}
		large := store.Txn{Then: []store.Step{putStep("a", string(make([]byte, store.MaxValue))), putStep("b", string(make([]byte, store.MaxValue)))}}
		large.Then = append(large.Then, putStep("c", string(make([]byte, store.MaxRequest-2*store.MaxValue-3))))
		g.transact(large)
		for _, past := range []store.Txn{
			{Then: append(slices.Clone(full.Else), getStep("one more"))},
			{Then: append(slices.Clone(large.Then), deleteStep("d"))},
		} {
			g.refused(store.TooLarge, store.Command{Op: store.Transact, Txn: &past})
		}
		g.refused(store.Invalid, store.Command{Op: store.Transact, Txn: &store.Txn{}})
		if n := len(g.all(g.home, store.Query{Limit: 50, KeysOnly: true})); n != store.MaxSteps+3 {
			g.Errorf("%d keys, want %d", n, store.MaxSteps+3)
		}
	}},
}

var relations = []store.Relation{store.Equal, store.NotEqual, store.Less, store.Greater}

// compares wants every relation of a key's number, which is n, to hold where it should.
func (g *group) compares(key string, target store.Target, n uint64) {
	g.Helper()
	for with, want := range map[uint64][4]bool{ // =, !=, <, >
		n:     {true, false, false, false},
		n + 1: {false, true, true, false},
	} {
		for i, relation := range relations {
			g.branch(store.Compare{Key: key, Target: target, Relation: relation, Number: with}, want[i])
		}
	}
	if n > 0 {
		g.branch(store.Compare{Key: key, Target: target, Relation: store.Greater, Number: n - 1}, true)
		g.branch(store.Compare{Key: key, Target: target, Relation: store.Less, Number: n - 1}, false)
	}
}

// branch wants a txn with one comparison to do its then or its else.
func (g *group) branch(c store.Compare, then bool) {
	g.Helper()
	if got := g.chosen(c); got != then {
		g.Errorf("%v of %q %v %q/%d: then is done %v, want %v", c.Target, c.Key, c.Relation, c.Value, c.Number, got, then)
	}
}

func (g *group) branches(then bool, comparisons ...store.Compare) {
	g.Helper()
	if got := g.chosen(comparisons...); got != then {
		g.Errorf("%+v: then is done %v, want %v", comparisons, got, then)
	}
}

// chosen does a txn whose branches read different keys, neither of which is there.
func (g *group) chosen(comparisons ...store.Compare) bool {
	g.Helper()
	r := g.transact(store.Txn{If: comparisons, Then: []store.Step{getStep("then"), getStep("then")}, Else: []store.Step{getStep("else")}})
	if want := map[bool]int{true: 2, false: 1}[r.Held]; len(r.Steps) != want {
		g.Errorf("held %v and %d steps were done, want %d", r.Held, len(r.Steps), want)
	}
	return r.Held
}

// transact is a txn that must succeed.
func (g *group) transact(t store.Txn) store.Result {
	g.Helper()
	return g.do(store.Command{Op: store.Transact, Txn: &t})
}

func txnOf(then ...store.Step) store.Command {
	return store.Command{Op: store.Transact, Txn: &store.Txn{Then: then}}
}

func getStep(key string) store.Step { return store.Step{Op: store.Get, Key: key} }
func putStep(key, value string) store.Step {
	return store.Step{Op: store.Put, Key: key, Value: []byte(value)}
}
func deleteStep(key string) store.Step { return store.Step{Op: store.Delete, Key: key} }
func incrStep(key string, delta int64) store.Step {
	return store.Step{Op: store.Increment, Key: key, Delta: delta}
}

// version compares the version of a key, which is 0 if it is absent.
func version(key string, n uint64) store.Compare {
	return store.Compare{Key: key, Target: store.TargetVersion, Relation: store.Equal, Number: n}
}

// steps wants the answers of a txn's steps.
func (g *group) steps(r store.Result, want []store.StepResult) {
	g.Helper()
	if !slices.EqualFunc(r.Steps, want, sameStep) {
		g.Errorf("the steps of the txn at %d:\n%+v\nwant\n%+v", r.Revision, r.Steps, want)
	}
}

func sameStep(a, b store.StepResult) bool {
	return a.Found == b.Found && string(a.Value) == string(b.Value) && a.Revision == b.Revision && a.Replaced == b.Replaced
}
