package node

import (
	"context"
	"slices"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

// balancePeriod is how often a node looks whether it leads more than its share. At
// most one leadership changes hands each time.
const balancePeriod = 10 * time.Second

const handWait = 5 * time.Second // for a leadership to change hands

// others are the voters of a group beside this node.
func others(s store.Status) []string {
	return slices.DeleteFunc(slices.Clone(s.Members), func(name string) bool {
		return name == s.Node || slices.Contains(s.NonVoters, name)
	})
}

// handOver gives leadership to a voter that is not drained itself. If there is none,
// this node goes on leading: somebody must.
func (n *Node) handOver(ctx context.Context, r *cp.Replica) error {
	ctx, cancel := context.WithTimeout(ctx, handWait)
	defer cancel()
	status := r.Status()
	var best string
	var furthest uint64
	for name, s := range n.ask(ctx, others(status)) {
		at := slices.IndexFunc(s.GetReplicas(), func(r *kvpb.ReplicaStatus) bool { return r.GetGroup() == status.Group.String() && r.GetReady() })
		if s.GetDraining() || at < 0 {
			continue
		}
		if applied := s.Replicas[at].Applied; best == "" || applied > furthest || applied == furthest && name < best {
			best, furthest = name, applied
		}
	}
	if best == "" {
		return errLater
	}
	return r.Transfer(ctx, best)
}

// ask asks nodes how they are, all at once; those that do not answer are left out.
func (n *Node) ask(ctx context.Context, names []string) map[string]*kvpb.StatusResponse {
	type answer struct {
		name   string
		status *kvpb.StatusResponse
	}
	answers := make(chan answer, len(names))
	for _, name := range names {
		go func() { answers <- answer{name, n.askOne(ctx, name)} }()
	}
	all := make(map[string]*kvpb.StatusResponse)
	for range names {
		if a := <-answers; a.status != nil {
			all[a.name] = a.status
		}
	}
	return all
}

func (n *Node) askOne(ctx context.Context, name string) *kvpb.StatusResponse {
	ctx, cancel := context.WithTimeout(ctx, memberWait)
	defer cancel()
	if name == n.cfg.Node {
		s, _ := n.Status(ctx, nil) // of itself it always knows
		return s
	}
	admin, err := n.pool.Admin(name)
	if err != nil {
		return nil
	}
	s, err := admin.Status(ctx, &kvpb.StatusRequest{})
	if err != nil {
		return nil
	}
	return s
}

func (n *Node) answers(ctx context.Context, name string) bool { return n.askOne(ctx, name) != nil }

// balance spreads the leaders of a keyspace's groups over its nodes. It does nothing
// while links are cut or slowed on purpose: an experiment shall show what its faults
// do.
func (n *Node) balance(ctx context.Context) error {
	tick := time.NewTicker(balancePeriod)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if n.draining.Load() || len(n.door.Rules().List()) > 0 {
			continue
		}
		for _, k := range n.catalog.Topology().Keyspaces {
			if n.level(ctx, k) {
				break
			}
		}
	}
}

// level hands one of the node's leaderships of a keyspace to a voter that leads at
// least two fewer, and reports whether it tried to.
func (n *Node) level(ctx context.Context, k shard.Keyspace) bool {
	ctx, cancel := context.WithTimeout(ctx, handWait)
	defer cancel()
	led := make(map[string]int)
	for id, leader := range n.Topology().Leaders {
		if id.Keyspace == k.ID {
			led[leader]++
		}
	}
	mine := led[n.cfg.Node]
	for s := range k.Placement {
		r, ok := n.leads(store.GroupID{Keyspace: k.ID, Shard: uint32(s)})
		if !ok || !k.Move(uint32(s)).Settled() {
			continue
		}
		for _, to := range others(r.Status()) {
			// What this node sees of others' leaderships may be few of them.
			if mine-led[to] >= 2 && mine-n.leadsOf(ctx, to, k.Name, r.Status()) >= 2 {
				err := r.Transfer(ctx, to)
				n.cfg.Logger.Info("leadership is spread", "node", n.cfg.Node, "keyspace", k.Name, "shard", s, "to", to, "error", err)
				return true
			}
		}
	}
	return false
}

// leads returns the node's replica of a cp group if it leads the group.
func (n *Node) leads(id store.GroupID) (*cp.Replica, bool) {
	found, ok := n.find(id)
	if !ok {
		return nil, false
	}
	r, ok := found.(consensus)
	if !ok || r.Status().Role != "leader" {
		return nil, false
	}
	return r.Replica, true
}

// balanceLag is by how many log entries a node may lie behind to be given leadership.
const balanceLag = 64

// leadsOf asks a node how many groups of a keyspace it leads. One that should not
// lead more, because it is drained or behind in the group, leads very many.
func (n *Node) leadsOf(ctx context.Context, node, keyspace string, group store.Status) int {
	const many = 1 << 20
	s := n.askOne(ctx, node)
	if s == nil || s.GetDraining() {
		return many
	}
	led, fit := 0, false
	for _, r := range s.GetReplicas() {
		if r.GetKeyspace() == keyspace && r.GetRole() == "leader" {
			led++
		}
		if r.GetGroup() == group.Group.String() && r.GetReady() && r.GetApplied()+balanceLag >= group.Applied {
			fit = true
		}
	}
	if !fit {
		return many
	}
	return led
}
