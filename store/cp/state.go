package cp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/backup"
	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// The state space holds a pointer to the living generation of the state and,
// under each generation, one record for each kind below. A snapshot is restored
// into the next generation and made the living one by a single write.
const (
	keyGeneration = "g" // → eight bytes
	keyCaughtUp   = "r" // → present once the replica may serve
	keyForcing    = "f" // → present while a forcing is not complete
	keyState      = 's' // generation, 's' → logpb.State
	keyRecord     = 'k' // generation, 'k', key → logpb.Record
	keySession    = 'x' // generation, 'x', id → logpb.Session
	keyAnswer     = 'y' // generation, 'y', session's id, number / 16 → logpb.Answers
	keyLease      = 'L' // generation, 'L', id → logpb.Lease
	keyAttached   = 'a' // generation, 'a', lease's id, key → nothing
	keyChange     = 'e' // generation, 'e', revision → logpb.Change
	generations   = 'n' // the byte before every generation
)

// formatVersion is what this release writes into state, batches and snapshots.
const formatVersion = backup.Format

// state is the replicated state as the state machine sees it. It is owned by
// Raft's state machine goroutine; readers look through published views.
type state struct {
	group    store.GroupID
	space    *engine.Space
	gen      uint64
	meta     *logpb.State
	sessions map[uint64]*session
	leases   map[uint64]*logpb.Lease
	deps     token.Deps // as in meta
	recent   *recent
}

// loadState reads the living generation and sweeps away what an interrupted
// restore left of others.
func loadState(e *engine.Engine, group store.GroupID) (*state, error) {
	space := e.Space(group, spaceState)
	s := &state{group: group, space: space}
	b, _, err := space.Get([]byte(keyGeneration))
	if err != nil {
		return nil, err
	}
	if len(b) == 8 {
		s.gen = binary.BigEndian.Uint64(b)
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	sweep := space.Batch()
	sweep.DeleteRange([]byte{generations}, s.prefix(s.gen))
	if s.meta.Restoring == 0 { // else the next generation is being filled, through the log
		sweep.DeleteRange(s.prefix(s.gen+1), []byte{generations + 1})
	}
	return s, sweep.Commit(false)
}

func (s *state) prefix(gen uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{generations}, gen)
}

func (s *state) key(kind byte, key []byte) []byte {
	return append(append(s.prefix(s.gen), kind), key...)
}

// load reads what the living generation says of itself, its sessions and leases.
func (s *state) load() error {
	view := s.space.View()
	defer view.Close()
	s.meta, s.recent = &logpb.State{Version: formatVersion}, newRecent()
	b, ok, err := view.Get(s.key(keyState, nil))
	if err != nil {
		return err
	}
	if ok {
		if err := proto.Unmarshal(b, s.meta); err != nil {
			return fmt.Errorf("%w: cp state: %w", engine.ErrCorrupt, err)
		}
	}
	if s.meta.Version != formatVersion {
		return fmt.Errorf("cp: the state has format %d, this release knows %d", s.meta.Version, formatVersion)
	}
	if s.deps, err = token.DecodeDeps(s.meta.Deps); err != nil {
		return fmt.Errorf("%w: cp state: %w", engine.ErrCorrupt, err)
	}
	return errors.Join(s.loadSessions(view), s.loadLeases(view))
}

// decodeRecord reads what is stored under a key.
func decodeRecord(b []byte) (*logpb.Record, error) {
	rec := new(logpb.Record)
	if err := proto.Unmarshal(b, rec); err != nil {
		return nil, fmt.Errorf("%w: cp record: %w", engine.ErrCorrupt, err)
	}
	return rec, nil
}

// encode marshals what this package built itself, which cannot fail.
func encode(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

// view is what readers see: the state after some log entry, unchanging. next is
// closed when a newer one is published.
type view struct {
	*engine.View
	gen                   uint64
	index, term, revision uint64
	epoch, lineage        uint64
	leaderMS              int64
	history, total        uint64 // the first revision whose change is kept; bytes of all changes ever kept
	deps                  token.Deps
	encoded               store.Deps // the same
	// since and changes spare those who watch a look at the engine: changes are all
	// that came after revision since.
	since   uint64
	changes []change
	next    chan struct{}
}

func (s *state) view() *view {
	return &view{
		View: s.space.View(), gen: s.gen,
		index: s.meta.AppliedIndex, term: s.meta.AppliedTerm, revision: s.meta.Revision,
		epoch: s.meta.Epoch, lineage: s.meta.Lineage, leaderMS: s.meta.LeaderMs, history: s.meta.History, total: s.meta.Total,
		deps: s.deps, encoded: s.meta.Deps,
		since: s.meta.Revision, next: make(chan struct{}),
	}
}

func (v *view) key(kind byte, key string) []byte {
	b := binary.BigEndian.AppendUint64([]byte{generations}, v.gen)
	return append(append(b, kind), key...)
}

// record is what the view holds under key, or nil.
func (v *view) record(key string) (*logpb.Record, error) {
	b, ok, err := v.Get(v.key(keyRecord, key))
	if err != nil || !ok {
		return nil, err
	}
	return decodeRecord(b)
}

// changesFrom yields the changes kept at and above a revision, in order. An error is
// the last it yields.
func (v *view) changesFrom(revision uint64) iter.Seq2[change, error] {
	return func(yield func(change, error) bool) {
		var failed error
		prefix := len(v.key(keyChange, ""))
		for key, b := range v.Scan(v.key(keyChange, string(revisionKey(revision))), v.key(keyChange+1, ""), &failed) {
			c := change{binary.BigEndian.Uint64(key[prefix:]), new(logpb.Change)}
			if err := proto.Unmarshal(b, c.Change); err != nil {
				yield(change{}, fmt.Errorf("%w: cp change: %w", engine.ErrCorrupt, err))
				return
			}
			if !yield(c, nil) {
				return
			}
		}
		if failed != nil {
			yield(change{}, failed)
		}
	}
}
