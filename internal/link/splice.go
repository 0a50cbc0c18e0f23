package link

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

const (
	// linger is how long a closed connection that a hole holds keeps its socket.
	linger = 5 * time.Second
	// lastLinger is the same when the endpoint closes.
	lastLinger = 500 * time.Millisecond
)

// splice is a real connection under rules: the same two pipes as in memory, and a
// pump between each and the socket. The sender serves delays and both ends hold
// cuts, so a table set on both nodes does not delay twice.
type splice struct {
	*conn
	sock     net.Conn
	endpoint *Endpoint
}

func (s *sockets) splice(sock net.Conn, peer string, kind Kind) (held, error) {
	e := s.endpoint
	there := route{e.name, peer, kind}
	back := route{peer, e.name, kind}
	c := &splice{
		sock:     sock,
		endpoint: e,
		conn: &conn{
			in:  &pipe{route: back, rules: e.rules},
			out: &pipe{route: there, rules: e.rules, late: true, rng: e.line.rng(there, s.spliced.Add(1))},
		},
	}
	if !e.spawn(c.send) {
		reset(sock)
		return nil, net.ErrClosed
	}
	if !e.spawn(c.receive) {
		c.hangUp(true)
		return nil, net.ErrClosed
	}
	return c, nil
}

// Close returns at once; what was written still goes out, within linger.
func (c *splice) Close() error {
	c.closeWithin(linger)
	return nil
}

func (c *splice) closeWithin(d time.Duration) {
	by := time.Now().Add(d)
	c.end(false)
	c.out.setReadDeadline(by)
	c.in.setWriteDeadline(longAgo)
	_ = c.sock.SetWriteDeadline(by)
}

func (c *splice) hangUp(hard bool) {
	if !hard {
		c.closeWithin(lastLinger)
		return
	}
	c.end(true)
	c.breakUp()
	reset(c.sock)
}

// send pumps from the pipe to the socket, and owns the socket's end.
func (c *splice) send() {
	defer c.endpoint.forget(c)
	buf := make([]byte, 32<<10)
	for {
		n, err := c.out.read(buf)
		if err == nil {
			_, err = c.sock.Write(buf[:n])
		}
		switch {
		case err == nil:
		case err == io.EOF:
			_ = c.sock.Close()
			return
		default:
			c.out.leave()
			reset(c.sock)
			return
		}
	}
}

// receive pumps from the socket to the pipe. When nobody reads there any more it
// goes on reading, or the kernel would reset what send still has to flush.
func (c *splice) receive() {
	buf := make([]byte, 32<<10)
	for listening := true; ; {
		n, err := c.sock.Read(buf)
		if n > 0 && listening {
			_, lost := c.in.write(buf[:n])
			listening = lost == nil
			if errors.Is(lost, syscall.ECONNRESET) {
				c.breakUp()
			}
		}
		switch {
		case err == nil:
		case err == io.EOF:
			c.in.finish(io.EOF)
			return
		default:
			c.in.finish(syscall.ECONNRESET)
			return
		}
	}
}
