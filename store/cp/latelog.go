package cp

import (
	"io"

	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/store"
)

// A leader's disk and its followers' write an entry at the same time (Ongaro,
// "Consensus: Bridging Theory and Practice", 10.2.1): its log stores late what it sends
// on. The library counts the leader's copy as soon as it is stored, so everything that
// follows from a commit waits for the leader's own disk, too:
//
//   - the state machine applies nothing before, so nobody is answered, shown anything
//     or told a read index that is met;
//   - the transport tells followers of no commit before, so they apply nothing either.
//
// What a crash of the leader takes out of its log was so never seen by anybody. Who has
// stored late and leads no more acknowledges its copies to the next leader only after a
// new term, which is behind them in the same log on disk. Entries that change the
// members are never stored late: the library allows the next change once the last is
// committed, and must not go by a copy that a crash takes away.

// lateLog is a log that can store entries before they are on disk.
type lateLog interface {
	Log
	StoreLate(logs []*raft.Log) error
	Settle(index uint64) error
	Settled() uint64
}

// SyncFirst is EngineLog, but that entries are on the leader's disk before it sends them,
// as they are with a bolt log.
func SyncFirst(e *engine.Engine, group store.GroupID) (Log, io.Closer, error) {
	log, closer, err := EngineLog(e, group)
	return struct{ Log }{log}, closer, err
}

func onlyCommands(logs []*raft.Log) bool {
	for _, log := range logs {
		if log.Type != raft.LogCommand {
			return false
		}
	}
	return true
}

// onDisk is what a leader may tell of a commit. late may be nil.
func onDisk(late lateLog, commit uint64) uint64 {
	if late == nil || mutant.M44 {
		return commit
	}
	return min(commit, late.Settled())
}

// isLeader is asked by Raft's main goroutine, which alone changes the answer.
func (r *Replica) isLeader() bool {
	ra := r.raft.Load()
	return ra != nil && ra.State() == raft.Leader
}
