package rpc

import (
	"context"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

// Pool holds one connection to each other node, for the replicas' messages and
// for Admin. It is safe for concurrent use. Its errors are *store.Error: what a
// peer answered, or Unknown when no answer came back.
type Pool struct {
	dial    func(ctx context.Context, node string) (net.Conn, error)
	self    string
	cluster string

	mu     sync.Mutex
	conns  map[string]*grpc.ClientConn // by node
	closed bool
}

// NewPool returns a pool that connects through dial when a node is first called.
// It speaks as node self of the cluster; a pool with no cluster yet can only use
// Admin.
func NewPool(dial func(ctx context.Context, node string) (net.Conn, error), self, cluster string) *Pool {
	return &Pool{dial: dial, self: self, cluster: cluster, conns: make(map[string]*grpc.ClientConn)}
}

// conn never waits: making a connection object does not dial.
func (p *Pool) conn(node string) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, &store.Error{Code: store.Unavailable, Op: "peer", Node: p.self, Msg: "this node is closing"}
	}
	if cc := p.conns[node]; cc != nil {
		return cc, nil
	}
	cc, err := kvpb.Dial(node, p.dial)
	if err != nil {
		return nil, &store.Error{Code: store.Invalid, Op: "peer", Msg: fmt.Sprintf("node %q cannot be dialled", node), Cause: err}
	}
	p.conns[node] = cc
	return cc, nil
}

// Call sends a message to node to's replica of the group and returns its answer.
func (p *Pool) Call(ctx context.Context, to string, group store.GroupID, payload []byte) ([]byte, error) {
	cc, err := p.conn(to)
	if err != nil {
		return nil, err
	}
	response, err := kvpb.NewPeerClient(cc).Call(ctx, &kvpb.CallRequest{
		Cluster: p.cluster, KeyspaceId: group.Keyspace, Shard: group.Shard, From: p.self, To: to, Payload: payload,
	})
	if err != nil {
		return nil, kvpb.FromStatus(err)
	}
	if response.GetNode() != to {
		return nil, stranger(to, response.GetNode())
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

// Admin returns the admin service of a node. Its errors are gRPC statuses; read
// them with kvpb.FromStatus.
func (p *Pool) Admin(node string) (kvpb.AdminClient, error) {
	cc, err := p.conn(node)
	if err != nil {
		return nil, err
	}
	return kvpb.NewAdminClient(cc), nil
}

// Close ends every connection, and with it every call and stream. Calls that come
// later fail.
func (p *Pool) Close() error {
	p.mu.Lock()
	conns := p.conns
	p.conns, p.closed = nil, true
	p.mu.Unlock()
	for _, cc := range conns {
		_ = cc.Close() // says only that it was closed before
	}
	return nil
}

func stranger(asked, answered string) error {
	return &store.Error{Code: store.Denied, Op: "peer", Node: answered, Msg: fmt.Sprintf("%q was asked and %q answered", asked, answered)}
}
