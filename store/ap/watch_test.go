package ap

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

var everything = store.WatchQuery{All: true}

func (w *world) watch(node string, q store.WatchQuery) store.Changes {
	w.t.Helper()
	changes, err := w.at(node).Watch(w.t.Context(), q)
	if err != nil {
		w.t.Fatalf("watch %+v at %s: %v", q, node, err)
	}
	return changes
}

// changesOf takes n changes, leaving out notices of progress.
func (w *world) changesOf(c store.Changes, n int) []store.Change {
	w.t.Helper()
	var list []store.Change
	for len(list) < n {
		change := w.step(c)
		if len(change.Events) > 0 {
			list = append(list, change)
		}
	}
	return list
}

func (w *world) step(c store.Changes) store.Change {
	w.t.Helper()
	ctx, cancel := within(10 * time.Second)
	defer cancel()
	change, err := c.Next(ctx)
	if err != nil {
		w.t.Fatalf("the watch ended: %v", err)
	}
	return change
}

func eventsOf(list []store.Change) (texts []string) {
	for _, c := range list {
		for _, e := range c.Events {
			texts = append(texts, fmt.Sprintf("%s=%s", e.Key, e.Values))
		}
	}
	return texts
}

func (w *world) shows(list []store.Change, want ...string) {
	w.t.Helper()
	if got := eventsOf(list); !slices.Equal(got, want) {
		w.t.Errorf("the watch shows %q, want %q", got, want)
	}
}

func TestWatchShowsTheKeyAsItWasAfterEachWrite(t *testing.T) {
	run(t, 2, Config{Policy: store.Siblings}, func(w *world) {
		changes := w.watch("n1", store.WatchQuery{Key: "k"})
		blind := store.Command{Op: store.Put, Key: "k", Blind: true}
		for _, v := range []string{"a", "b", "c"} {
			blind.Value = []byte(v)
			w.write("n1", blind)
		}
		context := w.context("n1", "k")
		w.write("n1", store.Command{Op: store.Delete, Key: "nobody"})
		w.write("n1", store.Command{Op: store.Put, Key: "k", Value: []byte("all"), Context: context})
		w.write("n1", store.Command{Op: store.Delete, Key: "k", Context: w.context("n1", "k")})
		list := w.changesOf(changes, 5)
		w.shows(list, "k=[a]", "k=[a b]", "k=[a b c]", "k=[all]", "k=[]")
		for i, c := range list {
			e := c.Events[0]
			if e.Deleted != (i == 4) || e.Dot == "" || (e.Value != nil) != (len(e.Values) == 1) || len(c.Events) != 1 {
				t.Errorf("change %d is %+v", i, c)
			}
			if i > 0 && c.Revision <= list[i-1].Revision {
				t.Errorf("change %d is at %d", i, c.Revision)
			}
		}
	})
}

func TestWatchOfLWWShowsTheWinner(t *testing.T) {
	run(t, 2, Config{}, func(w *world) {
		w.cut([]string{"n1"}, []string{"n2"})
		changes := w.watch("n2", everything)
		w.put("n1", "k", "early")
		time.Sleep(time.Second)
		w.put("n2", "k", "late")
		w.heal([]string{"n1"}, []string{"n2"})
		time.Sleep(3 * time.Second)
		w.shows(w.changesOf(changes, 2), "k=[late]", "k=[late]") // the one that lost is seen, too
		w.putFor("n1", "k", "short", time.Second)
		list := w.changesOf(changes, 2)
		w.shows(list, "k=[short]", "k=[]")
		if e := list[1].Events[0]; !e.Expired || !e.Deleted || list[0].Events[0].Expired {
			t.Errorf("the end of a TTL is shown as %+v", e)
		}
	})
}

// The order of the members differs; so a watch that moves meets writes that it has seen
// behind writes that it has not.
func TestWatchThatMovesShowsWhatItHasSeenBesideWhatIsNew(t *testing.T) {
	run(t, 2, Config{Policy: store.Siblings}, func(w *world) {
		here, there := w.watch("n1", everything), w.watch("n2", everything)
		blind := func(node, value string) {
			w.write(node, store.Command{Op: store.Put, Key: "k", Value: []byte(value), Blind: true})
		}
		w.cut([]string{"n1"}, []string{"n2"})
		blind("n1", "x")
		blind("n2", "z")
		blind("n2", "z2")
		seen := w.changesOf(here, 1)
		w.shows(seen, "k=[x]")
		w.heal([]string{"n1"}, []string{"n2"})
		time.Sleep(3 * time.Second)
		moved := w.watch("n2", store.WatchQuery{All: true, Since: seen[0].Entry})
		list := w.changesOf(moved, 2)
		for i, c := range list {
			if got := len(c.Events[0].Values); got != 2+i {
				t.Errorf("change %d shows %q: what was seen is taken back", i, c.Events[0].Values)
			}
		}
		w.changesOf(there, 3)
		w.put("n1", "other", "v")
		w.shows(w.changesOf(moved, 1), "other=[v]")
	})
}

// oracle knows all writes.
type oracle map[causal.Dot]entry

func (w *world) oracle(node string) oracle {
	view, all := w.at(node).space.View(), oracle{}
	defer view.Close()
	var failed error
	for _, raw := range view.Scan([]byte{rowLog}, []byte{rowLog + 1}, &failed) {
		e, err := decodeEntry(slices.Clone(raw))
		if err != nil {
			w.t.Fatal(err)
		}
		all[e.Dot] = e
	}
	return all
}

// siblings is what a key holds after the writes of a vector, whatever their order.
func (o oracle) siblings(key string, v causal.Vector) (list []causal.Sibling) {
	gone := map[causal.Dot]bool{}
	for d, e := range o {
		if v.Has(d) {
			for _, s := range e.Supersedes {
				gone[s] = true
			}
		}
	}
	for d, e := range o {
		if e.key == key && v.Has(d) && !gone[d] && !e.Delete {
			list = append(list, causal.Sibling{Dot: d, Stamp: e.Stamp, Value: e.Value})
		}
	}
	slices.SortFunc(list, func(a, b causal.Sibling) int { return a.Dot.Compare(b.Dot) })
	return list
}

// Clients write everywhere, links are cut and nodes crash, and a watch that moves from
// member to member sees each write once, after what it depends on, and the key as it is
// after all that was seen.
func TestWatchThatMovesHasNoGapAndNoDuplicate(t *testing.T) {
	for _, policy := range []store.Policy{store.LWW, store.Siblings} {
		run(t, 3, Config{Policy: policy}, func(w *world) {
			var clients sync.WaitGroup
			for i := range 6 {
				clients.Go(func() { w.client(uint64(i), w.names[i%3], policy) })
			}
			done := make(chan struct{})
			go func() { clients.Wait(); close(done) }()
			clients.Go(func() { w.cuts() })
			var watchers sync.WaitGroup
			seen := make([][]store.Change, 4)
			for i := range seen {
				watchers.Go(func() { seen[i] = w.roam(uint64(i), done) })
			}
			watchers.Wait()
			w.converged()
			o := w.oracle("n1")
			for _, list := range seen {
				o.judge(t, w.at("n1"), list)
			}
		})
	}
}

// cuts isolates one member after the other.
func (w *world) cuts() {
	for i := range 4 {
		lonely := w.names[i%3]
		others := slices.DeleteFunc(slices.Clone(w.names), func(n string) bool { return n == lonely })
		w.cut([]string{lonely}, others)
		time.Sleep(4 * time.Second)
		w.heal([]string{lonely}, others)
		time.Sleep(time.Second)
	}
}

// roam watches from the first write on, each time for a while, at any member that takes
// it, until some time after done.
func (w *world) roam(seed uint64, done <-chan struct{}) (all []store.Change) {
	rng := rand.New(rand.NewPCG(seed, 7))
	q := store.WatchQuery{All: true, From: 1}
	var over time.Time
	for over.IsZero() || time.Since(over) < 20*time.Second {
		select {
		case <-done:
			if over.IsZero() {
				over = time.Now()
			}
		default:
		}
		changes, err := w.at(w.names[rng.IntN(3)]).Watch(w.t.Context(), q)
		if err != nil {
			if !errors.Is(err, store.SessionUnreachable) {
				w.t.Errorf("resume: %v", err)
				return all
			}
			continue
		}
		ctx, cancel := within(time.Duration(rng.IntN(3000)) * time.Millisecond)
		for range rng.IntN(40) {
			c, err := changes.Next(ctx)
			if err != nil {
				break
			}
			if q.From, q.Since = 0, c.Entry; q.Since == nil {
				q.From = 1 // nothing was written yet
			}
			if len(c.Events) > 0 {
				all = append(all, c)
			}
		}
		cancel()
	}
	return all
}

// judge checks what a watch of everything has returned against all writes.
func (o oracle) judge(t *testing.T, r *Replica, list []store.Change) {
	t.Helper()
	once := map[string]bool{}
	for _, c := range list {
		dots, err := decodeDots(c.Entry)
		if err != nil {
			t.Fatal(err)
		}
		e := c.Events[0]
		if once[e.Dot] {
			t.Errorf("the write %s came twice", e.Dot)
		}
		once[e.Dot] = true
		want := r.shown(e.Key, o.siblings(e.Key, causal.VectorOf(dots...)), false).Values
		if fmt.Sprintf("%q", want) != fmt.Sprintf("%q", e.Values) {
			t.Fatalf("after %s the watch shows %q, want %q", e.Dot, e.Values, want)
		}
	}
	for d, e := range o {
		if changes := !e.Delete || len(e.Supersedes) > 0; changes && !once[d.String()] {
			t.Errorf("the write %s did not come", d)
		}
	}
	if len(list) < 100 {
		t.Errorf("only %d changes were watched", len(list))
	}
}

func TestWatchSurvivesACrashOfItsNode(t *testing.T) {
	run(t, 2, Config{}, func(w *world) {
		changes := w.watch("n1", everything)
		for i := range 5 {
			w.put("n1", "k", fmt.Sprint(i))
		}
		last := w.changesOf(changes, 3)[2]
		time.Sleep(time.Second)
		w.crash("n1")
		var err error
		for err == nil { // what it had ready
			_, err = changes.Next(w.t.Context())
		}
		w.fails(err, store.Unavailable)
		at := store.WatchQuery{All: true, Since: last.Entry}
		w.shows(w.changesOf(w.watch("n2", at), 2), "k=[3]", "k=[4]")
		w.start("n1")
		time.Sleep(time.Second)
		w.shows(w.changesOf(w.watch("n1", at), 2), "k=[3]", "k=[4]")
	})
}

func TestWatchWaitsForAMemberThatDoesNotCoverIt(t *testing.T) {
	run(t, 2, Config{}, func(w *world) {
		w.cut([]string{"n1"}, []string{"n2"})
		ahead := w.put("n1", "k", "v").Entry
		began := time.Now()
		_, err := w.at("n2").Watch(w.t.Context(), store.WatchQuery{All: true, Since: ahead})
		w.fails(err, store.SessionUnreachable)
		if waited := time.Since(began); waited != watchOpen {
			t.Errorf("it was refused after %v", waited)
		}
		time.AfterFunc(time.Second, func() { w.heal([]string{"n1"}, []string{"n2"}) })
		w.watch("n2", store.WatchQuery{All: true, Since: ahead})
	})
}

func TestWatchBehindTheLogIsCompacted(t *testing.T) {
	cfg, _ := shortLog(Config{})
	run(t, 1, cfg, func(w *world) {
		w.put("n1", "k", "first")
		slow := w.watch("n1", everything)
		old := w.read("n1", store.Query{Limit: 1}).Entry
		w.fill("n1", "x", 400)
		for _, q := range []store.WatchQuery{{All: true, From: 1}, {Key: "k", Since: old}} {
			_, err := w.at("n1").Watch(w.t.Context(), q)
			w.fails(err, store.Compacted)
		}
		_, err := slow.Next(w.t.Context())
		w.fails(err, store.Compacted)
		if !strings.Contains(fmt.Sprint(err), w.at("n1").Status().Vector) {
			t.Errorf("the error does not say from where to read again: %v", err)
		}
		again := w.watch("n1", store.WatchQuery{All: true, Since: w.read("n1", store.Query{Limit: 1}).Entry})
		w.put("n1", "k", "next")
		w.shows(w.changesOf(again, 1), "k=[next]")
		if n := w.rows("n1", rowBeside); n != 0 {
			t.Errorf("%d rows beside entries without siblings", n)
		}
	})
}

func TestWatchOfAReplicaThatWasSentASnapshotIsCompacted(t *testing.T) {
	cfg, merged := shortLog(Config{})
	run(t, 2, cfg, func(w *world) {
		w.put("n2", "k", "v")
		time.Sleep(time.Second)
		w.cut([]string{"n1"}, []string{"n2"})
		changes := w.watch("n2", everything)
		w.put("n2", "own", "v")
		old := w.changesOf(changes, 1)[0]
		time.Sleep(2 * silence)
		w.fill("n1", "x", 400)
		w.heal([]string{"n1"}, []string{"n2"})
		time.Sleep(10 * time.Second)
		if merged.installed.Load() == 0 {
			t.Fatal("nothing was merged")
		}
		w.put("n2", "after", "v")
		for _, c := range []store.Changes{changes, w.watch("n2", store.WatchQuery{All: true, Since: old.Entry})} {
			var err error
			for err == nil {
				var change store.Change
				change, err = c.Next(w.t.Context())
				for _, e := range change.Events {
					t.Errorf("a change behind what was merged: %+v", e)
				}
			}
			w.fails(err, store.Compacted)
		}
		page := w.read("n2", store.Query{Limit: 1})
		again := w.watch("n2", store.WatchQuery{All: true, Since: page.Entry})
		w.put("n2", "k", "w")
		w.shows(w.changesOf(again, 1), "k=[w]")
	})
}

func TestWatchOfAReplicaThatHearsOfNobodyEnds(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		changes := w.watch("n1", everything)
		time.Sleep(time.Minute)
		for range 10 {
			w.step(changes)
		}
		w.cut([]string{"n1"}, []string{"n2"}) // n3 is still there
		for range 20 {
			w.step(changes)
		}
		w.cut([]string{"n1"}, []string{"n3"})
		var err error
		began := time.Now()
		last := store.Change{}
		for err == nil {
			var c store.Change
			if c, err = changes.Next(w.t.Context()); err == nil {
				last = c
			}
		}
		w.fails(err, store.Unavailable)
		if lasted := time.Since(began); lasted < watchDeaf || lasted > watchDeaf+3*time.Second {
			t.Errorf("it ended after %v", lasted)
		}
		again := w.watch("n1", store.WatchQuery{All: true, Since: last.Entry, From: 0})
		w.put("n1", "k", "v")
		w.shows(w.changesOf(again, 1), "k=[v]") // each side serves those who come
	})
}

func TestSlowWatcherHoldsNothingUp(t *testing.T) {
	run(t, 1, Config{Durability: store.OS}, func(w *world) {
		changes := w.watch("n1", everything).(*changes)
		big := strings.Repeat("v", 50<<10)
		for i := range 100 {
			w.put("n1", fmt.Sprint("k", i), big)
		}
		for range 700 {
			w.put("n1", "small", "v")
		}
		for n := range 800 {
			w.step(changes)
			size := 0
			for _, c := range changes.queue {
				size += len(c.Events[0].Value)
			}
			if len(changes.queue) >= watchBatch || size > watchBytes+len(big) {
				t.Fatalf("at %d, %d changes of %d bytes wait", n, len(changes.queue), size)
			}
		}
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Millisecond)
		defer cancel()
		_, err := changes.Next(ctx)
		w.fails(err, store.Unavailable)
	})
}
