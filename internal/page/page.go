// Package page shows a cluster in a browser: who is there, who leads, what is cut, what
// each replica holds of a key, and what the checkers say of what was done through it.
//
// The page is told what happens by one stream of server-sent events, which a browser
// that was away takes up where it left it, and asks for what it wants by POSTs. Whatever
// it does, it does through what a node or a cluster on this machine offers to everybody.
//
// Whoever reaches the page may do what it can, so it answers only to a browser that was
// given its own address, and to nothing that another site's page sends: see guard.
package page

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/store"
)

// Cluster is what the page shows. Names are those of nodes.
type Cluster interface {
	// Nodes names the nodes, in order.
	Nodes() []string
	// Admin and KV are the APIs of a node, as far as it can be reached from here. The
	// cluster owns the connections.
	Admin(name string) (kvpb.AdminClient, error)
	KV(name string) (kvpb.KVClient, error)
	// Client returns a client that enters at the named node or, if at is empty, finds
	// its own way. The page closes it.
	Client(ctx context.Context, at string) (*client.Client, error)
	// SetFaults replaces the whole table of link rules.
	SetFaults(ctx context.Context, rules []link.Rule) error
}

// Breaker ends nodes and starts them again.
type Breaker interface {
	Kill(ctx context.Context, name string) error
	Restart(ctx context.Context, name string) error
	Pause(ctx context.Context, name string) error
	Resume(ctx context.Context, name string) error
}

// Config says what a page is of.
type Config struct {
	Name    string // of the cluster
	Cluster Cluster
	// Breaker is nil where nodes cannot be ended from here.
	Breaker Breaker
	// From is the node that the page stands on, whose view it is; "" is outside of all.
	From string
	// Cannot says of what the page does not offer why not, by the name of the command:
	// links, kill, restart, pause, resume, skew.
	Cannot map[string]string
}

// Page is one cluster's. Its Handler may be served as soon as it was made; events come
// while Run runs, and streams end with it.
type Page struct {
	cfg      Config
	feed     *feed
	tape     *tape
	clients  *clients
	topology topologies
	looks    looks            // owned by Run
	charts   map[string]chart // by keyspace, owned by drive
	links    chan struct{}    // held by who changes links
	poke     chan struct{}    // somebody did something: look now
	asks     chan struct{}    // requests in progress
	loads    chan load        // to be run; taken when none runs
}

// Limits of what browsers may ask of a page, and its pace.
const (
	maxStreams = 16      // browsers that listen
	maxAsks    = 64      // requests in progress
	maxBody    = 7 << 20 // bytes: a value of a megabyte, with every byte escaped

	lookEvery = 250 * time.Millisecond
	glance    = 500 * time.Millisecond // for a node to say how it is
	patience  = 2 * time.Second        // of an operation that says nothing else
	most      = 10 * time.Second       // that any may have
	breaking  = 30 * time.Second       // for a node to end, or to be back
)

// New returns the page of a cluster.
func New(cfg Config) *Page {
	return &Page{
		cfg: cfg, feed: newFeed(), tape: newTape(), clients: newClients(cfg.Cluster), looks: newLooks(), charts: make(map[string]chart),
		links: make(chan struct{}, 1), poke: make(chan struct{}, 1), asks: make(chan struct{}, maxAsks), loads: make(chan load),
	}
}

// Run looks at the cluster while somebody watches, until ctx ends. Then it closes what
// the page had opened.
func (p *Page) Run(ctx context.Context) error {
	defer p.feed.close()
	var work sync.WaitGroup
	work.Go(func() { p.follow(ctx) })
	work.Go(func() { p.judge(ctx) })
	work.Go(func() { p.drive(ctx) })
	work.Wait()
	return p.clients.close()
}

// follow looks again and again.
func (p *Page) follow(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if p.feed.watched() {
			p.look(ctx)
		}
		select {
		case <-tick.C:
		case <-p.poke:
		case <-ctx.Done():
			return
		}
	}
}

// now asks for a look without waiting for it.
func (p *Page) now() {
	select {
	case p.poke <- struct{}{}:
	default: // one is due already
	}
}

// clients are those that the page has opened, by where they enter.
type clients struct {
	cluster Cluster

	mu     sync.Mutex
	open   map[string]*client.Client
	closed bool
}

func newClients(c Cluster) *clients {
	return &clients{cluster: c, open: make(map[string]*client.Client)}
}

// at returns the client that enters at the node. Opening one waits for nothing.
func (c *clients) at(ctx context.Context, node string) (*client.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, &store.Error{Code: store.Unavailable, Msg: "the page is closing"}
	}
	if opened := c.open[node]; opened != nil {
		return opened, nil
	}
	opened, err := c.cluster.Client(ctx, node)
	if err == nil {
		c.open[node] = opened
	}
	return opened, err
}

func (c *clients) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	var errs error
	for _, opened := range c.open {
		errs = errors.Join(errs, opened.Close())
	}
	return errs
}
