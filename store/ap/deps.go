package ap

import (
	"context"
	"time"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// The replica notes what the writes that it has applied depend on in other groups, and
// every answer tells it. A write carries what its coordinator had not noted before it:
// whoever applies the write has applied what the coordinator had, and has noted the rest.
// It goes with snapshots, and is dropped by each replica for itself.

// noting is what a write adds to what is noted, or why it is refused. What comes from
// peers never is: together they may note more than a coordinator would.
func (r *Replica) noting(w *localWrite) (token.Deps, error) {
	news := w.deps.Without(r.cfg.Group).Beyond(r.state.deps)
	if news.Empty() {
		return news, nil
	}
	return news, r.state.deps.Join(news).Check()
}

// sign says on an answer from the view what a session must remember of it, of this group
// and of others.
func (v *view) sign(page *store.Page, found bool) {
	page.Entry, page.Context, page.Deps = v.entry(), v.context(), v.others()
	if mutant.M37 && !found {
		page.Deps = nil // as if each value kept its own
	}
}

// Deps is what the group's writes depend on in other groups, as far as this replica
// knows: nothing while it has not begun to run.
func (r *Replica) Deps() token.Deps {
	v, _, err := r.views.latest()
	if err != nil || v == nil {
		return token.Deps{}
	}
	return v.deps
}

// Holds reports whether this replica shows what the entry names.
func (r *Replica) Holds(e store.Entry) bool {
	n, err := decodeNeed(e)
	if err != nil || !r.placed.Load().serves() {
		return false
	}
	v, _, err := r.views.latest()
	return err == nil && v != nil && v.met(n)
}

// Settle drops from what the writes depend on elsewhere what all members of those groups
// hold, or nobody does any more.
func (r *Replica) Settle(_ context.Context, settled token.Deps) error {
	return r.signed("settle", r.run(func() error {
		rest := r.state.deps.Beyond(settled)
		if len(rest.Encode()) == len(r.state.deps.Encode()) {
			return nil
		}
		r.state.begin()
		r.state.deps = rest
		if err := r.state.commit(false); err != nil {
			return storageError{err}
		}
		r.publish()
		return nil
	}))
}

// Settled is for what of the group nobody needs to wait. It is what every member has on
// disk, those that come and go included: whichever of them somebody reads, whenever, shows
// it. All of them said so when this replica's placement was the newest they knew. So a
// member that it does not name shows nothing before it has what one of them had later. On
// a keyspace without fsync nothing settles: a member may lose what it said it had.
//
// And it is what was lost. Some member held all that was noted. This replica has what any
// member held when its view was last proved fresh; so what was noted before that, and is
// not here, went with a member that was given up, or with what a node lost.
func (r *Replica) Settled(_ context.Context, noted store.Entry, ago time.Duration) (store.Entry, error) {
	now := time.Now()
	here, known, _, err := r.views.seen()
	if err != nil {
		return nil, r.signed("settled", err)
	}
	n, err := decodeNeed(noted)
	if err != nil {
		return nil, r.signed("settled", err)
	}
	all := causal.Vector{}
	if r.syncs() {
		all = here.Clone()
		p := r.placed.Load()
		for _, peer := range p.peers {
			all.Meet(r.acks.heldAt(peer, p.Epoch))
		}
	}
	settled := short(all, known, known.Covered(all, 0))
	for a := range n.Vector { // what is noted may name an actor that was closed since
		if all[a] > 0 {
			settled.Vector[a] = all[a]
		}
	}
	lost := known.Beyond(n.Vector)
	if age, fresh := r.fresh.age(now, here); fresh && age < ago && r.placed.Load().serves() {
		lost = here.Missing(n.Vector)
	}
	for _, d := range lost {
		settled.Vector[d.Actor] = d.N
	}
	return encodeDots(settled.dots(known)), nil
}
