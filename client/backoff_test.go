package client

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

const least, most = 10 * time.Millisecond, 640 * time.Millisecond

// waits draws the first waits of many calls, each in order of size.
func waits(t *testing.T, b Backoff, calls, attempts int) [][]time.Duration {
	t.Helper()
	c := &Client{cfg: Config{Attempts: 4, Resilience: Resilience{Backoff: b}.withDefaults()}, budget: newBudget(1)}
	if err := c.cfg.Resilience.validate(); err != nil {
		t.Fatal(err)
	}
	out := make([][]time.Duration, attempts)
	for range calls {
		k := &call{c: c, last: &store.Error{}}
		for i := range out {
			if k.goOn(t.Context(), true, false); !k.again {
				t.Fatal("it does not go on")
			}
			out[i] = append(out[i], k.delay)
		}
	}
	for _, of := range out {
		slices.Sort(of)
	}
	return out
}

// uniform fails the test if the waits, sorted, are not spread evenly over a range: the
// Kolmogorov-Smirnov distance at a level of one in a million.
func uniform(t *testing.T, what string, of []time.Duration, from, to time.Duration) {
	t.Helper()
	far := 0.0
	for i, d := range of {
		x := float64(d-from) / float64(to-from)
		far = max(far, math.Abs(float64(i)/float64(len(of))-x), math.Abs(float64(i+1)/float64(len(of))-x))
	}
	if limit := 2.7 / math.Sqrt(float64(len(of))); far > limit {
		t.Errorf("%s is %.3f from even between %v and %v, the limit is %.3f", what, far, from, to, limit)
	}
}

func TestBackoffsWithoutChance(t *testing.T) {
	for kind, want := range map[BackoffKind][]time.Duration{
		Constant:    {1, 1, 1, 1, 1, 1, 1, 1},
		Linear:      {1, 2, 3, 4, 5, 6, 7, 8},
		Exponential: {1, 2, 4, 8, 16, 32, 64, 64},
	} {
		for i, of := range waits(t, Backoff{kind, least, most}, 3, len(want)) {
			if of[0] != want[i]*least || of[2] != want[i]*least {
				t.Errorf("wait %d of %s is %v, want %v", i, kind, of, want[i]*least)
			}
		}
	}
	long := waits(t, Backoff{Linear, time.Millisecond, 5 * time.Millisecond}, 1, 100)
	if long[99][0] != 5*time.Millisecond {
		t.Errorf("a linear wait grew to %v", long[99][0])
	}
	if long := waits(t, Backoff{Exponential, time.Millisecond, time.Hour}, 1, 100); long[99][0] != time.Hour {
		t.Errorf("an exponential wait is %v", long[99][0])
	}
}

func TestFullJitterIsEvenBelowTheExponential(t *testing.T) {
	for i, of := range waits(t, Backoff{FullJitter, least, most}, 4000, 8) {
		uniform(t, "a wait of full jitter", of, 0, min(most, least<<i))
	}
}

func TestRandomBackoffIsEven(t *testing.T) {
	for _, of := range waits(t, Backoff{Random, least, most}, 4000, 3) {
		uniform(t, "a random wait", of, least, most)
	}
}

// Decorrelated jitter is the default: the first wait is even between the least and three
// times that; later ones spread up to the most, and never leave the range.
func TestBackoffIsDecorrelatedJitter(t *testing.T) {
	const calls, attempts = 2000, 8
	all := waits(t, Backoff{}, calls, attempts)
	uniform(t, "the first wait", all[0], leastBackoff, 3*leastBackoff)
	for i, of := range all {
		if of[0] < leastBackoff || of[calls-1] > mostBackoff {
			t.Errorf("wait %d lies between %v and %v", i, of[0], of[calls-1])
		}
	}
	early, late := all[0][calls/2], all[attempts-1]
	if late[calls/2] < 4*early || late[calls-1]-late[0] < mostBackoff/2 {
		t.Errorf("medians %v and %v, the last between %v and %v", early, late[calls/2], late[0], late[calls-1])
	}
	c := Backoff{}.withDefaults()
	var after []time.Duration
	for range 4000 {
		after = append(after, c.wait(5, 100*time.Millisecond))
	}
	slices.Sort(after)
	uniform(t, "the wait after one of 100 ms", after, leastBackoff, leastBackoff+300*time.Millisecond)
}

func TestBackoffRefusesWhatMakesNoSense(t *testing.T) {
	for _, b := range []Backoff{{Kind: "fast"}, {Least: -1}, {Least: time.Microsecond}, {Most: time.Millisecond}, {Most: 2 * time.Hour}, {Least: 2 * time.Second}} {
		if _, err := Open(t.Context(), Config{Seeds: []string{"n1"}, Resilience: Resilience{Backoff: b}}); store.AsError(err) == nil || store.AsError(err).Code != store.Invalid {
			t.Errorf("%+v: %v", b, err)
		}
	}
}

func TestNoWaitOutlivesItsCall(t *testing.T) {
	k := &call{c: &Client{cfg: Config{Attempts: 4}.withDefaults(), budget: newBudget(1)}, last: &store.Error{RetryAfter: time.Hour}}
	ctx, cancel := k.c.bounded(t.Context(), time.Second)
	defer cancel()
	if k.goOn(ctx, true, false); k.again {
		t.Errorf("it waits %v", k.delay)
	}
}
