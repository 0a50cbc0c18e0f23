package link

import (
	"context"
	"net"
	"sync"
	"syscall"
)

// backlog is how many connections of a kind wait to be accepted; then dialers wait.
const backlog = 128

// listener is one kind's side of a door.
type listener struct {
	name  string
	queue chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newListener(name string) *listener {
	return &listener{name: name, queue: make(chan net.Conn, backlog), done: make(chan struct{})}
}

// Accept fails only when the listener is closed.
func (l *listener) Accept() (net.Conn, error) {
	if !l.closed() {
		select {
		case c := <-l.queue:
			return c, nil
		case <-l.done:
		}
	}
	return nil, &net.OpError{Op: "accept", Net: "link", Addr: l.Addr(), Err: net.ErrClosed}
}

// Close refuses dials from now on, and ends what nobody accepted.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	for {
		select {
		case c := <-l.queue:
			_ = c.Close()
		default:
			return nil
		}
	}
}

func (l *listener) Addr() net.Addr { return addr(l.name) }

func (l *listener) closed() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// put queues c for Accept; it waits for room until ctx ends.
func (l *listener) put(ctx context.Context, c net.Conn) error {
	if l.closed() {
		return syscall.ECONNREFUSED
	}
	select {
	case l.queue <- c:
		return nil
	case <-l.done:
		return syscall.ECONNREFUSED
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// offer is put without waiting; it reports whether there was room.
func (l *listener) offer(c net.Conn) bool {
	if l.closed() {
		return false
	}
	select {
	case l.queue <- c:
		return true
	default:
		return false
	}
}
