package cp

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/store"
)

// Mux gives every group of a node its own Raft stream layer on the node's one
// link: a connection begins with its group and the group's lineage, twenty bytes.
type Mux struct {
	ep *link.Endpoint

	opened nudge // a group was

	mu     sync.Mutex
	layers map[store.GroupID]*layer
}

const (
	// groupHeader is how long a new connection may take to name its group.
	groupHeader = 5 * time.Second
	// groupWait is how long a connection waits for a group that is not open yet. A
	// new group opens on its nodes at different moments, and one that was turned
	// away would come back only after a pause.
	groupWait = time.Second
)

// NewMux makes the mux of a node. Run must run before groups can hear each other.
func NewMux(ep *link.Endpoint) *Mux {
	m := &Mux{ep: ep, layers: make(map[store.GroupID]*layer)}
	m.opened.init()
	return m
}

// Run hands incoming connections to their groups until ctx ends.
func (m *Mux) Run(ctx context.Context) error {
	ln := m.ep.Listener(link.Raft)
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		conns.Go(func() { m.hand(ctx, conn) })
	}
}

func (m *Mux) hand(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	var head [20]byte
	_ = conn.SetReadDeadline(time.Now().Add(groupHeader))
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		_ = conn.Close()
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	group := store.GroupID{Keyspace: binary.BigEndian.Uint64(head[:8]), Shard: binary.BigEndian.Uint32(head[8:])}
	l := m.await(ctx, group)
	if l == nil || !l.lineage.admits(binary.BigEndian.Uint64(head[12:])) {
		_ = conn.Close()
		return
	}
	select {
	case l.incoming <- conn:
	case <-l.ctx.Done():
		_ = conn.Close()
	case <-ctx.Done():
	}
}

// await returns the layer of a group, nil if the group does not open in time.
func (m *Mux) await(ctx context.Context, group store.GroupID) *layer {
	ctx, cancel := context.WithTimeout(ctx, groupWait)
	defer cancel()
	for {
		opened := m.opened.next()
		m.mu.Lock()
		l := m.layers[group]
		m.mu.Unlock()
		if l != nil {
			return l
		}
		select {
		case <-opened:
		case <-ctx.Done():
			return nil
		}
	}
}

// open makes the stream layer of one group. It lives until it is closed or ctx ends.
func (m *Mux) open(ctx context.Context, group store.GroupID, lineage lineage) (*layer, error) {
	l := &layer{mux: m, group: group, lineage: lineage, incoming: make(chan net.Conn), conns: make(map[*tracked]struct{})}
	l.ctx, l.cancel = context.WithCancel(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.layers[group] != nil {
		return nil, &store.Error{Code: store.AlreadyExists, Group: group, Msg: "the group is open on this node"}
	}
	m.layers[group] = l
	m.opened.all()
	return l, nil
}

// layer is raft.StreamLayer for one group. It keeps the connections it handed out
// and closes them with itself: Raft's transport closes neither its pool nor what
// it accepted.
type layer struct {
	mux      *Mux
	group    store.GroupID
	lineage  lineage
	incoming chan net.Conn
	// Raft's stream layer has no contexts of its own, so the layer keeps one.
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	conns  map[*tracked]struct{}
}

type tracked struct {
	net.Conn
	layer *layer
}

func (t *tracked) Close() error {
	t.layer.mu.Lock()
	delete(t.layer.conns, t)
	t.layer.mu.Unlock()
	return t.Conn.Close()
}

func (l *layer) track(conn net.Conn) (net.Conn, error) {
	t := &tracked{Conn: conn, layer: l}
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.conns[t] = struct{}{}
	}
	l.mu.Unlock()
	if closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	return t, nil
}

func (l *layer) Accept() (net.Conn, error) {
	select {
	case conn := <-l.incoming:
		return l.track(conn)
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (l *layer) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.ctx, timeout)
	defer cancel()
	conn, err := l.mux.ep.Dial(ctx, string(to), link.Raft)
	if err != nil {
		return nil, err
	}
	head := binary.BigEndian.AppendUint64(nil, l.group.Keyspace)
	head = binary.BigEndian.AppendUint32(head, l.group.Shard)
	head = binary.BigEndian.AppendUint64(head, l.lineage.own())
	_ = conn.SetWriteDeadline(time.Now().Add(timeout))
	if _, err := conn.Write(head); err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = conn.SetWriteDeadline(time.Time{})
	return l.track(conn)
}

// Addr is the node's name: no address of a machine enters a Raft configuration.
func (l *layer) Addr() net.Addr { return nodeAddr(l.mux.ep.Name()) }

func (l *layer) Close() error {
	l.mux.mu.Lock()
	if l.mux.layers[l.group] == l {
		delete(l.mux.layers, l.group)
	}
	l.mux.mu.Unlock()

	l.cancel()
	l.mu.Lock()
	l.closed = true
	open := make([]*tracked, 0, len(l.conns))
	for t := range l.conns {
		open = append(open, t)
	}
	l.mu.Unlock()
	for _, t := range open {
		_ = t.Close()
	}
	return nil
}

type nodeAddr string

func (nodeAddr) Network() string  { return "dialkv" }
func (a nodeAddr) String() string { return string(a) }
