package node

import (
	"context"

	"google.golang.org/grpc/peer"

	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/rpc"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

var _ rpc.Node = (*Node)(nil)

// Topology is what the node knows of the cluster now.
func (n *Node) Topology() shard.Topology { return *n.topology.Load() }

// Keyspace finds a keyspace. The catalog's own is for nodes.
func (n *Node) Keyspace(ctx context.Context, id uint64, name string) (shard.Keyspace, error) {
	if id != store.CatalogKeyspace && name != store.CatalogName {
		return n.catalog.Keyspace(ctx, id, name)
	}
	if p, ok := peer.FromContext(ctx); ok && p.Addr.String() == link.Client {
		return shard.Keyspace{}, &store.Error{
			Code: store.Denied, Keyspace: store.CatalogName, Msg: "the catalog's keyspace is for nodes",
			Try: "kvctl keyspace list, kvctl cluster status",
		}
	}
	return n.systemKeyspace(), nil
}

// Replica returns the node's own replica of a group.
func (n *Node) Replica(id store.GroupID) (store.Replica, bool) { return n.find(id) }

// Peer returns the same as its peers see it.
func (n *Node) Peer(id store.GroupID) (rpc.PeerReplica, bool) { return n.find(id) }

func (n *Node) find(id store.GroupID) (replica, bool) {
	if id == store.CatalogGroup {
		return consensus{n.system}, true
	}
	run, ok := n.groups.get(id)
	if !ok {
		return nil, false
	}
	return run.replica()
}

// checkReady closes ready when there is no reason left.
func (n *Node) checkReady() {
	select {
	case <-n.ready:
		return
	default:
	}
	if len(n.reasons()) == 0 {
		n.once.Do(func() { close(n.ready) })
	}
}
