package ap

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/store"
)

func TestWriteIsReadAtEveryMember(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		c := put("k", "v")
		c.W = store.WAll
		result := w.write("n1", c)
		if result.Acked != 3 || result.Wanted != 3 || result.Found || result.Proof.WaitedFor != "acknowledgements" {
			t.Errorf("the result is %+v", result)
		}
		for _, node := range w.names {
			w.expect(node, "k", "v")
			if s := w.at(node).Status(); s.Revision != 1 || !s.Ready || s.Mode != store.AP || len(s.Members) != 3 {
				t.Errorf("status of %s: %+v", node, s)
			}
		}
		if again := w.put("n2", "k", "v2"); !again.Found {
			t.Error("the key was there, and the result says not")
		}
	})
}

func TestGroupOfOneNeedsNobody(t *testing.T) {
	run(t, 1, Config{W: store.WAll}, func(w *world) {
		w.put("n1", "k", "v")
		page := w.read("n1", store.Query{Key: "k"})
		if p := page.Proof; p.Asked != store.Causal || p.Served != store.Causal || !p.Fresh || p.Staleness != 0 {
			t.Errorf("the proof is %+v", p)
		}
	})
}

func TestBothSidesOfACutTakeWritesAndMeetAfterIt(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		w.cut([]string{"n1"}, []string{"n2", "n3"})
		w.put("n1", "left", "1")
		w.put("n2", "right", "2")
		w.put("n1", "both", "1")
		time.Sleep(time.Second)
		w.put("n3", "both", "3")
		time.Sleep(15 * time.Second)
		w.expect("n3", "left")
		w.heal([]string{"n1"}, []string{"n2", "n3"})
		time.Sleep(5 * time.Second)
		w.converged()
		w.expect("n1", "right", "2")
		w.expect("n2", "left", "1")
		w.expect("n1", "both", "3") // the later of two that are concurrent
	})
}

func TestStatusSaysHowFarOthersAreBehind(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		w.put("n1", "k", "v")
		time.Sleep(time.Second)
		w.cut([]string{"n3"}, []string{"n1", "n2"})
		for range 5 {
			w.put("n1", "k", "v")
			w.put("n2", "j", "v")
		}
		w.put("n3", "i", "v")
		time.Sleep(time.Second)
		for node, want := range map[string]map[string]uint64{
			"n1": {"n2": 0, "n3": 10}, "n2": {"n1": 0, "n3": 10}, "n3": {"n1": 1, "n2": 1},
		} {
			if got := w.at(node).Status().Backlog; !maps.Equal(got, want) {
				t.Errorf("%s: %v, want %v", node, got, want)
			}
		}
		w.heal([]string{"n3"}, []string{"n1", "n2"})
		time.Sleep(5 * time.Second)
		for _, node := range w.names {
			for peer, n := range w.at(node).Status().Backlog {
				if n != 0 {
					t.Errorf("%s, after the heal: %s is %d behind", node, peer, n)
				}
			}
		}
	})
}

func TestSessionIsServedOnlyWhereItsWritesAre(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		w.cut([]string{"n1"}, []string{"n2", "n3"})
		session := w.put("n1", "k", "v").Entry
		for _, level := range []store.Level{store.Causal, store.ReadYourWrites, store.Monotonic, store.LevelDefault} {
			_, err := w.readErr("n2", store.Query{Key: "k", Level: level, After: session})
			if mutant.M10 {
				if err != nil {
					t.Errorf("the planted bug does not show: %v", err)
				}
				continue
			}
			w.fails(err, store.SessionUnreachable)
			if store.AsError(err).MaybeApplied() || !strings.Contains(err.Error(), ":1") {
				t.Errorf("the error does not say what is missing: %v", err)
			}
		}
		c := put("other", "v")
		c.After = session
		_, err := w.writeErr("n2", c)
		w.fails(err, store.SessionUnreachable)
		w.expect("n2", "other")

		w.expect("n2", "k") // eventual does not look at the session
		w.heal([]string{"n1"}, []string{"n2", "n3"})
		page := w.read("n2", store.Query{Key: "k", After: session})
		if len(page.Items) != 1 && !mutant.M10 {
			t.Error("the session does not read its own write")
		}
	})
}

func TestSessionWaitEndsWhenTheWriteArrives(t *testing.T) {
	if mutant.M10 {
		t.Skip("the token is ignored")
	}
	run(t, 2, Config{}, func(w *world) {
		w.set([]string{"n1"}, []string{"n2"}, func(l *link) { l.delay = 300 * time.Millisecond })
		time.Sleep(2 * time.Second)
		session := w.put("n1", "k", "v").Entry
		page := w.read("n2", store.Query{Key: "k", After: session})
		if p := page.Proof; len(page.Items) != 1 || p.WaitedFor != "session" || p.Waited != 300*time.Millisecond {
			t.Errorf("after %s for %q: %v", p.Waited, p.WaitedFor, page.Items)
		}
	})
}

// A reply must not be read before what it replies to, though it comes by a faster
// way.
func TestEffectIsNotReadBeforeItsCause(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		w.set([]string{"n1"}, []string{"n3"}, func(l *link) { l.delay = 400 * time.Millisecond })
		time.Sleep(2 * time.Second)
		violations := 0
		for i := range 20 {
			post := w.put("n1", fmt.Sprintf("post%d", i), "p")
			reply := put(fmt.Sprintf("reply%d", i), "r")
			reply.After = post.Entry
			w.write("n2", reply)
			for range 50 {
				time.Sleep(10 * time.Millisecond)
				page := w.read("n3", store.Query{Level: store.Eventual, Limit: 100})
				keys := map[string]bool{}
				for _, item := range page.Items {
					keys[item.Key] = true
				}
				if keys[fmt.Sprintf("reply%d", i)] && !keys[fmt.Sprintf("post%d", i)] {
					violations++
				}
			}
		}
		if (violations > 0) != mutant.M9 {
			t.Errorf("%d times a reply was there without its post", violations)
		}
	})
}

func TestWriteThatDoesNotSpreadSaysSo(t *testing.T) {
	run(t, 3, Config{W: store.WMajority}, func(w *world) {
		w.put("n1", "k", "before")
		w.cut([]string{"n1"}, []string{"n2", "n3"})
		result, err := w.writeErr("n1", put("k", "v"))
		w.fails(err, store.NotReplicated)
		if result.Acked != 1 || result.Wanted != 2 || result.Entry == nil {
			t.Errorf("the result is %+v", result)
		}
		w.expect("n1", "k", "v") // it exists
		local := put("k2", "v")
		local.W = store.WLocal
		w.write("n1", local)
		w.put("n2", "k3", "v") // the other side has a majority
		all := put("k4", "v")
		all.W = store.WAll
		result, err = w.writeErr("n2", all)
		w.fails(err, store.NotReplicated)
		if result.Acked != 2 || result.Wanted != 3 {
			t.Errorf("the result is %+v", result)
		}
		w.heal([]string{"n1"}, []string{"n2", "n3"})
		time.Sleep(5 * time.Second)
		w.expect("n3", "k", "v")
	})
}

func TestStalenessGrowsWhileAMemberIsNotHeard(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		staleness := func(node string) time.Duration {
			p := w.read(node, store.Query{Key: "k", Level: store.Eventual}).Proof
			if !p.Fresh {
				return -1
			}
			return p.Staleness
		}
		if got := staleness("n1"); got != -1 {
			t.Errorf("before anybody was heard the staleness is %s", got)
		}
		time.Sleep(2 * time.Second)
		if got := staleness("n1"); got < 0 || got > 600*time.Millisecond {
			t.Errorf("when all is well the staleness is %s", got)
		}
		w.cut([]string{"n1"}, []string{"n2", "n3"})
		w.put("n2", "k", "unseen")
		time.Sleep(10 * time.Second)
		if got := staleness("n1"); got < 10*time.Second || got > 10600*time.Millisecond {
			t.Errorf("10 s after the cut the staleness is %s", got)
		}
		w.heal([]string{"n1"}, []string{"n2", "n3"})
		time.Sleep(5 * time.Second)
		if got := staleness("n1"); got < 0 || got > 600*time.Millisecond {
			t.Errorf("after the heal the staleness is %s", got)
		}
	})
}

func TestScanIsOneViewInPages(t *testing.T) {
	run(t, 1, Config{}, func(w *world) {
		for i := range 25 {
			w.put("n1", fmt.Sprintf("a/%02d", i), "v")
			w.put("n1", fmt.Sprintf("b/%02d", i), "v")
		}
		var keys []string
		q := store.Query{Prefix: "a/", Limit: 10}
		for {
			page := w.read("n1", q)
			for _, item := range page.Items {
				keys = append(keys, item.Key)
			}
			if q.Page = page.Next; q.Page == "" {
				break
			}
		}
		if len(keys) != 25 || !slices.IsSorted(keys) || keys[0] != "a/00" || keys[24] != "a/24" {
			t.Errorf("the scan gave %q", keys)
		}
		if page := w.read("n1", store.Query{Prefix: "a/", Key: "b/", Limit: 10}); len(page.Items) != 0 || page.Next != "" {
			t.Errorf("behind the prefix there are %d items", len(page.Items))
		}
		if page := w.read("n1", store.Query{Prefix: "a/", Key: "a/23x", Limit: 10}); len(page.Items) != 1 {
			t.Errorf("from a/23x there are %d items", len(page.Items))
		}
	})
}

func TestScanPageIsBoundedInBytes(t *testing.T) {
	run(t, 1, Config{}, func(w *world) {
		for i := range 4 {
			w.put("n1", fmt.Sprint("k", i), strings.Repeat("x", 400<<10))
		}
		page := w.read("n1", store.Query{Limit: 10})
		if rest := w.read("n1", store.Query{Limit: 10, Page: page.Next}); len(page.Items) != 2 || len(rest.Items) != 2 || rest.Items[0].Key != "k2" {
			t.Errorf("%d items, then %d", len(page.Items), len(rest.Items))
		}
	})
}

func TestWhatApCannotDoIsRefusedAtOnce(t *testing.T) {
	run(t, 1, Config{}, func(w *world) {
		began := time.Now()
		_, err := w.readErr("n1", store.Query{Key: "k", Level: store.Strong})
		w.fails(err, store.LevelUnsupported)
		if store.AsError(err).Try == "" {
			t.Error("the refusal does not say what to try")
		}
		_, err = w.readErr("n1", store.Query{Key: "k", Level: 77})
		w.fails(err, store.Invalid)
		_, err = w.readErr("n1", store.Query{Key: "k", After: store.Entry("no entry")})
		if !mutant.M10 {
			w.fails(err, store.Invalid)
		}
		for want, c := range map[store.Code][]store.Command{
			store.Unsupported: {
				{Op: store.OpenSession},
				{Op: store.Put, Key: "k", If: store.Condition{Kind: store.IfAbsent}},
			},
			store.Invalid: {
				{Op: store.Put, Key: ""},
				{Op: store.Put, Key: "k", W: 77},
				{Op: store.Put, Key: "k", Context: store.Entry("no entry")},
				{Op: store.Put, Key: "k", Blind: true, Context: w.put("n1", "x", "").Context},
				{Op: store.Delete, Key: "k", Blind: true},
				{Op: store.Put, Key: "k", Request: store.Request{Number: 1, Lowest: 2}},
			},
			store.TooLarge: {{Op: store.Put, Key: "k", Value: make([]byte, store.MaxValue+1)}},
		} {
			for _, c := range c {
				_, err := w.writeErr("n1", c)
				w.fails(err, want)
			}
		}
		w.expect("n1", "k")
		if time.Since(began) > 100*time.Millisecond {
			t.Errorf("the refusals took %s", time.Since(began))
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	_, err := Open(Config{Node: "n1", Placement: Placement{Members: []string{"n2"}}})
	if !errors.Is(err, store.Invalid) {
		t.Errorf("the error is %v", err)
	}
}

// A node asks its replicas from time to time what they depend on, also one that was just
// opened.
func TestReplicaThatDoesNotRunYetDependsOnNothing(t *testing.T) {
	run(t, 1, Config{}, func(w *world) {
		e, err := openEngine(vfs.NewMem())
		if err != nil {
			t.Fatal(err)
		}
		cfg := w.cfg
		cfg.Node, cfg.Placement, cfg.Engine, cfg.Peers = "n1", w.placed, e, peersOf{w, "n1"}
		cfg.Group, cfg.Clock = store.GroupID{Keyspace: 8}, time.Now
		r, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if deps := r.Deps(); !deps.Empty() {
			t.Errorf("it depends on %v", deps)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}
