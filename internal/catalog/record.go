package catalog

import (
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

func decodeNode(b []byte) (shard.Node, error) {
	r := new(logpb.CatalogNode)
	if err := proto.Unmarshal(b, r); err != nil {
		return shard.Node{}, err
	}
	return shard.Node{
		Name: r.Name, Addr: r.Addr, Gossip: r.Gossip, Admin: r.Admin, Zone: r.Zone, Disk: r.Disk,
		State: shard.State(r.State),
	}, nil
}

func encodeNode(n shard.Node) ([]byte, error) {
	return proto.Marshal(&logpb.CatalogNode{
		Name: n.Name, Addr: n.Addr, Gossip: n.Gossip, Admin: n.Admin, Zone: n.Zone, Disk: n.Disk,
		State: logpb.CatalogNode_State(n.State),
	})
}

func decodeKeyspace(b []byte) (shard.Keyspace, error) {
	r := new(logpb.CatalogKeyspace)
	if err := proto.Unmarshal(b, r); err != nil {
		return shard.Keyspace{}, err
	}
	k := shard.Keyspace{ID: r.Id, Name: r.Name, Groups: r.Groups, Replicas: int(r.Replicas)}
	for _, g := range r.Placement {
		k.Placement = append(k.Placement, g.Members)
		k.Moves = append(k.Moves, shard.Move{Joining: g.Joining, Leaving: g.Leaving, Changes: g.Changes})
	}
	if k.Replicas == 0 && len(k.Placement) > 0 {
		k.Replicas = len(k.Target(0))
	}
	var errs [4]error
	k.Mode, errs[0] = store.ParseMode(r.Mode)
	k.Policy, errs[1] = store.ParsePolicy(r.Conflict)
	k.W, errs[2] = store.ParseW(r.W)
	k.Durability, errs[3] = store.ParseDurability(r.Durability)
	return k, errors.Join(errs[:]...)
}

func encodeKeyspace(k shard.Keyspace) ([]byte, error) {
	r := &logpb.CatalogKeyspace{Id: k.ID, Name: k.Name, Mode: k.Mode.String(), Groups: k.Groups, Replicas: uint32(k.Replicas)}
	if k.Mode == store.AP {
		r.Conflict, r.W, r.Durability = k.Policy.String(), k.W.String(), k.Durability.String()
	}
	for i, members := range k.Placement {
		m := k.Move(uint32(i))
		r.Placement = append(r.Placement, &logpb.CatalogGroup{Members: members, Joining: m.Joining, Leaving: m.Leaving, Changes: m.Changes})
	}
	return proto.Marshal(r)
}
