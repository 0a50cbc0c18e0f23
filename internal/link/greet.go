package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// welcome is the one byte with which a node answers a preface it accepts. So a dial
// that succeeded has reached the node it meant.
const welcome = 1

// longAgo as a deadline ends whatever reads or writes.
var longAgo = time.Unix(1, 0)

// introduce tells the far end of raw who calls whom, and waits for its welcome.
func (s *sockets) introduce(ctx context.Context, raw net.Conn, to string, kind Kind) (held, error) {
	ctx, cancel := context.WithTimeout(ctx, greetTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(longAgo) })
	sock, err := s.present(ctx, raw, preface{from: s.cfg.Node, to: to, kind: kind})
	if !stop() {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	return s.wrap(sock, to, kind)
}

func (s *sockets) present(ctx context.Context, raw net.Conn, p preface) (net.Conn, error) {
	sock := raw
	if s.cfg.TLS != nil {
		cfg := s.cfg.TLS.Clone()
		cfg.ServerName = p.to
		secure := tls.Client(raw, cfg)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		sock = secure
	}
	if _, err := sock.Write(p.encode()); err != nil {
		return nil, err
	}
	var answer [1]byte
	_, err := io.ReadFull(sock, answer[:])
	if err == nil && answer[0] != welcome {
		err = errPreface
	}
	if err != nil {
		return nil, fmt.Errorf("%s did not answer as node %s: %w", raw.RemoteAddr(), p.to, err)
	}
	return sock, nil
}

// greet finds out who calls and hands the connection to its listener.
func (s *sockets) greet(raw net.Conn, public bool) {
	ctx, cancel := context.WithTimeout(s.endpoint.life, greetTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(longAgo) })
	c, kind, err := s.identify(ctx, raw, public)
	if !stop() && err == nil {
		c.hangUp(true)
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = raw.Close()
		s.cfg.Events.Refused(raw.RemoteAddr().String(), err)
		return
	}
	if !s.endpoint.adopt(c) {
		c.hangUp(true)
		return
	}
	if err := s.endpoint.doors[kind].put(ctx, c); err != nil {
		c.hangUp(true)
		s.cfg.Events.Refused(raw.RemoteAddr().String(), err)
	}
}

func (s *sockets) identify(ctx context.Context, raw net.Conn, public bool) (held, Kind, error) {
	sock := raw
	if s.cfg.TLS != nil {
		secure := tls.Server(raw, s.cfg.TLS)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, 0, err
		}
		sock = secure
	}
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(sock, head); err != nil {
		return nil, 0, err
	}
	if string(head) != magic {
		if !public {
			return nil, 0, errPreface
		}
		return &wire{Conn: sock, owner: s.endpoint, remote: Client, unread: head}, RPC, nil
	}
	p, err := readPreface(sock)
	if err != nil {
		return nil, 0, err
	}
	if err := s.judge(ctx, sock, p); err != nil {
		return nil, 0, err
	}
	if _, err := sock.Write([]byte{welcome}); err != nil {
		return nil, 0, err
	}
	c, err := s.wrap(sock, p.from, p.kind)
	return c, p.kind, err
}

// judge decides whether a caller is let in.
func (s *sockets) judge(ctx context.Context, sock net.Conn, p preface) error {
	switch {
	case p.to != s.cfg.Node:
		return fmt.Errorf("%w: node %s looks for %s, this is %s", errPreface, p.from, p.to, s.cfg.Node)
	case !p.kind.stream():
		return fmt.Errorf("%w: a %s is not a connection", errPreface, p.kind)
	case s.endpoint.doors[p.kind].closed():
		return fmt.Errorf("%s is not served", p.kind)
	}
	if secure, ok := sock.(*tls.Conn); ok {
		if err := proveName(secure.ConnectionState(), p.from); err != nil {
			return err
		}
	}
	return s.cfg.Rules.await(ctx, route{p.from, p.to, p.kind})
}

// proveName checks that a caller's verified certificate carries the name it gave.
func proveName(state tls.ConnectionState, name string) error {
	if len(state.VerifiedChains) == 0 {
		return errors.New("a node must show a certificate")
	}
	return state.VerifiedChains[0][0].VerifyHostname(name)
}

// wrap makes of a socket what is handed out. With faults it is a pair of pipes,
// spliced to the socket.
func (s *sockets) wrap(sock net.Conn, peer string, kind Kind) (held, error) {
	if !s.cfg.Faults {
		return &wire{Conn: sock, owner: s.endpoint, remote: peer}, nil
	}
	return s.splice(sock, peer, kind)
}

// completeTLS fills in what nodes and gRPC need.
func completeTLS(c *tls.Config) *tls.Config {
	if c == nil {
		return nil
	}
	c = c.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS13)
	if !slices.Contains(c.NextProtos, "h2") {
		c.NextProtos = append(slices.Clone(c.NextProtos), "h2")
	}
	return c
}

// wire is a bare socket with a name.
type wire struct {
	net.Conn
	owner  *Endpoint
	remote string
	unread []byte // taken off the socket to look at; for the one reader of its beginning
}

func (w *wire) Read(b []byte) (int, error) {
	if len(w.unread) == 0 {
		return w.Conn.Read(b)
	}
	n := copy(b, w.unread)
	w.unread = w.unread[n:]
	return n, nil
}

func (w *wire) LocalAddr() net.Addr  { return addr(w.owner.name) }
func (w *wire) RemoteAddr() net.Addr { return addr(w.remote) }

func (w *wire) Close() error {
	w.owner.forget(w)
	return w.Conn.Close()
}

func (w *wire) hangUp(hard bool) {
	if hard {
		reset(w.Conn)
	}
	_ = w.Close()
}

// reset closes a socket so that the peer sees ECONNRESET and nothing more is sent.
func reset(sock net.Conn) {
	raw := sock
	if secure, ok := raw.(*tls.Conn); ok {
		raw = secure.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
}
