package link

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/dialkv/dialkv/store"
)

// send puts the preface in front, so that the receiver knows who sent it and that
// it was meant.
func (s *sockets) send(to string, b []byte) error {
	if s.packets == nil {
		return &store.Error{Code: store.Invalid, Node: s.cfg.Node, Msg: "this node has no gossip address", Try: "set one"}
	}
	address, err := s.address(to, Packet)
	if err != nil {
		return err
	}
	target, err := s.book.lookUp(address)
	if err != nil {
		return err
	}
	head := preface{from: s.cfg.Node, to: to, kind: Packet}.encode()
	_, err = s.packets.WriteTo(append(head, b...), target)
	return err
}

// receive runs until the socket is closed. What is not a packet for this node is
// dropped.
func (s *sockets) receive() {
	buf := make([]byte, prefaceMax+MaxPacket)
	for {
		n, _, err := s.packets.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // ICMP's answer to something sent before
		}
		from, data, ok := openPacket(buf[:n], s.cfg.Node)
		if ok {
			s.endpoint.receive(from, slices.Clone(data))
		}
	}
}

func openPacket(b []byte, to string) (from string, data []byte, ok bool) {
	rest, ok := bytes.CutPrefix(b, []byte(magic))
	if !ok {
		return "", nil, false
	}
	r := bytes.NewReader(rest)
	p, err := readPreface(r)
	if err != nil || p.kind != Packet || p.to != to {
		return "", nil, false
	}
	return p.from, rest[len(rest)-r.Len():], true
}

// bookAge is how long a looked-up address holds: short, because a node may move, and
// not nothing, because a packet must not wait for DNS.
const bookAge = 5 * time.Second

// addressBook keeps what DNS said about gossip addresses.
type addressBook struct {
	mu      sync.Mutex
	entries map[string]bookEntry
}

type bookEntry struct {
	addr *net.UDPAddr
	err  error
	at   time.Time
}

func (a *addressBook) lookUp(address string) (*net.UDPAddr, error) {
	a.mu.Lock()
	e, known := a.entries[address]
	a.mu.Unlock()
	if known && time.Since(e.at) < bookAge {
		return e.addr, e.err
	}
	e.addr, e.err = net.ResolveUDPAddr("udp", address)
	e.at = time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.entries == nil || len(a.entries) > 1024 {
		a.entries = map[string]bookEntry{}
	}
	a.entries[address] = e
	return e.addr, e.err
}
