package kvpb

import (
	"encoding/hex"
	"fmt"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// ToNode returns a member of the cluster.
func ToNode(n shard.Node) *Node {
	return &Node{Name: n.Name, Addr: n.Addr, Gossip: n.Gossip, Admin: n.Admin, Zone: n.Zone, Disk: n.Disk}
}

// FromNode returns a member of the cluster, if its name may be one.
func FromNode(n *Node) (shard.Node, error) {
	if err := store.CheckName("node", n.GetName()); err != nil {
		return shard.Node{}, err
	}
	return shard.Node{
		Name: n.GetName(), Addr: n.GetAddr(), Gossip: n.GetGossip(),
		Admin: n.GetAdmin(), Zone: n.GetZone(), Disk: n.GetDisk(),
	}, nil
}

// ToKeyspace returns a keyspace with its placement.
func ToKeyspace(k shard.Keyspace) *Keyspace {
	out := &Keyspace{
		Id:         k.ID,
		Name:       k.Name,
		Mode:       orDefault(k.Mode),
		Groups:     k.Groups,
		Conflict:   orDefault(k.Policy),
		W:          orDefault(k.W),
		Durability: orDefault(k.Durability),
	}
	for i, members := range k.Placement {
		out.Placement = append(out.Placement, &Group{Shard: uint32(i), Members: members})
	}
	return out
}

// FromKeyspace returns a keyspace with its placement, which must name the members
// of every group in the order of the shards.
func FromKeyspace(k *Keyspace) (shard.Keyspace, error) {
	mode, err := store.ParseMode(k.GetMode())
	if err != nil {
		return shard.Keyspace{}, err
	}
	out := shard.Keyspace{ID: k.GetId(), Name: k.GetName(), Mode: mode, Groups: k.GetGroups()}
	if mode == store.AP {
		if err := fromAP(k, &out); err != nil {
			return shard.Keyspace{}, err
		}
	}
	if len(k.GetPlacement()) != int(k.GetGroups()) {
		return shard.Keyspace{}, invalid("keyspace %q has %d groups, placed are %d", k.GetName(), k.GetGroups(), len(k.GetPlacement()))
	}
	for i, g := range k.GetPlacement() {
		if int(g.GetShard()) != i {
			return shard.Keyspace{}, invalid("keyspace %q has shard %d where %d belongs", k.GetName(), g.GetShard(), i)
		}
		out.Placement = append(out.Placement, g.GetMembers())
	}
	return out, nil
}

func fromAP(k *Keyspace, out *shard.Keyspace) (err error) {
	if out.Policy, err = store.ParsePolicy(k.GetConflict()); err != nil {
		return err
	}
	if out.W, err = store.ParseW(k.GetW()); err != nil {
		return err
	}
	out.Durability, err = store.ParseDurability(k.GetDurability())
	return err
}

// ToTopology returns what a node knows of the cluster.
func ToTopology(t shard.Topology) *TopologyResponse {
	out := &TopologyResponse{Cluster: t.Cluster, Epoch: t.Epoch, Revision: t.Revision, Node: t.Node}
	for _, n := range t.Nodes {
		out.Nodes = append(out.Nodes, ToNode(n))
	}
	for _, k := range t.Keyspaces {
		keyspace := ToKeyspace(k)
		for _, g := range keyspace.Placement {
			g.Leader = t.Leaders[store.GroupID{Keyspace: k.ID, Shard: g.Shard}]
		}
		out.Keyspaces = append(out.Keyspaces, keyspace)
	}
	return out
}

// FromTopology returns what a node knows of the cluster. Error is for the caller:
// the rest is valid beside it.
func FromTopology(r *TopologyResponse) (shard.Topology, error) {
	if id, err := hex.DecodeString(r.GetCluster()); err != nil || len(id) != 16 {
		return shard.Topology{}, invalid("the cluster id %.40q is not 32 hex digits", r.GetCluster())
	}
	t := shard.Topology{
		Cluster: r.GetCluster(), Epoch: r.GetEpoch(), Revision: r.GetRevision(), Node: r.GetNode(),
		Leaders: make(map[store.GroupID]string),
	}
	for _, n := range r.GetNodes() {
		node, err := FromNode(n)
		if err != nil {
			return shard.Topology{}, err
		}
		t.Nodes = append(t.Nodes, node)
	}
	for _, k := range r.GetKeyspaces() {
		keyspace, err := FromKeyspace(k)
		if err != nil {
			return shard.Topology{}, err
		}
		t.Keyspaces = append(t.Keyspaces, keyspace)
		for _, g := range k.GetPlacement() {
			if g.GetLeader() != "" {
				t.Leaders[store.GroupID{Keyspace: k.GetId(), Shard: g.GetShard()}] = g.GetLeader()
			}
		}
	}
	return t, nil
}

func invalid(format string, args ...any) error {
	return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf(format, args...)}
}
