package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dialkv/dialkv/store"
)

// Config opens a door on real sockets.
type Config struct {
	Node   string // this node's name
	Listen string // host:port for Raft and RPC, and for outside clients; port 0 takes a free one
	Gossip string // host:port for gossip, TCP and UDP on one port; "" has no gossip
	// Resolve is the address book. It is asked at every dial and must not wait; an
	// answer may be out of date, for a node refuses who meant another.
	Resolve func(name string) (addr, gossip string, ok bool)
	// TLS, if set, serves both directions: its certificate must carry Node as a DNS
	// name, and between nodes both show one. What outside clients must show is its
	// ClientAuth. Packets are not covered; gossip has its keyring.
	TLS *tls.Config
	// Hold lets nobody in before Introduce: a node of a cluster says at once which
	// process it is.
	Hold   bool
	Faults bool   // whether rules may be set; without them connections are the bare sockets
	Rules  *Rules // with Faults: a table shared with other endpoints of this process; nil: its own
	Events Events
}

// Events tells what no caller waits for. Each function may be nil and must not wait.
type Events struct {
	Refused func(remote string, err error) // a connection that was not let in
}

func (c Config) validate() error {
	if err := store.CheckName("node", c.Node); err != nil {
		return err
	}
	if c.Listen == "" {
		return &store.Error{Code: store.Invalid, Msg: "the listen address is empty", Try: "host:port, for example 127.0.0.1:7400"}
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Resolve == nil {
		c.Resolve = func(string) (string, string, bool) { return "", "", false }
	}
	switch {
	case !c.Faults:
		c.Rules = &Rules{sealed: true}
	case c.Rules == nil:
		c.Rules = new(Rules)
	}
	if c.Events.Refused == nil {
		c.Events.Refused = func(string, error) {}
	}
	c.TLS = completeTLS(c.TLS)
	return c
}

const (
	// greetTimeout bounds a stranger's time at the door, and a dialer's there.
	greetTimeout = 5 * time.Second
	// greeters is how many may stand at the door at once; more wait in the kernel.
	greeters = 256
	// bindTries is how often a free TCP port is looked for whose UDP port is free too.
	bindTries = 20
)

// sockets is the world of an endpoint on real sockets.
type sockets struct {
	cfg      Config
	endpoint *Endpoint
	public   net.Listener
	gossip   net.Listener // nil without gossip
	packets  net.PacketConn
	book     addressBook
	greeting chan struct{} // a slot for each connection that has not said who it is
	spliced  atomic.Uint64 // connections so far, for their draws
}

// Listen opens a node's door on real sockets. An address that cannot be bound is an
// Invalid error that names it.
func Listen(cfg Config) (*Endpoint, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &sockets{cfg: cfg.withDefaults(), greeting: make(chan struct{}, greeters)}
	if err := s.bind(); err != nil {
		s.close()
		return nil, err
	}
	e := newEndpoint(cfg.Node, s.cfg.Rules, line{})
	e.world, s.endpoint = s, e
	e.addr = s.public.Addr().String()
	e.spawn(func() { s.accept(s.public, true) })
	if s.gossip != nil {
		e.gossip = s.gossip.Addr().String()
		e.spawn(func() { s.accept(s.gossip, false) })
		e.spawn(s.receive)
	}
	return e, nil
}

func (s *sockets) bind() (err error) {
	if s.public, err = net.Listen("tcp", s.cfg.Listen); err != nil {
		return cannotBind("listen", s.cfg.Listen, err)
	}
	if s.cfg.Gossip == "" {
		return nil
	}
	_, port, _ := net.SplitHostPort(s.cfg.Gossip)
	for try := 1; ; try++ {
		err = s.bindGossip()
		if err == nil {
			return nil
		}
		if port != "0" || try == bindTries || !errors.Is(err, syscall.EADDRINUSE) {
			return cannotBind("gossip", s.cfg.Gossip, err)
		}
	}
}

// bindGossip takes one port number for TCP and UDP.
func (s *sockets) bindGossip() error {
	streams, err := net.Listen("tcp", s.cfg.Gossip)
	if err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(s.cfg.Gossip)
	port := streams.Addr().(*net.TCPAddr).Port
	packets, err := net.ListenPacket("udp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		_ = streams.Close()
		return err
	}
	s.gossip, s.packets = streams, packets
	return nil
}

func cannotBind(what, address string, err error) error {
	e := &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("cannot bind the %s address %s", what, address), Cause: err}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		e.Try = "another port, or stop what holds this one: ss -ltnup 'sport = :PORT'"
	case errors.Is(err, os.ErrPermission):
		e.Try = "a port above 1023"
	default:
		e.Try = "host:port with an address of this machine, for example 127.0.0.1:7400"
	}
	return e
}

func (s *sockets) close() {
	for _, l := range []net.Listener{s.public, s.gossip} {
		if l != nil {
			_ = l.Close()
		}
	}
	if s.packets != nil {
		_ = s.packets.Close()
	}
}

// accept runs until the listener is closed.
func (s *sockets) accept(l net.Listener, public bool) {
	for {
		raw, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of descriptors, most likely: it passes
			s.cfg.Events.Refused(l.Addr().String(), err)
			if sleep(s.endpoint.life, 100*time.Millisecond) != nil {
				return
			}
			continue
		}
		select {
		case s.greeting <- struct{}{}:
		case <-s.endpoint.life:
			_ = raw.Close()
			return
		}
		s.endpoint.work.Go(func() {
			s.greet(raw, public)
			<-s.greeting
		})
	}
}

func (s *sockets) dial(ctx context.Context, to string, kind Kind) (held, error) {
	if err := s.cfg.Rules.await(ctx, route{s.cfg.Node, to, kind}); err != nil {
		return nil, err
	}
	address, err := s.address(to, kind)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c, err := s.introduce(ctx, raw, address, to, kind)
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

func (s *sockets) address(to string, kind Kind) (string, error) {
	public, gossip, ok := s.cfg.Resolve(to)
	if to == s.cfg.Node {
		public, gossip, ok = s.endpoint.addr, s.endpoint.gossip, true
	}
	if kind == Gossip || kind == Packet {
		public = gossip
	}
	if !ok || public == "" {
		return "", &store.Error{Code: store.Unavailable, Node: s.cfg.Node, Msg: fmt.Sprintf("no %s address is known for node %q", kind, to)}
	}
	return public, nil
}
