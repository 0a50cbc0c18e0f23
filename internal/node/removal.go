package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// removal is a node that shall leave, and what is known of the cluster when that is
// asked. check refuses what would lose data or a quorum. It is a look, not a lock:
// two removals at once may both pass, and then the groups' leaders, who count again
// at each step, stop short of the one that is too much.
type removal struct {
	topology shard.Topology
	node     string
	dead     bool
	statuses map[string]*kvpb.StatusResponse // of the nodes that answer
}

var errNoLeader = errors.New("it has no leader")

func (v removal) check() error {
	switch answers := v.statuses[v.node] != nil; {
	case answers && v.dead:
		return v.refuse(store.Invalid, v.node+" answers, so it is not dead", "kvctl cluster remove "+v.node)
	case !answers && !v.dead:
		return v.refuse(store.Unavailable, v.node+" does not answer, so it cannot give its replicas away",
			fmt.Sprintf("kvctl node restart %s, or if it never comes back kvctl cluster remove %[1]s --dead", v.node))
	}
	for _, k := range v.topology.Keyspaces {
		for s := range k.Placement {
			if !slices.Contains(k.Members(uint32(s)), v.node) {
				continue
			}
			check := v.checkGroup
			if k.Mode == store.AP {
				check = v.checkCausal
			}
			if err := check(k, uint32(s)); err != nil {
				return err
			}
		}
	}
	return v.checkCatalog()
}

func (v removal) refuse(code store.Code, msg, try string) error {
	return &store.Error{Code: code, Op: "remove", Node: v.node, Msg: msg + "; nothing was changed", Try: try}
}

// checkGroup wants of a cp group a leader, and a majority of those that stay and of who
// comes.
func (v removal) checkGroup(k shard.Keyspace, s uint32) error {
	id := store.GroupID{Keyspace: k.ID, Shard: s}
	stay := slices.DeleteFunc(k.Target(s), func(name string) bool { return name == v.node })
	healthy, lacking := v.healthy(id, stay, k.Move(s).Joining)
	if len(stay) < k.Replicas && v.replacement(k.Members(s)) {
		stay, healthy = append(stay, "a new member"), healthy+1
	}
	switch {
	case len(stay) == 0:
		return v.onlyReplica(id, k)
	case !v.led(id):
		return &store.Error{
			Code: store.Unavailable, Op: "remove", Node: v.node, Cause: errNoLeader,
			Msg: fmt.Sprintf("group %v of %s cannot change its members now; nothing was changed", id, k.Name),
			Try: "kvctl cluster status, and bring back what is down",
		}
	case healthy <= len(stay)/2:
		return v.refuse(store.Unavailable,
			fmt.Sprintf("without %s, %d of %d members of group %v of %s would be healthy, which is no majority", v.node, healthy, len(stay), id, k.Name),
			"bring back "+strings.Join(lacking, ", "))
	}
	return nil
}

// checkCausal wants of an ap group somebody who has the data and stays. A node that is
// not dead leaves only when all who stay have what it has, so their nodes must answer.
func (v removal) checkCausal(k shard.Keyspace, s uint32) error {
	id := store.GroupID{Keyspace: k.ID, Shard: s}
	stay := slices.DeleteFunc(k.Target(s), func(name string) bool { return name == v.node })
	answer, away := v.healthy(id, stay, stay)
	holders, lacking := v.healthy(id, stay, nil)
	switch {
	case len(stay) == 0 && (v.dead || !v.replacement(k.Members(s))):
		return v.onlyReplica(id, k)
	case v.dead && holders == 0:
		return v.refuse(store.Unavailable,
			fmt.Sprintf("nobody who answers has what %s has of group %v of %s", v.node, id, k.Name), "bring back one of "+strings.Join(lacking, ", "))
	case !v.dead && answer < len(stay):
		return v.refuse(store.Unavailable,
			fmt.Sprintf("%s cannot give away what it has of group %v of %s while %s is away", v.node, id, k.Name, strings.Join(away, ", ")),
			"bring back "+strings.Join(away, ", "))
	}
	return nil
}

func (v removal) onlyReplica(id store.GroupID, k shard.Keyspace) error {
	return v.refuse(store.Invalid, fmt.Sprintf("%s has the only replica of group %v of %s, and no other node can take it", v.node, id, k.Name),
		"kvctl cluster add first, or kvctl keyspace delete "+k.Name)
}

func (v removal) checkCatalog() error {
	var stay []string
	for _, known := range v.topology.Nodes {
		if known.State < shard.Dead && known.Name != v.node {
			stay = append(stay, known.Name)
		}
	}
	healthy, lacking := v.healthy(store.CatalogGroup, stay, nil)
	switch {
	case len(stay) == 0:
		return v.refuse(store.Invalid, v.node+" is the only node", "kvctl cluster destroy")
	case healthy <= len(stay)/2:
		return v.refuse(store.Unavailable,
			fmt.Sprintf("without %s, %d of %d nodes would be healthy, and the catalog needs a majority", v.node, healthy, len(stay)),
			"bring back "+strings.Join(lacking, ", "))
	}
	return nil
}

// healthy counts the nodes whose replica of the group is ready, and names the others.
// Of those that are joining it is enough that they answer.
func (v removal) healthy(id store.GroupID, names, joining []string) (count int, lacking []string) {
	for _, name := range names {
		r, ok := v.replica(id, name)
		if ok && r.GetReady() || slices.Contains(joining, name) && v.statuses[name] != nil {
			count++
		} else {
			lacking = append(lacking, name)
		}
	}
	return count, lacking
}

func (v removal) replica(id store.GroupID, node string) (*kvpb.ReplicaStatus, bool) {
	list := v.statuses[node].GetReplicas()
	if i := slices.IndexFunc(list, func(r *kvpb.ReplicaStatus) bool { return r.GetGroup() == id.String() }); i >= 0 {
		return list[i], true
	}
	return nil, false
}

func (v removal) led(id store.GroupID) bool {
	for name := range v.statuses {
		if r, ok := v.replica(id, name); ok && r.GetRole() == "leader" {
			return true
		}
	}
	return false
}

// replacement reports whether there is a node that could take a replica.
func (v removal) replacement(members []string) bool {
	return slices.ContainsFunc(v.topology.Nodes, func(known shard.Node) bool {
		return known.State == shard.Member && known.Name != v.node && v.statuses[known.Name] != nil && !slices.Contains(members, known.Name)
	})
}
