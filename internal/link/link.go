// Package link is the only code that dials, listens or sends between nodes, and
// the only place where a network can be made to fail.
//
// A node has one [Endpoint], its door: it dials other nodes by name, accepts
// connections of each [Kind], and sends gossip packets. Where the bytes go is the
// endpoint's world: a [Network] in memory, real sockets ([Listen]), or messages that
// somebody else carries ([Carry]). The code on top cannot tell which.
//
// Faults are a table of [Rules], one for the whole network in memory and one a node
// on real sockets. A connection asks the table when its bytes are read, not when
// they are written: so a cut holds for connections already open and for bytes in
// flight, and what a hole held back goes on when it heals.
//
// Nothing here waits under a mutex. Every wait is on a channel or a timer, so a
// bubble of testing/synctest can run a whole cluster in virtual time.
package link

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/dialkv/dialkv/store"
)

// Kind says what a connection or packet carries.
type Kind uint8

const (
	Raft   Kind = iota + 1 // raft's streams
	RPC                    // gRPC: peers, and outside clients
	Calls                  // short calls between replicas
	Gossip                 // gossip streams
	Packet                 // gossip packets
	Asking                 // nothing: the question which process is there
)

var kindNames = [...]string{Raft: "raft", RPC: "rpc", Calls: "calls", Gossip: "gossip", Packet: "packet", Asking: "asking"}

func (k Kind) String() string {
	if k >= Raft && k <= Asking {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

func (k Kind) stream() bool { return k >= Raft && k < Packet }

// MaxPacket is the most bytes one gossip packet carries.
const MaxPacket = 60 << 10

// Client is what RemoteAddr gives for a connection from outside the cluster.
const Client = "client"

// packetQueue is how many packets wait for their reader; more are dropped, as a
// kernel's socket buffer would.
const packetQueue = 256

// A Datagram is a gossip packet that arrived.
type Datagram struct {
	From string // the sender's node name, unproved: packets are not authenticated here
	Data []byte // the receiver's to keep
	At   time.Time
}

// Endpoint is one node's door. Its methods may be called by several goroutines.
type Endpoint struct {
	name         string
	addr, gossip string
	rules        *Rules
	line         line
	world        world
	life         life
	doors        [Packet]*listener // by Kind
	packets      chan Datagram

	work sync.WaitGroup // goroutines of real sockets; none in memory

	introduced chan struct{} // closed by Introduce
	expelled   chan struct{} // closed by expel

	mu      sync.Mutex
	over    bool
	open    map[held]uint64       // every connection it handed out, and with which run; 0: a claim of none
	air     map[string]*rand.Rand // draws for packets, by destination
	own     presence              // but for its address
	known   map[string]presence   // by name, of those that were admitted
	resolve func(name string) (addr, gossip string, ok bool)
	twins   func(Twins)
	why     error // of its expulsion
}

// A world carries an endpoint's bytes.
type world interface {
	dial(ctx context.Context, to string, kind Kind) (held, error)
	// ask returns the run of the process that answers as the node at the address.
	ask(ctx context.Context, node, address string) (run uint64, err error)
	send(to string, b []byte) error // b is the world's from now on
	close()
}

// held is a connection that an endpoint handed out and can take back.
type held interface {
	net.Conn
	hangUp(hard bool) // hard: as if the process died
}

func newEndpoint(name string, rules *Rules, l line) *Endpoint {
	e := &Endpoint{
		name: name, rules: rules, line: l,
		life:    make(life),
		packets: make(chan Datagram, packetQueue),
		open:    map[held]uint64{},
		air:     map[string]*rand.Rand{},
		own:     presence{Incarnation: Incarnation{Run: newRun()}},
		known:   map[string]presence{},

		introduced: make(chan struct{}), expelled: make(chan struct{}),
	}
	for k := Raft; k < Packet; k++ {
		e.doors[k] = newListener(name)
	}
	return e
}

func newRun() uint64 {
	var b [8]byte
	_, _ = crand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}

// Name is the node's name.
func (e *Endpoint) Name() string { return e.name }

// Addr is where the node listens for streams, with the port that was really bound;
// in memory it is the name.
func (e *Endpoint) Addr() string { return e.addr }

// GossipAddr is where the node listens for gossip, or "" when it does not.
func (e *Endpoint) GossipAddr() string { return e.gossip }

// Rules is the table this endpoint obeys. On real sockets opened without Faults it
// refuses every rule.
func (e *Endpoint) Rules() *Rules { return e.rules }

// Connections is how many that it handed out are open.
func (e *Endpoint) Connections() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.open)
}

// Dial connects to a node by name. It waits while a hole is between the two, until
// ctx ends. The connection's RemoteAddr is the name.
func (e *Endpoint) Dial(ctx context.Context, to string, kind Kind) (net.Conn, error) {
	ctx, cancel := e.life.join(ctx)
	defer cancel()
	c, err := e.dial(ctx, to, kind)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "link", Source: addr(e.name), Addr: addr(to), Err: err}
	}
	return c, nil
}

func (e *Endpoint) dial(ctx context.Context, to string, kind Kind) (held, error) {
	if !kind.stream() {
		return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("a %s is not a connection", kind)}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return e.world.dial(ctx, to, kind)
}

// Listener gives the accepted connections of one stream kind; their RemoteAddr is
// the dialer's name, or [Client]. It is open from the start: what arrives before
// the first Accept waits in a short queue. It is the same listener at every call,
// and closed it stays closed. There is none for Packet.
func (e *Endpoint) Listener(kind Kind) net.Listener { return e.doors[kind] }

// SendPacket sends b, which stays the caller's. The packet may be lost, late or
// overtaken; nil says only that it was sent.
func (e *Endpoint) SendPacket(to string, b []byte) error {
	if len(b) > MaxPacket {
		return &store.Error{Code: store.TooLarge, Msg: fmt.Sprintf("the packet has %d bytes, the limit is %d", len(b), MaxPacket)}
	}
	if e.life.Err() != nil {
		return net.ErrClosed
	}
	for _, delay := range e.fate(to, len(b)) {
		b := bytes.Clone(b)
		if delay == 0 {
			if err := e.world.send(to, b); err != nil {
				return err
			}
			continue
		}
		time.AfterFunc(delay, func() { _ = e.world.send(to, b) }) // a packet may be lost
	}
	return nil
}

// overtaken is how late a packet comes at most that others overtake, or that comes twice.
const overtaken = 50 * time.Millisecond

// fate draws how late a packet of that length comes, each time that it does.
func (e *Endpoint) fate(to string, length int) (delays []time.Duration) {
	v, _ := e.rules.Check(e.name, to, Packet)
	e.mu.Lock()
	defer e.mu.Unlock()
	rng := e.air[to]
	if rng == nil {
		rng = e.line.rng(route{e.name, to, Packet}, e.line.incarnation)
		e.air[to] = rng
	}
	if v.Action != Pass || v.Loss > 0 && rng.Float64() < v.Loss {
		e.rules.noteHeld()
		return nil
	}
	if to == e.name {
		return []time.Duration{0}
	}
	later := func() time.Duration { return time.Duration(rng.Int64N(int64(overtaken))) }
	if v.Delay += v.takes(length); v.Reorder > 0 && rng.Float64() < v.Reorder {
		v.Delay += later()
	}
	e.rules.noteDelay(v)
	delays = []time.Duration{spread(rng, e.line.latency+v.Delay, e.line.jitter+v.Jitter)}
	if v.Duplicate > 0 && rng.Float64() < v.Duplicate {
		e.rules.noteTwice()
		delays = append(delays, delays[0]+later())
	}
	return delays
}

// receive takes a packet off the wire; data becomes the endpoint's. The rules are
// asked again, for a cut that came while it was in flight.
func (e *Endpoint) receive(from string, data []byte) {
	if v, _ := e.rules.Check(from, e.name, Packet); v.Action != Pass {
		e.rules.noteHeld()
		return
	}
	select {
	case e.packets <- Datagram{From: from, Data: data, At: time.Now()}:
	default:
	}
}

// Packets gives what arrives; when its queue is full, packets are dropped. It is
// never closed, so that nothing in flight can meet a closed channel.
func (e *Endpoint) Packets() <-chan Datagram { return e.packets }

// Close stops listening, closes every connection it handed out (peers see the end
// of the stream after the bytes written before) and waits for its goroutines, at
// most a second.
func (e *Endpoint) Close() error {
	e.end(false)
	e.work.Wait()
	return nil
}

// Kill ends the endpoint as if its process died: peers see resets, bytes not yet
// delivered are lost, dials are refused, nothing leaves any more.
func (e *Endpoint) Kill() { e.end(true) }

func (e *Endpoint) end(hard bool) {
	e.mu.Lock()
	first := !e.over
	e.over = true
	open := make([]held, 0, len(e.open))
	for c := range e.open {
		open = append(open, c)
	}
	e.mu.Unlock()
	if first {
		close(e.life)
		e.world.close()
	}
	for _, c := range open {
		c.hangUp(hard)
	}
	for k := Raft; k < Packet; k++ {
		_ = e.doors[k].Close() // last: what waits in them was hung up above, softly or hard
	}
}

// adopt registers a connection that is about to be handed out, with the process at its
// other end; false when the endpoint is over, or another process has taken the place of
// that one, and then the caller ends the connection.
func (e *Endpoint) adopt(c held, with presence) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	known, ok := e.known[c.RemoteAddr().String()]
	if e.over || ok && with.rivals(known) {
		return false
	}
	e.open[c] = 0
	if with.cluster != 0 && with.cluster == e.own.cluster {
		e.open[c] = with.Run
	}
	return true
}

func (e *Endpoint) forget(c held) {
	e.mu.Lock()
	delete(e.open, c)
	e.mu.Unlock()
}

// spawn runs f in a goroutine that Close waits for; false when the endpoint is over.
func (e *Endpoint) spawn(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return false
	}
	e.work.Go(f)
	return true
}
