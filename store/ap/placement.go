package ap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// Placement says which nodes hold a group, as of an epoch; a larger epoch is newer.
//
// From one epoch to the next at most one member begins or ceases to count, unless
// members are given up for lost. So any two majorities of neighbouring epochs meet.
type Placement struct {
	Epoch   uint64
	Members []string // every node that may have a replica
	Joining []string // of them: they catch up, and neither serve nor count yet
	Leaving []string // of them: they take no writes any more, and count until they are gone
}

func (p Placement) clone() Placement {
	sorted := func(names []string) []string { return slices.Sorted(slices.Values(names)) }
	return Placement{p.Epoch, sorted(p.Members), sorted(p.Joining), sorted(p.Leaving)}
}

// placed is the placement as one replica has confirmed it. It never changes.
type placed struct {
	Placement
	node     string
	complete bool          // it has caught up since it joined
	next     chan struct{} // closed when there is a newer one

	peers   []string // the other members
	counted []string // the members that may have taken a write which only they hold
	others  []string // of them, those beside this one
	heirs   []string // the other members that stay
}

func newPlaced(p Placement, node string, complete bool) *placed {
	p = p.clone()
	own, counted := []string{node}, without(p.Members, p.Joining)
	return &placed{
		Placement: p, node: node, complete: complete && !slices.Contains(p.Joining, node), next: make(chan struct{}),
		peers: without(p.Members, own), counted: counted, others: without(counted, own), heirs: without(without(p.Members, p.Leaving), own),
	}
}

func (p *placed) isMember() bool { return slices.Contains(p.Members, p.node) }

func (p *placed) isPeer(name string) bool {
	return name != p.node && slices.Contains(p.Members, name)
}

// serves reports whether this replica may show what it holds.
func (p *placed) serves() bool { return p.complete && p.isMember() }

// takes reports whether this replica may take writes: one that leaves, not after all who
// come have come. Of a group of one, nobody else could take them until then.
func (p *placed) takes() bool {
	leaves := slices.Contains(p.Leaving, p.node) && len(p.heirs) > 0 && len(without(p.Joining, p.Leaving)) == 0
	return p.serves() && (mutant.M39 || !leaves)
}

func without(list, out []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(name string) bool { return slices.Contains(out, name) })
}

// keep makes the placement outlive a crash. What a peer was told of it must not be
// taken back.
func (p *placed) keep(space *engine.Space) error {
	row, err := proto.Marshal(&logpb.Placement{Epoch: p.Epoch, Members: p.Members, Joining: p.Joining, Leaving: p.Leaving, Complete: p.complete})
	if err != nil {
		return fmt.Errorf("encode a placement: %w", err)
	}
	b := space.Batch()
	b.Set([]byte{rowPlacement}, row)
	return b.Commit(true)
}

// loadPlaced is the newer one of what the replica had confirmed and what it is told.
// A replica that nobody knows has nothing to catch up with if it founds the group.
func loadPlaced(space *engine.Space, node string, told Placement) (*placed, error) {
	had, err := readPlaced(space)
	if err != nil {
		return nil, err
	}
	p := newerPlaced(had, node, told)
	if had != nil && p.Epoch == had.Epoch || p.Epoch == 0 {
		return p, nil // as it was, or as the group was made
	}
	return p, p.keep(space)
}

// loadPlacedInMemory is the same for a replica in memory, of which marks is what is on
// disk. If it says that the replica was there, and the memory does not, the replica was
// emptied.
func loadPlacedInMemory(space, marks *engine.Space, node string, told Placement) (p *placed, opened, emptied bool, err error) {
	inMemory, err := readPlaced(space)
	if err != nil {
		return nil, false, false, err
	}
	had, err := readPlaced(marks)
	if err != nil {
		return nil, false, false, err
	}
	opened, emptied = had != nil, had != nil && inMemory == nil
	if opened {
		had.Complete = inMemory.GetComplete()
	}
	p = newerPlaced(had, node, told)
	return p, opened, emptied, errors.Join(p.keep(marks), p.keep(space))
}

// readPlaced is nil if none was kept.
func readPlaced(space *engine.Space) (*logpb.Placement, error) {
	row, found, err := space.Get([]byte{rowPlacement})
	if err != nil || !found {
		return nil, err
	}
	had := new(logpb.Placement)
	if err := proto.Unmarshal(row, had); err != nil {
		return nil, corrupt("the placement", err)
	}
	return had, nil
}

// newerPlaced is the newer one of what was kept, if any was, and what the replica is told.
func newerPlaced(had *logpb.Placement, node string, told Placement) *placed {
	switch {
	case had == nil:
		return newPlaced(told, node, true)
	case had.Epoch < told.Epoch:
		return newPlaced(told, node, had.Complete)
	}
	return newPlaced(Placement{had.Epoch, had.Members, had.Joining, had.Leaving}, node, had.Complete)
}

// Adopt tells the replica of a placement and returns when it is durable and in force.
// One that is not newer changes nothing.
func (r *Replica) Adopt(p Placement) error {
	if p.Epoch <= r.placed.Load().Epoch {
		return nil
	}
	return r.run(func() error {
		if p.Epoch <= r.placed.Load().Epoch {
			return nil
		}
		return r.place(newPlaced(p, r.cfg.Node, r.placed.Load().complete))
	})
}

// place puts a placement in force. It belongs to the applier: no write is taken, and
// nothing of a peer applied, between what the old one and what the new one allows.
func (r *Replica) place(p *placed) error {
	if r.marks != nil {
		if err := p.keep(r.marks); err != nil {
			return storageError{err}
		}
	}
	if err := p.keep(r.space); err != nil {
		return storageError{err}
	}
	// Who was out meanwhile may have been closed.
	comes := slices.Contains(p.Joining, p.node) && !slices.Contains(r.placed.Load().Joining, p.node)
	if comes {
		if err := r.begin(); err != nil {
			return storageError{err}
		}
	}
	r.state.closed, r.departed = !p.isMember(), false
	r.settled = newSettled(p.peers)
	r.acks.place(p)
	r.fresh.place(p)
	r.clocks.place(p)
	close(r.placed.Swap(p).next)
	return nil
}

// CatchUp returns when a joining replica holds what some member that serves held when
// that member had confirmed the placement which names this one, and has learned what that
// member knew to be closed: else its answers would name every actor there ever was.
func (r *Replica) CatchUp(ctx context.Context) error {
	_, err := r.caughtUp(ctx, r.placed.Load())
	return err
}

// caughtUp reports false if a newer placement came instead.
func (r *Replica) caughtUp(ctx context.Context, p *placed) (bool, error) {
	for {
		have, closures, changed, err := r.views.seen()
		if err != nil {
			return false, r.signed("join", err)
		}
		done, heard := r.fresh.caughtUp(p, have, closures.Number())
		if done || r.emptied && slices.Contains(p.counted, p.node) && r.fresh.remains(p, have) {
			return true, nil
		}
		select {
		case <-heard:
		case <-changed:
		case <-p.next:
			return false, nil
		case <-ctx.Done():
			return false, r.signed("join", store.Expired(ctx, "a member to catch up from"))
		}
	}
}

// enter completes this replica whenever it is a member that is not complete: when it
// holds what another member held that had confirmed the epoch in which this one counts.
// From then on no reader can be proved fresh by that member and not know of this one.
func (r *Replica) enter(ctx context.Context) {
	for {
		p := r.placed.Load()
		if p.complete || slices.Contains(p.Joining, r.cfg.Node) {
			select {
			case <-p.next:
			case <-ctx.Done():
				return
			}
			continue
		}
		done, err := r.caughtUp(ctx, p)
		if err != nil {
			return
		}
		if done && r.run(func() error { return r.entered(p) }) != nil {
			return
		}
	}
}

func (r *Replica) entered(p *placed) error {
	if r.placed.Load() != p {
		return nil
	}
	if err := r.place(newPlaced(p.Placement, r.cfg.Node, true)); err != nil {
		return err
	}
	if r.emptied {
		r.cfg.Events.Refilled(r.countLost())
	}
	r.cfg.Events.Ready()
	return nil
}

// Leave returns when each member that stays serves, and holds, durably, all that this one
// holds, which must be leaving. From then on it takes nothing in any more, so that it cannot
// acknowledge what would go with it. When ctx ends before, it goes on as it was.
func (r *Replica) Leave(ctx context.Context) error {
	if mutant.M39 {
		return nil
	}
	p := r.placed.Load()
	last, _, err := r.views.peek()
	if err == nil {
		err = r.succeeded(ctx, p)
	}
	if err == nil {
		err = r.inherited(ctx, p, last) // nothing is held up while one of them is away
	}
	if err != nil {
		return r.signed("leave", err)
	}
	err = r.run(func() error {
		p = r.placed.Load()
		if !slices.Contains(p.Leaving, p.node) || len(p.heirs) == 0 {
			return r.fault(store.Invalid, "leave", "this replica is not to leave, or nobody stays", "")
		}
		r.state.closed, last = true, r.state.vector.Clone()
		return nil
	})
	if err != nil {
		return err
	}
	err = r.inherited(ctx, p, last)
	return cmp.Or(err, r.run(func() error {
		if r.placed.Load() == p {
			r.departed = r.departed || err == nil
			r.state.closed = r.departed
		}
		return nil
	}))
}

// succeeded waits until the heirs serve. One that has only just come completes itself by
// the answers of members that do, of which this may be the last.
func (r *Replica) succeeded(ctx context.Context, p *placed) error {
	for {
		all, heard := r.fresh.serving(p.heirs)
		if all {
			return nil
		}
		select {
		case <-heard:
		case <-p.next:
			return r.fault(store.Unavailable, "leave", "the group's members changed at the same moment", "again")
		case <-r.stopped:
			return errStopped
		case <-ctx.Done():
			return store.Expired(ctx, "the members that stay to serve")
		}
	}
}

// inherited waits until the heirs hold a vector.
func (r *Replica) inherited(ctx context.Context, p *placed, last causal.Vector) error {
	for {
		changed := r.acks.news()
		if r.acks.hold(p.heirs, last) {
			return nil
		}
		select {
		case <-changed:
		case <-p.next:
			return r.fault(store.Unavailable, "leave", "the group's members changed at the same moment", "again")
		case <-r.stopped:
			return r.signed("leave", errStopped)
		case <-ctx.Done():
			return r.signed("leave", store.Expired(ctx, "the other members to hold all that this one holds"))
		}
	}
}

// absent is the error of a replica that does not serve, or nil.
func (r *Replica) absent(op string) error {
	if r.placed.Load().serves() {
		return nil
	}
	return r.fault(store.Unavailable, op, r.catchingUp(), "another replica")
}

// catchingUp says why this replica does not serve.
func (r *Replica) catchingUp() string {
	if r.emptied {
		return emptiedText
	}
	return catchingUp
}

const catchingUp = "this replica has not caught up since it joined"
