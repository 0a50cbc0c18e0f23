package main

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// glance is how long a node may take to say how it is.
const glance = time.Second

// clusterJSON is what status prints with -o json.
type clusterJSON struct {
	Name      string         `json:"name"`
	Nodes     []nodeJSON     `json:"nodes"`
	Keyspaces []keyspaceView `json:"keyspaces"`
}

type nodeJSON struct {
	ID     string `json:"id"`
	State  string `json:"state"` // ready, starting, unreachable, paused, down
	PID    int    `json:"pid"`
	GRPC   string `json:"grpc"`
	HTTP   string `json:"http"`
	Gossip string `json:"gossip"`
	Zone   string `json:"zone"`
	Groups int    `json:"groups"` // of which it holds a replica
	// Drained: it leads nothing until it restarts.
	Drained bool `json:"drained,omitempty"`

	reasons []string // why it is not ready, or what else it has to say
}

type keyspaceView struct {
	Name   string      `json:"name"`
	Mode   string      `json:"mode"`
	Groups []groupView `json:"groups"`
}

type groupView struct {
	ID       string        `json:"id"`
	Leader   string        `json:"leader"`
	Term     uint64        `json:"term"`
	Replicas []replicaView `json:"replicas"`

	behind  map[string]uint64 // as the replicas say of each other
	members []string          // as the leader says, or any replica where nobody leads
}

type replicaView struct {
	Node     string `json:"node"`
	Role     string `json:"role"`
	Ready    bool   `json:"ready"`
	Revision uint64 `json:"revision"`
	Behind   uint64 `json:"behind"`            // ap: writes that another member has and this one has not confirmed
	Emptied  uint64 `json:"emptied,omitempty"` // ap in memory: how often a restart emptied it
	Lost     uint64 `json:"lost,omitempty"`    // ap in memory: writes that it held and that are gone, at least
	Detail   string `json:"detail,omitempty"`

	applied uint64 // cp: the last entry in its state
}

// answers asks every node how it is; one that does not answer is nil.
func answers(ctx context.Context, c localcluster.Cluster) []*kvpb.StatusResponse {
	nodes := c.Nodes()
	all := make([]*kvpb.StatusResponse, len(nodes))
	var asking sync.WaitGroup
	for i, name := range nodes {
		asking.Go(func() {
			admin, err := c.Admin(name)
			if err != nil {
				return
			}
			ctx, cancel := context.WithTimeout(ctx, glance)
			defer cancel()
			if s, err := admin.Status(ctx, &kvpb.StatusRequest{}); err == nil {
				all[i] = s
			}
		})
	}
	asking.Wait()
	return all
}

// survey describes the cluster as its nodes and, if it has any, their processes do.
func survey(ctx context.Context, c localcluster.Cluster) (clusterJSON, error) {
	return surveyOf(c, answers(ctx, c))
}

// surveyOf is the same of answers that are there.
func surveyOf(c localcluster.Cluster, statuses []*kvpb.StatusResponse) (clusterJSON, error) {
	out := clusterJSON{Name: "demo", Nodes: []nodeJSON{}, Keyspaces: []keyspaceView{}}
	for i, name := range c.Nodes() {
		out.Nodes = append(out.Nodes, nodeOf(name, statuses[i]))
	}
	if p, ok := c.(*localcluster.Procs); ok {
		e, err := p.Entry()
		if err != nil {
			return out, err
		}
		out.Name = e.Name
		for _, process := range e.Nodes {
			if i := slices.IndexFunc(out.Nodes, func(n nodeJSON) bool { return n.ID == process.ID }); i >= 0 {
				out.Nodes[i].addProcess(process)
			}
		}
	}
	if r, ok := c.(*remote); ok {
		out.Name = r.Cluster
		for i := range out.Nodes {
			out.Nodes[i].addAddress(r.Topology)
		}
	}
	out.Keyspaces = keyspacesOf(statuses)
	return out, nil
}

func nodeOf(name string, s *kvpb.StatusResponse) nodeJSON {
	n := nodeJSON{ID: name, State: "down"}
	if s == nil {
		return n
	}
	n.State, n.PID, n.reasons = "starting", int(s.GetPid()), s.GetReasons()
	n.Drained = s.GetDraining()
	if s.GetReady() {
		n.State = "ready"
	}
	self := s.GetSelf()
	n.GRPC, n.HTTP, n.Gossip, n.Zone = self.GetAddr(), self.GetAdmin(), self.GetGossip(), self.GetZone()
	for _, r := range s.GetReplicas() {
		if r.GetKeyspace() != store.CatalogName {
			n.Groups++
		}
		// A cp replica without a leader is seen in its keyspace.
		if detail := r.GetDetail(); detail != "" && r.GetReady() && r.GetMode() == store.AP.String() && !slices.Contains(n.reasons, detail) {
			n.reasons = append(n.reasons, detail)
		}
	}
	return n
}

// addProcess says of a node that did not answer whether its process is there.
func (n *nodeJSON) addProcess(p localcluster.Process) {
	n.GRPC, n.HTTP, n.Gossip = p.Listen, p.Admin, p.Gossip
	switch state := p.State(); {
	case state != "up":
		n.State, n.PID = state, 0
		if state == "paused" {
			n.PID = p.PID
		}
	case n.State == "down":
		n.State, n.PID = "unreachable", p.PID
	}
}

// addAddress says of a node that did not answer where it was asked: whether its process is
// there cannot be seen from here.
func (n *nodeJSON) addAddress(t shard.Topology) {
	if n.State == "down" {
		at, _ := t.ByName(n.ID)
		n.State, n.GRPC = "unreachable", at.Addr
	}
}

// keyspacesOf puts together what the nodes say of their replicas.
func keyspacesOf(statuses []*kvpb.StatusResponse) []keyspaceView {
	keyspaces := []keyspaceView{}
	for _, s := range statuses {
		for _, r := range s.GetReplicas() {
			if r.GetKeyspace() == store.CatalogName {
				continue
			}
			i := slices.IndexFunc(keyspaces, func(k keyspaceView) bool { return k.Name == r.GetKeyspace() })
			if i < 0 {
				i = len(keyspaces)
				keyspaces = append(keyspaces, keyspaceView{Name: r.GetKeyspace(), Mode: r.GetMode()})
			}
			keyspaces[i].add(s.GetNode(), r)
		}
	}
	slices.SortFunc(keyspaces, func(a, b keyspaceView) int { return cmp.Compare(a.Name, b.Name) })
	for i := range keyspaces {
		for j := range keyspaces[i].Groups {
			keyspaces[i].Groups[j].complete()
		}
		slices.SortFunc(keyspaces[i].Groups, func(a, b groupView) int { return compareGroups(a.ID, b.ID) })
	}
	return keyspaces
}

func compareGroups(a, b string) int {
	ga, _ := store.ParseGroupID(a) // a node wrote it
	gb, _ := store.ParseGroupID(b)
	return cmp.Or(cmp.Compare(ga.Keyspace, gb.Keyspace), cmp.Compare(ga.Shard, gb.Shard))
}

func (k *keyspaceView) add(node string, r *kvpb.ReplicaStatus) {
	i := slices.IndexFunc(k.Groups, func(g groupView) bool { return g.ID == r.GetGroup() })
	if i < 0 {
		i = len(k.Groups)
		k.Groups = append(k.Groups, groupView{ID: r.GetGroup(), behind: make(map[string]uint64)})
	}
	g := &k.Groups[i]
	g.Replicas = append(g.Replicas, replicaView{
		Node: node, Role: r.GetRole(), Ready: r.GetReady(), Revision: r.GetRevision(), Detail: r.GetDetail(),
		Emptied: r.GetEmptied(), Lost: r.GetLost(), applied: r.GetApplied(),
	})
	for name, n := range r.GetBacklog() {
		g.behind[name] = max(g.behind[name], n)
	}
	// Of two that say they lead, the one with the later term does.
	leads := r.GetRole() == "leader" && r.GetTerm() >= g.Term
	if leads {
		g.Leader = node
	}
	if leads || g.Leader == "" {
		g.members = r.GetMembers()
	}
	g.Term = max(g.Term, r.GetTerm())
}

// silent is the role of a member that does not say how it is.
const silent = "unreachable"

// complete adds the members of which nothing was heard, and what each one lacks.
func (g *groupView) complete() {
	for _, name := range g.members {
		if !slices.ContainsFunc(g.Replicas, func(r replicaView) bool { return r.Node == name }) {
			g.Replicas = append(g.Replicas, replicaView{Node: name, Role: silent, Detail: "its node does not answer"})
		}
	}
	for i, r := range g.Replicas {
		g.Replicas[i].Behind = g.behind[r.Node]
	}
	slices.SortFunc(g.Replicas, func(a, b replicaView) int { return cmp.Compare(a.Node, b.Node) })
}

// leaders are the nodes that lead the groups of a cp keyspace.
func leaders(ctx context.Context, c localcluster.Cluster, keyspace string) ([]string, error) {
	keyspaces := keyspacesOf(answers(ctx, c))
	i := slices.IndexFunc(keyspaces, func(k keyspaceView) bool { return k.Name == keyspace })
	if i < 0 {
		return nil, &store.Error{Code: store.NoSuchKeyspace, Keyspace: keyspace, Msg: "no node that answers holds a replica of " + keyspace}
	}
	var nodes []string
	for _, g := range keyspaces[i].Groups {
		if g.Leader != "" && !slices.Contains(nodes, g.Leader) {
			nodes = append(nodes, g.Leader)
		}
	}
	switch {
	case keyspaces[i].Mode != store.CP.String():
		return nil, &store.Error{Code: store.Unsupported, Keyspace: keyspace, Msg: "an ap keyspace has no leader", Try: "the name of a node"}
	case len(nodes) == 0:
		return nil, &store.Error{Code: store.Unavailable, Keyspace: keyspace, Msg: keyspace + " has no leader now", Try: "again in a moment"}
	}
	return nodes, nil
}
