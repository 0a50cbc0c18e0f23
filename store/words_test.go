package store_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

// parses holds a Parse function to its table: what it accepts, and that everything
// else is Invalid, names the input and says what to try.
func parses[T comparable](t *testing.T, what string, parse func(string) (T, error), accepted map[string]T, refused ...string) {
	t.Helper()
	for text, want := range accepted {
		if got, err := parse(text); err != nil || got != want {
			t.Errorf("%s %q: got %v, %v; want %v", what, text, got, err, want)
		}
	}
	var zero T
	for _, text := range append(refused, "nonsense", "level(9)") {
		got, err := parse(text)
		if !errors.Is(err, store.Invalid) || got != zero {
			t.Errorf("%s %q: got %v, %v; want Invalid", what, text, got, err)
		}
	}
}

func TestParse(t *testing.T) {
	parses(t, "level", store.ParseLevel, map[string]store.Level{
		"": store.LevelDefault, "default": store.LevelDefault, "eventual": store.Eventual, "bounded": store.Bounded, "monotonic": store.Monotonic,
		"read-your-writes": store.ReadYourWrites, "causal": store.Causal, "quorum": store.Quorum, "strong": store.Strong,
	}, "Strong", " strong", "bounded:2s")
	parses(t, "mode", store.ParseMode, map[string]store.Mode{"cp": store.CP, "ap": store.AP}, "", "CP")
	parses(t, "policy", store.ParsePolicy, map[string]store.Policy{"": store.LWW, "lww": store.LWW, "siblings": store.Siblings}, "LWW")
	parses(t, "w", store.ParseW, map[string]store.W{"": store.WDefault, "local": store.WLocal, "majority": store.WMajority, "all": store.WAll}, "2", "default")
	parses(t, "durability", store.ParseDurability, map[string]store.Durability{"": store.Fsync, "fsync": store.Fsync, "os": store.OS, "memory": store.Memory}, "none")
	parses(t, "group", store.ParseGroupID, map[string]store.GroupID{
		"1/0": {Keyspace: 1}, "18446744073709551615/4294967295": {Keyspace: 1<<64 - 1, Shard: 1<<32 - 1},
	}, "", "1", "/", "1/", "/1", "-1/0", "1/4294967296", "1/2/3", "a/b")
}

func TestParseLevelBound(t *testing.T) {
	type levelBound struct {
		level store.Level
		bound time.Duration
	}
	parses(t, "level", func(text string) (levelBound, error) {
		level, bound, err := store.ParseLevelBound(text)
		return levelBound{level, bound}, err
	}, map[string]levelBound{
		"": {}, "default": {}, "strong": {store.Strong, 0}, "quorum": {store.Quorum, 0}, "eventual": {store.Eventual, 0},
		"bounded:2s": {store.Bounded, 2 * time.Second}, "bounded:1m30s": {store.Bounded, 90 * time.Second}, "bounded:1ns": {store.Bounded, 1},
	}, "bounded", "bounded:", "bounded:0s", "bounded:-1s", "bounded:2", "bounded:soon", "bounded:2s:3s", "Bounded:2s",
		"strong:2s", "strong:", ":", ":2s", "default:2s", "bound:2s", "bounded:9999999h")
}

func TestNamesComeBackAsWhatTheyName(t *testing.T) {
	for _, name := range store.LevelNames {
		if level, err := store.ParseLevel(name); err != nil || level.String() != name {
			t.Errorf("level %q reads as %v, %v", name, level, err)
		}
	}
	for _, g := range []store.GroupID{{}, {Keyspace: 7, Shard: 3}, {Keyspace: 1<<64 - 1, Shard: 1<<32 - 1}} {
		if got, err := store.ParseGroupID(g.String()); err != nil || got != g {
			t.Errorf("group %v reads as %v, %v", g, got, err)
		}
	}
}

func TestUnnamedValuesStillPrint(t *testing.T) {
	for got, want := range map[string]string{
		store.Level(9).String():      "level(9)",
		store.Mode(9).String():       "mode(9)",
		store.Policy(9).String():     "policy(9)",
		store.W(9).String():          "w(9)",
		store.Durability(9).String(): "durability(9)",
		store.Op(99).String():        "op(99)",
		store.Target(9).String():     "target(9)",
		store.Relation(9).String():   "relation(9)",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestEveryOperationHasAName(t *testing.T) {
	for op, want := range map[store.Op]string{
		store.Put: "put", store.Delete: "delete", store.OpenSession: "open-session", store.Increment: "incr", store.Transact: "txn",
		store.Grant: "lease-grant", store.KeepAlive: "lease-keepalive", store.Revoke: "lease-revoke", store.Get: "get",
		store.CloseSession: "close-session", store.CloseSession + 1: "op(11)", 0: "op(0)",
	} {
		if got := op.String(); got != want {
			t.Errorf("operation %d: got %q, want %q", op, got, want)
		}
	}
}

func TestComparisonsHaveTheNamesPeopleWrite(t *testing.T) {
	var names []string
	for target := store.TargetValue; target <= store.TargetLease; target++ {
		names = append(names, target.String())
	}
	for relation := store.Equal; relation <= store.Greater; relation++ {
		names = append(names, relation.String())
	}
	if want := []string{"value", "version", "created", "changed", "lease", "=", "!=", "<", ">"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}

func TestLevelsGrow(t *testing.T) {
	ordered := []store.Level{store.Eventual, store.Bounded, store.Monotonic, store.ReadYourWrites, store.Causal, store.Quorum, store.Strong}
	if len(ordered) != len(store.LevelNames) {
		t.Fatalf("%d levels have %d names", len(ordered), len(store.LevelNames))
	}
	for i, level := range ordered {
		if level.String() != store.LevelNames[i] {
			t.Errorf("level %d is %v, its name is %q", i, level, store.LevelNames[i])
		}
		if i > 0 && level <= ordered[i-1] {
			t.Errorf("%v is not above %v", level, ordered[i-1])
		}
	}
}

func TestNobodyGetsEventualByAccident(t *testing.T) {
	if cp, ap := store.LevelDefault.Or(store.CP), store.LevelDefault.Or(store.AP); cp != store.Strong || ap != store.Causal {
		t.Errorf("the defaults are %v on cp and %v on ap", cp, ap)
	}
	if got := store.Eventual.Or(store.CP); got != store.Eventual {
		t.Errorf("a level that was asked for became %v", got)
	}
}

func TestPACELC(t *testing.T) {
	for _, c := range []struct {
		mode  store.Mode
		level store.Level
		want  string
	}{
		{store.CP, store.LevelDefault, "PC/EC"},
		{store.CP, store.Strong, "PC/EC"},
		{store.CP, store.Causal, "PC/EL"},
		{store.CP, store.Eventual, "PC/EL"},
		{store.CP, store.Bounded, "PC after d/EL"},
		{store.CP, store.Quorum, "PC/EC"},
		{store.AP, store.Bounded, "PC after d/EL"},
		{store.AP, store.Quorum, "PC/EC"},
		{store.AP, store.LevelDefault, "PA (sticky)/EL"},
		{store.AP, store.Causal, "PA (sticky)/EL"},
		{store.AP, store.Monotonic, "PA (sticky)/EL"},
		{store.AP, store.Eventual, "PA/EL"},
	} {
		if got := c.level.PACELC(c.mode); got != c.want {
			t.Errorf("%v %v: got %q, want %q", c.mode, c.level, got, c.want)
		}
	}
}

func TestWOfAPlacement(t *testing.T) {
	for n, want := range map[int][3]int{1: {1, 1, 1}, 2: {1, 2, 2}, 3: {1, 2, 3}, 4: {1, 3, 4}, 5: {1, 3, 5}} {
		if got := [3]int{store.WLocal.Of(n), store.WMajority.Of(n), store.WAll.Of(n)}; got != want {
			t.Errorf("of %d replicas: got %v, want %v", n, got, want)
		}
	}
}

func TestRequestIsNamedByItsNumber(t *testing.T) {
	if (store.Request{}).Named() || (store.Request{Session: 1}).Named() || !(store.Request{Number: 1}).Named() {
		t.Error("a request is named by its number, and by nothing else")
	}
}

func TestACommandIsNamedAsItsCallerKnowsIt(t *testing.T) {
	for want, c := range map[string]store.Command{
		"put":    {Op: store.Put, If: store.Condition{Kind: store.IfRevision, Revision: 1}},
		"cas":    {Op: store.Put, If: store.Condition{Kind: store.IfValue}},
		"delete": {Op: store.Delete},
	} {
		if got := c.Name(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
