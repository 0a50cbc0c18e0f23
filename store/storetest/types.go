package storetest

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"pgregory.net/rapid"

	"github.com/dialkv/dialkv/store"
)

// typeLaws are those of counters, sets and maps.
var typeLaws = []law{
	{name: "a counter begins at nothing, and every increment says the sum", mode: store.AP, policy: store.Counter, check: func(g *group) {
		g.holds("k")
		for _, step := range []struct {
			delta int64
			sum   string
			found bool
		}{{5, "5", false}, {-7, "-2", true}, {2, "0", true}, {0, "0", true}} {
			if r := g.increase("k", step.delta); string(r.Value) != step.sum || r.Found != step.found {
				g.Errorf("an increment by %d gave %q, found %v; want %s, %v", step.delta, r.Value, r.Found, step.sum, step.found)
			}
			g.holds("k", step.sum)
		}
	}},
	{name: "increments at all replicas add up", mode: store.AP, policy: store.Counter, check: func(g *group) {
		const each = 20
		for n := range each {
			var done []store.Result
			for i := range g.replicas {
				done = append(done, g.doAt(i, store.Command{Op: store.Increment, Key: "k", Delta: int64(i + 1)}))
			}
			if n == each-1 {
				count := len(g.replicas)
				want := strconv.Itoa(each * count * (count + 1) / 2)
				if got := g.converged("k", done...); !slices.Equal(got, []string{want}) {
					g.Errorf("got %q, want %s", got, want)
				}
			}
		}
	}},
	{name: "concurrent increments of a counter are all counted", mode: store.AP, policy: store.Counter, check: func(g *group) {
		const writers = 16
		results := g.together(writers, func(int) store.Command { return store.Command{Op: store.Increment, Key: "k", Delta: 1} })
		sums := map[string]bool{}
		for _, r := range results {
			sums[string(r.Value)] = true
		}
		if len(sums) != writers {
			g.Errorf("%d increments saw %d sums", writers, len(sums))
		}
		g.holds("k", strconv.Itoa(writers))
	}},
	{name: "a deleted counter begins again", mode: store.AP, policy: store.Counter, check: func(g *group) {
		g.increase("k", 5)
		if gone := g.delete("k"); !gone.Found {
			g.Error("the delete found nothing")
		}
		g.holds("k")
		if page := g.read(g.home, store.Query{Limit: 10, Level: g.freshest()}); len(page.Items) > 0 {
			g.Errorf("a scan shows %v", page.Items)
		}
		if again := g.delete("k"); again.Found {
			g.Error("the second delete found something")
		}
		if r := g.increase("k", 2); r.Found || string(r.Value) != "2" {
			g.Errorf("the increment behind a delete gave %q, found %v", r.Value, r.Found)
		}
		g.holds("k", "2")
	}},
	{name: "a sum beyond 64 bits is refused and changes nothing", mode: store.AP, policy: store.Counter, check: func(g *group) {
		for _, c := range []struct{ start, delta int64 }{{math.MaxInt64, 1}, {math.MinInt64, -1}} {
			key := fmt.Sprint(c.delta)
			g.increase(key, c.start)
			g.refused(store.Invalid, store.Command{Op: store.Increment, Key: key, Delta: c.delta})
			g.holds(key, strconv.FormatInt(c.start, 10))
		}
	}},
	{name: "a repeated increment counts once and is answered the same", mode: store.AP, policy: store.Counter, check: func(g *group) {
		c := store.Command{Op: store.Increment, Key: "k", Delta: 3, Request: store.Request{Session: 4711, Number: 1, Lowest: 1}}
		first := g.do(c)
		g.increase("k", 1)
		c.Request.Retry = true
		if again := g.do(c); string(again.Value) != string(first.Value) || string(first.Value) != "3" {
			g.Errorf("answered %q, then %q", first.Value, again.Value)
		}
		g.holds("k", "4")
	}},
	{name: "a counter is not put and has no members", mode: store.AP, policy: store.Counter, check: func(g *group) {
		g.increase("k", 1)
		for _, c := range []store.Command{
			{Op: store.Put, Key: "k", Value: []byte("7")}, {Op: store.Put, Key: "k", Field: "f"}, {Op: store.Delete, Key: "k", Field: "f"},
			{Op: store.Increment, Key: "k", Delta: 1, If: store.Condition{Kind: store.IfAbsent}},
		} {
			_, err := g.write(c)
			g.tries(err, store.Unsupported)
		}
		g.holds("k", "1")
	}},
	{name: "a set shows its members once, in byte order", mode: store.AP, policy: store.Set, check: func(g *group) {
		for _, member := range []string{"b", "a", "é", "b", "c"} {
			g.add("k", member)
		}
		g.lists("k", "a", "b", "c", "é")
		if r := g.do(store.Command{Op: store.Delete, Key: "k", Field: "b"}); !r.Found {
			g.Error("a member that is there was not found")
		}
		if r := g.do(store.Command{Op: store.Delete, Key: "k", Field: "x"}); r.Found {
			g.Error("a member that is not there was found")
		}
		g.lists("k", "a", "c", "é")
		g.delete("k")
		g.holds("k")
		g.add("k", "b")
		g.lists("k", "b")
	}},
	{name: "a set without members is absent", mode: store.AP, policy: store.Set, check: func(g *group) {
		g.add("k", "a")
		g.do(store.Command{Op: store.Delete, Key: "k", Field: "a"})
		g.holds("k")
	}},
	{name: "members added at all replicas are all there, in one order", mode: store.AP, policy: store.Set, check: func(g *group) {
		var done []store.Result
		var want []string
		for i := range g.replicas {
			member := strconv.Itoa(i)
			want = append(want, member)
			done = append(done, g.doAt(i, store.Command{Op: store.Put, Key: "k", Field: member}))
		}
		if got := g.converged("k", done...); !slices.Equal(got, want) {
			g.Errorf("got %q, want %q", got, want)
		}
	}},
	{name: "a session's remove takes away what it read, wherever it is sent", mode: store.AP, policy: store.Set, check: func(g *group) {
		added := g.add("k", "a")
		last := len(g.replicas) - 1
		gone := g.doAt(last, store.Command{Op: store.Delete, Key: "k", Field: "a", After: added.Entry})
		for i := range g.replicas {
			g.shows(i, store.Query{Key: "k", Level: store.Causal, After: gone.Entry})
		}
	}},
	{name: "a set has no values, increments or blind writes", mode: store.AP, policy: store.Set, check: func(g *group) {
		for _, c := range []store.Command{
			{Op: store.Put, Key: "k", Value: []byte("v")}, {Op: store.Increment, Key: "k", Delta: 1}, {Op: store.Put, Key: "k", Field: "f", Blind: true},
		} {
			_, err := g.write(c)
			g.tries(err, store.Unsupported)
		}
		g.refused(store.Invalid, store.Command{Op: store.Put, Key: "k", Field: "f", Value: []byte("v")})
		g.holds("k")
	}},
	{name: "a map shows each field's value, in byte order of the fields", mode: store.AP, policy: store.Map, check: func(g *group) {
		for _, f := range [][2]string{{"b", "1"}, {"a", "2"}, {"b", "3"}, {"c", ""}} {
			g.do(store.Command{Op: store.Put, Key: "k", Field: f[0], Value: []byte(f[1])})
		}
		g.fields("k", []string{"a", "b", "c"}, "2", "3", "")
		g.do(store.Command{Op: store.Delete, Key: "k", Field: "b"})
		g.fields("k", []string{"a", "c"}, "2", "")
		page := g.read(g.home, store.Query{Limit: 1, KeysOnly: true, Level: g.freshest()})
		if len(page.Items) != 1 || page.Items[0].Fields != nil || page.Items[0].Values != nil {
			g.Errorf("keys only: %+v", page.Items)
		}
		g.delete("k")
		g.holds("k")
	}},
	{name: "a watch of a map shows each field's value, as a read does", mode: store.AP, policy: store.Map, check: func(g *group) {
		w := g.watch(g.home, store.WatchQuery{Key: "k"})
		for _, c := range []store.Command{
			{Op: store.Put, Key: "k", Field: "town", Value: []byte("London")}, {Op: store.Put, Key: "k", Field: "name", Value: []byte("Ada")},
			{Op: store.Put, Key: "k", Field: "town", Value: []byte("Paris")}, {Op: store.Delete, Key: "k", Field: "name"}, {Op: store.Delete, Key: "k"},
		} {
			g.do(c)
			page, e := g.read(g.home, store.Query{Key: "k"}), w.next().Events[0]
			var item store.Item
			if len(page.Items) > 0 {
				item = page.Items[0]
			}
			if !slices.Equal(e.Fields, item.Fields) || !slices.EqualFunc(e.Values, item.Values, slices.Equal) || len(e.Fields) != len(e.Values) {
				g.Errorf("%v of field %q: the event shows %q of %q, a read %q of %q", c.Op, c.Field, e.Values, e.Fields, item.Values, item.Fields)
			}
		}
	}},
	{name: "a put of a field that read it supersedes exactly what it read", mode: store.AP, policy: store.Map, check: func(g *group) {
		g.do(store.Command{Op: store.Put, Key: "k", Field: "f", Value: []byte("old")})
		read := g.contextOf("k")
		g.do(store.Command{Op: store.Put, Key: "k", Field: "f", Value: []byte("new")})
		g.do(store.Command{Op: store.Delete, Key: "k", Field: "f", Context: read})
		g.holds("k", "new")
	}},
	{name: "any sequence of writes and reads of a type is answered as the model answers it", mode: store.AP, policy: store.Counter, check: sameAsModel},
	{name: "any sequence of adds, removes and reads is answered as the model answers it", mode: store.AP, policy: store.Set, check: sameAsModel},
	{name: "any sequence of field puts, removes and reads is answered as the model answers it", mode: store.AP, policy: store.Map, check: sameAsModel},
}

// add is an add of a member that must succeed.
func (g *group) add(key, member string) store.Result {
	g.Helper()
	return g.do(store.Command{Op: store.Put, Key: key, Field: member})
}

// lists wants the values of key in that order.
func (g *group) lists(key string, values ...string) {
	g.Helper()
	if got := valuesOf(g.holds(key, values...)); !slices.Equal(got, values) {
		g.Errorf("%q shows %q, want %q", key, got, values)
	}
}

func (g *group) fields(key string, names []string, values ...string) {
	g.Helper()
	page := g.holds(key, values...)
	if got := valuesOf(page); !slices.Equal(got, values) || !slices.Equal(page.Items[0].Fields, names) {
		g.Errorf("%q shows %q of %q, want %q of %q", key, got, page.Items[0].Fields, values, names)
	}
}

// sameAsModel sends the same calls to the replicas' home and to the model.
func sameAsModel(g *group) {
	model := &group{T: g.T, cfg: g.cfg, replicas: []store.Replica{NewModel(g.cfg.Mode, g.cfg.Policy)}}
	cases := 0
	rapid.Check(inBubble{g.T}, func(t *rapid.T) {
		cases++
		for range rapid.IntRange(1, 20).Draw(t, "calls") {
			key := fmt.Sprintf("case%d/%d", cases, rapid.IntRange(0, 1).Draw(t, "key"))
			if rapid.IntRange(0, 2).Draw(t, "read") == 0 {
				q := store.Query{Key: key, Level: store.Causal}
				got, want := g.read(g.home, q), model.read(0, q)
				if a, b := shownIn(got), shownIn(want); a != b {
					t.Fatalf("%q shows %s, the model %s", key, a, b)
				}
				continue
			}
			c := typeWrite(t, g.cfg.Policy, key)
			got, err := g.write(c)
			want, modelErr := model.write(c)
			if codeOf(err) != codeOf(modelErr) || got.Found != want.Found || string(got.Value) != string(want.Value) {
				t.Fatalf("%v of %q %q: found %v, %q, %v; the model %v, %q, %v", c.Op, key, c.Field, got.Found, got.Value, err, want.Found, want.Value, modelErr)
			}
		}
	})
}

func typeWrite(t *rapid.T, p store.Policy, key string) store.Command {
	field := ""
	if p.Fields() {
		field = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "field")
	}
	switch n := rapid.IntRange(0, 9).Draw(t, "write"); {
	case n == 0:
		return store.Command{Op: store.Delete, Key: key}
	case p == store.Counter:
		return store.Command{Op: store.Increment, Key: key, Delta: rapid.Int64().Draw(t, "delta")}
	case n < 4:
		return store.Command{Op: store.Delete, Key: key, Field: field}
	case p == store.Set:
		return store.Command{Op: store.Put, Key: key, Field: field}
	}
	return store.Command{Op: store.Put, Key: key, Field: field, Value: rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "value")}
}

func shownIn(page store.Page) string {
	s := ""
	for _, item := range page.Items {
		s += fmt.Sprintf("%q %q", item.Fields, item.Values)
	}
	return s
}

func codeOf(err error) store.Code {
	if err == nil {
		return ""
	}
	return store.AsError(err).Code
}
