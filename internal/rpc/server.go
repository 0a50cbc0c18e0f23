// Package rpc is the gRPC door of a node: it unpacks a request, finds the replica
// it is for, and packs the answer. It decides nothing.
//
// Three services are served here. KV is for clients that find their own way: one
// request is one read or write at this node's own replica, never forwarded. Peer
// carries opaque bytes between the replicas of a group, whose messages are their
// own affair: streams of them here, and calls beside gRPC (ServeCalls). Admin looks
// after the node. Whether it is ready the standard health service says too. Another,
// Front, goes through the node's own client and lives in package front.
//
// Reads and writes come as unary calls or, many at a time, over one stream: the same
// code serves both. They answer with their error inside the response, because a failed
// write may have something to say beside it, and so do watches. The other services answer with a
// gRPC status that carries the same error whole.
package rpc

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// Node is what the services need to know of the node they stand in.
type Node interface {
	// Topology is what the node knows of the cluster now. Cluster is empty as
	// long as it belongs to none. It never blocks.
	Topology() shard.Topology
	// Keyspace returns the keyspace of this id or, if id is 0, of this name. That
	// there is none it says, as NoSuchKeyspace, only with a catalog majority
	// behind it; else Unavailable.
	Keyspace(ctx context.Context, id uint64, name string) (shard.Keyspace, error)
	// Replica returns the node's own replica of the group, if it has one.
	Replica(group store.GroupID) (store.Replica, bool)
	// Peer returns the same replica as its peers see it.
	Peer(group store.GroupID) (PeerReplica, bool)
	// Prove returns what a group must note of what a session, that writes to it, has seen
	// of others: that which some member holds and not all. What no member will ever hold
	// is left out. What may yet arrive is waited for, and is then SessionUnreachable.
	Prove(ctx context.Context, group store.GroupID, seen token.Deps) (token.Deps, error)
}

// PeerReplica answers the other replicas of its group.
type PeerReplica interface {
	// ServeCall answers one message from the named node.
	ServeCall(ctx context.Context, from string, payload []byte) ([]byte, error)
	// ServeStream serves a stream that the named node opened, until ctx ends or
	// it returns, which ends the stream.
	ServeStream(ctx context.Context, from string, s Stream) error
	// Settled is for what of the group nobody needs to wait: what every member has on disk
	// and, of an entry that was noted so long ago at least, what none will ever have.
	Settled(ctx context.Context, noted store.Entry, ago time.Duration) (store.Entry, error)
}

// Prompt is a PeerReplica that can answer some messages without waiting for anything.
type Prompt interface {
	// ServeAtOnce answers a message as ServeCall does, if that takes no waiting. If it
	// reports false, nothing was done.
	ServeAtOnce(from string, payload []byte) (answer []byte, ok bool)
}

// Stream carries messages in order. One goroutine at a time may send, and one may
// receive. Either fails once the stream's context has ended; Recv returns io.EOF
// when the other side has finished.
type Stream interface {
	Send(payload []byte) error
	Recv() ([]byte, error)
}

// Admin looks after the node and the cluster; the requests and answers are
// described in the API. Its errors cross the wire as *store.Error.
type Admin interface {
	Status(ctx context.Context, r *kvpb.StatusRequest) (*kvpb.StatusResponse, error)
	Join(ctx context.Context, r *kvpb.JoinRequest) (*kvpb.JoinResponse, error)
	CreateKeyspace(ctx context.Context, r *kvpb.CreateKeyspaceRequest) (*kvpb.CreateKeyspaceResponse, error)
	DeleteKeyspace(ctx context.Context, r *kvpb.DeleteKeyspaceRequest) (*kvpb.DeleteKeyspaceResponse, error)
	AlterKeyspace(ctx context.Context, r *kvpb.AlterKeyspaceRequest) (*kvpb.AlterKeyspaceResponse, error)
	SetFaults(ctx context.Context, r *kvpb.SetFaultsRequest) (*kvpb.SetFaultsResponse, error)
	Faults(ctx context.Context, r *kvpb.FaultsRequest) (*kvpb.FaultsResponse, error)
	SlowDisk(ctx context.Context, r *kvpb.SlowDiskRequest) (*kvpb.SlowDiskResponse, error)
	Skew(ctx context.Context, r *kvpb.SkewRequest) (*kvpb.SkewResponse, error)
	Dump(ctx context.Context, r *kvpb.DumpRequest) (*kvpb.DumpResponse, error)
	Digest(ctx context.Context, r *kvpb.DigestRequest) (*kvpb.DigestResponse, error)
	RemoveNode(ctx context.Context, r *kvpb.RemoveNodeRequest) (*kvpb.RemoveNodeResponse, error)
	TransferLeader(ctx context.Context, r *kvpb.TransferLeaderRequest) (*kvpb.TransferLeaderResponse, error)
	Drain(ctx context.Context, r *kvpb.DrainRequest) (*kvpb.DrainResponse, error)
	SaveSnapshot(r *kvpb.SaveSnapshotRequest, stream grpc.ServerStreamingServer[kvpb.SnapshotChunk]) error
	RestoreSnapshot(stream grpc.ClientStreamingServer[kvpb.SnapshotChunk, kvpb.RestoreSnapshotResponse]) error
}

type admin struct {
	kvpb.UnsafeAdminServer
	Admin
}

// Config is what a server is made of.
type Config struct {
	Node  Node
	Admin Admin
	// Panicked, if set, hears of a handler that panicked. The caller of that
	// handler gets Unknown, without the stack.
	Panicked func(ctx context.Context, value any, stack []byte)
	// Begin, if set, begins the span of a request that came with a place in a trace, which
	// is in ctx. The span may be nil.
	Begin func(ctx context.Context, name string) (context.Context, trace.Span)
	// Served, if set, hears of each read and write when it has been served. It must not
	// wait, and does not keep the error.
	Served func(Served)
	// Traffic, if set, is kept up to date.
	Traffic *Traffic
}

// NewServer returns a server with the three services, and that of gRPC for health. The caller may register
// more, then serves the node's listener with it, and ends it with Stop, which
// waits for the handlers; GracefulStop would wait for peers in a black hole.
func NewServer(cfg Config) *grpc.Server {
	s := grpc.NewServer(
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
		grpc.ConnectionTimeout(5*time.Second),
		grpc.MaxRecvMsgSize(kvpb.MaxMessage),
		grpc.StaticStreamWindowSize(kvpb.StreamWindow),
		grpc.StaticConnWindowSize(kvpb.ConnWindow),
		grpc.ForceServerCodecV2(kvpb.NewCodec()),
		grpc.UnaryInterceptor(cfg.answerUnary),
		grpc.StreamInterceptor(cfg.answerStream),
	)
	if cfg.Traffic == nil {
		cfg.Traffic = new(Traffic)
	}
	kvpb.RegisterKVServer(s, &kv{cfg: cfg, node: cfg.Node, traffic: cfg.Traffic, began: time.Now()})
	kvpb.RegisterPeerServer(s, &peer{node: cfg.Node, traffic: cfg.Traffic})
	kvpb.RegisterAdminServer(s, &admin{Admin: cfg.Admin})
	healthpb.RegisterHealthServer(s, &health{admin: cfg.Admin})
	return s
}

// The interceptors make sure that every error leaves as a status that carries it,
// and that a panic ends one call and not the node. They find a request's place in a trace.

func (c Config) answerUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	defer func() { err = kvpb.Status(c.recovered(ctx, recover(), err)) }()
	return handler(enter(ctx, req), req)
}

func (c Config) answerStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() { err = kvpb.Status(c.recovered(stream.Context(), recover(), err)) }()
	return handler(srv, stream)
}

// recovered is the error of a handler that panicked: nobody can say how far it got.
func (c Config) recovered(ctx context.Context, value any, err error) error {
	if value == nil {
		return err
	}
	if c.Panicked != nil {
		c.Panicked(ctx, value, debug.Stack())
	}
	return &store.Error{Code: store.Unknown, Msg: "the node panicked", Cause: fmt.Errorf("%v", value)}
}
