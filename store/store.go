package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Mode says which side of CAP a keyspace takes when the network is cut.
type Mode uint8

const (
	CP Mode = iota + 1 // Raft: linearizable; a side without a majority refuses
	AP                 // causal replication: every side that holds a replica takes writes
)

func (m Mode) String() string {
	switch m {
	case CP:
		return "cp"
	case AP:
		return "ap"
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// ParseMode reads "cp" or "ap".
func ParseMode(name string) (Mode, error) {
	switch name {
	case "cp":
		return CP, nil
	case "ap":
		return AP, nil
	}
	return 0, &Error{Code: Invalid, Msg: fmt.Sprintf("mode %q is not known", name), Try: "--mode cp or --mode ap"}
}

// CatalogKeyspace is the id of the system keyspace that describes the cluster:
// nodes, keyspaces, placement. All others have larger ids.
const CatalogKeyspace = 1

// CatalogGroup is the one group of the catalog.
var CatalogGroup = GroupID{Keyspace: CatalogKeyspace}

// CatalogName is the catalog's name. No other keyspace can have it: names begin
// with a letter or a digit.
const CatalogName = "_catalog"

// GroupID names one group: a keyspace's id, which is never used again, and the
// number of the shard within it.
type GroupID struct {
	Keyspace uint64
	Shard    uint32
}

func (g GroupID) String() string {
	return strconv.FormatUint(g.Keyspace, 10) + "/" + strconv.FormatUint(uint64(g.Shard), 10)
}

// ParseGroupID reads what String wrote.
func ParseGroupID(s string) (GroupID, error) {
	keyspace, shard, ok := strings.Cut(s, "/")
	k, err1 := strconv.ParseUint(keyspace, 10, 64)
	n, err2 := strconv.ParseUint(shard, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return GroupID{}, &Error{Code: Invalid, Msg: fmt.Sprintf("group %q is not KEYSPACE/SHARD", s)}
	}
	return GroupID{Keyspace: k, Shard: uint32(n)}, nil
}

// Replica is this node's copy of one group. It is safe for concurrent use.
//
// A call ends no later than its context. Its error is an [*Error]; a Write whose
// error says MaybeApplied may have happened, and may still happen.
type Replica interface {
	// Read returns one consistent view of the group: at most one item for a get,
	// a page for a scan. The level decides what it waits for and whom it asks.
	Read(ctx context.Context, q Query) (Page, error)
	// Write applies c. Put, delete and conditional writes are all values of
	// Command, so there is one write path. On Conflict the Result holds what the
	// condition saw.
	Write(ctx context.Context, c Command) (Result, error)
	// Watch follows the changes of a key or a range, from this replica.
	Watch(ctx context.Context, q WatchQuery) (Changes, error)
	// Status is a cheap, local look at the replica. It never blocks.
	Status() Status
	// Run owns every goroutine of the replica and returns when ctx ends or the
	// replica can no longer be trusted. Reads and writes are served while it runs.
	Run(ctx context.Context) error
}

// Entry is what a session knows of one group, opaque to all but the engine that
// wrote it and package token. nil is the empty entry: nothing seen. A replica that
// covers an entry has applied everything the entry names.
type Entry []byte

// Deps is what the writes of a group depend on in other groups: for each of those an
// entry. It is opaque to all but package token. nil is none.
type Deps []byte

// Status describes a replica as it sees itself.
type Status struct {
	Group    GroupID
	Mode     Mode
	Node     string
	Role     string   // cp: leader, follower, candidate; ap: replica
	Leader   string   // cp: the leader it knows, or ""
	Term     uint64   // cp
	Applied  uint64   // cp: index of the last log entry in the state machine
	Revision uint64   // cp: revision of the last write; ap: number of writes applied
	Vector   string   // ap: the version vector, for people
	Members  []string // the nodes that hold the group, in name order
	// NonVoters are those members that have no vote, or on ap do not count, (yet).
	NonVoters []string
	Epoch     uint64 // cp: restores and forced recoveries since the group began; ap: of the placement
	// Backlog is, on ap, how many of the writes that are here each other member has not
	// confirmed to hold. One that was not heard since the start is not named.
	Backlog map[string]uint64
	// Emptied is, on ap with durability memory, how often this replica was emptied by the
	// end of its process. Lost is how many of the writes that it held are gone: at least,
	// as it notes once a second what it holds. Some may still be with a member that has not
	// been reached since; then they are not lost, and Lost becomes less.
	Emptied, Lost uint64
	Ready         bool   // serves reads: caught up since it joined
	Detail        string // why it is not ready, what it waits for, or what is wrong with its clock
}

// Proof is what an answer is worth, and why.
type Proof struct {
	Node      string
	Group     GroupID
	Role      string
	Term      uint64        // cp
	Vector    string        // ap, for people
	Asked     Level         // after the default was filled in
	Served    Level         // what was served; below Asked only with Degraded
	Waited    time.Duration // within the replica
	WaitedFor string        // read index, session, acknowledgements; "" if nothing
	Staleness time.Duration // upper bound as of the moment the node took the read: age of the last proof of freshness
	Fresh     bool          // there is such a proof; without it Staleness means nothing
	Degraded  bool          // a fallback that the caller wrote down was used
}
