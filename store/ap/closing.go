package ap

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// An actor that runs no more is closed at the number up to which all members hold it, once
// nobody can ever hold more: see causal.Ended. One member asks all others, the caller has
// the closure recorded under the next number, where all learn them in one order, and tells
// every replica. From then on a number stands for the actor, and a dot above it is lost.

// maxClosed is how many actors are closed at a time.
const maxClosed = 1024

// Closing is a question whether actors have ended.
type Closing struct {
	// Epoch is of the placement whose members are to be asked. It must be the newest one
	// at some moment between Closing and Ended; a newer one may have let somebody in who
	// runs as one of the actors.
	Epoch  uint64
	placed *placed
	known  *causal.Closures
	actors []causal.Actor
}

// Closing begins to close. It reports false if this replica knows of no actor that may have
// ended, does not hear all members, or is not the one whose turn it is. In memory nothing is
// closed: what all members hold now, they may hold no more when they have been restarted.
func (r *Replica) Closing() (Closing, bool) {
	p, hears := r.placed.Load(), r.lives.hears()
	if r.marks != nil || len(p.counted) == 0 || p.counted[0] != r.cfg.Node {
		return Closing{}, false
	}
	running := []causal.Actor{r.life()}
	for _, peer := range p.peers {
		a, ok := hears[peer]
		if !ok {
			return Closing{}, false
		}
		running = append(running, a)
	}
	vector, known, _, err := r.views.seen()
	if err != nil || vector == nil {
		return Closing{}, false
	}
	c := Closing{Epoch: p.Epoch, placed: p, known: known, actors: r.lives.all()}
	for a := range vector {
		c.actors = append(c.actors, a)
	}
	slices.Sort(c.actors)
	c.actors = slices.DeleteFunc(slices.Compact(c.actors), func(a causal.Actor) bool {
		_, closed := known.End(a)
		return closed || slices.Contains(running, a)
	})
	c.actors = c.actors[:min(len(c.actors), maxClosed)]
	return c, len(c.actors) > 0
}

// Ended asks all members, and returns what can be closed, and the number behind which it
// comes; nil if nothing can. It becomes a closure when it is recorded under the next one, and
// nothing else is. A member that is not reached is an error: without its word nothing is.
func (r *Replica) Ended(ctx context.Context, c Closing) (after uint64, closure []byte, err error) {
	reports := make([]causal.Report, len(c.placed.Members))
	errs := make([]error, len(reports))
	var asked sync.WaitGroup
	for i, node := range c.placed.Members {
		asked.Go(func() {
			if node == r.cfg.Node {
				reports[i], errs[i] = r.report()
			} else {
				reports[i], errs[i] = r.askReport(ctx, node)
			}
		})
	}
	asked.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, nil, r.signed("close", err)
	}
	for _, said := range reports {
		if said.Known > c.known.Number() {
			return 0, nil, nil // it must be recorded first, and learned
		}
	}
	if mutant.M45 {
		uncovered(reports)
	}
	ends := causal.Ended(c.actors, c.placed.Members, c.Epoch, reports)
	if len(ends) == 0 {
		return 0, nil, nil
	}
	closure, err = encodeClosure(ends, c.known.Number())
	return c.known.Number(), closure, err
}

// uncovered is mutant M45: what the first member holds is taken for what all do.
func uncovered(reports []causal.Report) {
	for i := range reports {
		reports[i].Holds = reports[0].Holds
	}
}

// report is what this replica says of itself. It is of one moment, between two commits, and
// what it holds then is on disk, whatever the keyspace's durability.
func (r *Replica) report() (said causal.Report, err error) {
	err = r.run(func() error {
		if !r.syncs() {
			r.state.begin()
			if err := r.state.commit(true); err != nil {
				return storageError{err}
			}
		}
		said = causal.Report{
			Node: r.cfg.Node, Epoch: r.placed.Load().Epoch, Actor: r.life(),
			Holds: r.state.vector.Clone(), Hears: r.lives.hears(), Known: r.state.closures.Number(),
		}
		return nil
	})
	return said, err
}

func (r *Replica) serveReport() (*logpb.APReportResponse, error) {
	said, err := r.report()
	if err != nil {
		return nil, err
	}
	pb := &logpb.APReportResponse{Epoch: said.Epoch, Actor: uint64(said.Actor), Holds: protoVector(said.Holds), Closed: said.Known}
	for peer, a := range said.Hears {
		pb.Peers, pb.Lives = append(pb.Peers, peer), append(pb.Lives, uint64(a))
	}
	return pb, nil
}

func (r *Replica) askReport(ctx context.Context, node string) (causal.Report, error) {
	pb, err := r.ask(ctx, node, &logpb.APRequest{Kind: &logpb.APRequest_Report{Report: &logpb.APReportRequest{}}})
	if err != nil {
		return causal.Report{}, err
	}
	said := pb.GetReport()
	if said == nil || len(said.Peers) != len(said.Lives) {
		return causal.Report{}, garbage("the answer of %s is no report", node)
	}
	holds, err := recvVector(said.Holds)
	if err != nil {
		return causal.Report{}, err
	}
	report := causal.Report{Node: node, Epoch: said.Epoch, Actor: causal.Actor(said.Actor), Holds: holds, Hears: map[string]causal.Actor{}, Known: said.Closed}
	for i, peer := range said.Peers {
		report.Hears[peer] = causal.Actor(said.Lives[i])
	}
	return report, nil
}

// Closed are the numbers, behind one, of the closures that this replica has learned.
func (r *Replica) Closed(after uint64) []uint64 {
	_, known, _, err := r.views.seen()
	if err != nil {
		return nil
	}
	return known.Since(after)
}

// Closure is one that this replica has learned, as Ended made it.
func (r *Replica) Closure(number uint64) ([]byte, error) {
	closure, found, err := r.space.Get(numbered(rowClosure, number))
	if err == nil && !found {
		err = &store.Error{Code: store.NotFound, Msg: fmt.Sprintf("there is no closure %d", number)}
	}
	return closure, r.signed("close", err)
}

// Learn takes in a closure, as Ended made it, under the number by which it is recorded. It
// comes behind all that are known; one that is known already changes nothing. A replica that
// holds more than there can be ends: its disk is of another time.
func (r *Replica) Learn(number uint64, closure []byte) error {
	ends, after, err := decodeClosure(closure)
	if err != nil {
		return r.signed("close", err)
	}
	return r.signed("close", r.run(func() error {
		known := r.state.closures.Number()
		if number <= known {
			return nil
		}
		if after != known {
			return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("the closure %d comes behind %d, and this replica knows %d", number, after, known)}
		}
		r.state.begin()
		r.state.batch.Set(numbered(rowClosure, number), closure)
		for a := range ends {
			r.state.batch.Delete(numbered(rowLife, uint64(a)))
		}
		r.state.closures = r.state.closures.With(number, ends)
		if err := r.state.commit(false); err != nil {
			return storageError{err}
		}
		if _, closed := ends[r.life()]; closed {
			return storageError{fmt.Errorf("ap: the actor %s was closed, and this replica runs as it", r.life())}
		}
		if err := r.state.foreign(); err != nil {
			return storageError{err}
		}
		r.lives.forget(ends)
		r.publish()
		return nil
	}))
}

// foreign is the error of a state that holds what was lost when it was closed. It is never
// shown, nor sent.
func (s *state) foreign() error {
	dots := s.closures.Beyond(s.vector)
	if len(dots) == 0 {
		return nil
	}
	return &store.Error{
		Code: store.Corrupt,
		Msg:  fmt.Sprintf("this disk holds %s, which was given up for lost when all members were heard: it is of another time", dots[0]),
		Try:  "kvctl cluster remove NODE --dead, and a new node with an empty --data directory",
	}
}

// possible is the error of a peer's vector that has what there is no more.
func (s *state) possible(theirs causal.Vector) error {
	if dots := s.closures.Beyond(theirs); len(dots) > 0 {
		return garbage("the peer's state includes %s, of an actor that was closed before", dots[0])
	}
	return nil
}

// loadClosures reads what was learned, and the actors that this replica ran as.
func (s *state) loadClosures() error {
	view := s.space.View()
	defer view.Close()
	var failed error
	for key, value := range view.Scan([]byte{rowClosure}, []byte{rowClosure + 1}, &failed) {
		ends, after, err := decodeClosure(value)
		if err == nil && (len(key) != 9 || after != s.closures.Number()) {
			err = fmt.Errorf("it has the key %x and comes behind %d", key, after)
		}
		if err != nil {
			return corrupt("a closure", err)
		}
		s.closures = s.closures.With(binary.BigEndian.Uint64(key[1:]), ends)
	}
	for key := range view.Scan([]byte{rowLife}, []byte{rowLife + 1}, &failed) {
		if len(key) != 9 {
			return corrupt("an earlier life", fmt.Errorf("its key is %x", key))
		}
		s.lives = append(s.lives, causal.Actor(binary.BigEndian.Uint64(key[1:])))
	}
	return failed
}

// live notes, before it writes anything, as whom the replica runs, so that an actor of which
// a power cut leaves nothing can be closed.
func (s *state) live(a causal.Actor) error {
	b := s.space.Batch()
	b.Set(numbered(rowLife, uint64(a)), nil)
	return b.Commit(true)
}

func encodeClosure(ends causal.Vector, after uint64) ([]byte, error) {
	pb := &logpb.Closure{After: after}
	actors := make([]causal.Actor, 0, len(ends))
	for a := range ends {
		actors = append(actors, a)
	}
	slices.Sort(actors)
	for _, a := range actors {
		pb.Actors, pb.Ends = append(pb.Actors, uint64(a)), append(pb.Ends, ends[a])
	}
	return proto.Marshal(pb)
}

func decodeClosure(b []byte) (ends causal.Vector, after uint64, err error) {
	var pb logpb.Closure
	if err := proto.Unmarshal(b, &pb); err != nil {
		return nil, 0, corrupt("a closure", err)
	}
	if len(pb.Actors) != len(pb.Ends) || len(pb.Actors) == 0 || len(pb.Actors) > maxClosed {
		return nil, 0, corrupt("a closure", fmt.Errorf("it has %d actors and %d numbers, the limit is %d", len(pb.Actors), len(pb.Ends), maxClosed))
	}
	ends = make(causal.Vector, len(pb.Actors))
	for i, a := range pb.Actors {
		if a == 0 || i > 0 && pb.Actors[i-1] >= a {
			return nil, 0, corrupt("a closure", fmt.Errorf("it is out of order at actor %s", causal.Actor(a)))
		}
		ends[causal.Actor(a)] = pb.Ends[i]
	}
	return ends, pb.After, nil
}
