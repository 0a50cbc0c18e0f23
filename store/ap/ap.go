// Package ap is one causal replication group: every member takes writes and
// serves reads by itself, and what it serves is always causally consistent.
//
// The model in five nouns:
//
//   - An actor is one life of one replica, a random number drawn at every start. One that
//     has ended is closed, and from then on a number stands for all that were.
//   - A dot names a write: the actor that took it and the actor's count.
//   - The log of a replica holds the writes it has applied, in its own order, in
//     which nothing ever comes before what it depends on.
//   - The vector says what is in the log: for each actor a number, without gaps.
//     What a session has seen is a vector too, and a replica may answer it when
//     its own covers that.
//   - Siblings are the values of a key that no applied write has superseded. The
//     conflict policies are ways to look at them.
//
// A replica takes a write by giving it the next dot and appending it to its log.
// Replicas then pull each other's logs: each opens one stream to every other
// member, says what it has, and is sent the rest in the other's log order, first
// hand or passed on. Whatever arrives so has its causes before it, by whatever
// path (Petersen et al., "Flexible Update Propagation for Weakly Consistent
// Replication", SOSP 1997).
//
// One goroutine, the applier, owns the state. It takes all that has queued, local
// writes and remote ones, applies it in one engine batch, waits for the disk as
// the keyspace's durability says, publishes a new immutable view, and only then
// answers. Readers use the published view and never wait for the applier, so
// nothing is read, acknowledged, counted or sent before it is as durable as was
// promised.
//
// A scan's pages share one such view. A watch reads the log behind a cursor, as a peer
// does. A value with a TTL ends by a delete in the log, never by being hidden.
//
// DESIGN.md beside this file says why.
package ap

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// queueLen and queueBytes bound the writes that wait for the applier; above
// either, a write is refused with Overloaded. A thousand small writes are a few
// commits; sixteen of the largest are as much memory as one group may hold back.
const (
	queueLen   = 1024
	queueBytes = 16 << 20
)

// cutsPerLog is in how many places the log may be cut: it exceeds its bound by no
// more than a part, and each place costs a vector.
const cutsPerLog = 64

// keepPart of the log's bound is kept though every member holds it: a member may lose
// its last moments and want them again, and a stream that begins anew looks back.
const keepPart = 8

// Replica is this node's copy of one ap group. It implements [store.Replica].
type Replica struct {
	cfg   Config
	space *engine.Space
	marks *engine.Space // on disk; nil unless space is in memory
	actor atomic.Uint64 // see life
	state *state        // owned by Run's goroutine, the applier

	local  chan *localWrite  // waiting for the applier
	remote chan *remoteBatch // one at most for each stream
	errand chan *errand      // what else the applier is to do
	queued atomic.Int64      // bytes in local

	views   *views
	pins    *engine.Pins[pinned] // views of scans between their pages
	acks    *acks
	settled settled // owned by the applier
	placed  atomic.Pointer[placed]
	fresh   *freshness
	lives   *lives
	clocks  *clocks
	heard   atomic.Pointer[time.Time] // when a frame came from any peer
	running atomic.Bool

	emptied bool                 // this life began without what the one before it held
	held    atomic.Pointer[held] // nil unless space is in memory
	whole   chan struct{}        // closed when this replica counts in majorities

	departed bool // owned by the applier: the heirs hold all that this replica will ever hold

	stopped chan struct{} // closed when the applier has ended
}

var _ store.Replica = (*Replica)(nil)

// Open reads the replica's state and draws its actor. Nothing happens, and
// nothing is served, before Run.
func Open(cfg Config) (*Replica, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	space := cfg.Engine.Space(cfg.Group, 'a')
	var marks *engine.Space
	if cfg.Durability == store.Memory {
		marks, space = space, cfg.Memory.Space(cfg.Group, 'a')
	}
	state, err := load(space, cfg.LogBytes/cutsPerLog, graceOf(cfg))
	if err != nil {
		return nil, fmt.Errorf("ap: open group %s: %w", cfg.Group, err)
	}
	state.prune = mutant.M17 && cfg.Policy == store.LWW || mutant.M13 && cfg.Policy == store.Siblings
	state.tie = mutant.M14 && cfg.Policy == store.LWW
	r := &Replica{
		cfg:     cfg,
		space:   space,
		lives:   newLives(state.lives),
		marks:   marks,
		state:   state,
		local:   make(chan *localWrite, queueLen),
		remote:  make(chan *remoteBatch),
		errand:  make(chan *errand),
		views:   newViews(),
		pins:    engine.NewPins[pinned](),
		acks:    newAcks(),
		clocks:  newClocks(cfg.Clock),
		stopped: make(chan struct{}),
		whole:   make(chan struct{}),
	}
	if err := r.loadMembers(); err != nil {
		return nil, fmt.Errorf("ap: open group %s: %w", cfg.Group, err)
	}
	return r, r.begin()
}

// life is the actor that this replica is.
func (r *Replica) life() causal.Actor { return causal.Actor(r.actor.Load()) }

// begin makes the replica another actor.
func (r *Replica) begin() error {
	a := newActor()
	if mutant.M12 && len(r.state.lives) > 0 {
		a = r.state.lives[0]
	}
	if err := r.state.live(a); err != nil {
		return fmt.Errorf("ap: open group %s: %w", r.cfg.Group, err)
	}
	r.lives.met(r.life())
	r.actor.Store(uint64(a))
	r.state.own = a
	return nil
}

// loadMembers completes Open with what was kept of the group's members.
func (r *Replica) loadMembers() error {
	var placed *placed
	var err error
	opened := false
	if r.marks == nil {
		placed, err = loadPlaced(r.space, r.cfg.Node, r.cfg.Placement)
	} else {
		placed, opened, r.emptied, err = loadPlacedInMemory(r.space, r.marks, r.cfg.Node, r.cfg.Placement)
	}
	if err != nil {
		return err
	}
	if !opened {
		close(r.whole)
	}
	if r.marks != nil {
		h, err := loadHeld(r.marks, r.emptied)
		if err != nil {
			return err
		}
		r.held.Store(h)
	}
	r.settled, r.fresh = newSettled(placed.peers), newFreshness(placed)
	r.placed.Store(placed)
	r.state.closed = !placed.isMember()
	return nil
}

// newActor draws the name of this life. It never comes from the disk: a replica
// that lost its last writes and went on counting under the old name would give
// their dots to other writes, which its peers would drop as known (riak_kv #679).
func newActor() causal.Actor {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails
		if a := causal.Actor(binary.BigEndian.Uint64(b[:])); a != 0 && a < closedSum {
			return a
		}
	}
}

// Run serves until ctx ends, then returns nil; or until the storage fails, then
// returns that error. It owns every goroutine of the replica but those of
// ServeStream, which end when it ends. When it returns no view of the engine is
// open any more. It may be called once.
func (r *Replica) Run(ctx context.Context) error {
	if !r.running.CompareAndSwap(false, true) {
		return errors.New("ap: run: called twice")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var parts sync.WaitGroup
	r.publish()
	if r.emptied {
		r.cfg.Events.Emptied(r.held.Load().vector.Sum())
	}
	if r.placed.Load().serves() {
		r.cfg.Events.Ready()
	}
	parts.Go(func() { r.pullAll(ctx) })
	parts.Go(func() { r.enter(ctx) })
	parts.Go(func() { r.pins.Run(ctx) })
	if r.marks != nil {
		parts.Go(func() { r.noteHeld(ctx) })
		parts.Go(func() { r.refill(ctx) })
	}
	err := r.apply(ctx)
	cancel()
	close(r.stopped)
	parts.Wait()
	if r.marks != nil {
		_ = r.note(r.state.vector) // the last note is kept if the engine has failed
	}
	r.pins.Close()
	r.views.close()
	if err != nil {
		return fmt.Errorf("ap: group %s: %w", r.cfg.Group, err)
	}
	return nil
}

// Status is a cheap, local look at the replica.
func (r *Replica) Status() store.Status {
	p := r.placed.Load()
	s := store.Status{
		Group:   r.cfg.Group,
		Mode:    store.AP,
		Node:    r.cfg.Node,
		Role:    role,
		Members: slices.Clone(p.Members),
		Epoch:   p.Epoch,
	}
	if len(p.Joining) > 0 {
		s.NonVoters = slices.Clone(p.Joining)
	}
	v, _, err := r.views.latest()
	switch {
	case err != nil:
		s.Detail = "it has stopped"
	case v == nil:
		s.Detail = "it has not started"
	default:
		s.Ready, s.Detail = true, r.clocks.detail()
		if !p.serves() {
			s.Ready, s.Detail = false, r.catchingUp()
		}
		if h := r.held.Load(); h != nil {
			s.Emptied, s.Lost = h.emptied, r.countLost()
		}
		s.Vector, s.Revision, s.Backlog = v.text(), v.vector.Sum(), r.acks.backlog(v.vector)
	}
	return s
}

// role is what every replica of a group without a leader is.
const role = "replica"

// fault is an error of this replica.
func (r *Replica) fault(code store.Code, op, msg, try string) *store.Error {
	return &store.Error{Code: code, Op: op, Group: r.cfg.Group, Node: r.cfg.Node, Msg: msg, Try: try}
}

// signed completes an error that was made below the replica.
func (r *Replica) signed(op string, err error) error {
	if err == nil {
		return nil
	}
	e := *store.AsError(err)
	e.Op, e.Group, e.Node = op, r.cfg.Group, r.cfg.Node
	return &e
}
