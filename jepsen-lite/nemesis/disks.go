package nemesis

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dialkv/dialkv/internal/engine"
)

// Disks is a cluster whose disks can be made slow, and fail.
type Disks interface {
	// SlowDisk makes every sync of a node's log take that much longer; 0 heals.
	SlowDisk(ctx context.Context, name string, delay time.Duration) error
	// SlowSyncs is how many syncs of the node were made to wait so far.
	SlowSyncs(ctx context.Context, name string) uint64
	// FailDisk makes what a node writes fail; "" heals.
	FailDisk(ctx context.Context, name string, failure engine.Failure) error
	// FailedWrites is how many writes and syncs of the node failed so far.
	FailedWrites(ctx context.Context, name string) uint64
}

// How much longer a sync takes.
const (
	slowLeast = 20 * time.Millisecond
	slowMost  = 200 * time.Millisecond
)

// slowDisk makes every sync of some nodes' logs take longer.
func (n *nemesis) slowDisk(ctx context.Context, nodes []string) fault {
	disks := n.cluster.(Disks)
	delay := n.drawn(slowLeast, slowMost)
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

// failDisk makes what some nodes write fail. A node ends by that, since it cannot tell any
// more what it has; the heal starts it again on a disk that is well.
func (n *nemesis) failDisk(ctx context.Context, nodes []string, failure engine.Failure) fault {
	disks := n.cluster.(Disks)
	before := map[string]uint64{}
	for _, node := range nodes {
		before[node] = disks.FailedWrites(ctx, node)
	}
	return fault{
		detail: strings.Join(nodes, ","),
		counts: true,
		begin: func(ctx context.Context) error {
			return each(nodes, func(node string) error { return disks.FailDisk(ctx, node, failure) })
		},
		effect: func(ctx context.Context) string {
			var seen []string
			for _, node := range nodes {
				// A process that has ended does not tell what it died of.
				failed, ended := disks.FailedWrites(ctx, node) > before[node], n.silent(ctx, []string{node}) != ""
				switch {
				case ended:
					seen = append(seen, node+" ended")
				case failed:
					seen = append(seen, "writes of "+node+" failed")
				}
			}
			return strings.Join(seen, ", ")
		},
		heal: func(ctx context.Context) error {
			return each(nodes, func(node string) error {
				healed := disks.FailDisk(ctx, node, "")
				if n.status(ctx, node) == nil {
					// It may be dying still; its disk has what it acknowledged.
					_ = n.cluster.Kill(ctx, node)
					healed = n.cluster.Restart(ctx, node)
				}
				if healed != nil {
					return healed
				}
				return n.ready(ctx, node)
			})
		},
	}
}
