package node

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/telemetry"
	"github.com/dialkv/dialkv/membership"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

// Config is everything a node is told.
type Config struct {
	// Node is its name: unique in the cluster, never used again for another data
	// directory.
	Node string
	Zone string
	// Data is the directory that holds everything the node keeps.
	Data string
	// Join lists addresses (--listen) of nodes of the cluster to join. Without it a
	// node with an empty directory founds a cluster.
	Join []string
	// Expect makes the node count as ready only once the cluster has had this many
	// nodes: those that were removed since are not waited for.
	Expect int
	// AllowFaults lets the admin API cut and slow this node's links.
	AllowFaults bool
	// RaftLog is where cp groups keep their log: "engine" (the node's storage, one
	// stream of fsyncs) or "boltdb" (a file for each group). The default is engine
	// for keyspaces and, on a real disk, boltdb for the catalog.
	RaftLog string

	Network Network
	Storage Storage
	Timing  Timing
	// Clock is the wall clock of the hybrid clock, of TTLs on ap and of the number of this
	// start, and of nothing else; time.Now if nil.
	Clock  func() time.Time
	Logger *slog.Logger // nil drops everything
	// Spans takes the spans of requests that their callers trace, and stays the caller's.
	// A node begins no trace itself. Nil keeps none: they only go back to who asks for them.
	Spans sdktrace.SpanProcessor
}

// Network is where the node listens and how it reaches others.
type Network struct {
	Listen string // host:port for API, peers and Raft; default 127.0.0.1:7400
	Gossip string // host:port for membership; default 127.0.0.1:7401
	Admin  string // host:port for health and metrics over HTTP; "" is none
	Web    string // host:port for the page; "" is none
	// Endpoint, if set, is the node's door instead of sockets on Listen and
	// Gossip. The node closes it.
	Endpoint *link.Endpoint
	// DialSeed connects to an address of Join; TCP if nil.
	DialSeed func(ctx context.Context, addr string) (net.Conn, error)
}

// Storage is what the node's engine stands on.
type Storage struct {
	FS       vfs.FS // nil is the real disk
	MemTable uint64 // bytes; 0 is the engine's default
	Cache    int64  // bytes; 0 is the engine's default
	// Compaction says when the logs of cp groups are cut; zero is cp's default.
	Compaction cp.Compaction
	// CausalLog bounds the log of an ap group, in bytes; 0 is ap's default.
	CausalLog uint64
	// SyncFirst lets a leader of a cp group send nothing before its own disk has it. It
	// costs a disk's time for each write; a disk that stands still then holds up its leader.
	SyncFirst bool
}

// Timing is how fast the node notices that others are gone.
type Timing struct {
	Raft       cp.Timing
	Membership membership.Profile
}

// Classroom is the timing of nodes that share a process and have no disk to wait for.
var Classroom = Timing{Raft: cp.Classroom, Membership: membership.Classroom}

// Values of Config.RaftLog.
const (
	RaftLogEngine = "engine"
	RaftLogBolt   = "boltdb"
)

func (c Config) withDefaults() Config {
	if c.Network.Listen == "" {
		c.Network.Listen = "127.0.0.1:7400"
	}
	if c.Network.Gossip == "" {
		c.Network.Gossip = "127.0.0.1:7401"
	}
	if c.Network.DialSeed == nil {
		c.Network.DialSeed = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = slog.New(telemetry.Logs(c.Logger.Handler()))
	return c
}

func (c Config) validate() error {
	if err := store.CheckName("node", c.Node); err != nil {
		return err
	}
	switch {
	case c.Data == "":
		return &store.Error{Code: store.Invalid, Msg: "the node has no data directory", Try: "--data DIR"}
	case c.RaftLog != "" && c.RaftLog != RaftLogEngine && c.RaftLog != RaftLogBolt:
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("raft log %q is not known", c.RaftLog), Try: "--raft-log engine or --raft-log boltdb"}
	case c.RaftLog == RaftLogBolt && c.Storage.FS != nil:
		return &store.Error{Code: store.Invalid, Msg: "a boltdb raft log needs a real disk", Try: "--raft-log engine"}
	case c.Expect < 0:
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("%d expected nodes", c.Expect)}
	}
	return nil
}

// logFor is the factory of one group's Raft log.
func (c Config) logFor(group store.GroupID) cp.LogFactory {
	catalogOnDisk := group == store.CatalogGroup && c.Storage.FS == nil && c.RaftLog == ""
	if c.RaftLog == RaftLogBolt || catalogOnDisk {
		return cp.BoltLog
	}
	if c.Storage.SyncFirst {
		return cp.SyncFirst
	}
	return cp.EngineLog
}
