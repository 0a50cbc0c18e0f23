package cp_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

// While the majority is gone for ten minutes of load, every call ends by its deadline
// and says what it must, and nothing piles up: raft's futures are never answered then,
// and whoever waited for one would wait for ever.
func TestNothingPilesUpWhileTheMajorityIsGone(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v")
		alone := c.leader()
		rest := c.others(alone)
		c.cut(fmt.Sprintf("%s|%s,%s", alone.name, rest[0].name, rest[1].name))
		// Elections and garbage come and go; what piles up does not go, so the fewest count.
		early, late := fewest, fewest
		for began := time.Now(); time.Since(began) < 10*time.Minute; {
			var calls sync.WaitGroup
			for i := range 80 {
				calls.Go(func() { callInAnOutage(t, alone, i) })
			}
			calls.Wait()
			<-time.After(5 * time.Second)
			switch {
			case time.Since(began) < time.Minute: // caches fill up
			case time.Since(began) < 2*time.Minute:
				early = early.and(heldNow())
			case time.Since(began) > 9*time.Minute:
				late = late.and(heldNow())
			}
		}
		t.Logf("in the second minute %+v, in the last %+v", early, late)
		if late.goroutines > early.goroutines+10 || late.heap > early.heap+256<<10 {
			t.Errorf("in the second minute %+v, in the last %+v", early, late)
		}
		c.heal()
		c.put("k", "w")
	})
}

// held is what a process has in use: goroutines, and bytes that are no garbage.
type held struct{ goroutines, heap int }

var fewest = held{goroutines: math.MaxInt, heap: math.MaxInt}

func (h held) and(o held) held {
	return held{goroutines: min(h.goroutines, o.goroutines), heap: min(h.heap, o.heap)}
}

func heldNow() held {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return held{goroutines: runtime.NumGoroutine(), heap: int(m.HeapAlloc)}
}

// callInAnOutage makes one call with a deadline of a second at a replica without a
// majority.
func callInAnOutage(t *testing.T, m *member, i int) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	began := time.Now()
	var err error
	var allowed []store.Code
	switch i % 4 {
	case 0:
		_, err = m.replica.Write(ctx, store.Command{Op: store.Put, Key: "k", Value: make([]byte, 4<<10)})
		allowed = []store.Code{store.NotLeader, store.Unavailable, store.Overloaded, store.Unknown}
	case 1:
		_, err = m.replica.Read(ctx, store.Query{Key: "k", Level: store.Strong})
		allowed = []store.Code{store.Unavailable}
	case 2:
		_, err = m.replica.Read(ctx, store.Query{Key: "k", Level: store.Bounded, Bound: time.Millisecond})
		allowed = []store.Code{store.TooStale}
	case 3:
		if _, err = m.replica.Read(ctx, store.Query{Key: "k", Level: store.Eventual}); err != nil {
			t.Errorf("an eventual read: %v", err)
		}
		return
	}
	if e := store.AsError(err); e == nil || !slices.Contains(allowed, e.Code) {
		t.Errorf("call %d: %v, want one of %v", i%4, err, allowed)
	}
	if took := time.Since(began); took > time.Second+100*time.Millisecond {
		t.Errorf("call %d took %v, its deadline was a second", i%4, took)
	}
}

// With the default timers a write is acknowledged within a second of the leader's
// death, in the median, by the clock of the bubble: it counts elections, not the
// machine's load.
func TestWritesGoOnWithinASecondOfTheLeadersDeath(t *testing.T) {
	var gaps []time.Duration
	for range 7 {
		linktest.Bubble(t, func(t *testing.T) {
			c := newCluster(t, 3, func(cfg *cp.Config) { cfg.Timing = cp.Timing{} })
			c.put("k", "v")
			<-time.After(2 * time.Second)
			dead := c.leader()
			disk := c.crash(dead)
			died := time.Now()
			for {
				if acknowledged(t, c) {
					break
				}
			}
			gaps = append(gaps, time.Since(died))
			c.start(dead.name, disk, c.names)
		})
	}
	slices.Sort(gaps)
	t.Logf("gaps: %v", gaps)
	if median := gaps[len(gaps)/2]; median > time.Second {
		t.Errorf("the median gap is %v: %v", median, gaps)
	}
}

// acknowledged tries a write at each member that is left, once.
func acknowledged(t *testing.T, c *cluster) bool {
	for _, m := range c.nodes {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := m.replica.Write(ctx, store.Command{Op: store.Put, Key: "k", Value: []byte("w")})
		cancel()
		if err == nil {
			return true
		}
		if !errors.Is(err, store.NotLeader) {
			t.Logf("%s: %v", m.name, err)
		}
	}
	<-time.After(5 * time.Millisecond)
	return false
}
