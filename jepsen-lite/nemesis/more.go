package nemesis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
)

// Disks is a cluster whose disks can be made slow.
type Disks interface {
	// SlowDisk makes every sync of a node's log take that much longer; 0 heals.
	SlowDisk(ctx context.Context, name string, delay time.Duration) error
	// SlowSyncs is how many syncs of the node were made to wait so far.
	SlowSyncs(ctx context.Context, name string) uint64
}

// Clocks is a cluster whose nodes' wall clocks can be set wrong.
type Clocks interface {
	// Skew sets a node's wall clock that much ahead, or behind; 0 heals.
	Skew(ctx context.Context, name string, ahead time.Duration) error
}

// Members is a cluster that nodes can enter and leave.
type Members interface {
	// Add starts one more node and returns its name.
	Add(ctx context.Context, name string) (string, error)
	// Remove takes a node out, after others took over what it holds, and returns the
	// groups that moved.
	Remove(ctx context.Context, name string, dead bool, progress func(string)) (moved []string, err error)
}

// reset cuts one side off with errors instead of silence, as a host does that refuses.
func (n *nemesis) reset(ctx context.Context, side []string) fault {
	others := n.without(side...)
	rules := slices.Concat(between(side, others), between(others, side))
	for i := range rules {
		rules[i].Action = link.Reset
	}
	return n.cut(ctx, strings.Join(side, ",")+"|"+strings.Join(others, ","), rules)
}

// Lateness of links that are late, and of disks that are slow.
const (
	lateLeast = 20 * time.Millisecond
	lateMost  = 80 * time.Millisecond
	slowLeast = 20 * time.Millisecond
	slowMost  = 200 * time.Millisecond
	skewLeast = time.Second
	skewMost  = 10 * time.Second
)

func (n *nemesis) between(least, most time.Duration) time.Duration {
	return least + time.Duration(n.rng.Int64N(int64(most-least)))
}

// late makes every link slow, and out of step.
func (n *nemesis) late(ctx context.Context) fault {
	delay := n.between(lateLeast, lateMost)
	before := n.held(ctx)
	return fault{
		detail: fmt.Sprintf("every link %v later, give or take half", delay.Round(time.Millisecond)),
		counts: true,
		begin: func(ctx context.Context) error {
			return n.cluster.SetFaults(ctx, []link.Rule{{From: link.Any, To: link.Any, Delay: delay, Jitter: delay / 2}})
		},
		effect: func(ctx context.Context) string {
			var more uint64
			for node, f := range n.held(ctx) {
				if b := before[node]; b != nil {
					more = max(more, f.GetDelayed()-b.GetDelayed())
				}
			}
			if more == 0 {
				return ""
			}
			return fmt.Sprintf("%d reads, writes and packets came later at one node", more)
		},
		heal: func(ctx context.Context) error { return errors.Join(n.cluster.SetFaults(ctx, nil), n.whole(ctx)) },
	}
}

// How late links are while a leader is followed by another, whose first entry takes twice
// that, and for how long they are.
const (
	successionDelay = 60 * time.Millisecond
	successionSoon  = 600 * time.Millisecond // so that its first entry is committed
)

// succession kills a leader and makes every link late at once, so that the next one
// leads for a while before it knows what its predecessor acknowledged last.
func (n *nemesis) succession(ctx context.Context, leader string) fault {
	f := n.kill([]string{leader})
	before := n.groups(ctx)
	dies, lives := f.begin, f.heal
	f.otherwise = f.effect // an election may take longer than this, with luck that bad
	f.detail, f.soon = leader+", and every link late", successionSoon
	f.begin = func(ctx context.Context) error {
		late := []link.Rule{{From: link.Any, To: link.Any, Delay: successionDelay}}
		return errors.Join(dies(ctx), n.cluster.SetFaults(ctx, late))
	}
	f.effect = func(ctx context.Context) string { return n.superseded(ctx, leader, before) }
	f.heal = func(ctx context.Context) error {
		return errors.Join(n.cluster.SetFaults(ctx, nil), lives(ctx), n.whole(ctx))
	}
	return f
}

// revive cuts a node off, lets it go on alone, kills it there and starts it again when
// the links are whole: what it acknowledged alone is of a life that nobody else has
// heard of.
func (n *nemesis) revive(ctx context.Context, node string) fault {
	f := n.partition(ctx, []string{node})
	end := n.kill([]string{node})
	killed := false
	f.heal = func(ctx context.Context) error {
		if !killed {
			if err := end.begin(ctx); err != nil {
				return err
			}
			killed = true
		}
		return errors.Join(n.cluster.SetFaults(ctx, nil), end.heal(ctx), n.whole(ctx))
	}
	return f
}

// jump cuts a node off, kills it and starts it again there, and sets its clock back: alone
// it has nobody to tell it the time, and stamps with an earlier one than is on its disk.
func (n *nemesis) jump(ctx context.Context, node string, hold time.Duration) fault {
	clocks := n.cluster.(Clocks)
	f, end := n.partition(ctx, []string{node}), n.kill([]string{node})
	cut, whole := f.begin, f.heal
	back := -n.between(skewLeast, skewMost).Round(time.Millisecond)
	f.detail += fmt.Sprintf(", and %s starts again %v behind", node, -back)
	f.begin = func(ctx context.Context) error {
		if err := errors.Join(cut(ctx), end.begin(ctx)); err != nil {
			return err
		}
		alone, cancel := context.WithTimeout(ctx, hold/4)
		defer cancel()
		_ = n.cluster.Restart(alone, node) // it may never be ready there; effect asks whether it runs
		return clocks.Skew(ctx, node, back)
	}
	f.counts = false
	f.effect = func(ctx context.Context) string {
		if is, err := n.faults(ctx, node); err != nil || is.GetSkewNs() != int64(back) {
			return ""
		}
		return fmt.Sprintf("%s stamped with a clock that had gone back by %v", node, -back)
	}
	f.heal = func(ctx context.Context) error {
		return errors.Join(n.cluster.SetFaults(ctx, nil), end.heal(ctx), clocks.Skew(ctx, node, 0), whole(ctx))
	}
	return f
}

// slowDisk makes every sync of some nodes' logs take longer.
func (n *nemesis) slowDisk(ctx context.Context, nodes []string) fault {
	disks := n.cluster.(Disks)
	delay := n.between(slowLeast, slowMost)
	before := map[string]uint64{}
	for _, node := range nodes {
		before[node] = disks.SlowSyncs(ctx, node)
	}
	set := func(ctx context.Context, delay time.Duration) error {
		return each(nodes, func(node string) error { return disks.SlowDisk(ctx, node, delay) })
	}
	return fault{
		detail: fmt.Sprintf("%s, %v a sync", strings.Join(nodes, ","), delay.Round(time.Millisecond)),
		counts: true,
		begin:  func(ctx context.Context) error { return set(ctx, delay) },
		effect: func(ctx context.Context) string {
			var more uint64
			for _, node := range nodes {
				more += disks.SlowSyncs(ctx, node) - before[node]
			}
			if more == 0 {
				return ""
			}
			return fmt.Sprintf("%d syncs waited", more)
		},
		heal: func(ctx context.Context) error {
			if err := set(ctx, 0); err != nil {
				return err
			}
			return each(nodes, func(node string) error { return n.ready(ctx, node) })
		},
	}
}

// skew sets the wall clocks of some nodes wrong, each by as much of its own.
func (n *nemesis) skew(nodes []string) fault {
	clocks := n.cluster.(Clocks)
	ahead := make(map[string]time.Duration)
	var said []string
	for _, node := range nodes {
		ahead[node] = n.between(skewLeast, skewMost).Round(time.Millisecond)
		if n.rng.IntN(2) == 0 {
			ahead[node] = -ahead[node]
		}
		said = append(said, fmt.Sprintf("%s by %v", node, ahead[node]))
	}
	// is reports whether each node says that its clock is wrong by so much.
	is := func(ctx context.Context, want func(node string) time.Duration) error {
		return each(nodes, func(node string) error {
			f, err := n.faults(ctx, node)
			if err == nil && time.Duration(f.GetSkewNs()) != want(node) {
				err = unhealed(fmt.Sprintf("its clock is wrong by %v", time.Duration(f.GetSkewNs())))
			}
			return err
		})
	}
	set := func(ctx context.Context, want func(node string) time.Duration) error {
		return each(nodes, func(node string) error { return clocks.Skew(ctx, node, want(node)) })
	}
	wrong := func(node string) time.Duration { return ahead[node] }
	right := func(string) time.Duration { return 0 }
	return fault{
		detail: strings.Join(said, ", "),
		begin:  func(ctx context.Context) error { return set(ctx, wrong) },
		effect: func(ctx context.Context) string {
			if is(ctx, wrong) != nil {
				return ""
			}
			return strings.Join(nodes, ", ") + " stamped with a wrong clock"
		},
		heal: func(ctx context.Context) error {
			return errors.Join(set(ctx, right), is(ctx, right))
		},
	}
}

// power is a power cut: every node at once, with what was not synced.
func (n *nemesis) power() fault {
	nodes := slices.Clone(n.nodes)
	f := n.kill(nodes)
	f.detail = "all of " + strings.Join(nodes, ",")
	f.heal = func(ctx context.Context) error {
		// No node is ready before a majority is back, so none waits for another.
		var wait sync.WaitGroup
		errs := make([]error, len(nodes))
		for i, node := range nodes {
			wait.Go(func() {
				if n.status(ctx, node) == nil {
					errs[i] = n.cluster.Restart(ctx, node)
				}
			})
		}
		wait.Wait()
		return errors.Join(append(errs, each(nodes, func(node string) error { return n.ready(ctx, node) }))...)
	}
	return f
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
	members := n.cluster.(Members)
	var added string
	var moved []string
	return fault{
		detail: "another node for " + node,
		begin: func(ctx context.Context) (err error) {
			ctx, cancel := context.WithTimeout(ctx, healLimit)
			defer cancel()
			if added, err = members.Add(ctx, ""); err != nil {
				return err
			}
			moved, err = members.Remove(ctx, node, false, nil)
			n.nodes = n.cluster.Nodes()
			return err
		},
		effect: func(context.Context) string {
			if len(moved) == 0 {
				return ""
			}
			return fmt.Sprintf("%s took %s over from %s", added, strings.Join(moved, ", "), node)
		},
		heal: func(ctx context.Context) error {
			n.nodes = n.cluster.Nodes()
			return each(n.nodes, func(node string) error { return n.ready(ctx, node) })
		},
	}
}
