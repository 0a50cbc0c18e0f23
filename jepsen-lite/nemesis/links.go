package nemesis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/mutant"
)

// partition cuts one side off from all other nodes.
func (n *nemesis) partition(ctx context.Context, side []string) fault {
	others := n.without(side...)
	return n.cut(ctx, strings.Join(side, ",")+"|"+strings.Join(others, ","), between(side, others), between(others, side))
}

// oneWay lets nothing through to one side. What it sends arrives, so a request is
// carried out and its answer is lost.
func (n *nemesis) oneWay(ctx context.Context, side []string) fault {
	others := n.without(side...)
	return n.cut(ctx, strings.Join(others, ",")+"->"+strings.Join(side, ","), between(others, side))
}

// bridge cuts one half off from the others, but for one node that hears both.
func (n *nemesis) bridge(ctx context.Context, bridge string, half []string) fault {
	others := n.without(append(half, bridge)...)
	detail := strings.Join(half, ",") + "|" + strings.Join(others, ",") + " around " + bridge
	return n.cut(ctx, detail, between(half, others), between(others, half))
}

func (n *nemesis) without(side ...string) []string {
	return slices.DeleteFunc(slices.Clone(n.nodes), func(node string) bool { return slices.Contains(side, node) })
}

// between is silence from each of some nodes to each of others.
func between(from, to []string) []link.Rule {
	var rules []link.Rule
	for _, f := range from {
		for _, t := range to {
			rules = append(rules, link.Rule{From: f, To: t, Action: link.Hole})
		}
	}
	return rules
}

// cut sets link rules; the heal takes all away.
func (n *nemesis) cut(ctx context.Context, detail string, rules ...[]link.Rule) fault {
	before := n.held(ctx)
	return fault{
		detail: detail,
		counts: true,
		begin: func(ctx context.Context) error {
			if mutant.M20 {
				return nil
			}
			return n.cluster.SetFaults(ctx, slices.Concat(rules...))
		},
		effect: func(ctx context.Context) string { return grown(before, n.held(ctx)) },
		heal: func(ctx context.Context) error {
			return errors.Join(n.cluster.SetFaults(ctx, nil), n.whole(ctx))
		},
	}
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

// isolate cuts off who leads a group, for so long that the others elect another. Where
// nobody leads it is an owner of keys, as every node of an ap group is one.
func (n *nemesis) isolate(ctx context.Context, owner string) fault {
	before := n.groups(ctx)
	f := n.partition(ctx, []string{owner})
	held := f.effect
	f.effect = func(ctx context.Context) string {
		seen := held(ctx)
		if follower := n.superseded(ctx, owner, before); seen != "" && follower != "" {
			seen += "; " + follower
		}
		return seen
	}
	return f
}

// ring cuts every link but those to the nearest neighbours in a ring of all nodes. Each
// node hears a majority, and no two hear the same one.
func (n *nemesis) ring(ctx context.Context, ring []string) fault {
	near := (len(ring)/2 + 1) / 2 // on either side: with the node itself a majority
	var rules []link.Rule
	for i, from := range ring {
		for j, to := range ring {
			if apart := max(i, j) - min(i, j); min(apart, len(ring)-apart) > near {
				rules = append(rules, between([]string{from}, []string{to})...)
			}
		}
	}
	return n.cut(ctx, strings.Join(ring, "-")+"-"+ring[0], rules)
}

// matrix cuts the links that were named.
func (n *nemesis) matrix(ctx context.Context) fault {
	rules, err := n.cfg.matrix(n.nodes)
	f := n.cut(ctx, n.cfg.Links, rules)
	if err != nil { // a node that was named has left
		f.begin = func(context.Context) error { return err }
	}
	return f
}

// How badly links do, and how late what they do late is.
const (
	lateLeast = 20 * time.Millisecond
	lateMost  = 80 * time.Millisecond
	lossLeast = 0.05
	lossMost  = 0.3
	manyLeast = 0.5 // of packets, which are few
	manyMost  = 0.9

	narrowLeast int64 = 32 << 10 // bytes a second
	narrowMost  int64 = 256 << 10
)

// late makes every link slow, and out of step.
func (n *nemesis) late(ctx context.Context) fault {
	delay := n.drawn(lateLeast, lateMost)
	return n.shaped(ctx, fmt.Sprintf("every link %v later, give or take half", delay.Round(time.Millisecond)), link.Rule{Delay: delay, Jitter: delay / 2})
}

// jitter makes every link late by anything up to a bound: what is sent on one connection
// overtakes what is sent on another.
func (n *nemesis) jitter(ctx context.Context) fault {
	most := n.drawn(2*lateLeast, 2*lateMost)
	return n.shaped(ctx, fmt.Sprintf("every link later by up to %v", most.Round(time.Millisecond)), link.Rule{Delay: most / 2, Jitter: most / 2})
}

// loss loses a part of what every link carries.
func (n *nemesis) loss(ctx context.Context) fault {
	part := n.part(lossLeast, lossMost)
	return n.shaped(ctx, fmt.Sprintf("every link loses %.0f %%", 100*part), link.Rule{Loss: part})
}

// duplicate lets packets come twice. Streams do that to nobody: what is sent again there
// is a call, by whoever did not hear the answer.
func (n *nemesis) duplicate(ctx context.Context) fault {
	part := n.part(manyLeast, manyMost)
	return n.shaped(ctx, fmt.Sprintf("of packets %.0f %% come twice", 100*part), link.Rule{Duplicate: part})
}

// reorder lets packets overtake others. Of streams only what goes over different ones can,
// which is jitter.
func (n *nemesis) reorder(ctx context.Context) fault {
	part := n.part(manyLeast, manyMost)
	return n.shaped(ctx, fmt.Sprintf("of packets %.0f %% are overtaken", 100*part), link.Rule{Reorder: part})
}

// bandwidth makes links narrow, each connection by itself.
func (n *nemesis) bandwidth(ctx context.Context) fault {
	rate := narrowLeast + n.rng.Int64N(narrowMost-narrowLeast)
	return n.shaped(ctx, fmt.Sprintf("every connection takes %d KiB a second", rate>>10), link.Rule{Bandwidth: rate})
}

// part draws how much of the traffic a fault is for.
func (n *nemesis) part(least, most float64) float64 { return least + (most-least)*n.rng.Float64() }

// shaped lets every link pass, worse than before.
func (n *nemesis) shaped(ctx context.Context, detail string, rule link.Rule) fault {
	rule.From, rule.To = link.Any, link.Any
	before := n.held(ctx)
	f := n.cut(ctx, detail, []link.Rule{rule})
	f.effect = func(ctx context.Context) string {
		var more uint64
		for node, f := range n.held(ctx) {
			if b := before[node]; b != nil {
				more = max(more, since(b.GetDelayed()+b.GetHeld(), f.GetDelayed()+f.GetHeld()))
			}
		}
		if more == 0 {
			return ""
		}
		return fmt.Sprintf("%d reads, writes and packets came later, or not at all, at one node", more)
	}
	return f
}

// since is how much a counter has grown; one that fell began anew, with its process.
func since(before, now uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// drawn is a time between two.
func (n *nemesis) drawn(least, most time.Duration) time.Duration {
	return least + time.Duration(n.rng.Int64N(int64(most-least)))
}
