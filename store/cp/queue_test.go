package cp

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/store"
)

// While the log takes nothing, as many commands wait for it as their count and their
// bytes allow, also those whose callers have gone; the next is refused at once, and may
// be tried again. What the log takes makes room.
func TestQueueForTheLogIsBoundedByCountAndByBytes(t *testing.T) {
	for name, limit := range map[string]struct {
		value []byte
		waits int
	}{
		"count": {nil, queueLimit},
		"bytes": {make([]byte, store.MaxValue), queueBytes/store.MaxValue - 1}, // a command is more than its value
	} {
		t.Run(name, func(t *testing.T) {
			linktest.Bubble(t, func(t *testing.T) {
				r := &Replica{queue: make(chan *pending, queueLimit), down: make(chan struct{})}
				command := &logpb.Command{Op: logpb.Command_OP_PUT, Key: "k", Value: limit.value}
				refused := func() bool {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					began := time.Now()
					_, err := r.submit(ctx, command)
					took := time.Since(began)
					var e *store.Error
					switch {
					case errors.Is(err, store.Unavailable) && took == time.Second:
						return false
					case errors.As(err, &e) && e.Code == store.Overloaded && e.RetryAfter > 0 && took == 0:
						return true
					}
					t.Fatalf("%v after %v", err, took)
					return false
				}
				for n := range limit.waits - 1 {
					if !r.enqueue(&pending{command: command, size: len(limit.value) + 1, done: make(chan outcome, 1)}) {
						t.Fatalf("refused behind %d", n)
					}
				}
				if refused() {
					t.Errorf("refused behind %d", limit.waits-1)
				}
				for range 2 { // a refusal takes no room
					if !refused() {
						t.Errorf("taken behind %d", limit.waits)
					}
				}
				if batch, _ := r.gather(<-r.queue); len(batch) == 0 {
					t.Error("the log found nothing")
				}
				if refused() {
					t.Error("refused after the log had taken some")
				}
				r.refuseQueued()
				if n := r.waiting.Load(); n != 0 {
					t.Errorf("%d bytes wait in an empty queue", n)
				}
			})
		})
	}
}
