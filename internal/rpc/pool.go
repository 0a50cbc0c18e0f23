package rpc

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/store"
)

// Dials are the ways to another node: to what NewServer serves, and to ServeCalls.
type Dials struct {
	Server, Calls func(ctx context.Context, node string) (net.Conn, error)
}

// Pool holds the connections to each other node, for the replicas' messages and
// for Admin. It is safe for concurrent use. Its errors are *store.Error: what a
// peer answered, or Unknown when no answer came back.
type Pool struct {
	dials   Dials
	self    string
	cluster string

	life context.Context // of the lines
	end  context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex
	conns   map[string]*grpc.ClientConn // by node
	callers map[string]*caller
	closed  bool
}

// NewPool returns a pool that connects when a node is first called. It speaks as node
// self of the cluster; a pool with no cluster yet can only use Admin. It lives until it
// is closed, and not only as long as ctx.
func NewPool(ctx context.Context, dials Dials, self, cluster string) *Pool {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	return &Pool{
		dials: dials, self: self, cluster: cluster, life: life, end: end,
		conns: make(map[string]*grpc.ClientConn), callers: make(map[string]*caller),
	}
}

func (p *Pool) closing() error {
	return &store.Error{Code: store.Unavailable, Op: "peer", Node: p.self, Msg: "this node is closing"}
}

// conn never waits: making a connection object does not dial.
func (p *Pool) conn(node string) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, p.closing()
	}
	if cc := p.conns[node]; cc != nil {
		return cc, nil
	}
	cc, err := kvpb.Dial(node, p.dials.Server)
	if err != nil {
		return nil, &store.Error{Code: store.Invalid, Op: "peer", Msg: fmt.Sprintf("node %q cannot be dialled", node), Cause: err}
	}
	p.conns[node] = cc
	return cc, nil
}

// caller never waits, as conn.
func (p *Pool) caller(node string) (*caller, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, p.closing()
	}
	if p.callers[node] == nil {
		p.callers[node] = &caller{life: p.life, work: &p.work, dial: func(ctx context.Context) (net.Conn, error) { return p.dials.Calls(ctx, node) }}
	}
	return p.callers[node], nil
}

// Call sends a message to node to's replica of the group and returns its answer.
func (p *Pool) Call(ctx context.Context, to string, group store.GroupID, payload []byte) ([]byte, error) {
	return p.call(ctx, &kvpb.CallRequest{To: to, KeyspaceId: group.Keyspace, Shard: group.Shard, Payload: payload})
}

// Settled asks node to's replica of a group, of which this node need not have one, for
// what of the group nobody needs to wait; see PeerReplica. NotFound says that the node has
// none, as of a revision of the catalog.
func (p *Pool) Settled(ctx context.Context, to string, group store.GroupID, noted store.Entry, ago time.Duration, revision uint64) (store.Entry, error) {
	return p.call(ctx, &kvpb.CallRequest{
		To: to, KeyspaceId: group.Keyspace, Shard: group.Shard, Settled: revision, Payload: noted, NotedNs: int64(ago),
	})
}

func (p *Pool) call(ctx context.Context, r *kvpb.CallRequest) ([]byte, error) {
	to := r.GetTo()
	c, err := p.caller(to)
	if err != nil {
		return nil, err
	}
	r.Cluster, r.From = p.cluster, p.self
	ctx, traced := spans.Below(ctx, "kv.peer", trace.SpanKindClient)
	if traced != nil {
		traced.SetAttributes(spans.Node.String(to))
	}
	r.Trace = kvpb.ToTrace(ctx)
	response, err := c.call(ctx, r)
	if err == nil && response.GetNode() != to {
		err = stranger(to, response.GetNode())
	}
	spans.End(traced, err)
	if err != nil {
		return nil, err
	}
	return response.GetPayload(), nil
}

// PeerStream is a stream that this node opened.
type PeerStream struct {
	frames
	cancel context.CancelFunc
}

// Close ends the stream on both sides, at once. It does not wait.
func (s *PeerStream) Close() { s.cancel() }

// Stream opens a stream to node to's replica of the group and waits until that
// node has answered. The stream ends with ctx, or with Close, which must be called.
func (p *Pool) Stream(ctx context.Context, to string, group store.GroupID) (*PeerStream, error) {
	cc, err := p.conn(to)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := p.open(ctx, cc, to, group)
	if err != nil {
		cancel()
		return nil, err
	}
	return &PeerStream{frames: frames{stream}, cancel: cancel}, nil
}

func (p *Pool) open(ctx context.Context, cc *grpc.ClientConn, to string, group store.GroupID) (kvpb.Peer_StreamClient, error) {
	stream, err := kvpb.NewPeerClient(cc).Stream(ctx)
	if err != nil {
		return nil, kvpb.FromStatus(err)
	}
	// A failed Send says io.EOF; Recv then says why.
	_ = stream.Send(&kvpb.StreamFrame{Cluster: p.cluster, KeyspaceId: group.Keyspace, Shard: group.Shard, From: p.self, To: to})
	hello, err := stream.Recv()
	if err != nil {
		return nil, kvpb.FromStatus(err)
	}
	if hello.GetFrom() != to || hello.GetCluster() != p.cluster {
		return nil, stranger(to, hello.GetFrom())
	}
	return stream, nil
}

// KV returns the data service of a node: its replicas, and nothing that is routed. Its
// errors are gRPC statuses, too.
func (p *Pool) KV(node string) (kvpb.KVClient, error) {
	cc, err := p.conn(node)
	if err != nil {
		return nil, err
	}
	return kvpb.NewKVClient(cc), nil
}

// Admin returns the admin service of a node. Its errors are gRPC statuses; read
// them with kvpb.FromStatus.
func (p *Pool) Admin(node string) (kvpb.AdminClient, error) {
	cc, err := p.conn(node)
	if err != nil {
		return nil, err
	}
	return kvpb.NewAdminClient(cc), nil
}

// Close ends every connection, and with it every call and stream, and waits for their
// goroutines. Calls that come later fail.
func (p *Pool) Close() error {
	p.mu.Lock()
	conns := p.conns
	p.conns, p.closed = nil, true
	callers := slices.Collect(maps.Values(p.callers))
	p.mu.Unlock()
	p.end()
	for _, c := range callers {
		c.settle()
	}
	for _, cc := range conns {
		_ = cc.Close() // says only that it was closed before
	}
	p.work.Wait()
	return nil
}

func stranger(asked, answered string) error {
	return &store.Error{Code: store.Denied, Op: "peer", Node: answered, Msg: fmt.Sprintf("%q was asked and %q answered", asked, answered)}
}
