package ap

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// A replica in memory is emptied by the end of its process. It keeps on disk that it was
// there, so that it does not take itself for the founder of an empty group: it serves
// nothing and takes no writes before it has what a member holds that serves. And it keeps
// there which writes it held, as of the last look, so that what nobody has any more is
// counted.
//
// If no member serves, because all were started again before one of them was full, nobody
// has more than they hold together. That must be known, and not supposed of members that
// cannot be heard: each was seen in one life, without a break, as one that does not serve,
// and there is an instant that all these times have in common. Then whoever has what all
// of them hold goes on with that.
//
// One member's state is enough to read and write, but not to count in a majority: of the
// members that acknowledged a write this one may be the only one that those who are asked
// have in common with them, and it has forgotten. So it counts again when it has the
// states of so many members that count, that each majority it is of has one of them.

// held is what a replica in memory knows of what it has held.
type held struct {
	vector  causal.Vector // in this life and before; it only grows
	emptied uint64
}

// loadHeld reads it; in a life that began with nothing, that is noted first.
func loadHeld(marks *engine.Space, emptied bool) (*held, error) {
	row, found, err := marks.Get([]byte{rowHeld})
	if err != nil {
		return nil, err
	}
	h := &held{vector: causal.Vector{}}
	if found {
		var pb logpb.Held
		if err := proto.Unmarshal(row, &pb); err != nil {
			return nil, corrupt("what the replica held", err)
		}
		if h.vector, err = vectorOf(pb.Vector); err != nil {
			return nil, corrupt("what the replica held", err)
		}
		h.emptied = pb.Emptied
	}
	if !emptied {
		return h, nil
	}
	h.emptied++
	return h, h.keep(marks)
}

func (h *held) keep(marks *engine.Space) error {
	row, err := proto.Marshal(&logpb.Held{Vector: protoVector(h.vector), Emptied: h.emptied})
	if err != nil {
		return fmt.Errorf("encode what the replica held: %w", err)
	}
	b := marks.Batch()
	b.Set([]byte{rowHeld}, row)
	return b.Commit(true)
}

// notePeriod is how old the note may be of what a replica in memory holds.
const notePeriod = time.Second

// noteHeld keeps the note, beside the applier: no write waits for a disk.
func (r *Replica) noteHeld(ctx context.Context) {
	tick := time.NewTicker(notePeriod)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		have, _, err := r.views.peek()
		if err != nil || r.note(have) != nil {
			return // the engine has failed, and says so to all
		}
	}
}

func (r *Replica) note(have causal.Vector) error {
	was := r.held.Load()
	if was.vector.Covers(have) {
		return nil
	}
	h := &held{was.vector.Clone(), was.emptied}
	h.vector.Join(have)
	if err := h.keep(r.marks); err != nil {
		return err
	}
	r.held.Store(h)
	return nil
}

// countLost is how many of the writes that this replica once held are in none of the states
// that it has seen since.
func (r *Replica) countLost() uint64 {
	have, _, err := r.views.peek()
	h := r.held.Load()
	if err != nil || h == nil || !r.placed.Load().serves() {
		return 0
	}
	return h.vector.Beyond(have)
}

// gone reports whether some of what a session needs is lost: who wrote it has ended, each
// member was asked after the session began to wait, and a view that has all that they had
// lacks it. The session had seen it at a member before. It is not said of disks, from which
// it may come back with a node.
func (r *Replica) gone(since time.Time, need causal.Vector) (yes bool, heard <-chan struct{}) {
	have, _, err := r.views.peek()
	if r.marks == nil || err != nil || have == nil || !r.placed.Load().serves() {
		return false, nil
	}
	proved, heard := r.fresh.provedSince(since, have)
	if !proved {
		return false, heard
	}
	have, _, err = r.views.peek() // the proof may be of a view after the first
	if err != nil {
		return false, heard
	}
	for _, d := range have.Missing(need) {
		if r.ended(d.Actor, have) {
			return true, heard
		}
	}
	return false, heard
}

// ended reports whether an actor is one that was heard of, and is not that of a member's
// present life. Of what nobody has heard nothing is said: anybody can make up an actor.
func (r *Replica) ended(a causal.Actor, have causal.Vector) bool {
	known := have[a] > 0 || r.held.Load().vector[a] > 0
	return known && a != r.life() && !r.fresh.alive(a)
}

// refill makes this replica count in majorities when it has what that needs.
func (r *Replica) refill(ctx context.Context) {
	for !r.isWhole() {
		p := r.placed.Load()
		have, changed, err := r.views.peek()
		if err != nil {
			return
		}
		done, heard := r.fresh.refilled(p, have)
		if done && p.serves() {
			close(r.whole)
			return
		}
		select {
		case <-heard:
		case <-changed:
		case <-p.next:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// isWhole reports whether this replica counts in a majority.
func (r *Replica) isWhole() bool {
	select {
	case <-r.whole:
		return true
	default:
		return false
	}
}

const (
	emptiedText = "this replica is in memory, was emptied by a restart and has not been filled again"
	lostText    = "the session has seen writes that no member has any more: they were in memory only, and went with nodes that were started again"
	partText    = "this replica is in memory and was emptied by a restart; it does not count in a majority before it has heard more members"
)

// refilled reports whether a view with this vector has what so many members held that
// each majority with this one has another of them; or what all others held.
func (f *freshness) refilled(members *placed, have causal.Vector) (done bool, heard <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	vouched, known := 0, 0
	for _, name := range members.others {
		p := f.of(name)
		p.settle(have, f.members.Epoch)
		if p.whole {
			vouched++
		}
		if !p.proved.IsZero() {
			known++
		}
	}
	return known == len(members.others) || vouched >= (len(members.counted)+1)/2, f.heard
}

// alive reports whether an actor is that of a peer as it answered last.
func (f *freshness) alive(a causal.Actor) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.peers {
		if p.life == a {
			return true
		}
	}
	return false
}

// provedSince reports whether a view with this vector has what each member had when it was
// asked at that moment or later. Else heard is closed at the next answer.
func (f *freshness) provedSince(moment time.Time, have causal.Vector) (all bool, heard <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all = true
	for _, name := range f.members.others {
		p := f.of(name)
		p.settle(have, f.members.Epoch)
		all = all && !p.proved.Before(moment)
	}
	return all, f.heard
}

// remains reports whether no member serves, and a view with this vector has all that is
// left.
func (f *freshness) remains(members *placed, have causal.Vector) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	var instant time.Time // after it each of them was still as it was before
	for _, name := range members.others {
		p := f.of(name)
		p.settle(have, f.members.Epoch)
		if p.idleFrom.IsZero() {
			return false
		}
		if p.idleFrom.After(instant) {
			instant = p.idleFrom
		}
	}
	for _, name := range members.others {
		if f.of(name).idleTo.Before(instant) {
			return false
		}
	}
	return true
}

// notes takes from an answer whether the peer served. It is called with mu held.
func (p *proofs) notes(what report) {
	if what.serves || what.life != p.life {
		p.idleFrom, p.idleTo = time.Time{}, time.Time{}
	}
	p.life = what.life
	if !what.serves && p.idleFrom.IsZero() {
		p.idleFrom = what.came
	}
}
