package node

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

const (
	joinTimeout = 5 * time.Second        // of one attempt at one seed
	joinPause   = 200 * time.Millisecond // between rounds of attempts
	recordPause = time.Second            // before a record that was changed is written again
)

// self is the node as the catalog describes it.
func (n *Node) self() shard.Node {
	return shard.Node{Name: n.cfg.Node, Addr: n.door.Addr(), Gossip: n.door.GossipAddr(), Admin: n.AdminAddr(), Zone: n.cfg.Zone, Disk: n.id.Disk}
}

// belong makes the node a member of a cluster: the one its directory is of, the one
// that its seeds are of, or a new one.
func (n *Node) belong(ctx context.Context) error {
	n.book.learn([]shard.Node{n.self()})
	switch {
	case len(n.cfg.Join) > 0 && n.id.Cluster == "":
		// The directory's number first: the cluster may record it before this node
		// hears so, and must find the same one when the node asks again.
		if err := n.id.save(n.engine); err != nil {
			return err
		}
		return n.join(ctx)
	case n.id.Cluster == "":
		n.id.Cluster, n.id.Founder = newCluster(), true
		n.introduce()
	}
	return n.id.save(n.engine)
}

// join asks the seeds in turn until one answers. That the cluster will not have
// this node ends it; that nobody can be reached does not.
func (n *Node) join(ctx context.Context) error {
	for {
		for _, addr := range n.cfg.Join {
			resp, err := n.askSeed(ctx, addr)
			if err == nil {
				n.learn(resp.Nodes)
				n.id.Cluster = resp.Cluster
				n.introduce()
				return n.id.save(n.engine)
			}
			if !store.AsError(err).Retryable() {
				return err
			}
			n.cfg.Logger.Info("join", "node", n.cfg.Node, "seed", addr, "error", err)
		}
		select {
		case <-time.After(joinPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// learn takes the addresses of nodes that another node knows.
func (n *Node) learn(nodes []*kvpb.Node) {
	for _, known := range nodes {
		if node, err := kvpb.FromNode(known); err == nil {
			n.book.learn([]shard.Node{node})
		}
	}
}

func (n *Node) askSeed(ctx context.Context, addr string) (*kvpb.JoinResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	cc, err := kvpb.Dial(addr, func(ctx context.Context, _ string) (net.Conn, error) { return n.cfg.Network.DialSeed(ctx, addr) })
	if err != nil {
		return nil, err
	}
	defer cc.Close()
	resp, err := kvpb.NewAdminClient(cc).Join(ctx, &kvpb.JoinRequest{Node: kvpb.ToNode(n.self()), Cluster: n.id.Cluster})
	return resp, kvpb.FromStatus(err)
}

// announce records the node and its addresses in the catalog, and again if they were
// changed by another: a process on a copy of this node's directory does that, if it is
// refused only later.
func (n *Node) announce(ctx context.Context) error {
	for {
		if err := n.record(ctx); err != nil || ctx.Err() != nil {
			return err
		}
		for next := n.catalog.Next(); n.listed(); next = n.catalog.Next() {
			select {
			case <-next:
			case <-ctx.Done():
				return nil
			}
		}
		select {
		case <-time.After(recordPause):
		case <-ctx.Done():
			return nil
		}
	}
}

// listed reports whether this node's copy of the catalog names its addresses, or does
// not name it yet.
func (n *Node) listed() bool {
	known, ok := n.catalog.Topology().ByName(n.cfg.Node)
	self := n.self()
	self.State = known.State
	return !ok || known == self
}

// record writes the node's record through the majority, until that has worked. A
// founder writes its own first record so.
func (n *Node) record(ctx context.Context) error {
	for {
		try, cancel := context.WithTimeout(ctx, joinTimeout)
		err := n.catalog.AddNode(try, n.self())
		cancel()
		if err == nil || errors.Is(err, store.AlreadyExists) || errors.Is(err, store.Denied) {
			n.known.Store(n.known.Load() || err == nil)
			n.checkReady()
			return err
		}
		n.seekNews(ctx)
		select {
		case <-time.After(joinPause):
		case <-ctx.Done():
			return nil
		}
	}
}

// seekNews asks the seeds where everybody is, in case all addresses have changed
// while this node was away.
func (n *Node) seekNews(ctx context.Context) {
	for _, addr := range n.cfg.Join {
		if resp, err := n.askSeed(ctx, addr); err == nil {
			n.learn(resp.Nodes)
		}
	}
}

// majority is catalog.Store over the node's own client.
type majority struct{ keyspace *client.Keyspace }

func (m majority) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	item, err := m.keyspace.Get(ctx, key, client.At(store.Strong))
	if err != nil || !item.Found {
		return nil, 0, err
	}
	return item.Value, item.Revision, nil
}

func (m majority) Put(ctx context.Context, key string, value []byte, cond store.Condition) error {
	_, err := m.keyspace.Write(ctx, store.Command{Op: store.Put, Key: key, Value: value, If: cond})
	return err
}

func (m majority) Delete(ctx context.Context, key string, revision uint64) error {
	_, err := m.keyspace.Delete(ctx, key, client.IfRevision(revision))
	return err
}

// refresh makes the topology that the node tells others: the catalog's copy, the
// catalog's own keyspace, and the leaders this node knows.
func (n *Node) refresh() {
	n.refreshing.Lock() // so that nobody stores an older one over a newer one
	defer n.refreshing.Unlock()
	t := n.catalog.Topology()
	t.Cluster, t.Epoch, t.Node = n.id.Cluster, epoch, n.cfg.Node
	t.Keyspaces = append([]shard.Keyspace{n.systemKeyspace()}, serving(t.Keyspaces)...)
	t.Leaders = make(map[store.GroupID]string)
	note := func(s store.Status) {
		if s.Leader != "" {
			t.Leaders[s.Group] = s.Leader
		}
	}
	note(n.system.Status())
	for _, run := range n.groups.list() {
		if r, ok := run.replica(); ok {
			note(r.Status())
		}
	}
	n.topology.Store(&t)
	n.checkReady()
}

// serving are the keyspaces as clients see them: a member that is joining is none yet.
func serving(keyspaces []shard.Keyspace) []shard.Keyspace {
	out := slices.Clone(keyspaces)
	for i := range out {
		placement := make([][]string, len(out[i].Placement))
		for s := range placement {
			placement[s] = out[i].Serving(uint32(s))
		}
		out[i].Placement = placement
	}
	return out
}

func (n *Node) systemKeyspace() shard.Keyspace {
	members := n.system.Status().Members
	if len(members) == 0 {
		members = n.book.names()
		slices.Sort(members)
	}
	return shard.Keyspace{ID: store.CatalogKeyspace, Name: store.CatalogName, Mode: store.CP, Groups: 1, Placement: [][]string{members}}
}
