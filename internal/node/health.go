package node

import (
	"fmt"
	"slices"

	"github.com/dialkv/dialkv/internal/front"
	"github.com/dialkv/dialkv/store"
)

// Health is how the node is, by what it knows itself. It never waits.
func (n *Node) Health() front.Health {
	h := front.Health{Node: n.cfg.Node, Draining: n.draining.Load(), Reasons: []string{}, Groups: []front.GroupHealth{}}
	if !n.joined.Load() {
		h.Reasons = append(h.Reasons, "this node belongs to no cluster yet")
		return h
	}
	h.Cluster = n.id.Cluster
	if n.ending.Load() {
		h.Reasons = append(h.Reasons, "this node is stopping")
	}
	h.Reasons = append(h.Reasons, n.reasons()...)
	h.Ready = len(h.Reasons) == 0
	for _, g := range n.placed() {
		h.Groups = append(h.Groups, front.GroupHealth{
			Group: g.status.Group.String(), Keyspace: g.keyspace, Mode: g.status.Mode.String(),
			Ready: g.lacks() == "", Role: g.status.Role, Leader: g.status.Leader, Detail: g.detail(),
		})
	}
	return h
}

// placedGroup is a group of which the node holds a replica, or shall hold one.
type placedGroup struct {
	keyspace string
	status   store.Status
	closed   string // why no replica is open; "" if one is
	unneeded bool   // nobody relies on this replica: it is on its way in, or out
}

// lacks says why a replica does not serve, and nothing if it does.
func (g placedGroup) lacks() string {
	switch {
	case g.closed != "":
		return fmt.Sprintf("group %v %s", g.status.Group, g.closed)
	case !g.status.Ready:
		return fmt.Sprintf("group %v: %s", g.status.Group, g.status.Detail)
	case g.status.Mode == store.CP && g.status.Leader == "":
		return fmt.Sprintf("group %v has no leader", g.status.Group)
	}
	return ""
}

// detail is what lacks says, without the name of the group, or what a replica that
// serves has to say.
func (g placedGroup) detail() string {
	if g.closed != "" {
		return g.closed
	}
	return g.status.Detail
}

// placed are the catalog's group and those that the catalog places here, in order.
func (n *Node) placed() []placedGroup {
	all := []placedGroup{{keyspace: store.CatalogName, status: n.system.Status()}}
	for id, k := range placedHere(n.catalog.Topology(), n.cfg.Node) {
		m := k.Move(id.Shard)
		g := placedGroup{
			keyspace: k.Name, status: store.Status{Group: id, Mode: k.Mode},
			unneeded: slices.Contains(m.Joining, n.cfg.Node) || slices.Contains(m.Leaving, n.cfg.Node),
		}
		if run, ok := n.groups.get(id); !ok {
			g.closed = "is not open yet"
		} else if r, ok := run.replica(); ok {
			g.status = r.Status()
		} else {
			g.closed = fmt.Sprintf("is not open: %v", *run.failed.Load())
		}
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b placedGroup) int { return compareIDs(a.status.Group, b.status.Group) })
	return all
}

// reasons says why the node is not ready, and nothing if it is.
func (n *Node) reasons() []string {
	var why []string
	if _, ok := n.catalog.Topology().ByName(n.cfg.Node); !ok {
		why = append(why, "the catalog does not name this node yet")
	}
	if !n.known.Load() {
		why = append(why, "the catalog's majority has not confirmed this node yet")
	}
	if had := n.catalog.Recorded(); had < n.cfg.Expect {
		why = append(why, fmt.Sprintf("the cluster has %d of %d nodes", had, n.cfg.Expect))
	}
	for _, g := range n.placed() {
		if lacks := g.lacks(); lacks != "" && !g.unneeded {
			why = append(why, lacks)
		}
	}
	slices.Sort(why)
	return why
}
