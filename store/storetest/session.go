package storetest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dialkv/dialkv/store"
)

var sessionLaws = []law{
	{name: "a session that wrote is covered at every replica", check: func(g *group) {
		for n, level := range g.sessionLevels() {
			value := string(rune('a' + n))
			wrote := g.do(store.Command{Op: store.Put, Key: "k", Value: []byte(value), Context: g.contextOf("k")})
			for i := range g.replicas {
				g.shows(i, at(level, "k", wrote.Entry), value)
			}
		}
	}},
	{name: "a session that deleted is covered at every replica", check: func(g *group) {
		g.put("k", "v")
		gone := g.deleteRead("k")
		for i := range g.replicas {
			g.shows(i, store.Query{Key: "k", Level: store.Causal, After: gone.Entry})
		}
	}},
	{name: "a session that read is covered at every replica", check: func(g *group) {
		g.put("k", "v")
		read := g.holds("k", "v")
		for i := range g.replicas {
			for _, level := range g.sessionLevels() {
				g.shows(i, at(level, "k", read.Entry), "v")
			}
		}
	}},
	{name: "a session that scanned is covered at every replica", check: func(g *group) {
		g.put("a", "1")
		g.put("b", "2")
		page := g.read(g.home, store.Query{Limit: 10, Level: g.freshest()})
		for i := range g.replicas {
			g.shows(i, store.Query{Key: "a", Level: store.Causal, After: page.Entry}, "1")
			g.shows(i, store.Query{Key: "b", Level: store.Monotonic, After: page.Entry}, "2")
		}
	}},
	{name: "what an eventual read saw is covered at every replica", check: func(g *group) {
		g.put("k", "v")
		for i := range g.replicas {
			seen := g.eventually(i, "k", "v")
			for j := range g.replicas {
				g.shows(j, store.Query{Key: "k", Level: store.Causal, After: seen.Entry}, "v")
			}
		}
	}},
	{name: "a write is ordered after what its session saw, wherever it is read", check: func(g *group) {
		cause := g.put("cause", "1")
		last := len(g.replicas) - 1
		effect := store.Command{Op: store.Put, Key: "effect", Value: []byte("2"), After: cause.Entry}
		if g.cfg.Mode == store.AP {
			effect.After = g.doAt(last, effect).Entry
		} else {
			effect.After = g.do(effect).Entry
		}
		for i := range g.replicas {
			if seen := g.read(i, store.Query{Limit: 10, Level: store.Eventual}); len(seen.Items) == 1 && seen.Items[0].Key == "effect" {
				g.Errorf("replica %d shows the effect without its cause", i)
			}
			g.shows(i, store.Query{Key: "cause", Level: store.Causal, After: effect.After}, "1")
			g.shows(i, store.Query{Key: "effect", Level: store.Causal, After: effect.After}, "2")
		}
	}},
	{name: "a read of a session from the future waits, and then says so", check: func(g *group) {
		future := g.future()
		for i := range g.replicas {
			for _, level := range g.sessionLevels() {
				ctx, cancel := g.within(short)
				began := time.Now()
				_, err := g.replicas[i].Read(ctx, at(level, "k", future))
				cancel()
				g.uncovered(err)
				if waited := time.Since(began); waited < short/2 {
					g.Errorf("level %v gave up after %v of %v", level, waited, short)
				}
			}
		}
	}},
	{name: "an eventual read does not look at the session", check: func(g *group) {
		future := g.future()
		for i := range g.replicas {
			g.shows(i, store.Query{Key: "nobody", Level: store.Eventual, After: future})
		}
	}},
	{name: "a write of a session from the future is not done", mode: store.AP, check: func(g *group) {
		ctx, cancel := g.within(short)
		defer cancel()
		_, err := g.replicas[0].Write(ctx, store.Command{Op: store.Put, Key: "k", Value: []byte("v"), After: g.future()})
		g.isCode(err, store.SessionUnreachable)
		g.holds("k")
	}},
	{name: "an entry that means nothing hurts only who holds it", check: func(g *group) {
		for _, entry := range []store.Entry{{}, {0}, {0xff}, []byte("not an entry"), make([]byte, 4<<10), slices.Repeat([]byte{0xff}, 64)} {
			ctx, cancel := g.within(short)
			if _, err := g.replicas[0].Read(ctx, store.Query{Key: "k", Level: store.Causal, After: entry}); err != nil {
				_ = g.typed(err)
			}
			cancel()
		}
		g.put("k", "v")
		g.holds("k", "v")
	}},
	{name: "a waiting read ends with its context", check: func(g *group) {
		future := g.future()
		ctx, cancel := context.WithCancel(g.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := g.replicas[0].Read(ctx, store.Query{Key: "k", Level: store.Causal, After: future})
			ended <- err
		}()
		cancel()
		select {
		case err := <-ended:
			g.uncovered(err)
		case <-time.After(patience):
			g.Fatal("the read goes on after its context ended")
		}
	}},
	{name: "a call whose context has ended comes back, and means what it says", check: func(g *group) {
		g.put("other", "v") // a leader is there
		ctx, cancel := context.WithCancel(g.Context())
		cancel()
		began := time.Now()
		if _, err := g.replicas[g.home].Read(ctx, store.Query{Key: "k"}); err != nil {
			_ = g.typed(err)
		}
		_, err := g.replicas[g.home].Write(ctx, store.Command{Op: store.Put, Key: "k", Value: []byte("v")})
		if took := time.Since(began); took > patience/4 {
			g.Errorf("came back after %v", took)
		}
		switch store.OutcomeOf(err) {
		case store.OK:
			g.holds("k", "v")
		case store.Failed:
			_ = g.typed(err)
			g.put("another", "v") // whatever was under way is before this
			g.holds("k")
		}
	}},
	{name: "a strong read at any replica sees the last acknowledged write", mode: store.CP, check: func(g *group) {
		for _, value := range []string{"1", "2", "3", "4", "5"} {
			wrote := g.put("k", value)
			for i := range g.replicas {
				page := g.shows(i, store.Query{Key: "k", Level: store.Strong}, value)
				if page.Revision < wrote.Revision {
					g.Errorf("replica %d: the group is at %d, the write was %d", i, page.Revision, wrote.Revision)
				}
			}
		}
	}},
	{name: "only the leader takes writes, the others name it", mode: store.CP, check: func(g *group) {
		g.put("k", "v")
		leader := g.replicas[g.home].Status().Node
		for i, r := range g.replicas {
			if i == g.home {
				continue
			}
			// A follower learns of its leader with the first thing it hears from it.
			g.shows(i, store.Query{Key: "k", Level: store.Strong}, "v")
			ctx, cancel := g.within(patience)
			_, err := r.Write(ctx, store.Command{Op: store.Put, Key: "stray", Value: []byte("v")})
			cancel()
			g.isCode(err, store.NotLeader)
			if e := g.typed(err); e.Leader != leader {
				g.Errorf("%s names %q as leader, want %q", r.Status().Node, e.Leader, leader)
			}
		}
		g.holds("stray")
	}},
}

// contextOf is what a client has read of key: on ap what its next put supersedes.
func (g *group) contextOf(key string) store.Entry {
	g.Helper()
	return g.read(g.home, store.Query{Key: key, Level: g.freshest()}).Context
}

// putRead is a put by one who has read what the key holds.
func (g *group) putRead(key, value string) store.Result {
	g.Helper()
	return g.do(store.Command{Op: store.Put, Key: key, Value: []byte(value), Context: g.contextOf(key)})
}

// uncovered wants the error of a read that waited for its session in vain. On cp a
// strong read waits for more than the session, so it may not know which was missing.
func (g *group) uncovered(err error) {
	g.Helper()
	if g.cfg.Mode == store.CP && errors.Is(err, store.Unavailable) {
		return
	}
	g.isCode(err, store.SessionUnreachable)
}

// future is the entry of a session that this group has not caught up with: it comes
// from another group of the same kind, which has gone further.
func (g *group) future() store.Entry {
	g.Helper()
	g.put("here", "v")
	ahead := open(g.T, g.cfg)
	var last store.Result
	for range 50 {
		last = ahead.do(store.Command{Op: store.Put, Key: "ahead", Value: []byte("v"), Context: last.Context})
	}
	return last.Entry
}

// eventually reads key at replica i until it holds exactly value.
func (g *group) eventually(i int, key, value string) store.Page {
	g.Helper()
	ctx, cancel := g.within(patience)
	defer cancel()
	for ctx.Err() == nil {
		page := g.read(i, store.Query{Key: key, Level: store.Eventual})
		switch got := valuesOf(page); {
		case len(got) == 1 && got[0] == value:
			return page
		case len(got) != 0:
			g.Fatalf("%q at replica %d: got %q, which nobody wrote; want %q", key, i, got, value)
		}
		g.pause(ctx)
	}
	g.Fatalf("%q at replica %d: not seen in %v", key, i, patience)
	return store.Page{}
}
