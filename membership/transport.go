package membership

import (
	"context"
	"errors"
	"hash/fnv"
	"net"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/dialkv/dialkv/internal/link"
)

// memberlist wants an IP and a port with every name. Ours are made up: link finds a
// node by its name alone. The address follows from the name, so that a node that
// moved is not taken for another that claims its name.
const madeUpPort = 7946

func madeUpIP(name string) net.IP {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	sum := h.Sum32()
	return net.IPv4(10, byte(sum>>16), byte(sum>>8), byte(sum)).To4()
}

func joinAddress(name string) string {
	return name + "/" + net.JoinHostPort(madeUpIP(name).String(), strconv.Itoa(madeUpPort))
}

// transport carries memberlist's bytes over a node's endpoint.
type transport struct {
	endpoint *link.Endpoint
	life     context.Context // kept because memberlist's calls bring none; ends at Shutdown
	end      context.CancelFunc
	packets  chan *memberlist.Packet
	streams  chan net.Conn
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

func newTransport(life context.Context, end context.CancelFunc, e *link.Endpoint) *transport {
	return &transport{
		endpoint: e, life: life, end: end,
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn),
	}
}

var errNameless = errors.New("membership: a node is reached by name only")

func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return madeUpIP(t.endpoint.Name()), madeUpPort, nil
}

func (t *transport) WriteTo([]byte, string) (time.Time, error) { return time.Time{}, errNameless }

func (t *transport) DialTimeout(string, time.Duration) (net.Conn, error) { return nil, errNameless }

func (t *transport) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	if to.Name == "" {
		return time.Time{}, errNameless
	}
	now := time.Now()
	return now, t.endpoint.SendPacket(to.Name, b)
}

func (t *transport) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if to.Name == "" {
		return nil, errNameless
	}
	ctx, cancel := context.WithTimeout(t.life, timeout)
	defer cancel()
	c, err := t.endpoint.Dial(ctx, to.Name, link.Gossip)
	if err != nil {
		return nil, err
	}
	return t.lend(c), nil
}

func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *transport) StreamCh() <-chan net.Conn           { return t.streams }

// Shutdown closes every stream that memberlist still holds. It does not wait, for
// memberlist calls it under a mutex.
func (t *transport) Shutdown() error {
	t.end()
	return nil
}

func (t *transport) forwardPackets() {
	for {
		select {
		case d := <-t.endpoint.Packets():
			from := &net.UDPAddr{IP: madeUpIP(d.From), Port: madeUpPort}
			select {
			case t.packets <- &memberlist.Packet{Buf: d.Data, From: from, Timestamp: d.At}:
			case <-t.life.Done():
				return
			}
		case <-t.life.Done():
			return
		}
	}
}

func (t *transport) acceptStreams() {
	listener := t.endpoint.Listener(link.Gossip)
	defer context.AfterFunc(t.life, func() { _ = listener.Close() })()
	for {
		c, err := listener.Accept()
		if err != nil {
			return // it fails only when closed
		}
		select {
		case t.streams <- t.lend(c):
		case <-t.life.Done():
			_ = c.Close()
			return
		}
	}
}

// lent is a stream that ends with the transport, whoever reads it then.
type lent struct {
	net.Conn
	keep func() bool
}

func (t *transport) lend(c net.Conn) *lent {
	return &lent{Conn: c, keep: context.AfterFunc(t.life, func() { _ = c.Close() })}
}

func (l *lent) Close() error {
	l.keep()
	return l.Conn.Close()
}
