// Package client is what an application embeds to use a dialkv cluster.
//
//	c, err := client.Open(ctx, client.Config{Seeds: []string{"127.0.0.1:7400"}})
//	carts := c.Keyspace("carts")
//	sess := c.NewSession()
//	_, err = carts.Put(ctx, "u42", value, client.In(sess))
//	item, err := carts.Get(ctx, "u42", client.In(sess), client.At(client.Causal))
//
// The client finds its own way: it learns where groups live and who leads them,
// and goes there. It carries sessions, so that what a session has read or written
// stays visible to it on whatever replica it lands.
//
// Beside single keys there are transactions ([Keyspace.Txn]), ranges ([Keyspace.Scan])
// and changes ([Keyspace.Watch]), and on leases ([Keyspace.Grant]) stand locks and
// elections ([Keyspace.Lock], [Keyspace.Campaign]), which use nothing that is not public.
//
// It repeats a call where that is safe and says when it does not know. A call has
// one outcome over all its attempts ([store.OutcomeOf]): once an attempt may have
// arrived, only an answer to that very request makes it ok; otherwise the error
// says Unknown, however definite the last attempt failed. On cp keyspaces a write
// carries a number that the group remembers, so it may be repeated anywhere; on ap
// keyspaces only the node that took it can recognise it, so it is repeated there
// and nowhere else.
package client

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"go.opentelemetry.io/otel/trace"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/store"
)

// Levels of a read, as store describes them. The option Bounded is one more: a
// bound belongs to it.
const (
	Eventual       = store.Eventual
	Monotonic      = store.Monotonic
	ReadYourWrites = store.ReadYourWrites
	Causal         = store.Causal
	Quorum         = store.Quorum
	Strong         = store.Strong
)

// Config says which cluster, and how patient.
type Config struct {
	// Seeds are addresses of some nodes; one that answers is enough.
	Seeds []string
	// Dial connects to a node; TCP if nil. name is empty for a seed.
	Dial func(ctx context.Context, name, addr string) (net.Conn, error)
	// At names a node where every call enters. It is routed from where that node
	// stands, by that node's own client: what it cannot reach, the call cannot.
	At string
	// Near names a node that is close: where it holds what is asked for and nobody
	// serves it better, it is asked first. Without it a client begins with a node
	// drawn at random and stays there.
	Near string
	// Timeout bounds a call whose context has no deadline; 2 s if zero.
	Timeout time.Duration
	// Attempts is how often at most a call is handed to a node; 4 if zero. Nodes
	// that cannot be connected to, or are not the leader, do not count: they are
	// paced by the backoff and end with the deadline.
	Attempts int
	// Resilience is about nodes that fail; each part of it has a default.
	Resilience Resilience
	// Observe is told what the client does about them.
	Observe Observer
	// TracerProvider makes a span of each call, with its attempts below it and, where the
	// nodes keep spans, theirs: see docs/reference/traces.md. Nil makes none, also where the
	// context of a call has one.
	TracerProvider trace.TracerProvider
}

func (c Config) withDefaults() Config {
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, _, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Second
	}
	if c.Attempts == 0 {
		c.Attempts = 4
	}
	c.Resilience = c.Resilience.withDefaults()
	return c
}

func (c Config) validate() error {
	switch {
	case len(c.Seeds) == 0:
		return &store.Error{Code: store.Invalid, Msg: "the client has no seeds", Try: "the address of at least one node"}
	case c.Timeout < 0 || c.Attempts < 0:
		return &store.Error{Code: store.Invalid, Msg: "Timeout and Attempts must not be negative"}
	}
	return c.Resilience.validate()
}

// Client is a handle on a cluster. It is safe for concurrent use.
type Client struct {
	cfg     Config
	tracer  trace.Tracer // nil: nobody traces
	conns   *conns
	router  *router
	session *Session // of calls that name no other
	retry   failsafe.Executor[*call]
	budget  *budget
	seen    seen // for LastSeen
	flights flights
	hedges  map[store.Level]failsafe.Executor[raced] // nil: there are none
	refresh chan struct{}                            // held by whoever fetches the topology
	closed  chan struct{}
	close   sync.Once

	renewing atomic.Bool // somebody does so beside the calls

	mu      sync.Mutex
	groups  map[store.GroupID]*numbers
	opened  map[store.GroupID]func() // closes the exactly-once session of a cp group
	parting chan struct{}            // of what goes on behind a caller's back; nil once the client is closed
}

// Open returns a client. It waits for nothing: the first call asks the seeds.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, store.Expired(ctx, "the client to open")
	}
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = spans.ProviderOf(ctx)
	}
	router := newRouter(cfg.Near, cfg.Resilience.Bulkhead, func(node string) *peer {
		return newPeer(node, cfg.Resilience.Breaker, cfg.Observe.Breaker)
	})
	return &Client{
		cfg:     cfg,
		tracer:  newTracer(cfg.TracerProvider),
		conns:   newConns(cfg.Dial, router.addr),
		router:  router,
		session: &Session{},
		retry:   newRetry(),
		budget:  newBudget(cfg.Resilience.Budget),
		hedges:  newHedges(cfg.Resilience.Hedge),
		refresh: make(chan struct{}, 1),
		closed:  make(chan struct{}),
		groups:  make(map[store.GroupID]*numbers),
		opened:  make(map[store.GroupID]func()),
		parting: make(chan struct{}, maxParting),
	}, nil
}

// Close ends every connection. Calls in progress end, and may have been applied;
// watches end; locks and leaderships are lost when their leases end.
func (c *Client) Close() error {
	c.close.Do(func() {
		c.closeSessions()
		close(c.closed)
		c.awaitParting()
	})
	return c.conns.close()
}

// maxParting bounds what goes on behind callers' backs at a time: queues that are left,
// and one look at the topology. More leave their places to the lease.
const maxParting = 1024

// part runs leave beside the caller, and keeps Close from ending the connections under
// it. It reports false if the client is closed, or too much is going on.
func (c *Client) part(leave func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	parting := c.parting
	select {
	case parting <- struct{}{}: // never of a nil channel
	default:
		return false
	}
	go func() {
		defer func() { <-parting }()
		leave()
	}()
	return true
}

// awaitParting waits until everybody has left, for a call's time at most: a place that
// stays taken would hold up those behind it until its lease ends.
func (c *Client) awaitParting() {
	c.mu.Lock()
	parting := c.parting
	c.parting = nil
	c.mu.Unlock()
	limit := time.NewTimer(c.cfg.Timeout)
	defer limit.Stop()
	for range cap(parting) { // once all places are taken, nobody is in
		select {
		case parting <- struct{}{}:
		case <-limit.C:
			return
		}
	}
}

// NewSession returns a session that has seen nothing.
func (c *Client) NewSession() *Session { return &Session{} }

// Keyspace returns a handle on the keyspace of that name. It asks nobody.
func (c *Client) Keyspace(name string) *Keyspace { return &Keyspace{c: c, name: name} }

// Topology asks a node what it knows of the cluster now.
func (c *Client) Topology(ctx context.Context) (shard.Topology, error) {
	ctx, cancel := c.bounded(ctx, 0)
	defer cancel()
	if err := c.fetch(ctx, ""); err != nil {
		return shard.Topology{}, err
	}
	t, _ := c.router.known()
	return t, nil
}

// bounded gives a call its deadline: its own timeout if it has one, and the
// default where nobody else set any.
func (c *Client) bounded(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); timeout == 0 && !ok {
		timeout = c.cfg.Timeout
	}
	if timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}

func (c *Client) numbers(group store.GroupID) *numbers {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.groups[group]
	if n == nil {
		n = newNumbers()
		c.groups[group] = n
	}
	return n
}
