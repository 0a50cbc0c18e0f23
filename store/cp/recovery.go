package cp

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/store"
)

// recover brings the state up to where the log begins. Raft replays the log from
// there; what the state has already is skipped.
func (r *Replica) recover() error {
	metas, err := r.snaps.List()
	if err != nil {
		return err
	}
	first, err := r.log.FirstIndex()
	if err != nil {
		return err
	}
	last, err := r.log.LastIndex()
	if err != nil {
		return err
	}
	applied := r.machine.state.meta.AppliedIndex
	if err := r.checkBounds(applied, first, last, metas); err != nil {
		return err
	}
	if len(metas) > 0 {
		if err := r.openSnapshot(metas[0], applied < metas[0].Index || first > applied+1); err != nil {
			return err
		}
		if err := r.dropDivergentLog(metas[0]); err != nil {
			return err
		}
	}
	if err := r.readLog(); err != nil {
		return err
	}
	return r.loadCaughtUp()
}

// openSnapshot verifies the newest snapshot: the log was cut behind it, so a replica
// that could not hand it out should not lead. The state takes it in if it is needed.
func (r *Replica) openSnapshot(meta *raft.SnapshotMeta, needed bool) error {
	_, source, err := r.snaps.Open(meta.ID)
	if errors.Is(err, engine.ErrCorrupt) {
		return r.corrupt("a snapshot does not read as it was written", err)
	}
	if err != nil {
		return err
	}
	if needed {
		err = r.machine.state.restore(source)
		r.machine.leases.reset(r.machine.state)
	}
	if err := errors.Join(err, source.Close()); err != nil {
		return err
	}
	r.confs.snapshot(meta)
	return nil
}

// readLog verifies every entry, and that none is missing, before Raft reads any: Raft
// ends the process at one that it cannot read. A leader writes its term before any
// entry of it, so a term below the last entry's is one that was lost.
func (r *Replica) readLog() error {
	first, err1 := r.log.FirstIndex()
	last, err2 := r.log.LastIndex()
	term, err3 := r.term()
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	var entry raft.Log
	for i := max(first, 1); i <= last; i++ {
		if err := r.log.GetLog(i, &entry); err != nil {
			return r.corrupt(fmt.Sprintf("log entry %d of %d to %d cannot be read", i, first, last), err)
		}
		r.confs.stored([]*raft.Log{&entry})
	}
	if entry.Term > term {
		return r.corrupt(fmt.Sprintf("the log ends in term %d, and the term on disk is %d", entry.Term, term), nil)
	}
	return nil
}

// term is the term on disk, 0 if there is none yet.
func (r *Replica) term() (uint64, error) {
	term, err := r.log.GetUint64(keyCurrentTerm)
	if err != nil && err.Error() == errNotFound.Error() {
		return 0, nil
	}
	return term, err
}

func (r *Replica) corrupt(msg string, cause error) *store.Error {
	return &store.Error{
		Code: store.Corrupt, Group: r.cfg.Group, Msg: msg, Cause: cause,
		Try: "bring this node back empty under a new name; the others have its data",
	}
}

// checkBounds refuses what no sound directory holds. The log is synced before
// anything of it is applied, so the state never ends behind the log and its
// snapshots; and the log is cut only behind a snapshot. Where it is otherwise, a
// file was lost or another kind of log was chosen, and with it the replica's term
// and vote: to go on would be to forget acknowledged writes.
func (r *Replica) checkBounds(applied, first, last uint64, metas []*raft.SnapshotMeta) error {
	end := last
	if len(metas) > 0 {
		end = max(end, metas[0].Index)
	}
	switch {
	case applied > end:
		return &store.Error{
			Code: store.Corrupt, Group: r.cfg.Group,
			Msg: fmt.Sprintf("the state ends at entry %d, log and snapshots at %d: the Raft log is missing, or is another one", applied, end),
			Try: "start with the same --raft-log as before, or bring this node back empty under a new name",
		}
	case len(metas) == 0 && first > 1:
		return r.corrupt(fmt.Sprintf("the log begins at entry %d and there is no snapshot", first), nil)
	}
	return nil
}

// dropDivergentLog empties a log whose entry at the snapshot's index is of another
// term: its tail never committed, and Raft would be sent the same snapshot for ever
// (hashicorp/raft#697). So it does with a log that ends before the snapshot, which a
// crash left between the snapshot's installation and the emptying of the log: what is
// appended next would stand behind a hole.
func (r *Replica) dropDivergentLog(meta *raft.SnapshotMeta) error {
	first, err1 := r.log.FirstIndex()
	last, err2 := r.log.LastIndex()
	if err := errors.Join(err1, err2); err != nil || last == 0 {
		return err
	}
	if last >= meta.Index {
		var entry raft.Log
		err := r.log.GetLog(meta.Index, &entry)
		if errors.Is(err, raft.ErrLogNotFound) && first > meta.Index || err == nil && entry.Term == meta.Term {
			return nil
		}
		if err != nil {
			return r.corrupt(fmt.Sprintf("log entry %d cannot be read", meta.Index), err)
		}
	}
	return r.log.DeleteRange(first, last)
}

func (r *Replica) loadCaughtUp() error {
	_, ok, err := r.machine.state.space.Get([]byte(keyCaughtUp))
	if ok {
		r.caughtUp.happen()
	}
	return err
}

// markCaughtUp remembers, over restarts too, that the replica may serve.
func (r *Replica) markCaughtUp() error {
	if r.caughtUp.happened() {
		return nil
	}
	if err := r.mark(keyCaughtUp); err != nil {
		return err
	}
	r.caughtUp.happen()
	return nil
}
