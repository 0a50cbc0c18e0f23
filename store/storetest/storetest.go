// Package storetest is the law that every store.Replica keeps: both engines and the
// plain-map model, which is the law's shortest statement.
//
// Each law is one sub-test, named by what it promises, on a group of its own. It
// uses nothing but the contract in package store, as a client would: it follows the
// leader's name, repeats only what certainly was not done, and hands entries and
// contexts on without looking inside.
package storetest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

// Config says what is held to the law.
type Config struct {
	Mode   store.Mode
	Policy store.Policy // of an ap keyspace

	// Open starts one group, never seen before, and returns its running replicas:
	// one or more, each on a node of its own. They end through t.Cleanup. A law may
	// open more than one group.
	Open func(t *testing.T) []store.Replica

	// Depose, if there is one, makes the group that leader leads choose another
	// leader, and returns when that is under way. Laws that need it are skipped
	// without it. cp groups of three or more only.
	Depose func(t *testing.T, leader store.Replica)

	// In runs each law: nil in real time, linktest.Bubble in virtual time.
	In func(t *testing.T, law func(t *testing.T))
}

// Times a law may take. No engine should come near patience; short is how long a
// law waits for what must not come.
const (
	patience = 20 * time.Second
	short    = 200 * time.Millisecond
)

// law is one promise. The zero mode is any, the zero policy any that keeps registers.
type law struct {
	name   string
	mode   store.Mode
	policy store.Policy
	check  func(g *group)
}

// Run holds the replicas of cfg to every law of their mode and policy.
func Run(t *testing.T, cfg Config) {
	in := cfg.In
	if in == nil {
		in = func(t *testing.T, law func(t *testing.T)) { law(t) }
	}
	for _, l := range slices.Concat(
		plainLaws, sessionLaws, scanLaws, pageLaws, levelLaws, refusalLaws, conditionLaws, onceLaws, causalLaws,
		incrementLaws, txnLaws, bankLaws, leaseLaws, expiryLaws, watchLaws, watchEventLaws, watchAPLaws, randomLaws, typeLaws, depsLaws,
	) {
		if l.mode != 0 && l.mode != cfg.Mode || l.policy != 0 && (cfg.Mode != store.AP || l.policy != cfg.Policy) {
			continue
		}
		if l.policy == 0 && dataType(cfg.Policy) { // what is of registers
			continue
		}
		t.Run(l.name, func(t *testing.T) {
			in(t, func(t *testing.T) { l.check(open(t, cfg)) })
		})
	}
}

// group is the client's end of the group under test.
type group struct {
	*testing.T
	cfg      Config
	replicas []store.Replica
	home     int // where writes go: on cp the leader, as far as is known
}

func open(t *testing.T, cfg Config) *group {
	t.Helper()
	g := &group{T: t, cfg: cfg, replicas: cfg.Open(t)}
	if len(g.replicas) == 0 {
		t.Fatal("Open returned no replica")
	}
	return g
}

// within is a context of the test that ends after d.
func (g *group) within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(g.Context(), d)
}

// patiently calls try until it succeeds, fails for a reason of its own, or patience
// ends: a client, too, comes back when nobody could serve it and nothing was done.
func (g *group) patiently(try func(ctx context.Context) error) error {
	ctx, cancel := g.within(patience)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		switch store.AsError(err).Code {
		case store.NotLeader, store.Unavailable, store.Overloaded:
			g.pause(ctx)
		default:
			return err
		}
	}
}

func (g *group) pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Millisecond):
	}
}

// write sends c to the home replica, and goes where NotLeader points.
func (g *group) write(c store.Command) (result store.Result, err error) {
	err = g.patiently(func(ctx context.Context) (err error) {
		result, err = g.replicas[g.home].Write(ctx, c)
		if e := store.AsError(err); e != nil && e.Code == store.NotLeader {
			g.home = g.after(e.Leader)
		}
		return err
	})
	return result, err
}

func (g *group) readAt(i int, q store.Query) (page store.Page, err error) {
	err = g.patiently(func(ctx context.Context) (err error) {
		page, err = g.replicas[i].Read(ctx, q)
		return err
	})
	return page, err
}

// after is the replica on the named node, or the next one to ask when nobody knows.
func (g *group) after(leader string) int {
	named := slices.IndexFunc(g.replicas, func(r store.Replica) bool { return r.Status().Node == leader })
	if named >= 0 {
		return named
	}
	return (g.home + 1) % len(g.replicas)
}

// depose makes the group choose another leader, and returns when that has applied a
// write. A law that calls it is skipped where that cannot be done.
func (g *group) depose() {
	g.Helper()
	if g.cfg.Depose == nil || len(g.replicas) < 3 {
		g.Skip("the leader of this group cannot be made to step down")
	}
	was := g.home
	g.cfg.Depose(g.T, g.replicas[was])
	g.put("deposed", "v")
	if g.home == was {
		g.Fatal("the leader is the same")
	}
}

// do is a write that must succeed.
func (g *group) do(c store.Command) store.Result {
	g.Helper()
	result, err := g.write(c)
	if err != nil {
		g.Fatalf("%v %q: %v", c.Op, c.Key, err)
	}
	return result
}

// doAt is a write that must succeed at one replica of an ap group.
func (g *group) doAt(i int, c store.Command) store.Result {
	g.Helper()
	there := *g
	there.home = i
	result, err := there.write(c)
	if err != nil {
		g.Fatalf("%v %q at replica %d: %v", c.Op, c.Key, i, err)
	}
	return result
}

func (g *group) put(key, value string) store.Result {
	g.Helper()
	return g.do(store.Command{Op: store.Put, Key: key, Value: []byte(value)})
}

func (g *group) delete(key string) store.Result {
	g.Helper()
	return g.do(store.Command{Op: store.Delete, Key: key})
}

// refused is a write that must end with code.
func (g *group) refused(code store.Code, c store.Command) store.Result {
	g.Helper()
	result, err := g.write(c)
	g.isCode(err, code)
	return result
}

// isCode wants the one error type with the code.
func (g *group) isCode(err error, code store.Code) {
	g.Helper()
	if err == nil {
		g.Fatalf("succeeded, want %s", code)
	}
	if e := g.typed(err); e.Code != code {
		g.Fatalf("got %v, want %s", err, code)
	}
}

// typed wants the contract's error type: a bare error would reach a client as
// Unknown, whatever it meant.
func (g *group) typed(err error) *store.Error {
	g.Helper()
	e, ok := err.(*store.Error) // the contract: itself, not an error that wraps it
	if !ok {
		g.Fatalf("error is a %T, want *store.Error: %v", err, err)
	}
	return e
}

// read is a read that must succeed at replica i.
func (g *group) read(i int, q store.Query) store.Page {
	g.Helper()
	page, err := g.readAt(i, q)
	if err != nil {
		g.Fatalf("read of %q at replica %d, level %v: %v", q.Key, i, q.Level.Or(g.cfg.Mode), err)
	}
	if !q.Scan() && len(page.Items) > 1 {
		g.Fatalf("get of %q returned %d items", q.Key, len(page.Items))
	}
	return page
}

// freshest is the level that sees the last write at the replica that took it.
func (g *group) freshest() store.Level { return store.LevelDefault.Or(g.cfg.Mode) }

// holds wants key to hold exactly values, in any order, and returns the view.
func (g *group) holds(key string, values ...string) store.Page {
	g.Helper()
	return g.shows(g.home, store.Query{Key: key, Level: g.freshest()}, values...)
}

// shows wants the get q at replica i to find exactly values, in any order.
func (g *group) shows(i int, q store.Query, values ...string) store.Page {
	g.Helper()
	page := g.read(i, q)
	got := valuesOf(page)
	want := slices.Clone(values)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		g.Fatalf("%q at replica %d, level %v: got %q, want %q", q.Key, i, q.Level.Or(g.cfg.Mode), got, want)
	}
	return page
}

// valuesOf lists what a get found.
func valuesOf(page store.Page) []string {
	var values []string
	for _, item := range page.Items {
		for _, v := range item.Values {
			values = append(values, string(v))
		}
	}
	return values
}

// all scans what q asks for to its end and returns the items of all pages.
func (g *group) all(i int, q store.Query) []store.Item {
	g.Helper()
	const most = 1000
	var items []store.Item
	for range most {
		page := g.read(i, q)
		if len(page.Items) > q.Limit {
			g.Fatalf("a page has %d items, the limit was %d", len(page.Items), q.Limit)
		}
		items = append(items, page.Items...)
		if page.Next == "" {
			return items
		}
		q.Page = page.Next
	}
	g.Fatalf("scan %+v: no end after %d pages and %d items", q, most, len(items))
	return nil
}

// sessionLevels are those that cover the session's entry.
func (g *group) sessionLevels() []store.Level {
	levels := []store.Level{store.Bounded, store.Monotonic, store.ReadYourWrites, store.Causal, store.Quorum, store.LevelDefault}
	if g.cfg.Mode == store.CP {
		levels = append(levels, store.Strong)
	}
	return levels
}

// at is a get of key at a level, with a generous bound where the level has one.
func at(level store.Level, key string, after store.Entry) store.Query {
	q := store.Query{Key: key, Level: level, After: after}
	if level == store.Bounded {
		q.Bound = patience
	}
	return q
}
