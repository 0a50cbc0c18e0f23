package nemesis

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dialkv/dialkv/internal/link"
)

// kill ends nodes as kill -9 does; the heal starts them again.
func (n *nemesis) kill(nodes []string) fault {
	return fault{
		detail: strings.Join(nodes, ","),
		begin: func(ctx context.Context) error {
			return each(nodes, func(node string) error { return n.cluster.Kill(ctx, node) })
		},
		effect: func(ctx context.Context) string { return n.silent(ctx, nodes) },
		heal: func(ctx context.Context) error {
			return each(nodes, func(node string) error {
				if n.status(ctx, node) == nil {
					if err := n.cluster.Restart(ctx, node); err != nil {
						return err
					}
				}
				return n.ready(ctx, node)
			})
		},
	}
}

// pause stops the clocks of nodes; the heal lets them go on.
func (n *nemesis) pause(nodes []string) fault {
	return fault{
		detail: strings.Join(nodes, ","),
		begin: func(ctx context.Context) error {
			return each(nodes, func(node string) error { return n.cluster.Pause(ctx, node) })
		},
		effect: func(ctx context.Context) string { return n.silent(ctx, nodes) },
		heal: func(ctx context.Context) error {
			return each(nodes, func(node string) error {
				if err := n.cluster.Resume(ctx, node); err != nil {
					return err
				}
				return n.ready(ctx, node)
			})
		},
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

// power is a power cut: nodes at once, with what was not synced.
func (n *nemesis) power(nodes []string) fault {
	f := n.kill(nodes)
	f.begin = func(ctx context.Context) error {
		return atOnce(nodes, func(node string) error { return n.cluster.Kill(ctx, node) })
	}
	f.heal = func(ctx context.Context) error {
		// No node is ready before a majority is back, so none waits for another.
		started := atOnce(nodes, func(node string) error {
			if n.status(ctx, node) != nil {
				return nil
			}
			return n.cluster.Restart(ctx, node)
		})
		return errors.Join(started, each(nodes, func(node string) error { return n.ready(ctx, node) }))
	}
	return f
}

// atOnce is each, for all nodes at the same time.
func atOnce(nodes []string, do func(node string) error) error {
	var wait sync.WaitGroup
	errs := make([]error, len(nodes))
	for i, node := range nodes {
		wait.Go(func() { errs[i] = do(node) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

// outage cuts the power of all.
func (n *nemesis) outage() fault {
	f := n.power(slices.Clone(n.nodes))
	f.detail = "all of " + f.detail
	return f
}

// restart ends one node after the other in an orderly way and starts it again, as an
// upgrade does. The next one waits until the one before is ready.
func (n *nemesis) restart(ctx context.Context, nodes []string) fault {
	f := n.kill(nodes)
	f.detail = "one after the other " + f.detail
	before := map[string]uint64{}
	for _, node := range nodes {
		before[node] = n.status(ctx, node).GetStart()
	}
	f.begin = func(ctx context.Context) error {
		return each(nodes, func(node string) error {
			ctx, cancel := context.WithTimeout(ctx, healLimit)
			defer cancel()
			return n.cluster.Restart(ctx, node)
		})
	}
	f.effect = func(ctx context.Context) string {
		for _, node := range nodes {
			if n.status(ctx, node).GetStart() <= before[node] {
				return ""
			}
		}
		return strings.Join(nodes, ", ") + " are new processes"
	}
	return f
}
