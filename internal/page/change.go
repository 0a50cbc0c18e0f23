package page

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/store"
)

// linksRequest changes the rules of links. Do says how, in the words of kvctl net.
type linksRequest struct {
	Do      string  `json:"do"`   // partition, isolate, cut, delay, drop, heal
	What    string  `json:"what"` // sides, a node, or links; of heal "" is everything
	DelayMS float64 `json:"delay_ms"`
	Percent float64 `json:"percent"` // of drop
}

// The most that a link may be made late by the page.
const maxDelay = time.Minute

// changeLinks changes the table that is in force.
func (p *Page) changeLinks(r *http.Request, in linksRequest) (any, error) {
	if err := p.offers("links"); err != nil {
		return nil, err
	}
	ctx := r.Context()
	select {
	case p.links <- struct{}{}:
		defer func() { <-p.links }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	nodes := p.cfg.Cluster.Nodes()
	now, known := p.rulesOf(p.glimpses(ctx, nodes))
	if !known {
		return nil, &store.Error{Code: store.Unavailable, Msg: "no node says which rules are in force", Try: "again in a moment"}
	}
	rules, err := in.apply(now, nodes)
	if err != nil {
		return nil, err
	}
	if err := p.cfg.Cluster.SetFaults(ctx, rules); err != nil {
		return nil, err
	}
	p.now()
	return map[string]any{"net": describe(rules, nodes)}, nil
}

// apply makes of the rules in force those that are to be.
func (in linksRequest) apply(now []link.Rule, nodes []string) ([]link.Rule, error) {
	holes, rest := split(now)
	switch in.Do {
	case "partition":
		sides, err := link.ParsePartition(in.What, nodes)
		return append(rest, sides...), err
	case "isolate":
		if !slices.Contains(nodes, in.What) {
			return nil, noNode(in.What, nodes)
		}
		return append(now, link.Isolate(in.What, nodes)...), nil
	case "cut":
		return each(now, in.What, nodes, link.Rule{Action: link.Hole})
	case "delay":
		d := time.Duration(in.DelayMS * float64(time.Millisecond))
		if !(in.DelayMS > 0) || d > maxDelay || d <= 0 {
			return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("delay_ms is %g, it must be above 0 and at most %d", in.DelayMS, maxDelay.Milliseconds()), Try: "80"}
		}
		kept, err := without(rest, in.What, nodes)
		if err != nil {
			return nil, err
		}
		return each(append(kept, holes...), in.What, nodes, link.Rule{Delay: d})
	case "drop":
		if !(in.Percent > 0 && in.Percent <= 100) {
			return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("percent is %g, it must be above 0 and at most 100", in.Percent), Try: "5"}
		}
		return each(now, in.What, nodes, link.Rule{Loss: in.Percent / 100})
	case "heal":
		if in.What == "" {
			return nil, nil
		}
		return without(now, in.What, nodes)
	}
	return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("do is %.40q", in.Do), Try: "partition, isolate, cut, delay, drop or heal"}
}

// each puts a rule on every link of the spec.
func each(now []link.Rule, spec string, nodes []string, what link.Rule) ([]link.Rule, error) {
	pairs, err := link.ParseLinks(spec, nodes)
	for _, p := range pairs {
		what.From, what.To = p.From, p.To
		now = append(now, what)
	}
	return now, err
}

// without takes the rules of links away.
func without(now []link.Rule, spec string, nodes []string) ([]link.Rule, error) {
	pairs, err := link.ParseLinks(spec, nodes)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(now), func(r link.Rule) bool {
		return slices.Contains(pairs, link.Pair{From: r.From, To: r.To})
	}), nil
}

func noNode(name string, nodes []string) error {
	return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("there is no node %.40q", name), Try: "one of " + strings.Join(nodes, ", ")}
}

// nodeRequest does something to a node.
type nodeRequest struct {
	Do     string  `json:"do"` // kill, restart, pause, resume, skew
	Node   string  `json:"node"`
	SkewMS float64 `json:"skew_ms"`
}

// changeNode returns when it is done: a restart when the node is ready.
func (p *Page) changeNode(r *http.Request, in nodeRequest) (any, error) {
	if err := p.offers(in.Do); err != nil {
		return nil, err
	}
	if !slices.Contains(p.cfg.Cluster.Nodes(), in.Node) {
		return nil, noNode(in.Node, p.cfg.Cluster.Nodes())
	}
	ctx, cancel := context.WithTimeout(r.Context(), breaking)
	defer cancel()
	defer p.now()
	if in.Do == "skew" {
		return struct{}{}, p.skew(ctx, in)
	}
	if p.cfg.Breaker == nil {
		return nil, &store.Error{Code: store.Unsupported, Msg: "nodes cannot be ended from here", Try: "kvctl node " + in.Do + " " + in.Node}
	}
	do := map[string]func(context.Context, string) error{
		"kill": p.cfg.Breaker.Kill, "restart": p.cfg.Breaker.Restart, "pause": p.cfg.Breaker.Pause, "resume": p.cfg.Breaker.Resume,
	}[in.Do]
	if do == nil {
		return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("do is %.40q", in.Do), Try: "kill, restart, pause, resume or skew"}
	}
	return struct{}{}, do(ctx, in.Node)
}

func (p *Page) skew(ctx context.Context, in nodeRequest) error {
	const day = 24 * 60 * 60 * 1000
	if !(in.SkewMS >= -day && in.SkewMS <= day) {
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("skew_ms is %g, it must be within a day either way", in.SkewMS), Try: "30000"}
	}
	admin, err := p.cfg.Cluster.Admin(in.Node)
	if err != nil {
		return err
	}
	_, err = admin.Skew(ctx, &kvpb.SkewRequest{AheadNs: int64(in.SkewMS * 1e6)})
	return kvpb.FromStatus(err)
}
