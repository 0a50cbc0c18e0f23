package cp

import (
	"time"

	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/logpb"
)

// AnyTrailing lets a configuration keep fewer entries behind a snapshot than is sound.
func AnyTrailing(cfg *Config) { cfg.anyTrailing = true }

// Tail appends n entries to the leader's log at once, without waiting for any.
func (r *Replica) Tail(n int) {
	entry := &logpb.Batch{Version: formatVersion, Commands: []*logpb.Command{{Op: logpb.Command_OP_OPEN_TERM}}}
	for range n {
		r.raft.Load().ApplyLog(raft.Log{Data: encode(entry)}, time.Second)
	}
}

// LastLog is the index of the last entry in the log, committed or not.
func (r *Replica) LastLog() uint64 { return r.raft.Load().LastIndex() }

// FirstLog is the index of the first entry in the log.
func (r *Replica) FirstLog() uint64 {
	first, err := r.log.FirstIndex()
	if err != nil {
		panic(err)
	}
	return first
}

// TransferBlindly lets Raft hand leadership over without a look at the target.
func (r *Replica) TransferBlindly(to string) error {
	return r.raft.Load().LeadershipTransferToServer(raft.ServerID(to), raft.ServerAddress(to)).Error()
}

// ConfigurationIndex is the entry of the latest configuration that the log has shown.
func (r *Replica) ConfigurationIndex() uint64 { return r.confs.latest().index }
