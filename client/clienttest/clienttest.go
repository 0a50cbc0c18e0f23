// Package clienttest is a real cluster inside an application's own tests: the nodes that
// kvnode runs, in the test's process, on a network and disks in memory. Nothing is a fake,
// so a test of an application meets what the application will meet, faults included.
//
//	func TestCheckout(t *testing.T) {
//		c := clienttest.Start(t, clienttest.Config{Nodes: 3})
//		orders := c.Create(clienttest.Keyspace{Name: "orders", Mode: store.CP})
//		shop := NewShop(c.Client())       // the code under test
//		c.Isolate(c.Leader("orders", "")) // and what happens to it
//		…
//	}
//
// A [Cluster] ends with the test, and leaves no goroutine behind. In real time three nodes
// need some tenths of a second to start and a second to say farewell.
//
// Links are cut between nodes. A client stands outside of that network and reaches every
// node, as an application does that sees both sides of a partition; one that [Cluster.At]
// returns sees what the named node sees.
//
// In a bubble of testing/synctest a cluster lives in virtual time: what waits costs no time
// but that of the work, and a minute of three idle nodes a second or two. See [Bubble].
//
// A fault that cannot be made, such as one of a node that does not exist, fails the test.
// Methods are therefore called by the goroutine that runs it, as those of testing.T are.
package clienttest

import (
	"context"
	"log/slog"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/localcluster"
)

// patience bounds what a method waits for: a node that becomes ready, a keyspace that is
// made, a leader, replicas that are equal.
const patience = 30 * time.Second

// TB is what a cluster needs of a test: a *testing.T, B or F is one. Fatalf does not return.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(f func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Config describes a cluster. The zero Config is one of three nodes.
type Config struct {
	// Nodes is how many there are at first, n1, n2 and so on; 3 if zero, 9 at most.
	Nodes int
	// Latency of every link, one way, also of that to the clients; 500 µs if zero. It
	// varies by two fifths.
	Latency time.Duration
	// Seed draws the jitter and the losses of the links.
	Seed uint64
	// Logger takes what the nodes log; nil drops it.
	Logger *slog.Logger
}

// Cluster is a cluster of a test.
type Cluster struct {
	t      TB
	nodes  *localcluster.Memory
	client *client.Client
	cuts   []link.Rule
	slow   []link.Rule
}

// Start starts a cluster, which ends with the test, and returns when every node serves.
func Start(t TB, cfg Config) *Cluster {
	t.Helper()
	if cfg.Nodes == 0 {
		cfg.Nodes = 3
	}
	if cfg.Latency == 0 {
		cfg.Latency = 500 * time.Microsecond
	}
	if cfg.Nodes < 1 || cfg.Nodes > localcluster.MaxNodes || cfg.Latency < 0 {
		t.Fatalf("clienttest: %d nodes and a latency of %v: there are 1 to %d nodes, and no latency is negative", cfg.Nodes, cfg.Latency, localcluster.MaxNodes)
	}
	outlive(t) // the first cleanup that is registered runs last
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	nodes, err := localcluster.NewMemory(ctx, localcluster.MemoryConfig{
		Nodes: cfg.Nodes, Seed: cfg.Seed, Latency: cfg.Latency, Jitter: cfg.Latency * 2 / 5, Logger: cfg.Logger,
	})
	if err != nil {
		t.Fatalf("clienttest: %v", err)
	}
	c := &Cluster{t: t, nodes: nodes}
	t.Cleanup(c.close)
	c.client = c.At("")
	return c
}

func (c *Cluster) close() {
	// A node that stops gives away what it leads: that needs the others.
	if err := c.nodes.SetFaults(c.t.Context(), nil); err != nil {
		c.t.Errorf("clienttest: %v", err)
	}
	if err := c.nodes.Close(); err != nil {
		c.t.Errorf("clienttest: a node ended with an error: %v", err)
	}
}

// Nodes names the nodes that are members of the cluster, those that are down included.
func (c *Cluster) Nodes() []string { return c.nodes.Nodes() }

// Client returns a client that finds its own way, the same one each time. It is closed
// with the cluster.
func (c *Cluster) Client() *client.Client { return c.client }

// At returns a new client whose calls all enter at the named node: it can do what the
// node can, and no more. It is closed with the cluster.
func (c *Cluster) At(node string) *client.Client {
	c.t.Helper()
	cl, err := c.nodes.Client(c.t.Context(), node)
	c.must(err)
	c.t.Cleanup(func() { _ = cl.Close() }) // it says nothing but that a node was down
	return cl
}

// Config is how to open a client of the cluster: for an application that opens its own.
// Who opens one closes it before the test ends.
func (c *Cluster) Config() client.Config {
	c.t.Helper()
	cfg, err := c.nodes.Outside()
	c.must(err)
	return cfg
}

// must fails the test.
func (c *Cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("clienttest: %v", err)
	}
}

func (c *Cluster) patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.t.Context(), patience)
}
