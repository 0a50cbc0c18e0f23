package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"

	"github.com/dialkv/dialkv/store"
)

// CarryConfig opens a door whose bytes somebody else carries, in messages.
type CarryConfig struct {
	Node string
	// Send hands over a frame of at most MaxFrame bytes, which stays the carrier's. It
	// may be lost, late, doubled or overtaken, but not changed. Send is called by
	// several goroutines and must not wait for a frame to arrive.
	Send func(to string, frame []byte)
}

// MaxFrame is the most bytes one frame has.
const MaxFrame = headLen + MaxPacket

// maxStreams bounds the connections of one door; more are refused. goneKept is how many
// that ended are remembered, so that a late frame does not open one again.
const (
	maxStreams = 4096
	goneKept   = 1024
)

// Carrier is the world of an endpoint between whose node and the others there is
// nothing but messages, which may be lost: Maelstrom's network, for one. Connections are
// numbered segments, repeated until they are acknowledged, so that a cut holds bytes
// back and a heal lets them go on. It does not look for two processes of one node.
type Carrier struct {
	cfg      CarryConfig
	endpoint *Endpoint

	mu      sync.Mutex
	streams map[streamID]*stream
	gone    map[streamID]bool
	order   []streamID // of gone, oldest first
}

// streamID names a connection at one of its ends.
type streamID struct {
	peer   string
	number uint64
	dialed bool // by us
}

// Carry opens a node's door. Its address is its name.
func Carry(cfg CarryConfig) (*Carrier, error) {
	if err := store.CheckName("node", cfg.Node); err != nil {
		return nil, err
	}
	c := &Carrier{cfg: cfg, streams: map[streamID]*stream{}, gone: map[streamID]bool{}}
	c.endpoint = newEndpoint(cfg.Node, new(Rules), line{})
	c.endpoint.world = c
	c.endpoint.addr, c.endpoint.gossip = cfg.Node, cfg.Node
	return c, nil
}

// Endpoint is the door.
func (c *Carrier) Endpoint() *Endpoint { return c.endpoint }

// Deliver takes a frame that arrived from another node, and keeps it. It does not wait.
// Its error is a frame that this carrier did not make.
func (c *Carrier) Deliver(from string, b []byte) error {
	f, err := openFrame(b)
	if err != nil {
		return fmt.Errorf("link: frame from %s: %w", from, err)
	}
	if f.kind == packetFrame {
		if c.endpoint.life.Err() == nil {
			c.endpoint.receive(from, f.data)
		}
		return nil
	}
	id := streamID{peer: from, number: f.stream, dialed: !f.byDialer}
	s, open := c.find(id)
	if !open && f.opens() && !id.dialed {
		s, open = c.accept(id, Kind(f.open))
	}
	switch {
	case s != nil:
		s.take(f)
	case !open && f.kind == segmentFrame:
		c.transmit(id, frame{kind: resetFrame})
	}
	return nil
}

// find returns the connection a frame is of.
func (c *Carrier) find(id streamID) (s *stream, open bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, open = c.streams[id]
	return s, open
}

// accept queues a new connection for its listener. If there is no room for it now it is
// neither there nor refused: the dialer comes again.
func (c *Carrier) accept(id streamID, kind Kind) (s *stream, open bool) {
	if !kind.stream() || c.endpoint.life.Err() != nil || c.endpoint.doors[kind].closed() {
		return nil, false
	}
	s = newStream(c, id, kind)
	if other, err := c.add(s); err != nil {
		return other, other != nil
	}
	if !c.endpoint.adopt(s, presence{}) {
		c.forget(s)
		return nil, false
	}
	if !c.endpoint.doors[kind].offer(s) {
		c.endpoint.forget(s)
		c.forget(s)
		return nil, true
	}
	if !c.endpoint.spawn(s.pump) {
		s.hangUp(true)
	}
	return s, true
}

// add takes a connection into the table. Its error is that there are too many, or that
// this one has been there: other is it, nil if it has ended.
func (c *Carrier) add(s *stream) (other *stream, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	other, known := c.streams[s.id]
	switch {
	case known || c.gone[s.id]:
		return other, errKnown
	case len(c.streams) >= maxStreams:
		return nil, &store.Error{Code: store.Overloaded, Node: c.endpoint.name, Msg: fmt.Sprintf("%d connections are open, which is the limit", maxStreams)}
	}
	c.streams[s.id] = s
	return nil, nil
}

var errKnown = errors.New("link: this connection is known")

// retire forgets a connection, but not that it was there.
func (c *Carrier) retire(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams[s.id] != s {
		return
	}
	delete(c.streams, s.id)
	if len(c.order) == goneKept {
		delete(c.gone, c.order[0])
		c.order = c.order[1:]
	}
	c.gone[s.id] = true
	c.order = append(c.order, s.id)
}

// forget drops a connection as if nobody had asked for it.
func (c *Carrier) forget(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, s.id)
}

func (c *Carrier) dial(ctx context.Context, to string, kind Kind) (held, error) {
	if err := c.endpoint.rules.await(ctx, route{c.endpoint.name, to, kind}); err != nil {
		return nil, err
	}
	s := newStream(c, streamID{peer: to, number: newRun(), dialed: true}, kind)
	if _, err := c.add(s); err != nil {
		return nil, err
	}
	if !c.endpoint.adopt(s, presence{}) || !c.endpoint.spawn(s.pump) {
		s.hangUp(true)
		return nil, net.ErrClosed
	}
	select {
	case <-s.answered:
		if s.reset() {
			return nil, syscall.ECONNREFUSED
		}
		return s, nil
	case <-ctx.Done():
		s.hangUp(true)
		return nil, context.Cause(ctx)
	}
}

// ask finds nobody: who is there is for those who carry the messages to know.
func (c *Carrier) ask(context.Context, string, string) (uint64, error) {
	return 0, errors.New("link: nobody can be asked in messages which process it is")
}

// send is for a packet.
func (c *Carrier) send(to string, b []byte) error {
	c.hand(to, frame{kind: packetFrame, data: b})
	return nil
}

func (c *Carrier) transmit(id streamID, f frame) {
	f.stream, f.byDialer = id.number, id.dialed
	c.hand(id.peer, f)
}

// hand gives a frame to who carries it. What a node sends itself stays in the house.
func (c *Carrier) hand(to string, f frame) {
	if to == c.endpoint.name {
		_ = c.Deliver(to, f.encode()) // cannot fail: it is a frame
		return
	}
	c.cfg.Send(to, f.encode())
}

func (c *Carrier) close() {}
