package link

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/dialkv/dialkv/store"
)

// NetworkConfig shapes a network in memory. The zero value is a perfect one.
type NetworkConfig struct {
	Seed    uint64        // of every draw: jitter and loss
	Latency time.Duration // one way, between different nodes and from clients
	Jitter  time.Duration // Latency ± up to this much
	Rules   *Rules        // the one table all nodes obey; nil: a new one
}

// Network joins endpoints in memory. Make it inside the bubble that uses it.
type Network struct {
	cfg NetworkConfig

	mu    sync.Mutex
	nodes map[string]*Endpoint // the newest at each address, perhaps over
	lives map[string]uint64    // how many endpoints a name has had
	dials map[route]uint64     // how many connections a route has had
}

// NewNetwork makes an empty network.
func NewNetwork(cfg NetworkConfig) *Network {
	if cfg.Rules == nil {
		cfg.Rules = new(Rules)
	}
	return &Network{cfg: cfg, nodes: map[string]*Endpoint{}, lives: map[string]uint64{}, dials: map[route]uint64{}}
}

// Rules is the table of all its endpoints.
func (n *Network) Rules() *Rules { return n.cfg.Rules }

// Endpoint opens a node's door, also again after Close or Kill: a restarted node. Its
// address is its name. While the old one lives it fails with AlreadyExists.
func (n *Network) Endpoint(name string) (*Endpoint, error) { return n.EndpointAt(name, name) }

// EndpointAt opens a node's door at an address of its own, which is where others find
// it if they know: see Introduction.Resolve.
func (n *Network) EndpointAt(name, address string) (*Endpoint, error) {
	for _, s := range []string{name, address} {
		if err := store.CheckName("node", s); err != nil {
			return nil, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.nodes[address]; e != nil && e.life.Err() == nil {
		return nil, &store.Error{Code: store.AlreadyExists, Msg: fmt.Sprintf("node %s is on this network already", address), Try: "close or kill it first"}
	}
	e := newEndpoint(name, n.cfg.Rules, line{n.cfg.Seed, n.lives[name], n.cfg.Latency, n.cfg.Jitter})
	e.addr, e.gossip = address, address
	e.world = &memory{network: n, endpoint: e}
	n.lives[name]++
	n.nodes[address] = e
	return e, nil
}

// DialClient connects an outside client to a node's RPC listener. It feels the
// latency but no fault rule.
func (n *Network) DialClient(ctx context.Context, name string) (net.Conn, error) {
	here, there := n.pair(route{Client, name, RPC}, nil)
	if _, err := n.connect(ctx, name, here, there); err != nil {
		return nil, &net.OpError{Op: "dial", Net: "link", Source: addr(Client), Addr: addr(name), Err: err}
	}
	return here, nil
}

// pair makes the two ends of a connection.
func (n *Network) pair(r route, rules *Rules) (here, there *conn) {
	n.mu.Lock()
	count := n.dials[r]
	n.dials[r]++
	n.mu.Unlock()
	l := line{seed: n.cfg.Seed}
	if r.from != r.to {
		l.latency, l.jitter = n.cfg.Latency, n.cfg.Jitter
	}
	back := route{r.to, r.from, r.kind}
	out := &pipe{route: r, rules: rules, line: l, late: true, rng: l.rng(r, count)}
	in := &pipe{route: back, rules: rules, line: l, late: true, rng: l.rng(back, ^count)}
	return &conn{in: in, out: out}, &conn{in: out, out: in}
}

// connect takes a round trip, as TCP does, and queues the far end for Accept. It
// returns who that is; a client is told nothing of that.
func (n *Network) connect(ctx context.Context, address string, here, there *conn) (presence, error) {
	if err := sleep(ctx, here.out.crossing()+here.in.crossing()); err != nil {
		return presence{}, err
	}
	target := n.alive(address)
	if target == nil || here.owner != nil && target.name != here.out.to {
		return presence{}, syscall.ECONNREFUSED
	}
	var who presence
	if here.owner != nil {
		if err := target.welcomes(ctx, here.owner); err != nil {
			return presence{}, err
		}
		who = here.owner.presence()
	}
	there.owner = target
	if !target.adopt(there, who) {
		return presence{}, syscall.ECONNREFUSED
	}
	if err := target.doors[here.out.kind].put(ctx, there); err != nil {
		there.hangUp(true)
		return presence{}, err
	}
	return target.presence(), nil
}

func (n *Network) alive(address string) *Endpoint {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.nodes[address]; e != nil && e.life.Err() == nil {
		return e
	}
	return nil
}

// memory is the world of one endpoint of a Network.
type memory struct {
	network  *Network
	endpoint *Endpoint
}

func (m *memory) dial(ctx context.Context, to string, kind Kind) (held, error) {
	r := route{m.endpoint.name, to, kind}
	if err := m.endpoint.rules.await(ctx, r); err != nil {
		return nil, err
	}
	here, there := m.network.pair(r, m.endpoint.rules)
	here.owner = m.endpoint
	address, _ := m.where(to)
	with, err := m.network.connect(ctx, address, here, there)
	if err != nil {
		return nil, err
	}
	if !m.endpoint.adopt(here, with) {
		here.end(true)
		return nil, net.ErrClosed
	}
	return here, nil
}

// where is the address of a node: its name, if nobody knows better.
func (m *memory) where(name string) (addr, gossip string) {
	if name == m.endpoint.name {
		return m.endpoint.addr, m.endpoint.gossip
	}
	m.endpoint.mu.Lock()
	resolve := m.endpoint.resolve
	m.endpoint.mu.Unlock()
	if resolve != nil {
		if addr, gossip, ok := resolve(name); ok && addr != "" && gossip != "" {
			return addr, gossip
		}
	}
	return name, name
}

func (m *memory) ask(ctx context.Context, node, address string) (uint64, error) {
	r := route{m.endpoint.name, node, Asking}
	if err := m.endpoint.rules.await(ctx, r); err != nil {
		return 0, err
	}
	here, _ := m.network.pair(r, m.endpoint.rules)
	if err := sleep(ctx, here.out.crossing()+here.in.crossing()); err != nil {
		return 0, err
	}
	target := m.network.alive(address)
	if target == nil || target.name != node {
		return 0, syscall.ECONNREFUSED
	}
	return target.presence().Run, nil
}

func (m *memory) send(to string, b []byte) error {
	_, address := m.where(to)
	if target := m.network.alive(address); target != nil && target.name == to {
		target.receive(m.endpoint.name, b)
	}
	return nil
}

func (m *memory) close() {}
