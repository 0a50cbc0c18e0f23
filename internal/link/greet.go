package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// What a node answers to a preface. A dial that succeeded has reached the node it
// meant, and each has found that the other is the one process of its name.
const (
	welcome = 1 // the acceptor's presence follows
	refused = 2 // the presence of the process of that name that stays follows
	prove   = 3 // eight bytes follow, and are to be sent back
)

const proofLen = 8

// longAgo as a deadline ends whatever reads or writes.
var longAgo = time.Unix(1, 0)

// introduce tells the far end of raw who calls whom, waits for its welcome and takes
// the connection up.
func (s *sockets) introduce(ctx context.Context, raw net.Conn, address, to string, kind Kind) (held, error) {
	sock, with, err := s.greeted(ctx, raw, preface{from: s.cfg.Node, to: to, kind: kind})
	if err != nil {
		return nil, err
	}
	with.addr = address
	if err := s.endpoint.admit(ctx, to, with, nil); err != nil {
		return nil, err
	}
	c, err := s.wrap(sock, to, kind)
	if err != nil {
		return nil, err
	}
	if !s.endpoint.adopt(c, with) {
		c.hangUp(true)
		return nil, net.ErrClosed
	}
	return c, nil
}

// greeted returns who has answered.
func (s *sockets) greeted(ctx context.Context, raw net.Conn, p preface) (net.Conn, presence, error) {
	ctx, cancel := context.WithTimeout(ctx, greetTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(longAgo) })
	sock, with, err := s.present(ctx, raw, p)
	if !stop() && !errors.As(err, new(refusal)) {
		err = context.Cause(ctx)
	}
	return sock, with, err
}

func (s *sockets) present(ctx context.Context, raw net.Conn, p preface) (net.Conn, presence, error) {
	sock := raw
	if s.cfg.TLS != nil {
		cfg := s.cfg.TLS.Clone()
		cfg.ServerName = p.to
		secure := tls.Client(raw, cfg)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, presence{}, err
		}
		sock = secure
	}
	own := s.endpoint.presence()
	if _, err := sock.Write(append(p.encode(), own.encode()...)); err != nil {
		return nil, presence{}, err
	}
	with, err := s.answered(sock, own)
	if err != nil {
		return nil, presence{}, fmt.Errorf("%s did not answer as node %s: %w", raw.RemoteAddr(), p.to, err)
	}
	return sock, with, nil
}

// answered reads the answer to a preface.
func (s *sockets) answered(sock net.Conn, own presence) (presence, error) {
	var proof [1 + proofLen]byte
	for {
		if _, err := io.ReadFull(sock, proof[:1]); err != nil {
			return presence{}, err
		}
		switch proof[0] {
		case welcome:
			return readPresence(sock)
		case refused:
			kept, err := readPresence(sock)
			if err != nil {
				return presence{}, err
			}
			t := Twins{Node: s.cfg.Node, Kept: kept.Incarnation, KeptAddr: kept.addr, Refused: own.Incarnation, RefusedAddr: own.addr}
			s.endpoint.expel(t)
			return presence{}, refusal{t}
		case prove:
			if _, err := io.ReadFull(sock, proof[1:]); err != nil {
				return presence{}, err
			}
			if _, err := sock.Write(proof[1:]); err != nil {
				return presence{}, err
			}
		default:
			return presence{}, errPreface
		}
	}
}

// proved asks the caller to say something that it cannot have said before.
func proved(sock net.Conn) error {
	question := binary.BigEndian.AppendUint64([]byte{prove}, newRun())
	if _, err := sock.Write(question); err != nil {
		return err
	}
	var answer [proofLen]byte
	if _, err := io.ReadFull(sock, answer[:]); err != nil {
		return err
	}
	if !bytes.Equal(answer[:], question[1:]) {
		return errPreface
	}
	return nil
}

// ask is a dial that ends with the answer.
func (s *sockets) ask(ctx context.Context, node, address string) (uint64, error) {
	if err := s.cfg.Rules.await(ctx, route{s.cfg.Node, node, Asking}); err != nil {
		return 0, err
	}
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	defer raw.Close()
	_, with, err := s.greeted(ctx, raw, preface{from: s.cfg.Node, to: node, kind: Asking})
	return with.Run, err
}

// greet finds out who calls and hands the connection to its listener.
func (s *sockets) greet(raw net.Conn, public bool) {
	ctx, cancel := context.WithTimeout(s.endpoint.life, greetTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(longAgo) })
	v, err := s.identify(ctx, raw, public)
	if !stop() && err == nil {
		if v.conn != nil {
			v.conn.hangUp(true)
		}
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = raw.Close()
		s.cfg.Events.Refused(raw.RemoteAddr().String(), err)
		return
	}
	c := v.conn
	if c == nil {
		_ = raw.Close() // it only asked
		return
	}
	if !s.endpoint.adopt(c, v.presence) {
		c.hangUp(true)
		return
	}
	if err := s.endpoint.doors[v.kind].put(ctx, c); err != nil {
		c.hangUp(true)
		s.cfg.Events.Refused(raw.RemoteAddr().String(), err)
	}
}

// visitor is who was let in.
type visitor struct {
	conn held // nil: it only asked
	kind Kind
	presence
}

func (s *sockets) identify(ctx context.Context, raw net.Conn, public bool) (visitor, error) {
	if s.cfg.Hold {
		select {
		case <-s.endpoint.introduced:
		case <-ctx.Done():
			return visitor{}, context.Cause(ctx)
		}
	}
	sock := raw
	if s.cfg.TLS != nil {
		secure := tls.Server(raw, s.cfg.TLS)
		if err := secure.HandshakeContext(ctx); err != nil {
			return visitor{}, err
		}
		sock = secure
	}
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(sock, head); err != nil {
		return visitor{}, err
	}
	if string(head) != magic {
		if !public {
			return visitor{}, errPreface
		}
		return visitor{conn: &wire{Conn: sock, owner: s.endpoint, remote: Client, unread: head}, kind: RPC}, nil
	}
	p, err := readPreface(sock)
	if err != nil {
		return visitor{}, err
	}
	return s.receiveNode(ctx, sock, p)
}

// receiveNode lets in another node, or answers its question.
func (s *sockets) receiveNode(ctx context.Context, sock net.Conn, p preface) (visitor, error) {
	if err := s.judge(ctx, sock, p); err != nil {
		return visitor{}, err
	}
	who, err := readPresence(sock)
	if err != nil {
		return visitor{}, err
	}
	if p.kind != Asking {
		err = s.endpoint.admit(ctx, p.from, who, func() error { return proved(sock) })
	}
	if r := (refusal{}); errors.As(err, &r) && r.Refused == who.Incarnation {
		kept := presence{Incarnation: r.Kept, addr: r.KeptAddr}
		_, _ = sock.Write(append([]byte{refused}, kept.encode()...)) // if it is lost, the caller comes again
	}
	if err != nil {
		return visitor{}, err
	}
	if _, err := sock.Write(append([]byte{welcome}, s.endpoint.presence().encode()...)); err != nil || p.kind == Asking {
		return visitor{}, err
	}
	c, err := s.wrap(sock, p.from, p.kind)
	return visitor{c, p.kind, who}, err
}

// judge decides whether a caller is let in.
func (s *sockets) judge(ctx context.Context, sock net.Conn, p preface) error {
	switch {
	case p.to != s.cfg.Node:
		return fmt.Errorf("%w: node %s looks for %s, this is %s", errPreface, p.from, p.to, s.cfg.Node)
	case p.kind == Asking:
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
