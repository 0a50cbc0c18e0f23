package nemesis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

// Times of one look at a node.
const (
	lookTimeout = 500 * time.Millisecond
	lookPause   = 50 * time.Millisecond
)

// fault is one fault on the nodes it was drawn for.
type fault struct {
	detail string
	begin  func(ctx context.Context) error
	// effect is what the fault was seen to do, "" if nothing yet.
	effect func(ctx context.Context) string
	// otherwise, if it is not nil, is asked at the end if effect saw nothing: part of the
	// fault depends on the cluster's luck.
	otherwise func(ctx context.Context) string
	counts    bool // effect counts, so that it is worth asking again before the heal
	// soon, if it is not zero, is how long behind its effect the fault is healed.
	soon time.Duration
	// heal undoes what is not undone yet and returns nil only when the heal was
	// seen. It may be repeated.
	heal func(ctx context.Context) error
}

// each does something for every node, also after an error.
func each(nodes []string, do func(node string) error) error {
	var errs error
	for _, node := range nodes {
		if err := do(node); err != nil {
			errs = errors.Join(errs, fmt.Errorf("%s: %w", node, err))
		}
	}
	return errs
}

// status is what a node says of itself, nil if it does not answer.
func (n *nemesis) status(ctx context.Context, node string) *kvpb.StatusResponse {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	admin, err := n.cluster.Admin(node)
	if err != nil {
		return nil
	}
	s, err := admin.Status(ctx, &kvpb.StatusRequest{})
	if err != nil {
		return nil
	}
	return s
}

// silent is the effect of having stopped nodes: none of them answers.
func (n *nemesis) silent(ctx context.Context, nodes []string) string {
	for _, node := range nodes {
		if n.status(ctx, node) != nil || ctx.Err() != nil {
			return ""
		}
	}
	return strings.Join(nodes, ", ") + " did not answer"
}

func (n *nemesis) ready(ctx context.Context, node string) error {
	s := n.status(ctx, node)
	switch {
	case s == nil:
		return unhealed("it does not answer")
	case !s.GetReady():
		return unhealed("it is not ready: " + strings.Join(s.GetReasons(), ", "))
	}
	return nil
}

func unhealed(why string) error { return &store.Error{Code: store.Unavailable, Msg: why} }

// held is what the rules of each node that answers have held back so far, and how
// many rules it has.
func (n *nemesis) held(ctx context.Context) map[string]*kvpb.FaultsResponse {
	held := make(map[string]*kvpb.FaultsResponse)
	for _, node := range n.nodes {
		if f, err := n.faults(ctx, node); err == nil {
			held[node] = f
		}
	}
	return held
}

// grown is the effect of a cut: every node that answers has rules, and those that
// answered before as well have held more since. A node that did not answer counts
// for nothing.
func grown(before, now map[string]*kvpb.FaultsResponse) string {
	var more uint64
	for node, f := range now {
		if len(f.GetRules()) == 0 {
			return ""
		}
		if b := before[node]; b != nil && f.GetHeld() > b.GetHeld() {
			more = max(more, f.GetHeld()-b.GetHeld())
		}
	}
	if more == 0 {
		return ""
	}
	return fmt.Sprintf("%d reads, writes and packets were held at one node", more)
}

func (n *nemesis) faults(ctx context.Context, node string) (*kvpb.FaultsResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	admin, err := n.cluster.Admin(node)
	if err != nil {
		return nil, err
	}
	f, err := admin.Faults(ctx, &kvpb.FaultsRequest{})
	return f, kvpb.FromStatus(err)
}

// whole is the proof that no link is cut: no node has a rule, and while every node
// talks to every other all the time, nothing more is held back on any link.
func (n *nemesis) whole(ctx context.Context) error {
	look := func() (held []uint64, err error) {
		err = each(n.nodes, func(node string) error {
			f, err := n.faults(ctx, node)
			held = append(held, f.GetHeld())
			if err == nil && len(f.GetRules()) > 0 {
				err = unhealed(fmt.Sprintf("it still has %d link rules", len(f.GetRules())))
			}
			return err
		})
		return held, err
	}
	first, err := look()
	if err != nil {
		return err
	}
	if err := wait(ctx, 4*lookPause); err != nil {
		return err
	}
	second, err := look()
	if err == nil && !slices.Equal(first, second) {
		err = unhealed("links still hold traffic back")
	}
	return err
}

// leader is a node that leads a group of the keyspaces, if there is one.
func (n *nemesis) leader(ctx context.Context) string {
	var leaders []string
	for _, node := range n.nodes {
		for _, r := range n.status(ctx, node).GetReplicas() {
			if r.GetRole() == "leader" && slices.Contains(n.cfg.Keyspaces, r.GetKeyspace()) {
				leaders = append(leaders, node)
			}
		}
	}
	if len(leaders) == 0 {
		return ""
	}
	return leaders[n.rng.IntN(len(leaders))]
}
