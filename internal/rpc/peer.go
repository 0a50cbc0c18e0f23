package rpc

import (
	"errors"
	"fmt"
	"io"
	"net"

	"google.golang.org/grpc"
	grpcpeer "google.golang.org/grpc/peer"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

type peer struct {
	kvpb.UnimplementedPeerServer
	node    Node
	traffic *Traffic // nil where only calls are served
}

// address is what a call and the first frame of a stream begin with.
type address interface {
	GetCluster() string
	GetKeyspaceId() uint64
	GetShard() uint32
	GetFrom() string
	GetTo() string
}

// find returns the replica that was meant. Addresses are used again by other
// nodes, other clusters and other lives of a test, so the caller says whom it
// believes to reach, and a mistake ends here. Only a node may speak, and only in its
// own name: an acknowledgement or a term from anybody else would be believed.
func (s *peer) find(caller net.Addr, a address) (PeerReplica, error) {
	t := s.node.Topology()
	if caller == nil || caller.String() != a.GetFrom() {
		return nil, &store.Error{Code: store.Denied, Op: "peer", Node: t.Node, Msg: fmt.Sprintf("a message in the name of node %q did not come from it", a.GetFrom())}
	}
	if t.Cluster == "" || a.GetCluster() != t.Cluster || a.GetTo() != t.Node {
		return nil, &store.Error{
			Code: store.Denied, Op: "peer", Node: t.Node,
			Msg: fmt.Sprintf("a message for %q of cluster %.8q reached %q of cluster %.8q", a.GetTo(), a.GetCluster(), t.Node, t.Cluster),
		}
	}
	group := store.GroupID{Keyspace: a.GetKeyspaceId(), Shard: a.GetShard()}
	replica, ok := s.node.Peer(group)
	if !ok {
		return nil, &store.Error{Code: store.Unavailable, Op: "peer", Group: group, Node: t.Node, Msg: "this node holds no replica of group " + group.String()}
	}
	return replica, nil
}

func (s *peer) Stream(stream grpc.BidiStreamingServer[kvpb.StreamFrame, kvpb.StreamFrame]) error {
	hello, err := stream.Recv()
	if err != nil {
		return err
	}
	var caller net.Addr
	if p, ok := grpcpeer.FromContext(stream.Context()); ok {
		caller = p.Addr
	}
	replica, err := s.find(caller, hello)
	if err != nil {
		return err
	}
	if err := stream.Send(&kvpb.StreamFrame{
		Cluster: hello.GetCluster(), KeyspaceId: hello.GetKeyspaceId(), Shard: hello.GetShard(),
		From: hello.GetTo(), To: hello.GetFrom(),
	}); err != nil {
		return err
	}
	s.traffic.PeerStreams.Add(1)
	defer s.traffic.PeerStreams.Add(-1)
	return replica.ServeStream(stream.Context(), hello.GetFrom(), frames{stream})
}

// frames is a Stream over either end of a gRPC stream, after its first frames.
type frames struct {
	stream interface {
		Send(*kvpb.StreamFrame) error
		Recv() (*kvpb.StreamFrame, error)
	}
}

func (f frames) Send(payload []byte) error {
	return ended(f.stream.Send(&kvpb.StreamFrame{Payload: payload}))
}

func (f frames) Recv() ([]byte, error) {
	frame, err := f.stream.Recv()
	return frame.GetPayload(), ended(err)
}

// ended keeps io.EOF, which is how a stream ends well, and on the client's side
// how Send says that Recv knows more.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return kvpb.FromStatus(err)
}
