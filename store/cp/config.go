package cp

import (
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/store"
)

// Config opens a replica of one cp group.
type Config struct {
	Node  string        // this node's name, its id in Raft
	Group store.GroupID // which group
	// Bootstrap names the group's first members. Every one of them opens the group
	// with the same list. It is ignored once the replica has a log; it is empty on
	// a node that joins a group later and learns its members from the leader.
	Bootstrap  []string
	Engine     *engine.Engine // state, snapshots and, unless OpenLog says otherwise, the log
	Mux        *Mux           // Raft's connections
	Peers      Peers          // calls to the group's other replicas
	OpenLog    LogFactory     // where Raft keeps its log; nil is EngineLog
	Timing     Timing
	Compaction Compaction
	Events     Events
	// DiskLatency measures the disk at start; nil writes a few small files, and
	// nothing where the engine's file system is not the real one.
	DiskLatency func() time.Duration

	anyTrailing bool // tests of what validate protects from
}

// Compaction says when the log is cut.
type Compaction struct {
	// Threshold is how many log entries make a snapshot worth taking. Default 8192.
	Threshold uint64
	// Trailing is how many entries stay behind a snapshot for followers that are
	// late. It must exceed Threshold by what can be in flight and some slack, or a
	// follower with a divergent tail is sent snapshots for ever
	// (hashicorp/raft#697). Default Threshold + 2048.
	Trailing uint64
	// Interval is how often Raft looks whether there are that many; at random up to
	// twice as long. Default 2 min.
	Interval time.Duration
	// History is how many bytes of changes are kept for those who watch before the
	// leader cuts the oldest quarter. It may differ from node to node. Default 64 MiB.
	History uint64
}

// Timing is Raft's clockwork. All four scale together.
type Timing struct {
	// Heartbeat and Election are how long a follower hears nothing before it
	// campaigns, and how long a campaign lasts. Heartbeats wait behind writes to
	// the follower's disk, so this must be well above ten times the slowest
	// common fsync. Default 300 ms.
	Heartbeat, Election time.Duration
	// Lease is how long a leader stays one without hearing from a majority; it
	// must be below Heartbeat. It is not a read lease: no read relies on it.
	// Default 200 ms.
	Lease time.Duration
	// Commit is how often an idle leader tells followers its commit index.
	// Default 50 ms.
	Commit time.Duration
	// Proof is how often a replica proves its freshness when no read does, so
	// that an eventual read can say how old it may be. Default 1 s.
	Proof time.Duration
}

// Classroom is the timing for nodes that share a process and have no disk to wait
// for: a leader within a quarter of a second.
var Classroom = Timing{
	Heartbeat: 150 * time.Millisecond,
	Election:  150 * time.Millisecond,
	Lease:     75 * time.Millisecond,
	Commit:    15 * time.Millisecond,
}

// Events tell what happened inside; each may be nil. They must not block.
type Events struct {
	Leader   func(group store.GroupID, leader string, term uint64)
	Snapshot func(group store.GroupID, index uint64)
	// SlowDisk says at start that the slowest of a few small synced writes took more
	// than a tenth of the heartbeat time-out. Followers answer heartbeats between
	// their writes, so such a disk, a little busier, makes elections without a fault.
	SlowDisk func(group store.GroupID, measured, heartbeat time.Duration)
	// SnapshotLoop says that so many snapshots in a row were installed at a member
	// without its taking a log entry after any of them.
	SnapshotLoop func(group store.GroupID, member string, count int)
	Logger       hclog.Logger // Raft's own log; nil drops it
}

const (
	// trailingSlack is the least by which Trailing exceeds Threshold. Two entries are
	// in flight at a time; the rest are configuration changes and no-ops.
	trailingSlack = 16
	// queueLimit bounds the commands that wait for the proposer.
	queueLimit = 8192
	// queueBytes bounds what they hold in memory.
	queueBytes = 64 << 20
	// A batch is closed at either of these, so that one entry stays well below
	// what a follower takes in one request.
	batchCommands = 1024
	batchBytes    = 1 << 20
)

func (c Config) withDefaults() Config {
	t := &c.Timing
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&t.Heartbeat, 300*time.Millisecond)
	def(&t.Election, t.Heartbeat)
	def(&t.Lease, t.Heartbeat*2/3)
	def(&t.Commit, t.Heartbeat/6)
	def(&t.Proof, time.Second)
	if c.Compaction.Threshold == 0 {
		c.Compaction.Threshold = 8192
	}
	if c.Compaction.History == 0 {
		c.Compaction.History = historyBytes
	}
	if c.Compaction.Trailing == 0 {
		c.Compaction.Trailing = c.Compaction.Threshold + 2048
	}
	if c.Compaction.Interval == 0 {
		c.Compaction.Interval = 2 * time.Minute
	}
	if c.OpenLog == nil {
		c.OpenLog = EngineLog
	}
	if c.Events.Logger == nil {
		c.Events.Logger = hclog.NewNullLogger()
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.Node == "" || c.Engine == nil:
		return &store.Error{Code: store.Invalid, Msg: "cp needs a node name and an engine"}
	case c.Compaction.Trailing < c.Compaction.Threshold+trailingSlack && !c.anyTrailing:
		return &store.Error{
			Code: store.Invalid,
			Msg:  fmt.Sprintf("%d log entries behind a snapshot every %d are too few", c.Compaction.Trailing, c.Compaction.Threshold),
			Try:  fmt.Sprintf("at least %d", c.Compaction.Threshold+trailingSlack),
		}
	case c.Timing.Lease >= c.Timing.Heartbeat:
		return &store.Error{
			Code: store.Invalid,
			Msg:  fmt.Sprintf("the leader lease %v is not below the heartbeat timeout %v", c.Timing.Lease, c.Timing.Heartbeat),
			Try:  "a lease of two thirds of the heartbeat timeout",
		}
	}
	return nil
}
