package link

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// addr is a node's name as a net.Addr.
type addr string

func (a addr) Network() string { return "link" }
func (a addr) String() string  { return string(a) }

// conn is one end of two pipes.
type conn struct {
	in, out *pipe
	owner   *Endpoint // nil: an outside client
	over    atomic.Bool
}

func (c *conn) LocalAddr() net.Addr  { return addr(c.out.from) }
func (c *conn) RemoteAddr() net.Addr { return addr(c.out.to) }

func (c *conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := c.in.read(b)
	return n, c.judge("read", err)
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.out.write(b)
	return n, c.judge("write", err)
}

// judge dresses an error as package net does. A reset in one direction ends both,
// and so does writing to a peer that has closed: its TCP answers with a reset. Who
// writes and who reads must learn of it together, or a library that trusts either
// (grpc takes new streams until its reader fails) tries again without a pause.
func (c *conn) judge(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		c.breakUp()
	}
	return &net.OpError{Op: op, Net: "link", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

func (c *conn) breakUp() {
	c.in.breakUp()
	c.out.breakUp()
}

// Close lets the peer read what was written, then the end.
func (c *conn) Close() error {
	c.hangUp(false)
	return nil
}

func (c *conn) hangUp(hard bool) {
	if !c.end(hard) {
		return
	}
	if c.owner != nil {
		c.owner.forget(c)
	}
}

// end reports whether it was the first to end this side.
func (c *conn) end(hard bool) bool {
	if c.over.Swap(true) {
		return false
	}
	if hard {
		c.out.finish(syscall.ECONNRESET)
	} else {
		c.out.finish(io.EOF)
	}
	c.in.leave()
	return true
}

func (c *conn) SetDeadline(t time.Time) error {
	c.in.setReadDeadline(t)
	c.out.setWriteDeadline(t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.setReadDeadline(t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.setWriteDeadline(t)
	return nil
}
