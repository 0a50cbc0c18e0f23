package node

import (
	"context"
	"log/slog"
	"net"
	"slices"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/page"
	"github.com/dialkv/dialkv/store"
)

// beSeen serves the page until ctx ends. That nobody can look at the node is no reason to
// end it.
func (n *Node) beSeen(ctx context.Context) error {
	if n.web == nil {
		return nil
	}
	p := page.New(page.Config{Cluster: view{n}, From: n.cfg.Node, Cannot: n.cannot()})
	running := start(ctx, new(firstError), p.Run)
	defer running.stop()
	if err := n.web.Serve(ctx, p.Handler(), slog.NewLogLogger(n.cfg.Logger.Handler(), slog.LevelError)); err != nil {
		n.cfg.Logger.Error("the page is not served any more", "node", n.cfg.Node, "error", err)
	}
	return nil
}

// WebAddr is where the page is, or "".
func (n *Node) WebAddr() string {
	if n.web == nil {
		return ""
	}
	return n.web.Addr()
}

// cannot says what the page of a node has no means for.
func (n *Node) cannot() map[string]string {
	const others = "a node does not end processes, neither its own nor another's"
	why := map[string]string{"kill": others, "restart": others, "pause": others, "resume": others}
	if !n.cfg.AllowFaults {
		const refused = "this node was started without --allow-faults"
		why["links"], why["skew"] = refused, refused
	}
	return why
}

// view is the cluster as it is seen from the node.
type view struct{ n *Node }

var _ page.Cluster = view{}

func (v view) there() error {
	if v.n.joined.Load() {
		return nil
	}
	return &store.Error{Code: store.Unavailable, Node: v.n.cfg.Node, Msg: "this node belongs to no cluster yet"}
}

// Nodes are those that the node knows of; at first it knows itself.
func (v view) Nodes() []string {
	names := []string{v.n.cfg.Node}
	if v.there() != nil {
		return names
	}
	for _, other := range v.n.catalog.Topology().Nodes {
		if other.Name != v.n.cfg.Node {
			names = append(names, other.Name)
		}
	}
	slices.Sort(names)
	return names
}

// Admin reaches a node over the links between nodes, which rules may cut.
func (v view) Admin(name string) (kvpb.AdminClient, error) {
	if err := v.there(); err != nil {
		return nil, err
	}
	return v.n.pool.Admin(name)
}

// KV reaches a node as Admin does.
func (v view) KV(name string) (kvpb.KVClient, error) {
	if err := v.there(); err != nil {
		return nil, err
	}
	return v.n.pool.KV(name)
}

// Client enters at a node that this one reaches.
func (v view) Client(ctx context.Context, at string) (*client.Client, error) {
	if err := v.there(); err != nil {
		return nil, err
	}
	self := v.n.cfg.Node
	return client.Open(ctx, client.Config{
		Seeds: []string{self}, Near: self, At: at,
		Dial: func(ctx context.Context, name, _ string) (net.Conn, error) {
			if name == "" {
				name = self
			}
			return v.n.door.Dial(ctx, name, link.RPC)
		},
	})
}

// SetFaults takes rules of this node's own links: what it told the others, it could not
// take back from those it is cut off from.
func (v view) SetFaults(_ context.Context, rules []link.Rule) error {
	self, now := v.n.cfg.Node, v.n.door.Rules().List()
	for _, r := range rules {
		if r.From != self && r.To != self && !slices.Contains(now, r) {
			return &store.Error{
				Code: store.Unsupported, Op: "faults", Node: self,
				Msg: "the page of " + self + " cuts the links of " + self + ", and not " + r.From + "->" + r.To, Try: "kvctl net, which tells every node",
			}
		}
	}
	return v.n.door.Rules().Set(rules)
}
