package ap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// formatVersion is of the rows. A replica that meets another one does not open.
const formatVersion = 1

// milestone is the distance of the writes of one actor whose positions are kept.
// A peer that comes back is served from the milestone before what it lacks, so it
// costs a skip of at most this many writes of each actor, and one row in so many.
const milestone = 64

// state is what a replica has applied. Between commits it is ahead of the engine
// by the batch, whose keys are in pending. One goroutine owns it.
type state struct {
	space  *engine.Space
	vector causal.Vector
	journal
	deadlines
	cutEvery uint64 // bytes between the places where the log may be cut
	remote   uint64 // entries applied from peers, this life
	clock    causal.Clock
	requests *requests
	prune    bool             // planted bugs M13 and M17: only the winner of a key is kept
	tie      bool             // planted bug M14: of stamps that tie the last to come is kept
	merging  bool             // a snapshot is on its way in, and nothing else from peers is applied
	deps     token.Deps       // what the writes depend on in other groups
	lives    []causal.Actor   // as whom the replica ran before, and was not closed
	closures *causal.Closures // of actors
	covered  uint64           // all that was closed up to this number is in vector
	closed   bool             // nothing from peers is applied: the replica is about to leave, or has left

	batch   *engine.Batch
	pending map[string][]causal.Sibling // keys that the batch changes
}

// load reads the state as the last commit left it, and ends a merge that a crash
// interrupted.
func load(space *engine.Space, cutEvery, grace uint64) (*state, error) {
	s := &state{space: space, vector: causal.Vector{}, cutEvery: cutEvery, requests: newRequests()}
	s.base.vector, s.grace = causal.Vector{}, grace
	self, found, err := space.Get([]byte{rowSelf})
	if err != nil {
		return nil, err
	}
	if err := s.loadClosures(); err != nil {
		return nil, err
	}
	if found {
		err = s.loadSelf(self)
	}
	if err != nil {
		return nil, err
	}
	s.next = 1 // a look at the rows will say
	return s, errors.Join(s.resume(), s.foreign())
}

func (s *state) loadSelf(self []byte) (err error) {
	var pb logpb.Vector
	if err := proto.Unmarshal(self, &pb); err != nil {
		return corrupt("the replica's own row", err)
	}
	if pb.Version != formatVersion {
		return corrupt("the replica's own row", fmt.Errorf("it has format %d, this program knows %d", pb.Version, formatVersion))
	}
	if s.vector, err = vectorOf(&pb); err != nil {
		return corrupt("the replica's own row", err)
	}
	all, known := s.closures.Up(pb.Closed)
	if !known {
		return corrupt("the replica's own row", fmt.Errorf("it stands on the closure %d, which is not there", pb.Closed))
	}
	s.vector.Join(all)
	s.covered = pb.Closed
	if s.deps, err = token.DecodeDeps(pb.Deps); err != nil {
		return corrupt("the replica's own row", err)
	}
	s.position, s.bytes = pb.Position, pb.Bytes
	if !mutant.M15 {
		s.clock.Observe(causal.Stamp(pb.Stamp))
	}
	return errors.Join(s.loadCuts(), s.loadRequests())
}

func (s *state) loadRequests() error {
	view := s.space.View()
	defer view.Close()
	var failed error
	for key, value := range view.Scan([]byte{rowRequest}, []byte{rowRequest + 1}, &failed) {
		var row logpb.Executed
		if err := proto.Unmarshal(value, &row); err != nil || len(key) != 17 {
			return corrupt("an executed request", errors.Join(err, fmt.Errorf("its key is %x", key)))
		}
		session, number := binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint64(key[9:])
		s.requests.restore(session, number, executed{
			dot:   causal.Dot{Actor: causal.Actor(row.Dot.GetActor()), N: row.Dot.GetNumber()},
			found: row.Found,
			value: row.Value,
		})
	}
	return failed
}

// begin starts a batch. commit or drop ends it.
func (s *state) begin() {
	s.batch = s.space.Batch()
	s.pending = map[string][]causal.Sibling{}
	s.recent = nil
}

func (s *state) drop() { s.batch.Close() }

// siblings returns what key holds, the batch included.
func (s *state) siblings(key string) ([]causal.Sibling, error) {
	if siblings, ok := s.pending[key]; ok {
		return siblings, nil
	}
	row, found, err := s.space.Get(keyRow(key))
	if err != nil || !found {
		return nil, err
	}
	return decodeSiblings(row)
}

// apply adds an entry to the batch. It must be the next one of its actor, and what
// it depends on must have been applied.
func (s *state) apply(e *entry) error {
	before, err := s.siblings(e.key)
	if err != nil {
		return err
	}
	foldAtOnce(before, &e.Write)
	removeByName(before, &e.Write)
	after := s.pruned(causal.Apply(before, e.Write), e.Dot)
	if err := s.store(e.key, before, after); err != nil {
		return err
	}
	s.vector[e.Dot.Actor] = e.Dot.N
	s.deps = s.deps.Join(e.deps)
	s.clock.Observe(e.Stamp)
	row, err := beside(e, after)
	if err != nil {
		return err
	}
	if err := s.append(e.raw, row); err != nil {
		return err
	}
	s.milestone(e.Dot)
	return nil
}

// pruned is what planted bugs leave of a key after a write.
func (s *state) pruned(siblings []causal.Sibling, wrote causal.Dot) []causal.Sibling {
	winner, ok := causal.Winner(siblings)
	switch {
	case ok && s.prune:
		return []causal.Sibling{winner}
	case s.tie:
		came := slices.IndexFunc(siblings, func(is causal.Sibling) bool { return is.Dot == wrote })
		return slices.DeleteFunc(slices.Clone(siblings), func(is causal.Sibling) bool {
			return came >= 0 && is.Stamp == siblings[came].Stamp && is.Dot != wrote
		})
	}
	return siblings
}

// store replaces the siblings of a key.
func (s *state) store(key string, before, siblings []causal.Sibling) error {
	s.pending[key] = siblings
	s.schedule(key, before, siblings)
	if len(siblings) == 0 {
		if len(before) > 0 {
			s.batch.Delete(keyRow(key))
		}
		return nil
	}
	row, err := encodeSiblings(siblings)
	if err != nil {
		return fmt.Errorf("encode siblings: %w", err)
	}
	s.batch.Set(keyRow(key), row)
	if slices.ContainsFunc(siblings, causal.Sibling.Gone) {
		s.batch.Set(goneRow(key), nil)
	}
	return nil
}

// commit ends the batch: all of it is then in the engine, or the engine has failed.
func (s *state) commit(sync bool) error {
	self := protoVector(short(s.vector, s.closures, s.covered).Vector)
	self.Closed = s.covered
	self.Version, self.Position, self.Bytes, self.Stamp = formatVersion, s.position, s.bytes, uint64(s.clock.Last())
	self.Deps = s.deps.Encode()
	row, err := proto.Marshal(self)
	if err != nil {
		return fmt.Errorf("encode the replica's own row: %w", err)
	}
	s.batch.Set([]byte{rowSelf}, row)
	return s.batch.Commit(sync)
}

// remember records an executed request in the same batch as its write.
func (s *state) remember(r store.Request, did executed) error {
	row, err := proto.Marshal(&logpb.Executed{Dot: protoDot(did.dot), Found: did.found, Value: did.value})
	if err != nil {
		return fmt.Errorf("encode an executed request: %w", err)
	}
	s.batch.Set(numbered(rowRequest, r.Session, r.Number), row)
	s.requests.record(r, did, func(session, number uint64) {
		s.batch.Delete(numbered(rowRequest, session, number))
	})
	return nil
}
