package nemesis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dialkv/dialkv/internal/kvpb"
)

// Members is a cluster that nodes can enter and leave.
type Members interface {
	// Add starts one more node and returns its name.
	Add(ctx context.Context, name string) (string, error)
	// Remove takes a node out, after others took over what it holds, and returns the
	// groups that moved.
	Remove(ctx context.Context, name string, dead bool, progress func(string)) (moved []string, err error)
}

// led is a group and who leads it.
type led struct {
	keyspace, group, leader string
	shard                   uint32
	term                    uint64
	members                 []string
}

// groups are the groups of the keyspaces with a leader, as the nodes tell of them.
func (n *nemesis) groups(ctx context.Context) map[string]led {
	groups := map[string]led{}
	for _, node := range n.nodes {
		for _, r := range n.status(ctx, node).GetReplicas() {
			if r.GetRole() != "leader" || !slices.Contains(n.cfg.Keyspaces, r.GetKeyspace()) {
				continue
			}
			if old, ok := groups[r.GetGroup()]; !ok || old.term < r.GetTerm() {
				groups[r.GetGroup()] = led{keyspace: r.GetKeyspace(), group: r.GetGroup(), leader: node, shard: shardOf(r.GetGroup()), term: r.GetTerm(), members: r.GetMembers()}
			}
		}
	}
	return groups
}

// shardOf reads the shard in a group's name: keyspace, a slash, shard.
func shardOf(group string) uint32 {
	var keyspace uint64
	var shard uint32
	_, _ = fmt.Sscanf(group, "%d/%d", &keyspace, &shard)
	return shard
}

// transfer hands the leadership of every group of the keyspaces to another member.
func (n *nemesis) transfer(ctx context.Context) fault {
	before := n.groups(ctx)
	var names []string
	for name := range before {
		names = append(names, name)
	}
	slices.Sort(names)
	return fault{
		detail: strings.Join(names, ", "),
		begin: func(ctx context.Context) error {
			if len(before) == 0 {
				return errors.New("no group has a leader")
			}
			for _, name := range names {
				// A member that is late refuses; the effect tells whether another took it.
				for range transferTries {
					if n.handOver(ctx, before[name]) == nil {
						break
					}
				}
			}
			return nil
		},
		effect: func(ctx context.Context) string {
			for name, now := range n.groups(ctx) {
				if was, ok := before[name]; ok && now.leader != was.leader {
					return fmt.Sprintf("%s went from %s to %s", name, was.leader, now.leader)
				}
			}
			return ""
		},
		heal: func(ctx context.Context) error {
			if len(n.groups(ctx)) < len(before) {
				return unhealed("a group has no leader")
			}
			return nil
		},
	}
}

// transferTries is how many members are asked to lead before the fault has no effect.
const transferTries = 3

func (n *nemesis) handOver(ctx context.Context, g led) error {
	to := slices.DeleteFunc(slices.Clone(g.members), func(m string) bool { return m == g.leader })
	if len(to) == 0 {
		return errors.New("the group has one member")
	}
	admin, err := n.cluster.Admin(g.leader)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 4*lookTimeout)
	defer cancel()
	_, err = admin.TransferLeader(ctx, &kvpb.TransferLeaderRequest{Keyspace: g.keyspace, Shard: g.shard, To: to[n.rng.IntN(len(to))]})
	return kvpb.FromStatus(err)
}

// membership lets a new node take the place of another: it enters, the other gives all
// it has to it and leaves. There is nothing to heal but that the new one must serve.
func (n *nemesis) membership(node string) fault {
	var added string
	var moved []string
	return fault{
		detail: "another node for " + node,
		begin: func(ctx context.Context) (err error) {
			added, moved, err = n.replace(ctx, node, false)
			return err
		},
		effect: func(context.Context) string { return tookOver(added, moved, node) },
		heal: func(ctx context.Context) error {
			n.nodes = n.cluster.Nodes()
			return each(n.nodes, func(node string) error { return n.ready(ctx, node) })
		},
	}
}

// replace takes a node out once another has come.
func (n *nemesis) replace(ctx context.Context, node string, dead bool) (added string, moved []string, err error) {
	members := n.cluster.(Members)
	ctx, cancel := context.WithTimeout(ctx, healLimit)
	defer cancel()
	if added, err = members.Add(ctx, ""); err != nil {
		return "", nil, err
	}
	moved, err = members.Remove(ctx, node, dead, nil)
	n.nodes = n.cluster.Nodes()
	return added, moved, err
}

func tookOver(added string, moved []string, from string) string {
	if len(moved) == 0 {
		return ""
	}
	return fmt.Sprintf("%s took %s over from %s", added, strings.Join(moved, ", "), from)
}

// wipe kills a node whose disk is then gone: what it alone had is lost. Another enters
// in its place, under another name, and the others say that the dead one is out.
func (n *nemesis) wipe(node string) fault {
	f, dies := n.membership(node), n.kill([]string{node})
	var added string
	var moved []string
	silent := ""
	f.detail = node + " and its disk, and another node for it"
	f.begin = func(ctx context.Context) (err error) {
		if err := dies.begin(ctx); err != nil {
			return err
		}
		silent = dies.effect(ctx)
		added, moved, err = n.replace(ctx, node, true)
		return err
	}
	f.effect = func(context.Context) string {
		if silent == "" || len(moved) == 0 {
			return ""
		}
		return silent + "; " + tookOver(added, moved, node)
	}
	whole := f.heal
	f.heal = func(ctx context.Context) error {
		if slices.Contains(n.cluster.Nodes(), node) { // nobody took its place
			return dies.heal(ctx)
		}
		return whole(ctx)
	}
	return f
}
