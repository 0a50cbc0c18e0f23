package ap

import (
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// settled is the stable cut: what every member is known to have applied, durably, at a
// moment of which this replica has applied all that the member had then. So whatever a
// member sends from now on, and whatever it had sent before, tells of nothing in which
// a settled write was missing that is not here already. The applier owns it.
type settled struct {
	members map[string]*settling
}

// settling is one member's. Its newest word is nearly always ahead of what has come from
// it, so one word is waited for before the next is looked at.
type settling struct {
	had  causal.Vector // settled
	next causal.Vector // said, and not all of it is here
}

func newSettled(peers []string) settled {
	s := settled{members: make(map[string]*settling, len(peers))}
	for _, peer := range peers {
		s.members[peer] = &settling{}
	}
	return s
}

// advance looks at what the members have said, here being what this replica has applied.
func (s settled) advance(here causal.Vector, said func(peer string) causal.Vector) {
	for peer, m := range s.members {
		if m.next == nil {
			m.next = said(peer)
		}
		if m.next != nil && here.Covers(m.next) {
			m.had, m.next = m.next, nil
		}
	}
}

// has reports whether every member has settled the write d.
func (s settled) has(d causal.Dot) bool {
	for _, m := range s.members {
		if !m.had.Has(d) {
			return false
		}
	}
	return true
}

// sweepKeys bounds the keys of one sweep.
const sweepKeys = 4096

// sweep drops what counters keep of deletes that are settled. It reports whether there
// was any. On a keyspace without fsync nothing settles: a member may forget what it
// said it had.
func (r *Replica) sweep(g *group) (bool, error) {
	if r.cfg.Policy != store.Counter || !r.syncs() {
		return false, nil
	}
	epoch := r.placed.Load().Epoch
	r.settled.advance(r.state.vector, func(peer string) causal.Vector { return r.acks.said(peer, epoch) })
	if !g.idle {
		return false, nil
	}
	return r.state.sweep(r.settled.has)
}

// sweep looks at the keys that keep something of a delete.
func (s *state) sweep(settled func(causal.Dot) bool) (bool, error) {
	view := s.space.View()
	defer view.Close()
	var failed error
	left, swept := sweepKeys, false
	for row := range view.Scan([]byte{rowGone}, []byte{rowGone + 1}, &failed) {
		if left--; left < 0 {
			break
		}
		key := string(row[1:])
		siblings, err := s.siblings(key)
		if err != nil {
			return false, err
		}
		kept := causal.Settled(siblings, settled)
		if len(kept) == len(siblings) && len(causal.Alive(siblings)) < len(siblings) {
			continue
		}
		swept = true
		s.batch.Delete(row)
		if err := s.store(key, siblings, kept); err != nil {
			return false, err
		}
	}
	return swept, failed
}
