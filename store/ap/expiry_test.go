package ap

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

func (w *world) putFor(node, key, value string, ttl time.Duration) store.Result {
	w.t.Helper()
	c := put(key, value)
	c.TTL = ttl
	return w.write(node, c)
}

// none wants that no replica holds a key or a deadline any more.
func (w *world) none() {
	w.t.Helper()
	for _, name := range w.names {
		for what, row := range map[string]byte{"keys": rowKey, "deadlines": rowDeadline} {
			if n := w.rows(name, row); n != 0 {
				w.t.Errorf("%s has %d %s", name, n, what)
			}
		}
	}
	w.converged()
}

func TestValueEndsByADeleteOfTheNodeThatTookIt(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		w.putFor("n2", "k", "v", time.Second)
		time.Sleep(time.Second - time.Millisecond)
		for _, name := range w.names {
			w.expect(name, "k", "v")
		}
		time.Sleep(100 * time.Millisecond)
		for _, name := range w.names {
			if n := w.at(name).Status().Revision; n != 2 {
				t.Errorf("%s has applied %d writes, one of them a put", name, n)
			}
		}
		w.none()
	})
}

func TestRefreshedAndConcurrentValuesStay(t *testing.T) {
	run(t, 2, Config{Policy: store.Siblings}, func(w *world) {
		first := w.putFor("n1", "k", "short", time.Second)
		w.write("n1", store.Command{Op: store.Put, Key: "k", Value: []byte("long"), TTL: time.Minute, Context: first.Context})
		w.write("n2", store.Command{Op: store.Put, Key: "k", Value: []byte("for ever"), Blind: true})
		w.putFor("n1", "again", "v", time.Second)
		page := w.read("n1", store.Query{Key: "again"})
		w.write("n2", store.Command{Op: store.Put, Key: "again", Value: []byte("w"), Context: page.Context})
		time.Sleep(30 * time.Second)
		if got := w.get("n1", "k"); len(got) != 2 {
			t.Errorf("k is %q", got)
		}
		w.expect("n1", "again", "w")
		time.Sleep(time.Minute)
		w.expect("n1", "k", "for ever")
		w.expect("n2", "k", "for ever")
		if n := w.rows("n1", rowDeadline); n != 0 {
			t.Errorf("%d deadlines are left", n)
		}
		w.converged()
	})
}

// The node that took the write is away when the deadline comes; it is told when it is
// back, and nobody writes what another has written.
func TestValueEndsWithoutTheNodeThatTookIt(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		w.putFor("n1", "k", "v", time.Second)
		time.Sleep(500 * time.Millisecond)
		w.crash("n1")
		time.Sleep(10 * time.Second)
		w.expect("n2", "k", "v") // the grace is not over
		time.Sleep(2 * time.Second)
		w.expect("n2", "k")
		w.expect("n3", "k")
		if n := w.at("n3").Status().Revision; n != 2 {
			t.Errorf("%d writes, want the put and one delete", n)
		}
		w.start("n1")
		time.Sleep(5 * time.Second)
		w.none()
	})
}

// A new life has another actor, and still ends what an earlier one took.
func TestRestartedNodeGoesOnWithItsDeadlines(t *testing.T) {
	run(t, 1, Config{}, func(w *world) {
		w.putFor("n1", "during", "v", time.Second)
		w.putFor("n1", "after", "v", time.Minute)
		w.crash("n1")
		time.Sleep(2 * time.Second)
		w.start("n1")
		time.Sleep(100 * time.Millisecond)
		w.expect("n1", "during")
		w.expect("n1", "after", "v")
		if due := w.at("n1"); due.Status().Revision != 3 {
			t.Errorf("%d writes", due.Status().Revision)
		}
		next := w.read("n1", store.Query{Key: "after"})
		w.write("n1", store.Command{Op: store.Put, Key: "after", Value: []byte("w"), Context: next.Context, TTL: time.Minute})
		if n := w.rows("n1", rowDeadline); n != 1 {
			t.Errorf("%d deadlines for one value: that of an earlier life is not forgotten", n)
		}
		time.Sleep(61 * time.Second)
		w.none()
	})
}

// Both sides of a cut end the value, and so do several members at once.
func TestDeletesOfTwoSidesAreAsGoodAsOne(t *testing.T) {
	run(t, 4, Config{Policy: store.Siblings}, func(w *world) {
		w.putFor("n1", "k", "v", time.Second)
		time.Sleep(500 * time.Millisecond)
		left, right := []string{"n1", "n2"}, []string{"n3", "n4"}
		w.cut(left, right)
		time.Sleep(600 * time.Millisecond)
		w.expect("n2", "k")
		w.expect("n3", "k", "v")
		time.Sleep(20 * time.Second)
		w.expect("n3", "k")
		w.write("n4", store.Command{Op: store.Put, Key: "k", Value: []byte("new")})
		w.heal(left, right)
		time.Sleep(10 * time.Second)
		w.expect("n1", "k", "new")
		w.converged()
		if n := w.at("n1").Status().Revision; n != 4 {
			t.Errorf("%d writes, want two puts and a delete of each side", n)
		}
	})
}

// A merge brings values whose log nobody has any more; they end too.
func TestMergedValueEnds(t *testing.T) {
	cfg, merged := shortLog(Config{})
	run(t, 2, cfg, func(w *world) {
		w.stop("n2")
		w.putFor("n1", "short", "v", time.Second)
		w.putFor("n1", "k", "v", time.Hour)
		w.fill("n1", "x", 300)
		w.start("n2")
		time.Sleep(10 * time.Second)
		if merged.installed.Load() == 0 {
			t.Fatal("nothing was merged")
		}
		w.expect("n2", "k", "v")
		w.stop("n1")
		time.Sleep(time.Hour + 12*time.Second)
		w.expect("n2", "k")
		w.start("n1")
		time.Sleep(5 * time.Second)
		w.expect("n1", "k")
		w.converged()
	})
}

// A clock that is ahead ends a value early by what it is ahead, one that is behind late.
func TestValueEndsByTheClockOfItsNode(t *testing.T) {
	var skew atomic.Int64
	cfg := Config{Clock: func() time.Time { return time.Now().Add(time.Duration(skew.Load())) }}
	run(t, 1, cfg, func(w *world) {
		w.putFor("n1", "k", "v", time.Hour)
		skew.Store(int64(30 * time.Minute))
		time.Sleep(30*time.Minute - time.Second)
		w.expect("n1", "k", "v")
		time.Sleep(3 * time.Second)
		w.expect("n1", "k")
		w.putFor("n1", "late", "v", time.Hour)
		skew.Store(0)
		time.Sleep(time.Hour + time.Second)
		w.expect("n1", "late", "v")
		skew.Store(int64(time.Hour)) // it is set right, and that is noticed at once
		time.Sleep(2 * time.Second)
		w.expect("n1", "late")
	})
}

func TestManyValuesEndInSeveralCommits(t *testing.T) {
	var most atomic.Int64
	cfg := Config{Durability: store.OS}
	cfg.Events.Committed = func(n, _ int, _ time.Duration) { most.Store(max(most.Load(), int64(n))) }
	run(t, 1, cfg, func(w *world) {
		const keys = 3*expiryBatch + 7
		for i := range keys {
			w.putFor("n1", fmt.Sprint("k", i), "v", time.Minute)
		}
		most.Store(0)
		time.Sleep(61 * time.Second)
		w.none()
		if n := most.Load(); n == 0 || n > expiryBatch {
			t.Errorf("a commit ended %d values, the limit is %d", n, expiryBatch)
		}
	})
}

func TestAReadSaysWhatEachValueHasLeft(t *testing.T) {
	left := func(w *world, node string, want ...time.Duration) {
		w.t.Helper()
		page := w.read(node, store.Query{Key: "k"})
		if len(page.Items) != 1 || !slices.Equal(page.Items[0].Remaining, want) {
			w.t.Errorf("%s: %+v, want %v left", node, page.Items, want)
		}
	}
	run(t, 2, Config{}, func(w *world) {
		w.putFor("n1", "k", "v", time.Minute)
		time.Sleep(10 * time.Second)
		left(w, "n1", 50*time.Second)
		left(w, "n2", 50*time.Second)
		w.crash("n1")
		time.Sleep(51 * time.Second)
		left(w, "n2", time.Millisecond) // it is over, and nobody has deleted the value yet
	})
	of := func(field, value string, ttl time.Duration) store.Command {
		return store.Command{Op: store.Put, Key: "k", Field: field, Value: []byte(value), TTL: ttl}
	}
	run(t, 1, Config{Policy: store.Map}, func(w *world) {
		w.write("n1", of("b", "v", time.Minute))
		w.write("n1", of("a", "v", 0))
		left(w, "n1", 0, time.Minute)
		w.write("n1", of("b", "v", 0))
		left(w, "n1")
	})
	run(t, 2, Config{Policy: store.Set}, func(w *world) {
		w.cut([]string{"n1"}, []string{"n2"})
		w.write("n1", of("m", "", time.Minute))
		w.write("n2", of("m", "", time.Hour))
		left(w, "n1", time.Minute)
		w.heal([]string{"n1"}, []string{"n2"})
		time.Sleep(10 * time.Second)
		w.converged()
		page := w.read("n1", store.Query{Key: "k"})
		if got := page.Items[0].Remaining; len(got) != 1 || got[0] <= time.Minute {
			t.Errorf("a member that was added for an hour, too, has %v left", got)
		}
	})
}
