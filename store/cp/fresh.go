package cp

import (
	"context"
	"fmt"
	"time"

	"github.com/dialkv/dialkv/store"
)

// A proof of freshness is the moment at which a read index was asked for that this
// replica's state has applied since: the state holds every write acknowledged before
// that moment. Its age is counted on this node's monotonic clock from before the
// question left, so that neither the way nor another node's clock can make it look
// younger than it is.

// bounded waits for a view with a proof no older than bound when the read began.
func (r *Replica) bounded(ctx context.Context, b *basis, bound time.Duration, began time.Time, after seen) error {
	if b.proved != nil && began.Sub(*b.proved) <= bound {
		return r.covering(ctx, b, after)
	}
	if err := r.strong(ctx, b, after); err != nil {
		return expired(ctx, err, r.tooStale(bound, began, err))
	}
	return nil
}

// tooStale says how fresh the state was known to be when the read began.
func (r *Replica) tooStale(bound time.Duration, began time.Time, cause error) *store.Error {
	e := &store.Error{
		Code: store.TooStale, Cause: cause,
		Msg: fmt.Sprintf("nothing proves how fresh this replica is, and the bound is %v", bound),
		Try: "a node on the majority side, a larger bound, or --level eventual",
	}
	if at := r.proof.Load(); at != nil {
		e.Msg = fmt.Sprintf("this replica's last proof of freshness was %v old when the read began, the bound is %v", began.Sub(*at).Round(time.Millisecond), bound)
	}
	return e
}

// prove keeps the proof of freshness young while no strong read does.
func (r *Replica) prove(ctx context.Context) {
	tick := time.NewTicker(r.cfg.Timing.Proof)
	defer tick.Stop()
	for {
		changed := r.changed.next()
		if at := r.proof.Load(); at == nil || time.Since(*at) >= r.cfg.Timing.Proof/2 {
			if out, err := r.oneRound(ctx); err == nil {
				r.noteProof(ctx, out)
			}
		}
		select {
		case <-changed: // a new leader can be asked at once
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// noteProof remembers, once the state has the round's index, that it is as fresh
// as the moment the round began. The first proof ends the catching up of a replica
// that joined.
func (r *Replica) noteProof(ctx context.Context, out round) {
	v, err := r.wait(ctx, func(v *view) bool { return v.index >= out.index })
	if err != nil {
		return
	}
	v.Close()
	r.fresh(out.asked)
}

// fresh keeps the youngest proof.
func (r *Replica) fresh(asked time.Time) {
	for {
		at := r.proof.Load()
		if at != nil && !at.Before(asked) || r.proof.CompareAndSwap(at, &asked) {
			break
		}
	}
	if err := r.markCaughtUp(); err != nil {
		r.fail(err)
	}
}
