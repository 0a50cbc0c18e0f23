package client

import (
	"slices"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

// Decorrelated jitter: the first wait lies between the least and three times that,
// later ones spread up to the most, and never leave the range.
func TestBackoffIsDecorrelatedJitter(t *testing.T) {
	const calls, attempts = 2000, 8
	waits := make([][]time.Duration, attempts)
	for range calls {
		k := &call{c: &Client{cfg: Config{Attempts: 4}}, last: &store.Error{}}
		for i := range waits {
			k.goOn(t.Context(), true, false)
			if k.delay < leastBackoff || k.delay > mostBackoff {
				t.Fatalf("wait %d is %v", i, k.delay)
			}
			waits[i] = append(waits[i], k.delay)
		}
	}
	for i := range waits {
		slices.Sort(waits[i])
	}
	if first := waits[0][calls-1]; first > 3*leastBackoff {
		t.Errorf("the first wait reached %v", first)
	}
	early, late := waits[0][calls/2], waits[attempts-1]
	if late[calls/2] < 4*early || late[calls-1]-late[0] < mostBackoff/2 {
		t.Errorf("medians %v and %v, the last between %v and %v", early, late[calls/2], late[0], late[calls-1])
	}
}

func TestNoWaitOutlivesItsCall(t *testing.T) {
	k := &call{c: &Client{cfg: Config{Attempts: 4}}, last: &store.Error{RetryAfter: time.Hour}}
	ctx, cancel := k.c.bounded(t.Context(), time.Second)
	defer cancel()
	if k.goOn(ctx, true, false); k.again {
		t.Errorf("it waits %v", k.delay)
	}
}
