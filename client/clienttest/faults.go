package clienttest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/store"
)

// Cut puts the nodes on sides that do not hear each other: Cut("n1|n2,n3"). Every node is
// named once. It takes the place of all cuts that were made before. What a cut meets gets
// no error: it waits, as in a network that drops everything, and goes on after Heal.
func (c *Cluster) Cut(sides string) {
	c.t.Helper()
	cuts, err := link.ParsePartition(sides, c.Nodes())
	c.must(err)
	c.cuts = cuts
	c.setRules()
}

// Isolate cuts a node off from all others, beside the cuts there are.
func (c *Cluster) Isolate(node string) {
	c.t.Helper()
	c.known(node)
	c.cuts = append(c.cuts, link.Isolate(node, c.Nodes())...)
	c.setRules()
}

// Slow makes everything that goes over the links take that much longer: "n1->n2" is one
// way, "n1<->n2" both, "n1,n2,n3" all among them, "*" all there are. It adds to what the
// links were slowed down by before. The links to clients are as they were.
func (c *Cluster) Slow(links string, delay time.Duration) {
	c.t.Helper()
	pairs, err := link.ParseLinks(links, c.Nodes())
	c.must(err)
	for _, p := range pairs {
		c.slow = append(c.slow, link.Rule{From: p.From, To: p.To, Delay: delay})
	}
	c.setRules()
}

// Heal takes away every cut and all slowness. The cluster then needs a moment, as a real
// one does: see Settle. A node that is down stays down.
func (c *Cluster) Heal() {
	c.t.Helper()
	c.cuts, c.slow = nil, nil
	c.setRules()
}

func (c *Cluster) setRules() {
	c.t.Helper()
	c.must(c.nodes.SetFaults(c.t.Context(), slices.Concat(c.cuts, c.slow)))
}

// Stop ends a node in an orderly way: it gives away what it leads and answers what it was
// asked. Its disk stays, for Restart.
func (c *Cluster) Stop(node string) {
	c.t.Helper()
	c.must(c.nodes.Stop(c.t.Context(), node))
}

// Kill ends a node as kill -9 and a power cut do: what was not synced to its disk is gone.
func (c *Cluster) Kill(node string) {
	c.t.Helper()
	c.must(c.nodes.Kill(c.t.Context(), node))
}

// Restart starts a node again, on what its disk has, and returns when it serves. For that
// it must reach the others. One that runs is stopped first.
func (c *Cluster) Restart(node string) {
	c.t.Helper()
	ctx, cancel := c.patient()
	defer cancel()
	c.must(c.nodes.Restart(ctx, node))
}

// Add starts one more node, which joins the cluster, and returns its name when it serves.
// Cuts that were made before do not hold for it.
func (c *Cluster) Add() string {
	c.t.Helper()
	ctx, cancel := c.patient()
	defer cancel()
	node, err := c.nodes.Add(ctx, "")
	c.must(err)
	return node
}

func (c *Cluster) known(node string) {
	c.t.Helper()
	if !slices.Contains(c.Nodes(), node) {
		c.must(&store.Error{Code: store.Invalid, Msg: fmt.Sprintf("there is no node %q", node), Try: "one of " + strings.Join(c.Nodes(), ", ")})
	}
}
