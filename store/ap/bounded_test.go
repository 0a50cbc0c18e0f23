package ap

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

func bounded(key string, bound time.Duration) store.Query {
	return store.Query{Key: key, Level: store.Bounded, Bound: bound}
}

func TestBoundedReadIsServedUntilItsBoundAfterAMemberWasHeardLast(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		w.put("n1", "k", "v")
		time.Sleep(2 * time.Second)
		w.cut([]string{"n3"}, []string{"n1", "n2"})
		cut := time.Now()
		for _, node := range w.names {
			p := w.read(node, bounded("k", 5*time.Second)).Proof
			if p.Asked != store.Bounded || p.Served != store.Bounded || !p.Fresh || p.Staleness > time.Second || p.Waited != 0 {
				t.Errorf("%s: proof %+v", node, p)
			}
		}
		time.Sleep(10 * time.Second)
		for _, node := range w.names {
			_, err := w.readErr(node, bounded("k", 5*time.Second))
			w.fails(err, store.TooStale)
			w.read(node, bounded("k", time.Since(cut)+time.Second))
		}
		w.heal([]string{"n3"}, []string{"n1", "n2"})
		for _, node := range w.names {
			w.read(node, bounded("k", 5*time.Second))
		}
	})
}

func TestTooStaleNamesTheMemberTheAgeAndTheBound(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		time.Sleep(time.Second)
		w.cut([]string{"n3"}, []string{"n1", "n2"})
		time.Sleep(10 * time.Second)
		_, err := w.readErr("n1", bounded("k", 2*time.Second))
		e := store.AsError(err)
		if e.Code != store.TooStale || !strings.Contains(e.Msg, "member n3 was last heard 10.") || !strings.Contains(e.Msg, "the bound is 2s") || e.Try == "" {
			t.Errorf("%v", err)
		}
		w.stop("n1")
		w.start("n1")
		time.Sleep(time.Second)
		_, err = w.readErr("n1", bounded("k", time.Hour))
		if e := store.AsError(err); e.Code != store.TooStale || !strings.Contains(e.Msg, "member n3 was not heard since this replica started") {
			t.Errorf("%v", err)
		}
	})
}

func TestBoundedReadAsksWhenTheLastProofIsTooOld(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		time.Sleep(2200 * time.Millisecond) // between two heartbeats
		for range 20 {
			w.put("n2", "k", "v")
			began := time.Now()
			p := w.read("n1", bounded("k", time.Nanosecond)).Proof
			if took := time.Since(began); took < 2*time.Millisecond || took > 10*time.Millisecond || p.Waited != took || p.WaitedFor != "a proof of freshness" || p.Staleness > 1 {
				t.Errorf("after %v: %+v", took, p)
			}
			w.expect("n1", "k", "v")
		}
	})
}

func TestOneMemberIsAlwaysFresh(t *testing.T) {
	run(t, 1, Config{}, func(w *world) {
		w.put("n1", "k", "v")
		if p := w.read("n1", bounded("k", 1)).Proof; !p.Fresh || p.Staleness != 0 || p.Waited != 0 {
			t.Errorf("proof %+v", p)
		}
	})
}

func TestBoundedReadCoversItsSession(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		time.Sleep(time.Second)
		w.set([]string{"n1"}, []string{"n2"}, func(l *link) { l.delay = 50 * time.Millisecond })
		w.cut([]string{"n1"}, []string{"n3"}) // there is no way around
		time.Sleep(time.Second)
		entry := w.put("n2", "k", "v").Entry
		q := bounded("k", time.Minute)
		q.After = entry
		page := w.read("n1", q)
		if len(page.Items) != 1 || page.Proof.WaitedFor != "session" || page.Proof.Waited < 50*time.Millisecond {
			t.Errorf("%+v", page)
		}
		w.cut([]string{"n1"}, []string{"n2"})
		q.After = w.put("n2", "k", "w").Entry
		_, err := w.readErr("n1", q)
		w.fails(err, store.SessionUnreachable)
	})
}

// What a member took in an earlier life may be nowhere else: its writes count, not
// those of its present actor. Mutant M33 asks for these only.
func TestBoundedReadCountsWhatAMemberTookInEarlierLives(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		rest := []string{"n1", "n2"}
		time.Sleep(time.Second)
		w.cut([]string{"n3"}, rest)
		for i := range 3 * frameEntries {
			w.put("n3", fmt.Sprint(i), "v")
		}
		time.Sleep(10 * time.Second)
		w.stop("n3")
		w.start("n3")
		// Its frames come one a second, so that what proves and what is proved differ.
		w.set([]string{"n3"}, rest, func(l *link) { l.pace = time.Second })
		w.heal([]string{"n3"}, rest)
		last := fmt.Sprint(3*frameEntries - 1)
		for range 100 {
			for _, node := range rest {
				page, err := w.readErr(node, bounded(last, 2*time.Second))
				if err == nil && len(page.Items) == 0 {
					t.Fatalf("%s misses a write acknowledged more than 10s ago, and says it is at most %v old", node, page.Proof.Staleness)
				}
			}
		}
		w.set([]string{"n3"}, rest, func(l *link) { l.pace = 0 })
		time.Sleep(2 * time.Second)
		for _, node := range rest {
			if page := w.read(node, bounded(last, 2*time.Second)); len(page.Items) == 0 {
				t.Errorf("%s does not show the write in the end", node)
			}
		}
	})
}

// Writers write at all members while links are cut and members restart; every bounded
// read shows the last write of each writer that was acknowledged before its bound.
func TestBoundedReadsKeepTheirBoundUnderFaults(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		const bound = 700 * time.Millisecond
		acknowledged := map[string]time.Time{} // by key, each written once
		served, refused := 0, 0
		for i := range 400 {
			node := w.names[i%3]
			switch i % 40 {
			case 5:
				w.cut([]string{w.names[i/40%3]}, others(w.names, i/40%3))
			case 15:
				w.stop(w.names[i/40%3])
				w.start(w.names[i/40%3])
			case 25:
				w.heal(w.names, w.names)
			}
			key := fmt.Sprint(i)
			if _, err := w.writeErr(node, put(key, "v")); err == nil {
				acknowledged[key] = time.Now()
			}
			time.Sleep(50 * time.Millisecond)
			began := time.Now()
			ctx, cancel := within(100 * time.Millisecond)
			q := store.Query{Level: store.Bounded, Bound: bound, Limit: store.MaxPage}
			page, err := w.at(w.names[(i+1)%3]).Read(ctx, q)
			cancel()
			if err != nil {
				w.fails(err, store.TooStale)
				refused++
				continue
			}
			served++
			there := map[string]bool{}
			for _, item := range page.Items {
				there[item.Key] = true
			}
			for key, at := range acknowledged {
				if began.Sub(at) > bound && !there[key] {
					t.Fatalf("read %d lacks %s, acknowledged %v before", i, key, began.Sub(at))
				}
			}
		}
		if served < 100 || refused < 20 {
			t.Errorf("%d served, %d refused: nothing is shown", served, refused)
		}
	})
}

func others(names []string, without int) []string {
	var out []string
	for i, name := range names {
		if i != without {
			out = append(out, name)
		}
	}
	return out
}

func TestProofFromBeforeASuspensionIsOld(t *testing.T) {
	f := newFreshness(newPlaced(Placement{Members: []string{"n1", "n2"}}, "n1", true))
	now := time.Now()
	f.answered("n2", report{asked: now}, causal.Vector{})
	if age, ok := f.age(now.Add(time.Second), nil); !ok || age != time.Second {
		t.Errorf("age %v, %v", age, ok)
	}
	// The wall clock went on for an hour in which the monotonic clock stood still.
	woken := time.Now().Round(0).Add(time.Hour)
	if age, _ := f.age(woken, nil); age < time.Hour-time.Minute {
		t.Errorf("age %v", age)
	}
}

func TestAnswersThatWaitAreBounded(t *testing.T) {
	f := newFreshness(newPlaced(Placement{Members: []string{"n1", "n2"}}, "n1", true))
	began := time.Now()
	ahead := causal.Vector{5: 1}
	for i := range 10 * mostOpen {
		f.answered("n2", report{asked: began.Add(time.Duration(i)), held: ahead}, nil)
	}
	if open := len(f.peers["n2"].open); open != mostOpen {
		t.Errorf("%d answers wait", open)
	}
	if age, ok := f.age(began.Add(mostOpen-1), ahead); !ok || age != 0 {
		t.Errorf("age %v, %v", age, ok)
	}
	p := newProbes()
	for range mostProbes {
		if p.leave(began) == 0 {
			t.Fatal("a probe may not leave")
		}
	}
	if p.leave(began) != 0 {
		t.Error("one probe too many")
	}
	if _, ok := p.arrive(mostProbes); !ok || len(p.sent) != 0 {
		t.Errorf("%d probes wait", len(p.sent))
	}
}
