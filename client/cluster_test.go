package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/test/bufconn"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/front"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/rpc"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

const clusterID = "00112233445566778899aabbccddeeff"

var group = store.GroupID{Keyspace: 7}

// cluster is three nodes with the real services over connections in memory, and
// one group whose replicas do what the test says.
type cluster struct {
	t     testing.TB
	nodes map[string]*node

	mu       sync.Mutex
	topology shard.Topology
	calls    []called // every write that reached a replica
}

type called struct {
	node  string
	group store.GroupID
	store.Command
}

// node is one of them. What its replica does is write and read; nil is a plain
// success.
type node struct {
	*cluster
	name     string
	listener *bufconn.Listener
	write    func(ctx context.Context, c store.Command) (store.Result, error)
	read     func(ctx context.Context, q store.Query) (store.Page, error)
	scan     func(group store.GroupID, q store.Query) (store.Page, error) // of ranges, if it is not nil
	watch    func(ctx context.Context, q store.WatchQuery) (store.Changes, error)
	catalog  func(name string) error // of a keyspace that the topology does not hold
	save     func(s sending) error
	restore  func(bytes int64) error // once it was sent all

	mu    sync.Mutex
	conns []net.Conn
	dial  func(ctx context.Context) error // nil: connects
	hung  chan struct{}                   // closed when the node goes on; nil: it does not hang
}

// world runs a test in virtual time.
func world(t *testing.T, mode store.Mode, f func(t *testing.T, w *cluster)) {
	t.Helper()
	linktest.Bubble(t, func(t *testing.T) {
		w := newCluster(t, mode)
		f(t, w)
		w.stop()
	})
}

func newCluster(t testing.TB, mode store.Mode) *cluster {
	w := &cluster{t: t, nodes: make(map[string]*node)}
	names := []string{"n1", "n2", "n3"}
	w.topology = shard.Topology{
		Cluster: clusterID, Epoch: 1, Revision: 10,
		Keyspaces: []shard.Keyspace{{ID: 7, Name: "ks", Mode: mode, Groups: 1, Placement: [][]string{names}}},
	}
	for _, name := range names {
		w.topology.Nodes = append(w.topology.Nodes, shard.Node{Name: name, Addr: name})
		n := &node{cluster: w, name: name, listener: bufconn.Listen(1 << 20)}
		w.nodes[name] = n
		go func() { _ = n.serve() }()
	}
	return w
}

func (n *node) serve() error {
	s := rpc.NewServer(rpc.Config{Node: n, Admin: keeper{n: n}})
	own, err := client.Open(n.t.Context(), client.Config{Seeds: []string{n.name}, Dial: n.dialler()})
	if err != nil {
		return err
	}
	kvpb.RegisterFrontServer(s, front.New(own, nil))
	go func() {
		<-n.t.Context().Done()
		s.Stop()
		_ = own.Close()
	}()
	return s.Serve(n.listener)
}

func (n *node) dialler() func(ctx context.Context, name, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, addr string) (net.Conn, error) { return n.connect(ctx, addr) }
}

func (w *cluster) stop() {
	for _, n := range w.nodes {
		_ = n.listener.Close()
		n.cut()
	}
}

// open returns a client of the cluster that is closed with the test.
func (w *cluster) open(change func(*client.Config)) *client.Client {
	cfg := client.Config{Seeds: []string{"n1", "n2", "n3"}, Dial: func(ctx context.Context, _, addr string) (net.Conn, error) {
		return w.connect(ctx, addr)
	}}
	if change != nil {
		change(&cfg)
	}
	c, err := client.Open(w.t.Context(), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (w *cluster) keyspace() *client.Keyspace { return w.open(nil).Keyspace("ks") }

func (w *cluster) connect(ctx context.Context, addr string) (net.Conn, error) {
	n := w.nodes[addr]
	if n == nil {
		return nil, fmt.Errorf("no route to %q", addr)
	}
	n.mu.Lock()
	dial := n.dial
	n.mu.Unlock()
	if dial != nil {
		if err := dial(ctx); err != nil {
			return nil, err
		}
	}
	conn, err := n.listener.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, conn)
	return &stoppable{Conn: conn, node: n, closed: make(chan struct{})}, nil
}

// stoppable is a connection of which nothing is heard while the node hangs.
type stoppable struct {
	net.Conn
	node   *node
	once   sync.Once
	closed chan struct{}
}

func (s *stoppable) Read(b []byte) (int, error) {
	got, err := s.Conn.Read(b)
	s.node.mu.Lock()
	hung := s.node.hung
	s.node.mu.Unlock()
	if hung != nil {
		select {
		case <-hung:
		case <-s.closed:
		}
	}
	return got, err
}

func (s *stoppable) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

// hang makes the node as one whose process is stopped: connections stay, and nothing is
// answered, until it is told to go on.
func (n *node) hang() (goOn func()) {
	hung := make(chan struct{})
	set := func(c chan struct{}) { n.mu.Lock(); n.hung = c; n.mu.Unlock() }
	set(hung)
	return func() { set(nil); close(hung) }
}

// cut breaks the node's connections; answers under way are lost.
func (n *node) cut() {
	n.mu.Lock()
	conns := n.conns
	n.conns = nil
	n.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

// unreachable makes every further dial fail so, and returns when the broken
// connections have been noticed.
func (n *node) unreachable(dial func(ctx context.Context) error) {
	n.mu.Lock()
	n.dial = dial
	n.mu.Unlock()
	n.cut()
	synctest.Wait()
}

func refused(context.Context) error { return errors.New("connection refused") }

func hole(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// The node as rpc sees it.

func (n *node) Topology() shard.Topology {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	t := n.topology
	t.Node = n.name
	return t
}

func (n *node) Keyspace(_ context.Context, id uint64, name string) (shard.Keyspace, error) {
	t := n.Topology()
	if k, ok := t.KeyspaceByID(id); ok {
		return k, nil
	}
	if k, ok := t.Keyspace(name); ok && id == 0 {
		return k, nil
	}
	if n.catalog != nil {
		return shard.Keyspace{}, n.catalog(name)
	}
	return shard.Keyspace{}, store.NoSuchKeyspace
}

func (n *node) Replica(group store.GroupID) (store.Replica, bool) { return replica{n, group}, true }
func (n *node) Peer(store.GroupID) (rpc.PeerReplica, bool)        { return nil, false }
func (n *node) Prove(_ context.Context, _ store.GroupID, seen token.Deps) (token.Deps, error) {
	return seen, nil
}
func (w *cluster) change(f func(t *shard.Topology)) { w.mu.Lock(); defer w.mu.Unlock(); f(&w.topology) }
func (w *cluster) each(f func(n *node)) {
	for _, n := range w.nodes {
		f(n)
	}
}
func (w *cluster) writes() []called { w.mu.Lock(); defer w.mu.Unlock(); return slices.Clone(w.calls) }

type replica struct {
	*node
	group store.GroupID
}

func (r replica) Watch(ctx context.Context, q store.WatchQuery) (store.Changes, error) {
	if r.watch == nil {
		return nil, store.Unsupported
	}
	return r.watch(ctx, q)
}

func (r replica) Read(ctx context.Context, q store.Query) (store.Page, error) {
	if q.Scan() && r.scan != nil {
		return r.scan(r.group, q)
	}
	if r.read == nil {
		return store.Page{Revision: 3, Entry: revision(3), Proof: store.Proof{Node: r.name}}, nil
	}
	return r.read(ctx, q)
}

func (r replica) Write(ctx context.Context, c store.Command) (store.Result, error) {
	r.cluster.mu.Lock()
	r.calls = append(r.calls, called{r.name, r.group, c})
	r.cluster.mu.Unlock()
	switch {
	case c.Op == store.OpenSession && r.write == nil:
		return store.Result{Revision: 100}, nil
	case r.write == nil:
		return store.Result{Revision: 4, Entry: revision(4), Proof: store.Proof{Node: r.name}}, nil
	}
	return r.write(ctx, c)
}

func (r replica) Status() store.Status          { return store.Status{} }
func (r replica) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func revision(n uint64) store.Entry { return token.EncodeEntry([]token.Component{{N: n}}) }

// sharded gives the keyspace n groups, on all nodes.
func (w *cluster) sharded(n uint32) {
	w.change(func(t *shard.Topology) {
		k := t.Keyspaces[0]
		k.Groups, k.Placement = n, nil
		for range n {
			k.Placement = append(k.Placement, []string{"n1", "n2", "n3"})
		}
		t.Keyspaces = []shard.Keyspace{k}
	})
}

// led makes every node but one name that one as the leader.
func (w *cluster) led(leader string) {
	w.each(func(n *node) {
		if n.name != leader {
			n.write = func(context.Context, store.Command) (store.Result, error) {
				return store.Result{}, &store.Error{Code: store.NotLeader, Leader: leader}
			}
		}
	})
}

// puts lists where puts arrived, and with which numbers.
func (w *cluster) puts() string {
	var out []string
	for _, c := range w.writes() {
		if c.Op == store.Put {
			s := fmt.Sprintf("%s:%d", c.node, c.Request.Number)
			if c.Request.Retry {
				s += "r"
			}
			out = append(out, s)
		}
	}
	return strings.Join(out, " ")
}

func wantCode(t *testing.T, err error, code store.Code) {
	t.Helper()
	if store.AsError(err) == nil || store.AsError(err).Code != code {
		t.Errorf("error is %v, want %s", err, code)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
