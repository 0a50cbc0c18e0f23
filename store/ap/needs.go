package ap

import (
	"context"
	"fmt"
	"time"

	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// What a session has seen, and what was read of a key, name beside dots the number up to
// which they include what was closed.
const (
	closedActor = causal.Actor(token.ClosedID)
	closedSum   = causal.Actor(token.ClosedSum)
)

// need is what a replica must cover to answer.
type need struct {
	causal.Vector
	closed uint64 // and all that was closed up to this number
}

func (n need) empty() bool { return len(n.Vector) == 0 && n.closed == 0 }

func (n *need) join(other need) {
	if n.Vector == nil {
		n.Vector = causal.Vector{}
	}
	n.Vector.Join(other.Vector)
	n.closed = max(n.closed, other.closed)
}

// needOf reads dots that encode made of what was seen.
func needOf(dots []causal.Dot) need {
	n := need{Vector: causal.VectorOf(dots...)}
	n.closed = n.Vector[closedActor]
	delete(n.Vector, closedActor)
	delete(n.Vector, closedSum)
	return n
}

func decodeNeed(e store.Entry) (need, error) {
	dots, err := decodeDots(e)
	return needOf(dots), err
}

// dots is the form in which a need leaves the replica, which knows that many closures.
func (n need) dots(known *causal.Closures) []causal.Dot {
	dots := n.Dots()
	if n.closed == 0 {
		return dots
	}
	if sum := known.Sum(n.closed); sum > 0 {
		dots = append(dots, causal.Dot{Actor: closedSum, N: sum})
	}
	return append(dots, causal.Dot{Actor: closedActor, N: n.closed})
}

// short is v, which covers what was closed up to the number, in the fewest words. It may
// share v.
func short(v causal.Vector, known *causal.Closures, number uint64) need {
	if number == 0 {
		return need{Vector: v}
	}
	return need{known.Open(v, number), number}
}

// encodeContext is the context of who has read a view that covers n.
func encodeContext(n need, known *causal.Closures) store.Entry {
	return encodeDots(causal.Context{Seen: causal.VectorOf(n.dots(known)...)}.Dots())
}

// text is a vector for people.
func (n need) text() string {
	if n.closed == 0 {
		return n.String()
	}
	if len(n.Vector) == 0 {
		return fmt.Sprintf("closed:%d", n.closed)
	}
	return fmt.Sprintf("closed:%d,%s", n.closed, n.String())
}

// met reports whether a view covers n.
func (v *view) met(n need) bool {
	return n.closed <= v.covered && v.closures.Knows(n.closed) && v.vector.Covers(n.Vector)
}

// await returns when the published view covers what is needed, at the latest when ctx ends.
// What can never come it does not wait for.
func (r *Replica) await(ctx context.Context, op string, n need) (waited time.Duration, err error) {
	began := time.Now()
	for {
		v, changed, err := r.views.latest()
		if err != nil {
			return 0, r.signed(op, err)
		}
		if v != nil {
			if lost := v.closures.Beyond(n.Vector); len(lost) > 0 {
				return 0, r.lost(op, lost)
			}
			if v.met(n) {
				return time.Since(began), nil
			}
		}
		gone, heard := r.gone(began, n.Vector)
		if gone {
			return 0, r.fault(store.WritesLost, op, lostText, "a new session")
		}
		select {
		case <-changed:
		case <-heard:
		case <-ctx.Done():
			return 0, r.unreachable(ctx, op, v, n)
		}
	}
}

const mostNamed = 4 // dots in a message

func (r *Replica) lost(op string, lost []causal.Dot) *store.Error {
	return r.fault(store.WritesLost, op,
		fmt.Sprintf("writes that the session has seen are lost, every member was heard: of %d actors, up to %s", len(lost), fmt.Sprint(lost[:min(mostNamed, len(lost))])),
		"a new session: drop the token, or the --session file, and read again what it was about")
}

func (r *Replica) unreachable(ctx context.Context, op string, v *view, n need) *store.Error {
	const elsewhere = "the node the session used before, a longer timeout, or --level eventual if older is acceptable"
	var e *store.Error
	switch {
	case v == nil:
		e = r.fault(store.Unavailable, op, "the replica has not started", "another replica")
	case !v.closures.Knows(n.closed):
		e = r.fault(store.SessionUnreachable, op,
			fmt.Sprintf("this replica has heard of closures of actors up to number %d, the session names %d", v.closures.Number(), n.closed), elsewhere)
	default:
		all, _ := v.closures.Up(n.closed)
		all.Join(n.Vector)
		n.Vector = all
		missing := v.vector.Missing(n.Vector)
		e = r.fault(store.SessionUnreachable, op,
			fmt.Sprintf("this replica has not seen what the session has: of %d actors, up to %s", len(missing), fmt.Sprint(missing[:min(mostNamed, len(missing))])),
			elsewhere)
	}
	e.Cause = context.Cause(ctx)
	return e
}

// encodeDots writes dots of different actors in the form of a session's entry.
func encodeDots(dots []causal.Dot) store.Entry {
	components := make([]token.Component, len(dots))
	for i, d := range dots {
		components[i] = token.Component{ID: uint64(d.Actor), N: d.N}
	}
	return token.EncodeEntry(components)
}

// decodeDots reads what a client brought; it is checked for form, not for truth.
func decodeDots(e store.Entry) ([]causal.Dot, error) {
	if len(e) == 0 {
		return nil, nil
	}
	components, err := token.DecodeEntry(e)
	if err != nil {
		return nil, err
	}
	dots := make([]causal.Dot, len(components))
	for i, c := range components {
		dots[i] = causal.Dot{Actor: causal.Actor(c.ID), N: c.N}
	}
	return dots, nil
}
