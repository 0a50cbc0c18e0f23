package ap

import (
	"context"
	"fmt"
	"time"

	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// provedWithin is bounded, and notes in the proof what was waited for.
func (r *Replica) provedWithin(ctx context.Context, began time.Time, bound time.Duration, proof *store.Proof) error {
	waited, err := r.bounded(ctx, began, bound)
	if waited > 0 {
		proof.Waited += waited
		proof.WaitedFor = "a proof of freshness"
		spans.From(ctx).Note("proved to be fresh")
	}
	return err
}

// bounded waits until the published view is proved to hold every write acknowledged
// more than bound before began. While the last proof is young enough that is at once;
// else all members are asked together, and what is waited for is their answers and
// then the writes that they name. A member that is not heard keeps every replica from
// serving once bound has passed since its last answer: it may take writes that nobody
// here knows of.
func (r *Replica) bounded(ctx context.Context, began time.Time, bound time.Duration) (waited time.Duration, err error) {
	asked := time.Now()
	for {
		vector, changed, err := r.views.peek()
		if err != nil {
			return 0, err
		}
		heard := r.fresh.request(began, bound)
		if age, ok := r.fresh.age(began, vector); ok && age <= bound {
			return waited, nil
		}
		select {
		case <-changed:
		case <-heard:
		case <-ctx.Done():
			return 0, r.tooStale(ctx, began, bound)
		}
		waited = time.Since(asked)
	}
}

// counted is mutant M33: a member's acknowledgement is taken for an answer to how much
// its present actor has written, as if that were all it took. What it took before it
// was started again counts for nothing.
func (r *Replica) counted(peer string, actor causal.Actor, held causal.Vector) {
	have, _, err := r.views.peek()
	if err != nil {
		return
	}
	r.fresh.answered(peer, report{asked: time.Now(), held: causal.VectorOf(causal.Dot{Actor: actor, N: held[actor]})}, have)
}

// tooStale says which member was not heard, and how fresh the view was known to be
// when the read began.
func (r *Replica) tooStale(ctx context.Context, began time.Time, bound time.Duration) error {
	vector, _, err := r.views.peek()
	if err != nil {
		return err
	}
	e := &store.Error{
		Code: store.TooStale, Cause: context.Cause(ctx),
		Try: "a larger bound, or --level causal; while a member is away, no replica can prove more",
	}
	peer, age, ok := r.fresh.worst(began, vector)
	if ok {
		e.Msg = fmt.Sprintf("member %s was last heard %v before the read began, the bound is %v", peer, age.Round(time.Millisecond), bound)
	} else {
		e.Msg = fmt.Sprintf("member %s was not heard since this replica started, and the bound is %v", peer, bound)
	}
	return e
}
