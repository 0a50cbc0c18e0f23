package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

// rule is one command, query or watch and what Check says of it: nothing, or a code.
type rule[T any] struct {
	what string
	it   T
	want store.Code
}

func keeps[T interface{ Check() error }](t *testing.T, rules []rule[T]) {
	t.Helper()
	for _, r := range rules {
		is(t, r.what, r.it.Check(), r.want)
	}
}

var (
	bigValue = make([]byte, store.MaxValue+1)
	longKey  = strings.Repeat("k", store.MaxKey+1)
)

func put(key string) store.Step { return store.Step{Op: store.Put, Key: key} }

func TestCommandCheck(t *testing.T) {
	then := &store.Txn{Then: []store.Step{put("k")}}
	keeps(t, []rule[store.Command]{
		{"put", store.Command{Op: store.Put, Key: "k"}, ""},
		{"put of the largest", store.Command{Op: store.Put, Key: longKey[1:], Value: bigValue[1:]}, ""},
		{"delete", store.Command{Op: store.Delete, Key: "k"}, ""},
		{"open session", store.Command{Op: store.OpenSession}, ""},
		{"increment", store.Command{Op: store.Increment, Key: "k", Delta: -1}, ""},
		{"increment by nothing", store.Command{Op: store.Increment, Key: "k"}, ""},
		{"increment if", store.Command{Op: store.Increment, Key: "k", Delta: 1, If: store.Condition{Kind: store.IfAbsent}}, ""},
		{"txn", store.Command{Op: store.Transact, Txn: then}, ""},
		{"grant", store.Command{Op: store.Grant, TTL: time.Second}, ""},
		{"keep alive", store.Command{Op: store.KeepAlive, Lease: 1}, ""},
		{"revoke", store.Command{Op: store.Revoke, Lease: 1<<64 - 1}, ""},

		{"nothing", store.Command{Key: "k"}, store.Invalid},
		{"an unknown operation", store.Command{Op: 99, Key: "k"}, store.Invalid},
		{"a get, which is a step only", store.Command{Op: store.Get, Key: "k"}, store.Invalid},
		{"a put without key", store.Command{Op: store.Put}, store.Invalid},
		{"a delete without key", store.Command{Op: store.Delete}, store.Invalid},
		{"an increment without key", store.Command{Op: store.Increment, Delta: 1}, store.Invalid},
		{"a key that is no text", store.Command{Op: store.Delete, Key: "\xff"}, store.Invalid},
		{"a long key", store.Command{Op: store.Increment, Key: longKey}, store.TooLarge},
		{"a large value", store.Command{Op: store.Put, Key: "k", Value: bigValue}, store.TooLarge},
		{"a large expectation", store.Command{Op: store.Put, Key: "k", If: store.Condition{Kind: store.IfValue, Value: bigValue}}, store.TooLarge},
		{"a txn of none", store.Command{Op: store.Transact}, store.Invalid},
	})
}

// Each field is refused wherever it means nothing: who set it expects something that
// would not happen.
func TestCommandHasNoFieldThatMeansNothing(t *testing.T) {
	whole := map[store.Op]store.Command{
		store.Put: {Key: "k"}, store.Delete: {Key: "k"}, store.Increment: {Key: "k"}, store.OpenSession: {},
		store.Transact: {Txn: &store.Txn{Then: []store.Step{put("k")}}},
		store.Grant:    {TTL: time.Second}, store.KeepAlive: {Lease: 1}, store.Revoke: {Lease: 1},
	}
	fields := []struct {
		name string
		set  func(*store.Command)
		of   []store.Op
	}{
		{"key", func(c *store.Command) { c.Key = "k" }, []store.Op{store.Put, store.Delete, store.Increment}},
		{"value", func(c *store.Command) { c.Value = []byte("v") }, []store.Op{store.Put}},
		{"delta", func(c *store.Command) { c.Delta = 1 }, []store.Op{store.Increment}},
		{"TTL", func(c *store.Command) { c.TTL = time.Second }, []store.Op{store.Put, store.Grant}},
		{"lease", func(c *store.Command) { c.Lease = 7 }, []store.Op{store.Put, store.KeepAlive, store.Revoke}},
		{"txn", func(c *store.Command) { c.Txn = &store.Txn{Then: []store.Step{put("k")}} }, []store.Op{store.Transact}},
		{"condition", func(c *store.Command) { c.If.Kind = store.IfAbsent }, []store.Op{store.Put, store.Delete, store.Increment}},
	}
	for op, c := range whole {
		c.Op = op
		is(t, op.String(), c.Check(), "")
		for _, f := range fields {
			want := store.Invalid
			for _, may := range f.of {
				if may == op {
					want = ""
				}
			}
			with := c
			f.set(&with)
			is(t, fmt.Sprintf("%v with a %s", op, f.name), with.Check(), want)
			if err := with.Check(); want != "" && err != nil && !strings.Contains(err.Error(), f.name) {
				t.Errorf("%v with a %s: %v does not name it", op, f.name, err)
			}
		}
	}
}

func TestConditionCheck(t *testing.T) {
	for _, c := range []struct {
		what string
		cond store.Condition
		want store.Code
	}{
		{"always", store.Condition{}, ""},
		{"value", store.Condition{Kind: store.IfValue, Value: []byte("v")}, ""},
		{"no value", store.Condition{Kind: store.IfValue}, ""},
		{"revision", store.Condition{Kind: store.IfRevision, Revision: 7}, ""},
		{"no revision", store.Condition{Kind: store.IfRevision}, ""},
		{"absent", store.Condition{Kind: store.IfAbsent}, ""},
		{"unknown", store.Condition{Kind: store.IfAbsent + 1}, store.Invalid},
		{"a value for always", store.Condition{Value: []byte("v")}, store.Invalid},
		{"a value for a revision", store.Condition{Kind: store.IfRevision, Value: []byte{}}, store.Invalid},
		{"a value for absence", store.Condition{Kind: store.IfAbsent, Value: []byte("v")}, store.Invalid},
		{"a revision for always", store.Condition{Revision: 7}, store.Invalid},
		{"a revision for a value", store.Condition{Kind: store.IfValue, Revision: 7}, store.Invalid},
		{"a revision for absence", store.Condition{Kind: store.IfAbsent, Revision: 7}, store.Invalid},
	} {
		for _, op := range []store.Op{store.Put, store.Delete, store.Increment} {
			is(t, fmt.Sprintf("%v if %s", op, c.what), store.Command{Op: op, Key: "k", If: c.cond}.Check(), c.want)
		}
	}
}

func TestTTLCheck(t *testing.T) {
	for ttl, want := range map[time.Duration]store.Code{
		store.MinTTL: "", time.Minute: "", store.MaxTTL: "",
		store.MinTTL - 1: store.Invalid, store.MaxTTL + 1: store.Invalid, 1: store.Invalid, -1: store.Invalid, -time.Hour: store.Invalid, -1 << 63: store.Invalid,
	} {
		is(t, ttl.String(), store.CheckTTL(ttl), want)
		is(t, "grant of "+ttl.String(), store.Command{Op: store.Grant, TTL: ttl}.Check(), want)
		is(t, "put for "+ttl.String(), store.Command{Op: store.Put, Key: "k", TTL: ttl}.Check(), want)
	}
	is(t, "put for ever", store.Command{Op: store.Put, Key: "k", TTL: 0}.Check(), "")
	is(t, "grant of nothing", store.Command{Op: store.Grant, TTL: 0}.Check(), store.Invalid)
	is(t, "put with both", store.Command{Op: store.Put, Key: "k", TTL: time.Minute, Lease: 1}.Check(), store.Invalid)
	is(t, "put with a lease", store.Command{Op: store.Put, Key: "k", Lease: 1}.Check(), "")
	is(t, "keep-alive of lease 0", store.Command{Op: store.KeepAlive}.Check(), store.Invalid)
	is(t, "revoke of lease 0", store.Command{Op: store.Revoke}.Check(), store.Invalid)
}

func TestTxnCheck(t *testing.T) {
	same := store.Compare{Key: "k", Target: store.TargetValue, Relation: store.Equal}
	steps := func(n int, s store.Step) []store.Step {
		var many []store.Step
		for range n {
			many = append(many, s)
		}
		return many
	}
	var compares []store.Compare
	for range store.MaxSteps {
		compares = append(compares, same)
	}
	full := steps(store.MaxSteps, put("k"))
	for _, c := range []struct {
		what string
		txn  store.Txn
		want store.Code
	}{
		{"empty", store.Txn{}, store.Invalid},
		{"a comparison alone", store.Txn{If: []store.Compare{same}}, ""},
		{"then alone", store.Txn{Then: full[:1]}, ""},
		{"else alone", store.Txn{Else: full[:1]}, ""},
		{"the most of each", store.Txn{If: compares, Then: full, Else: full}, ""},
		{"a comparison too many", store.Txn{If: append(compares[:store.MaxSteps:store.MaxSteps], same)}, store.TooLarge},
		{"a step too many", store.Txn{Then: append(full[:store.MaxSteps:store.MaxSteps], put("k"))}, store.TooLarge},
		{"a step too many in else", store.Txn{Else: append(full[:store.MaxSteps:store.MaxSteps], put("k"))}, store.TooLarge},
		{"a bad step in else", store.Txn{Then: full, Else: []store.Step{{Op: store.Put}}}, store.Invalid},
	} {
		is(t, c.what, store.Command{Op: store.Transact, Txn: &c.txn}.Check(), c.want)
	}
}

func TestTxnSizeCountsKeysAndValuesOfAllItsParts(t *testing.T) {
	mega := bigValue[1:]
	most := store.Txn{
		If:   []store.Compare{{Key: "k", Target: store.TargetValue, Relation: store.Equal, Value: mega}},
		Then: []store.Step{{Op: store.Put, Key: "k", Value: mega}},
		Else: []store.Step{{Op: store.Put, Key: "k", Value: mega[:store.MaxRequest-2*store.MaxValue-3]}},
	}
	is(t, "as large as can be", store.Command{Op: store.Transact, Txn: &most}.Check(), "")
	for what, grow := range map[string]func(*store.Txn){
		"a comparison": func(t *store.Txn) {
			t.If = append(t.If, store.Compare{Key: "k", Target: store.TargetLease, Relation: store.Less})
		},
		"a step":         func(t *store.Txn) { t.Then = append(t.Then, put("k")) },
		"a step in else": func(t *store.Txn) { t.Else = append(t.Else, store.Step{Op: store.Get, Key: "k"}) },
	} {
		larger := most
		grow(&larger)
		is(t, "larger by "+what, store.Command{Op: store.Transact, Txn: &larger}.Check(), store.TooLarge)
	}
}

func TestCompareCheck(t *testing.T) {
	for _, c := range []struct {
		what    string
		compare store.Compare
		want    store.Code
	}{
		{"value", store.Compare{Key: "k", Target: store.TargetValue, Relation: store.Greater, Value: []byte("v")}, ""},
		{"value with nothing", store.Compare{Key: "k", Target: store.TargetValue, Relation: store.Equal}, ""},
		{"value with a number", store.Compare{Key: "k", Target: store.TargetValue, Relation: store.Equal, Number: 1}, store.Invalid},
		{"value with a large one", store.Compare{Key: "k", Target: store.TargetValue, Relation: store.Equal, Value: bigValue}, store.TooLarge},
		{"no key", store.Compare{Target: store.TargetVersion, Relation: store.Equal}, store.Invalid},
		{"a long key", store.Compare{Key: longKey, Target: store.TargetVersion, Relation: store.Equal}, store.TooLarge},
		{"no target", store.Compare{Key: "k", Relation: store.Equal}, store.Invalid},
		{"an unknown target", store.Compare{Key: "k", Target: store.TargetLease + 1, Relation: store.Equal}, store.Invalid},
		{"no relation", store.Compare{Key: "k", Target: store.TargetVersion}, store.Invalid},
		{"an unknown relation", store.Compare{Key: "k", Target: store.TargetVersion, Relation: store.Greater + 1}, store.Invalid},
	} {
		is(t, c.what, store.Command{Op: store.Transact, Txn: &store.Txn{If: []store.Compare{c.compare}}}.Check(), c.want)
	}
	for target := store.TargetVersion; target <= store.TargetLease; target++ {
		for relation := store.Equal; relation <= store.Greater; relation++ {
			number := store.Compare{Key: "k", Target: target, Relation: relation, Number: 7}
			is(t, fmt.Sprintf("%v %v 7", target, relation), store.Command{Op: store.Transact, Txn: &store.Txn{If: []store.Compare{number}}}.Check(), "")
			number.Value = []byte{} // empty is a value, too
			is(t, fmt.Sprintf("%v %v a value", target, relation), store.Command{Op: store.Transact, Txn: &store.Txn{If: []store.Compare{number}}}.Check(), store.Invalid)
		}
	}
}

func TestStepCheck(t *testing.T) {
	for _, c := range []struct {
		what string
		step store.Step
		want store.Code
	}{
		{"get", store.Step{Op: store.Get, Key: "k"}, ""},
		{"put", store.Step{Op: store.Put, Key: "k", Value: []byte("v"), Lease: 1}, ""},
		{"delete", store.Step{Op: store.Delete, Key: "k"}, ""},
		{"increment", store.Step{Op: store.Increment, Key: "k", Delta: -1}, ""},
		{"nothing", store.Step{Key: "k"}, store.Invalid},
		{"a txn", store.Step{Op: store.Transact, Key: "k"}, store.Invalid},
		{"a grant", store.Step{Op: store.Grant, Key: "k"}, store.Invalid},
		{"a revoke", store.Step{Op: store.Revoke, Lease: 1}, store.Invalid},
		{"a keep-alive", store.Step{Op: store.KeepAlive, Lease: 1}, store.Invalid},
		{"a session", store.Step{Op: store.OpenSession}, store.Invalid},
		{"a get without key", store.Step{Op: store.Get}, store.Invalid},
		{"a get with a value", store.Step{Op: store.Get, Key: "k", Value: []byte("v")}, store.Invalid},
		{"a get with a delta", store.Step{Op: store.Get, Key: "k", Delta: 1}, store.Invalid},
		{"a get with a lease", store.Step{Op: store.Get, Key: "k", Lease: 1}, store.Invalid},
		{"a put with a delta", store.Step{Op: store.Put, Key: "k", Delta: 1}, store.Invalid},
		{"a put of too much", store.Step{Op: store.Put, Key: "k", Value: bigValue}, store.TooLarge},
		{"a put under a long key", store.Step{Op: store.Put, Key: longKey}, store.TooLarge},
		{"a delete with a value", store.Step{Op: store.Delete, Key: "k", Value: []byte("v")}, store.Invalid},
		{"a delete with a lease", store.Step{Op: store.Delete, Key: "k", Lease: 1}, store.Invalid},
		{"an increment with a lease", store.Step{Op: store.Increment, Key: "k", Lease: 1}, store.Invalid},
		{"an increment with a value", store.Step{Op: store.Increment, Key: "k", Value: []byte("1")}, store.Invalid},
	} {
		for _, txn := range []store.Txn{{Then: []store.Step{put("k"), c.step}}, {Else: []store.Step{put("k"), c.step}}} {
			err := store.Command{Op: store.Transact, Txn: &txn}.Check()
			is(t, c.what, err, c.want)
			if c.want != "" && err != nil && !strings.Contains(err.Error(), "step 2") {
				t.Errorf("%s: %v does not say which step", c.what, err)
			}
		}
	}
}

func TestKeysOfACommand(t *testing.T) {
	txn := store.Command{Op: store.Transact, Txn: &store.Txn{
		If: []store.Compare{{Key: "a"}}, Then: []store.Step{put("b"), put("a")}, Else: []store.Step{put("c")},
	}}
	for _, c := range []struct {
		cmd  store.Command
		want string
	}{
		{store.Command{Op: store.Put, Key: "k"}, "k"},
		{store.Command{Op: store.Grant}, ""},
		{txn, "a b a c"},
	} {
		var keys []string
		c.cmd.Keys(func(key string) bool { keys = append(keys, key); return true })
		if got := strings.Join(keys, " "); got != c.want {
			t.Errorf("%v: got %q, want %q", c.cmd.Op, got, c.want)
		}
	}
	for most := 1; most <= 4; most++ {
		n := 0
		txn.Keys(func(string) bool { n++; return n < most })
		if n != most {
			t.Errorf("told to stop after %d keys, it went on to %d", most, n)
		}
	}
}

func TestQueryCheck(t *testing.T) {
	keeps(t, []rule[store.Query]{
		{"get", store.Query{Key: "k"}, ""},
		{"get of nothing", store.Query{}, store.Invalid},
		{"get of a long key", store.Query{Key: longKey}, store.TooLarge},
		{"get with siblings", store.Query{Key: "k", Siblings: true}, ""},
		{"get with a prefix", store.Query{Key: "k", Prefix: "k"}, store.Invalid},
		{"get with an end", store.Query{Key: "k", To: "l"}, store.Invalid},
		{"get backwards", store.Query{Key: "k", Reverse: true}, store.Invalid},
		{"get of the key only", store.Query{Key: "k", KeysOnly: true}, store.Invalid},
		{"get of a page", store.Query{Key: "k", Page: "p"}, store.Invalid},
		{"get of leases", store.Query{Leases: true}, store.Invalid},

		{"scan of all", store.Query{Limit: 1}, ""},
		{"scan of every shape", store.Query{Limit: 1, Key: "a", To: "b", Prefix: "a", Reverse: true, KeysOnly: true, Page: "p"}, ""},
		{"scan of the most", store.Query{Limit: store.MaxPage}, ""},
		{"scan of one too many", store.Query{Limit: store.MaxPage + 1}, store.Invalid},
		{"scan of less than none", store.Query{Limit: -1}, store.Invalid},
		{"scan from any bytes", store.Query{Limit: 1, Key: "\xff", To: "\xff", Prefix: "\xff"}, ""},
		{"scan from a long key", store.Query{Limit: 1, Key: longKey}, store.TooLarge},
		{"scan to a long key", store.Query{Limit: 1, To: longKey}, store.TooLarge},
		{"scan with a long prefix", store.Query{Limit: 1, Prefix: longKey}, store.TooLarge},
		{"count", store.Query{Count: true}, ""},
		{"count with a limit", store.Query{Count: true, Limit: 7, Prefix: "p"}, ""},
		{"count of less than none", store.Query{Count: true, Limit: -1}, store.Invalid},
		{"count with too large a limit", store.Query{Count: true, Limit: store.MaxPage + 1}, store.Invalid},
		{"a page token", store.Query{Limit: 1, Page: strings.Repeat("A", 4*store.MaxKey)}, ""},
		{"a page token too long", store.Query{Limit: 1, Page: strings.Repeat("A", 4*store.MaxKey+1)}, store.Invalid},

		{"leases", store.Query{Leases: true, Limit: 1}, ""},
		{"leases from a key", store.Query{Leases: true, Limit: 1, Key: "k"}, store.Invalid},
		{"leases to a key", store.Query{Leases: true, Limit: 1, To: "k"}, store.Invalid},
		{"leases with a prefix", store.Query{Leases: true, Limit: 1, Prefix: "k"}, store.Invalid},
		{"leases backwards", store.Query{Leases: true, Limit: 1, Reverse: true}, store.Invalid},
		{"leases of keys only", store.Query{Leases: true, Limit: 1, KeysOnly: true}, store.Invalid},
		{"leases counted", store.Query{Leases: true, Count: true}, store.Invalid},
	})
}

func TestQueryLevelCheck(t *testing.T) {
	for _, scan := range []int{0, 1} {
		q := store.Query{Key: "k", Limit: scan}
		for level := store.LevelDefault; level <= store.Strong+1; level++ {
			for _, bound := range []time.Duration{-1, 0, 1, time.Hour} {
				q.Level, q.Bound = level, bound
				want := store.Invalid
				if level <= store.Strong && (level == store.Bounded && bound > 0 || level != store.Bounded && bound == 0) {
					want = ""
				}
				is(t, fmt.Sprintf("%v with the bound %v", level, bound), q.Check(), want)
			}
		}
	}
}

func TestWatchQueryCheck(t *testing.T) {
	keeps(t, []rule[store.WatchQuery]{
		{"a key", store.WatchQuery{Key: "k"}, ""},
		{"a prefix", store.WatchQuery{Prefix: "k", From: 7}, ""},
		{"all", store.WatchQuery{All: true}, ""},
		{"a prefix of any bytes", store.WatchQuery{Prefix: "\xff"}, ""},
		{"the longest key", store.WatchQuery{Key: longKey[1:]}, ""},
		{"the longest prefix", store.WatchQuery{Prefix: longKey[1:]}, ""},
		{"nothing", store.WatchQuery{}, store.Invalid},
		{"nothing from a revision", store.WatchQuery{From: 7}, store.Invalid},
		{"a key and a prefix", store.WatchQuery{Key: "k", Prefix: "k"}, store.Invalid},
		{"a key and all", store.WatchQuery{Key: "k", All: true}, store.Invalid},
		{"a prefix and all", store.WatchQuery{Prefix: "k", All: true}, store.Invalid},
		{"all three", store.WatchQuery{Key: "k", Prefix: "k", All: true}, store.Invalid},
		{"a key that is no text", store.WatchQuery{Key: "\xff"}, store.Invalid},
		{"a long key", store.WatchQuery{Key: longKey}, store.TooLarge},
		{"a long prefix", store.WatchQuery{Prefix: longKey}, store.TooLarge},
	})
}

func TestWatchMatches(t *testing.T) {
	for _, c := range []struct {
		query   store.WatchQuery
		matches []string
		not     []string
	}{
		{store.WatchQuery{Key: "k"}, []string{"k"}, []string{"", "kk", "j", "K"}},
		{store.WatchQuery{Prefix: "k/"}, []string{"k/", "k/a", "k/\xff"}, []string{"", "k", "k0", "j/a"}},
		{store.WatchQuery{All: true}, []string{"", "k", "\xff"}, nil},
		{store.WatchQuery{}, nil, []string{"", "k"}},
	} {
		for _, key := range c.matches {
			if !c.query.Matches(key) {
				t.Errorf("%+v does not match %q", c.query, key)
			}
		}
		for _, key := range c.not {
			if c.query.Matches(key) {
				t.Errorf("%+v matches %q", c.query, key)
			}
		}
	}
}

// What a user gets wrong is said with the value and the limit.
func TestChecksNameTheLimit(t *testing.T) {
	for _, c := range []struct {
		err  error
		says []string
	}{
		{store.CheckTTL(time.Millisecond), []string{"1ms", store.MinTTL.String(), store.MaxTTL.String()}},
		{store.Query{Limit: store.MaxPage + 1}.Check(), []string{"1001", "1000"}},
		{store.Query{Limit: 1, To: longKey}.Check(), []string{"4097", "4096"}},
		{store.Query{Limit: 1, Page: strings.Repeat("A", 20000)}.Check(), []string{"20000", "16384"}},
		{store.WatchQuery{Prefix: longKey}.Check(), []string{"4097", "4096"}},
		{store.Command{Op: store.Transact, Txn: &store.Txn{Then: make([]store.Step, 129)}}.Check(), []string{"129", "128"}},
	} {
		var e *store.Error
		if !errors.As(c.err, &e) {
			t.Errorf("got %v, want an error that says %q", c.err, c.says)
			continue
		}
		for _, part := range c.says {
			if !strings.Contains(e.Msg, part) {
				t.Errorf("%q does not say %s", e.Msg, part)
			}
		}
	}
}
