package check

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// groupSim is one group of a cp keyspace that is right: every operation takes effect at one
// instant between its call and its answer, at a revision of its own. Some answers are
// lost, and some of those operations never happen, or happen later.
type groupSim struct {
	r    *rand.Rand
	rec  *history.Recorder
	bug  string
	rev  uint64
	n    int
	keys map[string]cell
	log  []history.Change
	past []map[string]cell // by revision
}

type cell struct {
	value string
	rev   uint64
}

type pending struct {
	id      int64
	call    history.Call
	answer  history.Answer
	applied bool
	lost    bool
}

func play(seed uint64, bug string, ops int) *history.History {
	var out bytes.Buffer
	g := &groupSim{r: rand.New(rand.NewPCG(seed, 7)), rec: history.NewRecorder(&out), bug: bug, keys: map[string]cell{}, past: []map[string]cell{{}}}
	watch := g.rec.Invoke(history.Call{Kind: history.Watch, Keyspace: "ks", Mode: "cp", Session: "w", Span: history.Span{Prefix: "d/", From: 1}})
	open := make([]*pending, 6)
	var stray []*pending
	told := 0
	for done := 0; done < ops; {
		c := g.r.IntN(len(open))
		if len(stray) > 0 && g.r.IntN(5) == 0 {
			if p := stray[0]; g.r.IntN(2) == 0 {
				g.apply(p)
			}
			stray = stray[1:]
		}
		switch p := open[c]; {
		case p == nil:
			open[c] = g.invoke(c)
		case p.lost:
			if !p.applied {
				stray = append(stray, p)
			}
			open[c] = nil
			done++
		case !p.applied:
			g.apply(p)
			p.lost = g.r.IntN(25) == 0
		default:
			g.rec.Complete(p.id, p.answer)
			open[c] = nil
			done++
		}
		for ; told < len(g.log) && g.r.IntN(3) > 0; told++ {
			g.tell(watch, g.log[told])
		}
	}
	g.rec.Complete(watch, history.Answer{Outcome: store.OK})
	h, err := history.Read(&out)
	if err != nil {
		panic(err)
	}
	return h
}

func (g *groupSim) tell(watch int64, c history.Change) {
	if g.bug == "a change is left out" && g.r.IntN(20) == 0 {
		return
	}
	g.rec.Change(watch, c)
	if g.bug == "a change comes twice" && g.r.IntN(20) == 0 {
		g.rec.Change(watch, c)
	}
}

func (g *groupSim) unique() string { g.n++; return fmt.Sprint("v", g.n) }

func (g *groupSim) invoke(client int) *pending {
	p := &pending{lost: g.r.IntN(25) == 0}
	c := history.Call{Process: client, Session: fmt.Sprintf("s%d.%d", client, g.n), Keyspace: "ks", Mode: "cp", Level: "strong"}
	key := func() string { return fmt.Sprint("d/", g.r.IntN(4)) }
	switch g.r.IntN(10) {
	case 0, 1:
		c.Kind, c.Key, c.Value = history.Put, key(), g.unique()
	case 2:
		c.Kind, c.Key, c.Value = history.Delete, key(), g.unique()
	case 3:
		c.Kind, c.Key, c.Delta = history.Incr, "n", 1+g.r.Int64N(2)
	case 4, 5:
		a, b := key(), key()
		c.Kind = history.Txn
		c.If = []history.Compare{{Key: a, Target: "changed", Relation: "=", Number: g.keys[a].rev}}
		c.Then = []history.Step{{Kind: history.Put, Key: a, Value: g.unique()}}
		if a != b {
			c.Then = append(c.Then, history.Step{Kind: history.Put, Key: b, Value: g.unique()})
		}
		c.Else = []history.Step{{Kind: history.Get, Key: a}, {Kind: history.Get, Key: b}}
	case 6, 7:
		c.Kind, c.Prefix = history.Scan, "d/"
	default:
		c.Kind, c.Key = history.Get, key()
	}
	p.call = c
	p.id = g.rec.Invoke(c)
	return p
}

// apply is the store: each branch is one instant.
func (g *groupSim) apply(p *pending) {
	p.applied = true
	p.answer = history.Answer{Outcome: store.OK}
	a, c := &p.answer, p.call
	switch c.Kind {
	case history.Get:
		now, found := g.view()[c.Key]
		rev := g.rev
		if found {
			rev = now.rev
		}
		a.Found, a.Value, a.Revision = &found, now.value, &rev
	case history.Scan:
		g.scan(a)
	case history.Incr:
		was, _ := strconv.ParseInt(g.keys[c.Key].value, 10, 64)
		times := 1
		if g.bug == "an incr happens twice" && g.r.IntN(5) == 0 {
			times = 2
		}
		for range times {
			was += c.Delta
			a.Value = strconv.FormatInt(was, 10)
			g.commit(a, map[string]string{c.Key: a.Value})
		}
	case history.Txn:
		g.txn(a, c)
	case history.Delete:
		g.commit(a, map[string]string{c.Key: ""})
	default:
		g.commit(a, map[string]string{c.Key: c.Value})
	}
}

// view is the state, or an old one.
func (g *groupSim) view() map[string]cell {
	if g.bug == "a read is stale" && g.rev > 6 && g.r.IntN(10) == 0 {
		return g.past[g.rev-5]
	}
	return g.keys
}

func (g *groupSim) scan(a *history.Answer) {
	rev := g.rev
	for i := range 4 {
		key := fmt.Sprint("d/", i)
		from := g.keys
		if g.bug == "a scan moves" && g.rev > 2 && g.r.IntN(4) == 0 {
			from = g.past[g.rev-1]
		}
		if now, found := from[key]; found {
			a.Items = append(a.Items, history.Item{Key: key, Value: now.value, Revision: now.rev})
		}
	}
	a.Revision = &rev
}

func (g *groupSim) txn(a *history.Answer, c history.Call) {
	held := true
	for _, x := range c.If {
		held = held && (g.keys[x.Key].rev == x.Number || g.bug == "a comparison is not made")
	}
	a.Held = &held
	writes := map[string]string{}
	if !held {
		for _, s := range c.Else {
			now, found := g.keys[s.Key]
			a.Steps = append(a.Steps, history.StepSeen{Found: found, Value: now.value, Revision: now.rev})
		}
	} else {
		for _, s := range c.Then {
			a.Steps = append(a.Steps, history.StepSeen{Replaced: g.keys[s.Key].rev, Found: g.keys[s.Key].rev > 0})
			writes[s.Key] = s.Value
		}
		if g.bug == "a txn is torn" && len(writes) > 1 && g.r.IntN(8) == 0 {
			delete(writes, c.Then[1].Key)
		}
	}
	g.commit(a, writes)
	if held {
		a.Replaced = nil
	}
}

// commit writes at the next revision; an empty value deletes.
func (g *groupSim) commit(a *history.Answer, writes map[string]string) {
	g.rev++
	rev, replaced := g.rev, uint64(0)
	change := history.Change{Revision: rev}
	next := map[string]cell{}
	for k, v := range g.keys {
		next[k] = v
	}
	for _, key := range slices.Sorted(func(yield func(string) bool) {
		for k := range writes {
			if !yield(k) {
				return
			}
		}
	}) {
		was := g.keys[key]
		replaced = was.rev
		if writes[key] == "" {
			delete(next, key)
		} else {
			next[key] = cell{writes[key], rev}
		}
		if (was.rev > 0 || writes[key] != "") && key != "n" {
			change.Events = append(change.Events, history.Changed{Key: key, Value: writes[key], Deleted: writes[key] == "", Replaced: was.rev})
		}
	}
	g.keys, g.past = next, append(g.past, next)
	if len(change.Events) > 0 {
		g.log = append(g.log, change)
	}
	a.Revision, a.Replaced = &rev, &replaced
}

var groupCheckers = []string{"outcomes", "versions", "linearizable", "scan", "watch", "exactly-once"}

func TestHonestGroupPasses(t *testing.T) {
	for seed := range uint64(150) {
		o := zero()
		o.Claims = groupCheckers
		for _, c := range Run(play(seed, "", 150), o).Checkers {
			if c.Verdict != Pass {
				t.Fatalf("seed %d: %s %s: %s %v", seed, c.Name, c.Verdict, c.Sentence, c.Witness)
			}
		}
	}
}

func TestBugsOfAGroupAreCaught(t *testing.T) {
	for bug, by := range map[string][]string{
		"a read is stale":          {"linearizable", "versions"},
		"a scan moves":             {"scan"},
		"an incr happens twice":    {"exactly-once", "linearizable"},
		"a comparison is not made": {"versions", "linearizable"},
		"a txn is torn":            {"scan", "versions", "linearizable", "watch"},
		"a change is left out":     {"watch"},
		"a change comes twice":     {"watch"},
	} {
		caught := 0
		for seed := range uint64(20) {
			o := zero()
			o.Claims = groupCheckers
			for _, c := range Run(play(seed, bug, 500), o).Checkers {
				if c.Verdict == Fail && slices.Contains(by, c.Name) {
					caught++
					break
				}
			}
		}
		if caught < 19 {
			t.Errorf("%s: caught in %d of 20 runs", bug, caught)
		}
	}
}
