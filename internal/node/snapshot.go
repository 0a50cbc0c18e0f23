package node

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

// chunkBytes is how much of a snapshot goes into one message.
const chunkBytes = 256 << 10

// SaveSnapshot streams a group as it is at one revision, from this node's replica.
func (n *Node) SaveSnapshot(r *kvpb.SaveSnapshotRequest, stream grpc.ServerStreamingServer[kvpb.SnapshotChunk]) error {
	id := store.GroupID{Keyspace: r.KeyspaceId, Shard: r.Shard}
	replica, err := n.ofCP(id)
	if err != nil {
		return err
	}
	k, _ := n.catalog.Topology().KeyspaceByID(id.Keyspace)
	return replica.Save(stream.Context(), cp.Origin{Cluster: n.id.Cluster, Keyspace: k.Name}, chunks{stream})
}

// ofCP is this node's replica of a cp group that belongs to users.
func (n *Node) ofCP(id store.GroupID) (*cp.Replica, error) {
	held, ok := n.find(id)
	if !ok || id == store.CatalogGroup {
		return nil, &store.Error{Code: store.Unavailable, Op: "snapshot", Node: n.cfg.Node, Group: id, Msg: "this node holds no replica of the group", Try: "one of its members"}
	}
	c, ok := held.(consensus)
	if !ok {
		return nil, &store.Error{Code: store.Unsupported, Op: "snapshot", Node: n.cfg.Node, Group: id, Msg: "this release saves and restores cp keyspaces only"}
	}
	return c.Replica, nil
}

// chunks writes to a stream.
type chunks struct {
	stream grpc.ServerStreamingServer[kvpb.SnapshotChunk]
}

func (c chunks) Write(b []byte) (int, error) {
	sent := 0
	for len(b) > 0 {
		part := b[:min(len(b), chunkBytes)]
		if err := c.stream.Send(&kvpb.SnapshotChunk{Data: part}); err != nil {
			return sent, err
		}
		sent += len(part)
		b = b[len(part):]
	}
	return sent, nil
}

// RestoreSnapshot replaces a group by the snapshot that the stream brings.
func (n *Node) RestoreSnapshot(stream grpc.ClientStreamingServer[kvpb.SnapshotChunk, kvpb.RestoreSnapshotResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	id := store.GroupID{Keyspace: first.KeyspaceId, Shard: first.Shard}
	replica, err := n.ofCP(id)
	if err != nil {
		return err
	}
	check := func(h *logpb.SnapshotHeader) error { return n.fits(h, id, first.AnyCluster) }
	out, err := replica.Restore(stream.Context(), check, &pieces{stream: stream})
	if err != nil {
		return err
	}
	return stream.SendAndClose(&kvpb.RestoreSnapshotResponse{Epoch: out.Epoch, Revision: out.Revision, Keys: out.Keys})
}

// fits refuses the snapshot of another group: keys would lie where nobody looks for
// them. One of another cluster or keyspace is taken if the caller says so.
func (n *Node) fits(h *logpb.SnapshotHeader, id store.GroupID, anywhere bool) error {
	k, _ := n.catalog.Topology().KeyspaceByID(id.Keyspace)
	switch {
	case h.Shard != id.Shard:
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("the snapshot is of group %d, not %d", h.Shard, id.Shard)}
	case anywhere:
		return nil
	case h.Cluster != n.id.Cluster:
		return &store.Error{
			Code: store.Invalid, Msg: fmt.Sprintf("the snapshot is of cluster %.8s, this is %.8s", h.Cluster, n.id.Cluster),
			Try: "--from-anywhere, if that is what you mean",
		}
	case h.Name != k.Name:
		return &store.Error{
			Code: store.Invalid, Msg: fmt.Sprintf("the snapshot is of keyspace %s, not %s", h.Name, k.Name),
			Try: "--from-anywhere, if that is what you mean",
		}
	}
	return nil
}

// pieces reads from a stream.
type pieces struct {
	stream grpc.ClientStreamingServer[kvpb.SnapshotChunk, kvpb.RestoreSnapshotResponse]
	rest   []byte
}

func (p *pieces) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		chunk, err := p.stream.Recv()
		if errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		if err != nil {
			return 0, err
		}
		p.rest = chunk.Data
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
