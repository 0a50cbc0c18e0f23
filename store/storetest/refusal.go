package storetest

import (
	"bytes"
	"strings"

	"github.com/dialkv/dialkv/store"
)

var refusalLaws = []law{
	{name: "a command past the limits is refused and changes nothing", check: func(g *group) {
		g.put("k", "v")
		big := make([]byte, store.MaxValue+1)
		for _, bad := range []struct {
			what string
			code store.Code
			cmd  store.Command
		}{
			{"an empty key", store.Invalid, store.Command{Op: store.Put}},
			{"a key one byte too long", store.TooLarge, store.Command{Op: store.Put, Key: strings.Repeat("k", store.MaxKey+1)}},
			{"a key that is not UTF-8", store.Invalid, store.Command{Op: store.Put, Key: "k\xff"}},
			{"a delete of an empty key", store.Invalid, store.Command{Op: store.Delete}},
			{"a value one byte too long", store.TooLarge, store.Command{Op: store.Put, Key: "k", Value: big}},
			{"no operation", store.Invalid, store.Command{Key: "k"}},
			{"a get, which is no command", store.Invalid, store.Command{Op: store.Get, Key: "k"}},
			{"a delta where nothing is added", store.Invalid, store.Command{Op: store.Put, Key: "k", Delta: 1}},
			{"a TTL too short", store.Invalid, store.Command{Op: store.Put, Key: "k", TTL: store.MinTTL - 1}},
			{"a TTL too long", store.Invalid, store.Command{Op: store.Grant, TTL: store.MaxTTL + 1}},
			{"a lease for no time", store.Invalid, store.Command{Op: store.Grant}},
			{"a TTL and a lease", store.Invalid, store.Command{Op: store.Put, Key: "k", TTL: store.MinTTL, Lease: 1}},
			{"a lease without id", store.Invalid, store.Command{Op: store.Revoke}},
			{"a txn of nothing", store.Invalid, store.Command{Op: store.Transact, Txn: &store.Txn{}}},
			{"a txn with a key of its own", store.Invalid, store.Command{Op: store.Transact, Key: "k", Txn: &store.Txn{Then: []store.Step{getStep("k")}}}},
			{"a condition that is none", store.Invalid, store.Command{Op: store.Put, Key: "k", If: store.Condition{Kind: store.IfAbsent + 1}}},
		} {
			_, err := g.write(bad.cmd)
			if err == nil || g.typed(err).Code != bad.code {
				g.Errorf("%s: got %v, want %s", bad.what, err, bad.code)
			}
		}
		if left := g.all(g.home, store.Query{Limit: 10, Level: g.freshest()}); len(left) != 1 || left[0].Key != "k" {
			g.Errorf("the group now holds %v", left)
		}
		g.holds("k", "v")
	}},
	{name: "a command at the limits is done", check: func(g *group) {
		key, value := strings.Repeat("k", store.MaxKey), bytes.Repeat([]byte{0xff, 0}, store.MaxValue/2)
		wrote := g.do(store.Command{Op: store.Put, Key: key, Value: value})
		for i := range g.replicas {
			page := g.read(i, store.Query{Key: key, Level: store.Causal, After: wrote.Entry})
			if len(page.Items) != 1 || len(page.Items[0].Values) != 1 || !bytes.Equal(page.Items[0].Values[0], value) {
				g.Errorf("replica %d does not show the value that was written", i)
			}
		}
	}},
	{name: "a query past the limits is refused", check: func(g *group) {
		for _, bad := range []struct {
			what  string
			code  store.Code
			query store.Query
		}{
			{"an empty key", store.Invalid, store.Query{}},
			{"a key one byte too long", store.TooLarge, store.Query{Key: strings.Repeat("k", store.MaxKey+1)}},
			{"a key that is not UTF-8", store.Invalid, store.Query{Key: "k\xff"}},
			{"a page of less than nothing", store.Invalid, store.Query{Limit: -1}},
			{"a page one item too long", store.Invalid, store.Query{Limit: store.MaxPage + 1}},
			{"a prefix one byte too long", store.TooLarge, store.Query{Limit: 1, Prefix: strings.Repeat("p", store.MaxKey+1)}},
			{"a get with an end", store.Invalid, store.Query{Key: "k", To: "l"}},
			{"bounded by nothing", store.Invalid, store.Query{Key: "k", Level: store.Bounded}},
			{"a bound on another level", store.Invalid, store.Query{Key: "k", Level: store.Causal, Bound: patience}},
			{"a level that is none", store.Invalid, store.Query{Key: "k", Level: store.Strong + 1}},
		} {
			ctx, cancel := g.within(patience)
			_, err := g.replicas[0].Read(ctx, bad.query)
			cancel()
			if err == nil || g.typed(err).Code != bad.code {
				g.Errorf("%s: got %v, want %s", bad.what, err, bad.code)
			}
		}
	}},
	{name: "an ap group has no strong reads and no quorum scans, and says what to try", mode: store.AP, check: func(g *group) {
		for i := range g.replicas {
			for _, q := range []store.Query{at(store.Strong, "k", nil), {Level: store.Strong, Limit: 1}, {Level: store.Quorum, Limit: 1}} {
				_, err := g.readAt(i, q)
				g.tries(err, store.LevelUnsupported)
			}
		}
	}},
	{name: "an ap group has no increments, txns or leases, and says what to try", mode: store.AP, check: func(g *group) {
		g.put("k", "1")
		for _, c := range []store.Command{
			{Op: store.Increment, Key: "k", Delta: 1},
			txnOf(putStep("k", "2")),
			{Op: store.Grant, TTL: ttl},
			{Op: store.KeepAlive, Lease: 1},
			{Op: store.Revoke, Lease: 1},
			{Op: store.Put, Key: "k", Lease: 1},
		} {
			_, err := g.write(c)
			g.tries(err, store.Unsupported)
		}
		g.holds("k", "1")
	}},
	{name: "an ap group has no list of leases, and says what to try", mode: store.AP, check: func(g *group) {
		for i := range g.replicas {
			_, err := g.readAt(i, store.Query{Limit: 1, Leases: true})
			g.tries(err, store.Unsupported)
		}
	}},
	{name: "a watch of an ap group begins at no revision, one of a cp group behind no entry", check: func(g *group) {
		wrote := g.put("k", "v")
		q := store.WatchQuery{Key: "k", From: 2}
		if g.cfg.Mode == store.CP {
			q = store.WatchQuery{Key: "k", Since: wrote.Entry}
		}
		for _, r := range g.replicas {
			ctx, cancel := g.within(patience)
			_, err := r.Watch(ctx, q)
			cancel()
			g.tries(err, store.Invalid)
		}
	}},
	{name: "a watch of nothing, of two things or past the limits is refused", check: func(g *group) {
		for _, bad := range []struct {
			code  store.Code
			query store.WatchQuery
		}{
			{store.Invalid, store.WatchQuery{}},
			{store.Invalid, store.WatchQuery{Key: "k", Prefix: "k"}},
			{store.Invalid, store.WatchQuery{Key: "k", All: true}},
			{store.Invalid, store.WatchQuery{Prefix: "k", All: true}},
			{store.Invalid, store.WatchQuery{Key: "k", From: 1, Since: g.put("k", "v").Entry}},
			{store.TooLarge, store.WatchQuery{Key: strings.Repeat("k", store.MaxKey+1)}},
			{store.TooLarge, store.WatchQuery{Prefix: strings.Repeat("k", store.MaxKey+1)}},
		} {
			for _, r := range g.replicas {
				_, err := r.Watch(g.Context(), bad.query)
				g.isCode(err, bad.code)
			}
		}
	}},
	{name: "an ap group has no conditions and no sessions of its own", mode: store.AP, check: func(g *group) {
		g.put("k", "v")
		for _, kind := range []store.ConditionKind{store.IfValue, store.IfRevision, store.IfAbsent} {
			g.refused(store.Unsupported, store.Command{Op: store.Put, Key: "k", Value: []byte("w"), If: store.Condition{Kind: kind}})
			g.refused(store.Unsupported, store.Command{Op: store.Delete, Key: "k", If: store.Condition{Kind: kind}})
		}
		g.refused(store.Unsupported, store.Command{Op: store.OpenSession})
		g.holds("k", "v")
	}},
}

// tries wants an error with the code and a line that says what to try.
func (g *group) tries(err error, code store.Code) {
	g.Helper()
	g.isCode(err, code)
	if g.typed(err).Try == "" {
		g.Errorf("%v: nothing to try", err)
	}
}
