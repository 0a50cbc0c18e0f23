package cp

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/spans"
)

// machine is the replicated state machine. Raft calls it on one goroutine, with
// committed entries in order. It reads no clock, no map order and no randomness,
// so that every replica computes the same.
type machine struct {
	state  *state
	leases *keeper
	views  atomic.Pointer[view] // the latest state, for readers
	// failed is told, once, what makes the state untrustworthy. Nothing is applied
	// after it: to go on would be to diverge.
	failed   func(error)
	broken   error
	applying nudge                           // entries have come
	traced   atomic.Pointer[[]*spans.Origin] // of the leader's entry that comes next; nil: nobody
	down     <-chan struct{}                 // closed when the replica is ending
}

var _ raft.BatchingFSM = (*machine)(nil)

// errStopped is the answer to entries that come after the machine broke.
var errStopped = errors.New("cp: the state machine has stopped")

// ApplyBatch applies entries in one engine batch and publishes the result. Each
// command entry is answered with its []*logpb.Answer. Entries that are in the state
// already, because the log is replayed at start, are skipped.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	m.applying.all()
	answers := make([]any, len(logs))
	tx := m.state.begin()
	since := m.state.meta.Revision
	var changes []change
	for i, log := range logs {
		if m.broken != nil {
			break
		}
		batch := m.decode(log)
		if piece := restorePiece(batch); piece == nil {
			answers[i] = m.apply(tx, log, batch)
			continue
		}
		// A piece of a restore may replace the whole state, so what came before is
		// committed first.
		changes = append(changes, tx.changes...)
		m.commit(tx)
		epoch := m.state.meta.Epoch
		answers[i] = m.restorePiece(log, batch)
		if m.state.meta.Epoch != epoch {
			since, changes = m.state.meta.Revision, nil
		}
		tx = m.state.begin()
	}
	changes = append(changes, tx.changes...)
	m.commit(tx)
	if m.broken != nil {
		for i := range answers {
			answers[i] = errStopped
		}
		return answers
	}
	m.publishChanges(since, changes)
	return answers
}

// note is for those whose commands are about to be applied.
func (m *machine) note(event string) {
	if traced := m.traced.Load(); traced != nil {
		for _, from := range *traced {
			from.Note(event)
		}
	}
}

func (m *machine) commit(tx *tx) {
	if m.broken == nil {
		m.fail(tx.commit())
		m.leases.note(m.state, tx.leases)
	}
}

// Apply applies one entry. Raft uses ApplyBatch.
func (m *machine) Apply(log *raft.Log) any { return m.ApplyBatch([]*raft.Log{log})[0] }

// decode reads an entry that is not in the state yet; nil if there is nothing to do.
func (m *machine) decode(log *raft.Log) *logpb.Batch {
	if log.Index <= m.state.meta.AppliedIndex || log.Type != raft.LogCommand {
		return nil
	}
	batch := new(logpb.Batch)
	if err := proto.Unmarshal(log.Data, batch); err != nil {
		m.fail(fmt.Errorf("cp: log entry %d cannot be decoded: %w", log.Index, err))
		return nil
	}
	if batch.Version != formatVersion {
		m.fail(fmt.Errorf("cp: log entry %d has format %d, this release knows %d", log.Index, batch.Version, formatVersion))
		return nil
	}
	return batch
}

func (m *machine) apply(tx *tx, log *raft.Log, batch *logpb.Batch) any {
	if log.Index <= m.state.meta.AppliedIndex {
		return nil
	}
	m.state.reach(log)
	var answers []*logpb.Answer
	if batch != nil {
		answers = tx.applyBatch(batch)
	}
	if tx.err != nil {
		m.fail(tx.err)
	}
	return answers
}

func (m *machine) fail(err error) {
	if err != nil && m.broken == nil {
		m.broken = err
		m.failed(err)
	}
}

// publish shows readers the state as it is now and wakes those who wait for it.
func (m *machine) publish() { m.show(m.state.view()) }

// publishChanges does the same after a run of entries that changed keys.
func (m *machine) publishChanges(since uint64, changes []change) {
	v := m.state.view()
	v.since, v.changes = since, changes
	m.show(v)
}

func (m *machine) show(v *view) {
	old := m.views.Swap(v)
	if old != nil {
		close(old.next)
		old.Close()
	}
}

// time is the leader-proposed time of the state.
func (m *machine) time() int64 {
	if v := m.views.Load(); v != nil {
		return v.leaderMS
	}
	return 0
}

// epoch is the state's.
func (m *machine) epoch() uint64 {
	if v := m.views.Load(); v != nil {
		return v.epoch
	}
	return 0
}

// close takes the last view away from readers.
func (m *machine) close() {
	if old := m.views.Swap(nil); old != nil {
		close(old.next)
		old.Close()
	}
}

// Snapshot captures the state; Persist writes it while entries are applied.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	switch {
	case m.broken != nil:
		return nil, m.broken
	case m.state.meta.Restoring != 0:
		return nil, errRestoring
	}
	return &capture{
		view: m.state.view(), engine: m.state.space.Engine(),
		meta: proto.CloneOf(m.state.meta), group: m.state.group, down: m.down,
	}, nil
}

// Restore replaces the whole state by a snapshot, at one instant.
func (m *machine) Restore(source io.ReadCloser) error {
	if m.broken != nil {
		return m.broken
	}
	if err := m.state.restore(source); err != nil {
		m.fail(err) // the state may be half of each
		return err
	}
	m.leases.reset(m.state)
	m.publish()
	return nil
}
