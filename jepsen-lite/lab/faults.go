package lab

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/jepsen-lite/nemesis"
	"github.com/dialkv/dialkv/store"
)

// faultLimit is how long a fault may take to be in force, or healed.
const faultLimit = 30 * time.Second

// setRules puts a table of link rules in force and keeps it.
func (c *call) setRules(ctx context.Context, name, detail string, rules []link.Rule) (any, error) {
	if err := c.inflict(name, detail, func() error { return c.world.cluster.SetFaults(ctx, rules) }); err != nil {
		return nil, err
	}
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	c.world.rules = rules
	return detail, nil
}

// inflict puts a fault in force, which the history has from before that until it is
// healed or, if it is refused, until then.
func (c *call) inflict(name, detail string, do func() error) error {
	c.world.rec.Fault(name, history.Begin, detail)
	c.world.mu.Lock()
	c.world.faults = append(c.world.faults, openFault{name, detail})
	c.world.mu.Unlock()
	err := do()
	if err != nil {
		c.end(func(f openFault) bool { return f == openFault{name, detail} })
	}
	return err
}

// end closes the open faults that is says are healed.
func (c *call) end(is func(openFault) bool) {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	for _, f := range c.world.faults {
		if is(f) {
			c.world.rec.Fault(f.name, history.End, f.detail)
		}
	}
	c.world.faults = slices.DeleteFunc(c.world.faults, is)
}

func (c *call) inForce() []link.Rule {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	return slices.Clone(c.world.rules)
}

func partition(ctx context.Context, c *call) (any, error) {
	groups := strings.Join(listed(c.given["groups"]), ",")
	rules, err := link.ParsePartition(groups, c.world.cluster.Nodes())
	if err != nil {
		return nil, err
	}
	kept := slices.DeleteFunc(c.inForce(), func(r link.Rule) bool { return r.Action == link.Hole })
	return c.setRules(ctx, nemesis.Partition, groups, append(kept, rules...))
}

func isolate(ctx context.Context, c *call) (any, error) {
	nodes, err := c.targets(ctx)
	if err != nil {
		return nil, err
	}
	rules := c.inForce()
	for _, node := range nodes {
		rules = append(rules, link.Isolate(node, c.world.cluster.Nodes())...)
	}
	return c.setRules(ctx, nemesis.Partition, strings.Join(nodes, ",")+" alone", rules)
}

func (c *call) targets(ctx context.Context) ([]string, error) {
	return c.world.nodes(ctx, listed(c.given["node"]))
}

func cut(ctx context.Context, c *call) (any, error) {
	return c.onLinks(ctx, nemesis.OneWay, "", link.Rule{Action: link.Hole})
}

func delay(ctx context.Context, c *call) (any, error) {
	by, jitter := c.time("by", 0), c.time("jitter", 0)
	return c.onLinks(ctx, nemesis.Delay, " "+by.String(), link.Rule{Delay: by, Jitter: jitter})
}

func drop(ctx context.Context, c *call) (any, error) {
	percent := c.number("percent", 0)
	return c.onLinks(ctx, "drop", fmt.Sprintf(" %g%%", percent), link.Rule{Loss: percent / 100})
}

// onLinks puts a rule on every link that is meant, beside those in force.
func (c *call) onLinks(ctx context.Context, name, what string, rule link.Rule) (any, error) {
	spec := strings.Join(listed(c.given["links"]), ",")
	pairs, err := link.ParseLinks(spec, c.world.cluster.Nodes())
	if err != nil {
		return nil, err
	}
	rules := c.inForce()
	for _, p := range pairs {
		rule.From, rule.To = p.From, p.To
		rules = append(rules, rule)
	}
	return c.setRules(ctx, name, spec+what, rules)
}

func heal(ctx context.Context, c *call) (any, error) {
	if err := c.world.cluster.SetFaults(ctx, nil); err != nil {
		return nil, err
	}
	c.world.mu.Lock()
	c.world.rules = nil
	c.world.mu.Unlock()
	c.end(func(f openFault) bool {
		return slices.Contains([]string{nemesis.Partition, nemesis.OneWay, nemesis.Delay, "drop"}, f.name)
	})
	return "every link is whole", nil
}

// eachNode does something to every node that is meant.
func (c *call) eachNode(ctx context.Context, do func(ctx context.Context, node string) error) (any, error) {
	nodes, err := c.targets(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, faultLimit)
	defer cancel()
	for _, node := range nodes {
		if err := do(ctx, node); err != nil {
			return nil, fmt.Errorf("%s: %w", node, err)
		}
	}
	return strings.Join(nodes, ","), nil
}

func kill(ctx context.Context, c *call) (any, error) {
	return c.eachNode(ctx, func(ctx context.Context, node string) error {
		return c.inflict(nemesis.Kill, node, func() error { return c.world.cluster.Kill(ctx, node) })
	})
}

// restart ends those that run in an orderly way where the cluster can.
func restart(ctx context.Context, c *call) (any, error) {
	return c.eachNode(ctx, func(ctx context.Context, node string) error {
		stopper, ok := c.world.cluster.(interface {
			Stop(ctx context.Context, name string) error
		})
		if _, err := c.world.status(ctx, node); ok && err == nil {
			if err := stopper.Stop(ctx, node); err != nil {
				return err
			}
		}
		if err := c.world.cluster.Restart(ctx, node); err != nil {
			return err
		}
		c.end(func(f openFault) bool { return f.name == nemesis.Kill && f.detail == node })
		return nil
	})
}

func pause(ctx context.Context, c *call) (any, error) {
	return c.eachNode(ctx, func(ctx context.Context, node string) error {
		return c.inflict(nemesis.Pause, node, func() error { return c.world.cluster.Pause(ctx, node) })
	})
}

func resume(ctx context.Context, c *call) (any, error) {
	return c.eachNode(ctx, func(ctx context.Context, node string) error {
		if err := c.world.cluster.Resume(ctx, node); err != nil {
			return err
		}
		c.end(func(f openFault) bool { return f.name == nemesis.Pause && f.detail == node })
		return nil
	})
}

func slowDisk(ctx context.Context, c *call) (any, error) {
	disks, ok := c.world.cluster.(nemesis.Disks)
	if !ok {
		return nil, &store.Error{Code: store.Unsupported, Op: "slow-disk", Msg: "disks of this cluster cannot be made slow"}
	}
	by := c.time("by", 0)
	return c.eachNode(ctx, func(ctx context.Context, node string) error {
		return c.turn(nemesis.DiskSlow, node, by, func() error { return disks.SlowDisk(ctx, node, by) })
	})
}

func skew(ctx context.Context, c *call) (any, error) {
	clocks, ok := c.world.cluster.(nemesis.Clocks)
	if !ok {
		return nil, &store.Error{Code: store.Unsupported, Op: "skew", Msg: "clocks of this cluster cannot be set wrong"}
	}
	ahead := c.time("ahead", 0)
	return c.eachNode(ctx, func(ctx context.Context, node string) error {
		return c.turn(nemesis.Skew, node, ahead, func() error { return clocks.Skew(ctx, node, ahead) })
	})
}

// turn sets something of a node, of which 0 is well.
func (c *call) turn(name, node string, by time.Duration, set func() error) error {
	if by != 0 {
		return c.inflict(name, node, set)
	}
	if err := set(); err != nil {
		return err
	}
	c.end(func(f openFault) bool { return f.name == name && f.detail == node })
	return nil
}

// transfer asks again until the node leads every group: one that is late refuses, and a
// leader may be just being elected.
func transfer(ctx context.Context, c *call) (any, error) {
	to, err := c.world.nodes(ctx, []string{c.text("to")})
	if err != nil {
		return nil, err
	}
	k, err := c.keyspace(c.text("keyspace"))
	if err != nil {
		return nil, err
	}
	why := c.world.await(ctx, faultLimit, func(ctx context.Context) string {
		for i := range k.Groups {
			if why := c.world.handOver(ctx, k.Name, k.ID, i, to[0]); why != "" {
				return why
			}
		}
		return ""
	})
	if why != "" {
		return nil, &store.Error{Code: store.Unavailable, Op: "transfer-leader", Keyspace: k.Name, Msg: why}
	}
	return to[0], nil
}

// handOver says what keeps a node from leading a group, after asking its leader for it.
func (w *world) handOver(ctx context.Context, keyspace string, id uint64, number uint32, to string) string {
	group := store.GroupID{Keyspace: id, Shard: number}.String()
	for _, node := range w.cluster.Nodes() {
		s, err := w.status(ctx, node)
		if err != nil {
			continue
		}
		leads := slices.ContainsFunc(s.GetReplicas(), func(r *kvpb.ReplicaStatus) bool {
			return r.GetGroup() == group && r.GetRole() == "leader"
		})
		switch {
		case leads && node == to:
			return ""
		case leads:
			admin, err := w.cluster.Admin(node)
			if err != nil {
				return err.Error()
			}
			asked, cancel := context.WithTimeout(ctx, 2*lookTimeout)
			defer cancel()
			if _, err = admin.TransferLeader(asked, &kvpb.TransferLeaderRequest{Keyspace: keyspace, Shard: number, To: to}); err != nil {
				return kvpb.FromStatus(err).Error()
			}
			return to + " does not lead yet"
		}
	}
	return "nobody leads " + group
}
