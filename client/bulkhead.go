package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/failsafe-go/failsafe-go/bulkhead"

	"github.com/dialkv/dialkv/store"
)

// Bulkhead bounds the calls of one keyspace that are in progress at one node, so that a
// keyspace in trouble takes no place from another, and a node in trouble none from the
// others.
type Bulkhead struct {
	Calls uint          // at a time; 256 if zero
	Wait  time.Duration // for a place; 100 ms if zero, not at all if negative
	Off   bool
}

// place is where calls have places.
type place struct {
	node     string
	keyspace uint64
}

// hall is the calls of a keyspace at a node.
type hall struct {
	places bulkhead.Bulkhead[any] // nil: there is no limit
	place  place
	limit  Bulkhead
}

// hall is called with mu held.
func (r *router) hall(p place) hall {
	if r.bulkhead.Off {
		return hall{}
	}
	places := r.halls[p]
	if places == nil {
		places = bulkhead.New[any](r.bulkhead.Calls)
		r.halls[p] = places
	}
	return hall{places: places, place: p, limit: r.bulkhead}
}

// enter waits for a place. With an error there is none, and nothing was sent.
func (h hall) enter(ctx context.Context) error {
	if h.places == nil {
		return nil
	}
	switch err := h.places.AcquirePermitWithMaxWait(ctx, max(0, h.limit.Wait)); {
	case err == nil:
		return nil
	case errors.Is(err, bulkhead.ErrFull):
		return &store.Error{
			Code: store.Overloaded, Node: h.place.node, RetryAfter: max(h.limit.Wait, leastBackoff),
			Msg: fmt.Sprintf("%d calls of the keyspace are in progress at the node, which is this client's limit", h.limit.Calls),
			Try: "fewer calls at a time, or a higher Resilience.Bulkhead.Calls",
		}
	}
	return store.Expired(ctx, "one of the calls in progress to end")
}

func (h hall) exit() {
	if h.places != nil {
		h.places.ReleasePermit()
	}
}

func (b Bulkhead) withDefaults() Bulkhead {
	if b.Calls == 0 {
		b.Calls = 256
	}
	if b.Wait == 0 {
		b.Wait = 100 * time.Millisecond
	}
	return b
}

func (b Bulkhead) validate() error {
	if b.Calls > 1_000_000 {
		return invalid("a bulkhead has 1000000 Calls at most", "256")
	}
	return nil
}
