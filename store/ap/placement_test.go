package ap

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

// The tests play the catalog: they draw up placements and choose who hears of them.

// next is the placement after the present one, changed by change.
func (w *world) next(change func(p *Placement)) Placement {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.placed.clone()
	p.Epoch++
	change(&p)
	w.placed = p
	return p
}

func (w *world) newest() Placement {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.placed
}

func joins(name string) func(*Placement) {
	return func(p *Placement) { p.Members, p.Joining = append(p.Members, name), append(p.Joining, name) }
}

func entered(name string) func(*Placement) {
	return func(p *Placement) { p.Joining = without(p.Joining, []string{name}) }
}

func leaves(name string) func(*Placement) {
	return func(p *Placement) { p.Leaving = append(p.Leaving, name) }
}

func left(name string) func(*Placement) {
	return func(p *Placement) {
		out := []string{name}
		p.Members, p.Joining, p.Leaving = without(p.Members, out), without(p.Joining, out), without(p.Leaving, out)
	}
}

// tell has nodes hear of the newest placement.
func (w *world) tell(nodes ...string) {
	w.t.Helper()
	for _, node := range nodes {
		if err := w.at(node).Adopt(w.newest()); err != nil {
			w.t.Fatalf("%s: %v", node, err)
		}
	}
}

// newcomer starts a node that is joining.
func (w *world) newcomer(name string) {
	w.mu.Lock()
	w.names = append(slices.Clone(w.names), name)
	w.mu.Unlock()
	w.connect(name)
	w.next(joins(name))
	w.start(name)
}

func (w *world) catchUp(node string) error {
	ctx, cancel := within(10 * time.Second)
	defer cancel()
	return w.at(node).CatchUp(ctx)
}

func (w *world) leave(node string) error {
	ctx, cancel := within(5 * time.Second)
	defer cancel()
	return w.at(node).Leave(ctx)
}

// silent wants a node to refuse everything.
func (w *world) silent(node string) {
	w.t.Helper()
	for _, level := range []store.Level{store.Eventual, store.Causal, store.Quorum} {
		_, err := w.readErr(node, store.Query{Key: "k0", Level: level})
		w.fails(err, store.Unavailable)
	}
	_, err := w.readErr(node, bounded("k0", time.Hour))
	w.fails(err, store.Unavailable)
	_, err = w.writeErr(node, put("k0", "from "+node))
	w.fails(err, store.Unavailable)
	_, err = w.at(node).Watch(context.Background(), store.WatchQuery{Key: "k0"})
	w.fails(err, store.Unavailable)
	if s := w.at(node).Status(); s.Ready || s.Detail == "" {
		w.t.Errorf("%s says that it is ready: %+v", node, s)
	}
}

func TestJoinerServesNothingBeforeItHasCaughtUpAndTheOthersKnow(t *testing.T) {
	run(t, 3, Config{LogBytes: 8 << 10}, func(w *world) {
		for i := range 500 { // more than the log holds
			w.put(w.names[i%3], fmt.Sprintf("k%d", i%50), fmt.Sprint(i))
		}
		time.Sleep(time.Second)
		rest := []string{"n1", "n2", "n3"}
		w.newcomer("n4")
		w.cut([]string{"n4"}, rest)
		w.tell(rest...)
		time.Sleep(2 * time.Second)
		w.silent("n4")
		w.heal([]string{"n4"}, rest)
		if err := w.catchUp("n4"); err != nil {
			t.Fatal(err)
		}
		w.silent("n4") // the others do not ask it yet
		w.next(entered("n4"))
		w.tell("n4")
		time.Sleep(3 * time.Second)
		w.silent("n4") // nobody has confirmed that it counts
		w.tell("n2")
		time.Sleep(2 * time.Second)
		w.put("n4", "late", "v")
		w.tell("n1", "n3")
		time.Sleep(2 * time.Second)
		w.converged()
		if s := w.at("n4").Status(); !s.Ready || len(s.Members) != 4 || len(s.NonVoters) != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A replica that has not heard of a new member must not take itself for fresh once that
// member may take writes.
func TestBoundedReadIsNotProvedByAnAnswerOfANewerEpoch(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		time.Sleep(time.Second)
		w.newcomer("n4")
		w.tell("n2", "n3") // n1 hears nothing from now on
		if err := w.catchUp("n4"); err != nil {
			t.Fatal(err)
		}
		w.next(entered("n4"))
		w.tell("n2", "n3", "n4")
		time.Sleep(2 * time.Second)
		w.cut([]string{"n4"}, w.names)
		w.put("n4", "k", "v")
		time.Sleep(5 * time.Second)
		_, err := w.readErr("n1", bounded("k", 2*time.Second))
		w.fails(err, store.TooStale)
		w.heal([]string{"n4"}, w.names)
		time.Sleep(2 * time.Second)
		w.expect("n1", "k", "v") // passed on by the others
		_, err = w.readErr("n1", bounded("k", 2*time.Second))
		w.fails(err, store.TooStale)
		w.tell("n1")
		if page := w.read("n1", bounded("k", 2*time.Second)); len(page.Items) != 1 {
			t.Errorf("%+v", page)
		}
	})
}

func TestMemberLeavesOnlyWhenTheOthersHoldAllThatItHolds(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		rest := []string{"n1", "n2"}
		time.Sleep(time.Second)
		w.cut([]string{"n3"}, rest)
		w.put("n3", "k", "only here")
		w.next(leaves("n3"))
		w.tell(w.names...)
		_, err := w.writeErr("n3", put("k", "too late"))
		w.fails(err, store.Unavailable)
		w.fails(w.leave("n3"), store.Unavailable)
		time.Sleep(5 * time.Second)
		for _, node := range rest { // it counts until it is gone
			_, err := w.readErr(node, bounded("k", time.Second))
			w.fails(err, store.TooStale)
		}
		w.heal([]string{"n3"}, rest)
		w.put("n1", "meanwhile", "v")
		time.Sleep(2 * time.Second)
		w.expect("n3", "meanwhile", "v") // it goes on as it was
		if err := w.leave("n3"); err != nil {
			t.Fatal(err)
		}
		w.next(left("n3"))
		w.tell(rest...)
		for _, node := range rest {
			w.expect(node, "k", "only here")
		}
		w.stop("n3")
		time.Sleep(time.Minute)
		for _, node := range rest {
			w.read(node, bounded("k", time.Second))
		}
	})
}

// A coordinator that has not heard that a member left may not count on it.
func TestReplicaThatIsAboutToLeaveAcknowledgesNothing(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		time.Sleep(time.Second)
		w.next(leaves("n3"))
		w.tell("n2", "n3")
		if err := w.leave("n3"); err != nil {
			t.Fatal(err)
		}
		w.cut([]string{"n2"}, []string{"n1", "n3"})
		c := put("k", "v")
		c.W = store.WMajority
		_, err := w.writeErr("n1", c)
		w.fails(err, store.NotReplicated)
		w.next(left("n3"))
		w.tell("n3") // and is still there when it hears that it has left
		_, err = w.writeErr("n1", c)
		w.fails(err, store.NotReplicated)
		if vector := w.at("n3").vector(); vector != "" {
			t.Errorf("n3 has taken in %s", vector)
		}
	})
}

func TestWhoIsGivenUpForLostCountsForNothing(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		rest := []string{"n1", "n2"}
		time.Sleep(time.Second)
		w.cut([]string{"n3"}, rest)
		all := put("k", "v")
		all.W = store.WAll
		result, err := w.writeErr("n1", all)
		w.fails(err, store.NotReplicated)
		if result.Wanted != 3 {
			t.Errorf("%d of %d", result.Acked, result.Wanted)
		}
		w.next(left("n3"))
		w.tell(rest...)
		if result := w.write("n1", all); result.Wanted != 2 || result.Acked != 2 {
			t.Errorf("%d of %d", result.Acked, result.Wanted)
		}
		time.Sleep(10 * time.Second)
		w.read("n2", bounded("k", time.Second))
		// It lives on, and does not know. Nobody talks to it.
		w.heal([]string{"n3"}, rest)
		w.put("n3", "stray", "v")
		time.Sleep(5 * time.Second)
		for _, node := range rest {
			w.expect(node, "stray")
		}
		_, err = w.readErr("n3", bounded("k", time.Second))
		w.fails(err, store.TooStale)
		c := put("k", "w")
		c.W = store.WMajority
		_, err = w.writeErr("n3", c)
		w.fails(err, store.NotReplicated)
	})
}

// An epoch that was confirmed to a peer stays confirmed, whatever the node hears after
// a crash; and who had not caught up has not.
func TestPlacementOutlivesACrash(t *testing.T) {
	run(t, 3, Config{Durability: store.OS}, func(w *world) {
		time.Sleep(time.Second)
		old := w.newest()
		w.newcomer("n4")
		w.tell("n1", "n2", "n3")
		if err := w.catchUp("n4"); err != nil {
			t.Fatal(err)
		}
		w.next(entered("n4"))
		w.tell("n4") // nobody else has heard
		w.crash("n4")
		w.start("n4")
		time.Sleep(2 * time.Second)
		w.silent("n4")
		w.tell("n1", "n2", "n3")
		time.Sleep(2 * time.Second)
		w.put("n4", "k", "v")
		newest := w.newest()
		w.crash("n1")
		w.placed = old
		w.start("n1")
		w.placed = newest
		time.Sleep(2 * time.Second)
		if s := w.at("n1").Status(); s.Epoch != newest.Epoch || len(s.Members) != 4 {
			t.Errorf("it is back at epoch %d with %v", s.Epoch, s.Members)
		}
		w.crash("n4")
		w.start("n4")
		time.Sleep(time.Second)
		w.expect("n4", "k", "v")
	})
}

// What counters keep of a delete goes when everybody has settled it, a joiner too.
func TestCountersKeepADeleteForAJoiner(t *testing.T) {
	run(t, 3, Config{Policy: store.Counter}, func(w *world) {
		w.write("n1", store.Command{Op: store.Increment, Key: "k", Delta: 5})
		time.Sleep(time.Second)
		w.newcomer("n4")
		rest := []string{"n1", "n2", "n3"}
		w.cut([]string{"n4"}, rest)
		w.tell(rest...)
		w.write("n2", store.Command{Op: store.Delete, Key: "k"})
		time.Sleep(time.Minute)
		for _, node := range rest {
			if rows := w.rows(node, rowKey); rows != 1 {
				t.Errorf("%s keeps %d rows while n4 is away", node, rows)
			}
		}
		w.heal([]string{"n4"}, rest)
		if err := w.catchUp("n4"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		for _, node := range w.names {
			if rows := w.rows(node, rowKey); rows != 0 {
				t.Errorf("%s keeps %d rows", node, rows)
			}
		}
	})
}

// The only member hands over to a newcomer, which completes itself by the answers of a member
// that serves: there is no other.
func TestOnlyMemberLeavesAfterItsHeirServes(t *testing.T) {
	run(t, 1, Config{}, func(w *world) {
		w.put("n1", "k", "v")
		time.Sleep(time.Second)
		w.newcomer("n2")
		w.tell("n1")
		if err := w.catchUp("n2"); err != nil {
			t.Fatal(err)
		}
		w.next(func(p *Placement) { p.Joining = nil; p.Leaving = []string{"n1"} })
		w.tell("n2", "n1")
		if err := w.leave("n1"); err != nil {
			t.Fatal(err)
		}
		w.next(left("n1"))
		w.tell("n2", "n1")
		w.stop("n1")
		time.Sleep(10 * time.Minute)
		s := w.at("n2").Status()
		if !s.Ready {
			t.Errorf("n2: %+v", s)
		}
		w.expect("n2", "k", "v")
	})
}

func TestWhoIsOutDoesNotCountItself(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		time.Sleep(time.Second)
		w.cut([]string{"n3"}, []string{"n1"})
		w.cut([]string{"n2"}, []string{"n1"})
		done := make(chan error, 1)
		var res store.Result
		go func() {
			c := put("k", "v")
			c.W = store.WAll
			var err error
			res, err = w.writeErr("n3", c)
			done <- err
		}()
		time.Sleep(300 * time.Millisecond) // n2 has it, n1 not
		w.next(left("n3"))
		w.tell("n3")
		time.Sleep(300 * time.Millisecond)
		err := <-done
		if err == nil {
			t.Errorf("w=all of n1 and n2 was acknowledged by %d of %d, n1 has %q", res.Acked, res.Wanted, w.get("n1", "k"))
		}
	})
}

func TestLastToServeTakesWritesUntilAnotherHasCome(t *testing.T) {
	run(t, 1, Config{}, func(w *world) {
		time.Sleep(time.Second)
		w.next(func(p *Placement) {
			p.Members, p.Joining, p.Leaving = []string{"n1", "n2"}, []string{"n2"}, []string{"n1"}
		})
		w.tell("n1")
		w.put("n1", "k", "v")
		w.next(func(p *Placement) { p.Members, p.Joining = []string{"n1"}, nil }) // who was to come is lost
		w.tell("n1")
		w.put("n1", "k", "v2")
		w.expect("n1", "k", "v2")
	})
}
