package node

import (
	"context"
	"fmt"
	"slices"

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

// reasons says why the node is not ready, and nothing if it is.
func (n *Node) reasons() []string {
	t := n.catalog.Topology()
	var why []string
	if _, ok := t.ByName(n.cfg.Node); !ok {
		why = append(why, "the catalog does not name this node yet")
	}
	if !n.known.Load() {
		why = append(why, "the catalog's majority has not confirmed this node yet")
	}
	if had := n.catalog.Recorded(); had < n.cfg.Expect {
		why = append(why, fmt.Sprintf("the cluster has %d of %d nodes", had, n.cfg.Expect))
	}
	note := func(s store.Status) {
		switch {
		case !s.Ready:
			why = append(why, fmt.Sprintf("group %v: %s", s.Group, s.Detail))
		case s.Mode == store.CP && s.Leader == "":
			why = append(why, fmt.Sprintf("group %v has no leader", s.Group))
		}
	}
	note(n.system.Status())
	for id, k := range placedHere(t, n.cfg.Node) {
		if m := k.Move(id.Shard); slices.Contains(m.Joining, n.cfg.Node) || slices.Contains(m.Leaving, n.cfg.Node) {
			continue // nobody relies on this replica
		}
		run, ok := n.groups.get(id)
		if !ok {
			why = append(why, fmt.Sprintf("group %v is not open yet", id))
			continue
		}
		if r, ok := run.replica(); ok {
			note(r.Status())
		} else {
			why = append(why, fmt.Sprintf("group %v is not open: %v", id, *run.failed.Load()))
		}
	}
	slices.Sort(why)
	return why
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
