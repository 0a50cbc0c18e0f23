package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/grpc"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/catalog"
	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/front"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/rpc"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/internal/telemetry"
	"github.com/dialkv/dialkv/membership"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

// Node is one member of a cluster.
type Node struct {
	cfg    Config
	engine *engine.Engine
	memory memory
	disk   engine.Pace    // of a node that takes faults
	ills   engine.Trouble // of its disk
	skew   atomic.Int64   // of its wall clock, in nanoseconds, on a node that takes faults
	door   *link.Endpoint
	http   *front.HTTP // or nil
	web    *front.HTTP // or nil
	book   *book

	metrics *telemetry.Metrics
	tracing *telemetry.Tracing
	traffic rpc.Traffic

	id identity // Run completes it, before anything else starts

	*parts
	*life
	groups   *groups
	deps     *deps
	held     held
	topology atomic.Pointer[shard.Topology]

	refreshing sync.Mutex // of topology
}

// life is how far the node has come.
type life struct {
	joined   atomic.Bool   // parts is set
	ready    chan struct{} // closed when it serves for the first time
	once     sync.Once     // of ready
	known    atomic.Bool   // the catalog's majority has its record
	heard    chan struct{} // closed when its copy of the catalog is known to be fresh
	ending   atomic.Bool   // it is being stopped
	draining atomic.Bool   // it leads nothing any more
	drain    chan struct{} // closed when draining is set
	stuck    firstError    // a replica cannot be ended, and so neither can the node
}

func newLife() *life {
	return &life{ready: make(chan struct{}), heard: make(chan struct{}), drain: make(chan struct{})}
}

// drained is closed when the node begins to be drained, and nil once it is.
func (l *life) drained() <-chan struct{} {
	if l.draining.Load() {
		return nil
	}
	return l.drain
}

// parts are the rooms that need to know which cluster this is.
type parts struct {
	mux     *cp.Mux
	pool    *rpc.Pool
	own     *client.Client // the node's own way into the cluster, from where it stands
	system  *cp.Replica    // of the catalog's group
	catalog *catalog.Catalog
	members *membership.Members
	server  *grpc.Server
}

// Open opens the node's storage and its door. What it refuses, bad configuration,
// a directory or a port in use, it refuses before anything is written.
func Open(cfg Config) (*Node, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, book: newBook(), life: newLife(), memory: newMemory()}
	n.metrics = telemetry.NewMetrics(n.figures)
	n.tracing = telemetry.NewTracing(cfg.Node, cfg.Spans)
	n.groups = &groups{node: n, open: make(map[store.GroupID]*group)}
	n.deps = newDeps()
	n.topology.Store(&shard.Topology{Node: cfg.Node})
	var err error
	if err = n.openDoors(); err != nil {
		return nil, err
	}
	n.engine, err = engine.Open(engine.Config{
		Dir: cfg.Data, FS: n.storage(), MemTable: cfg.Storage.MemTable, Cache: cfg.Storage.Cache,
	})
	if err != nil {
		return nil, errors.Join(err, n.closeDoors())
	}
	n.held = openHeld(n.engine)
	if n.id, err = loadIdentity(n.engine, cfg.Node); err != nil {
		return nil, errors.Join(err, n.engine.Close(), n.closeDoors())
	}
	n.id.Start = startAfter(n.id.Start, cfg.Clock())
	n.introduce()
	return n, nil
}

// introduce has the door say which process of which node this is.
func (n *Node) introduce() {
	n.door.Introduce(link.Introduction{
		Cluster: n.id.Cluster, Start: n.id.Start, Resolve: n.book.resolve,
		Twins: func(t link.Twins) {
			n.cfg.Logger.Warn("two processes of one node were met, and the later one is refused",
				"node", t.Node, "kept", t.KeptAddr, "refused", t.RefusedAddr)
		},
	})
}

// storage is the node's disk; one that takes faults can be made slow, and fail.
func (n *Node) storage() vfs.FS {
	if n.cfg.AllowFaults {
		return engine.Slow(engine.Failing(cmp.Or(n.cfg.Storage.FS, vfs.Default), &n.ills), &n.disk)
	}
	return n.cfg.Storage.FS
}

func (n *Node) openDoors() (err error) {
	if n.door, err = n.openDoor(); err != nil {
		return err
	}
	if n.cfg.Network.Admin != "" {
		n.http, err = front.ListenHTTP("--admin", n.cfg.Network.Admin)
	}
	if n.cfg.Network.Web != "" && err == nil {
		n.web, err = front.ListenHTTP("--web", n.cfg.Network.Web)
	}
	if err != nil {
		return errors.Join(err, n.closeDoors())
	}
	return nil
}

func (n *Node) closeDoors() error {
	err := n.door.Close()
	for _, h := range []*front.HTTP{n.http, n.web} {
		if h != nil {
			err = errors.Join(err, h.Close())
		}
	}
	return err
}

func (n *Node) openDoor() (*link.Endpoint, error) {
	if n.cfg.Network.Endpoint != nil {
		return n.cfg.Network.Endpoint, nil
	}
	return link.Listen(link.Config{
		Node: n.cfg.Node, Listen: n.cfg.Network.Listen, Gossip: n.cfg.Network.Gossip,
		Resolve: n.book.resolve, Faults: n.cfg.AllowFaults, Hold: true,
		Events: link.Events{Refused: func(remote string, err error) {
			n.cfg.Logger.Debug("connection refused", "remote", remote, "error", err)
		}},
	})
}

// Ready is closed when the node serves for the first time: it knows the catalog, as
// many nodes as it expects, and each of its replicas has caught up.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Addr is where the node listens.
func (n *Node) Addr() string { return n.door.Addr() }

// AdminAddr is where it answers those who watch it, or "".
func (n *Node) AdminAddr() string {
	if n.http == nil {
		return ""
	}
	return n.http.Addr()
}

// Run runs the node until ctx ends, which is nil, or until it cannot go on. It
// closes everything that Open opened, but after an error that is cp.ErrStuck: then a
// disk or Raft does not answer, what waits for it cannot be ended, and the process
// should exit.
func (n *Node) Run(ctx context.Context) error {
	watched := start(context.WithoutCancel(ctx), new(firstError), n.beWatched, n.beSeen)
	defer watched.cancel()
	err := n.belong(ctx)
	if err == nil {
		n.parts, err = n.assemble(ctx)
	}
	if err == nil {
		n.joined.Store(true)
		err = n.serve(ctx)
	}
	if errors.Is(err, cp.ErrStuck) {
		return err
	}
	if n.parts != nil {
		err = errors.Join(err, n.own.Close(), n.pool.Close())
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	watched.stop()
	return errors.Join(err, n.door.Close(), n.memory.close(), n.engine.Close())
}

// assemble opens the rooms. Nothing runs yet. The catalog's replica is opened last:
// it is the one that only its Run closes.
func (n *Node) assemble(ctx context.Context) (p *parts, err error) {
	p = &parts{mux: cp.NewMux(n.door)}
	dial := func(ctx context.Context, name string) (net.Conn, error) { return n.door.Dial(ctx, name, link.RPC) }
	calls := func(ctx context.Context, name string) (net.Conn, error) { return n.door.Dial(ctx, name, link.Calls) }
	p.pool = rpc.NewPool(ctx, rpc.Dials{Server: dial, Calls: calls}, n.cfg.Node, n.id.Cluster)
	p.own, err = client.Open(ctx, client.Config{
		Seeds: []string{n.cfg.Node}, Near: n.cfg.Node,
		TracerProvider: spans.OnlyBelow(n.tracing.Provider()),
		Dial: func(ctx context.Context, name, _ string) (net.Conn, error) {
			if name == "" {
				name = n.cfg.Node
			}
			return dial(ctx, name)
		},
	})
	if err != nil {
		return nil, errors.Join(err, p.pool.Close())
	}
	defer func() {
		if err != nil {
			p, err = nil, errors.Join(err, p.own.Close(), p.pool.Close())
		}
	}()
	p.members, err = membership.Open(membership.Config{
		Cluster: n.id.Cluster, Endpoint: n.door, Peers: n.book.names, Profile: n.cfg.Timing.Membership,
		Events: membership.Events{Joined: n.book.heard},
	})
	if err != nil {
		return p, err
	}
	var founders []string
	if n.id.Founder {
		founders = []string{n.cfg.Node}
	}
	if p.system, err = n.openCP(p, store.CatalogGroup, founders); err != nil {
		return p, err
	}
	p.catalog = catalog.New(p.system, majority{p.own.Keyspace(store.CatalogName)})
	p.server = rpc.NewServer(n.services())
	kvpb.RegisterFrontServer(p.server, front.New(p.own, n.tracing.Begin))
	return p, nil
}

// serve runs the rooms and, at the end, stops them in order: replicas first, so
// that what is in flight is answered; then the catalog, the doors, and the rest.
func (n *Node) serve(ctx context.Context) error {
	base := context.WithoutCancel(ctx)
	var failed firstError
	doors := start(base, &failed,
		func(ctx context.Context) error { return n.mux.Run(ctx) },
		func(context.Context) error { return n.serveRPC() },
		func(ctx context.Context) error { return rpc.ServeCalls(ctx, n.door.Listener(link.Calls), n.services()) },
	)
	system := start(base, &failed, n.system.Run)
	work := start(base, &failed,
		n.catalog.Follow,
		n.members.Run,
		n.groups.follow,
		n.tendCatalog,
		n.announce,
		n.awaitNews,
		n.balance,
		n.settle,
		n.closeActors,
	)
	select {
	case <-ctx.Done():
	case <-failed.happened():
	case <-n.engine.Failed():
		failed.set(n.engine.Err())
	case <-n.stuck.happened():
		failed.set(n.stuck.err())
	case <-n.door.Expelled():
	}
	if errors.Is(failed.err(), cp.ErrStuck) {
		return failed.err() // what hangs cannot be stopped
	}
	n.ending.Store(true)
	n.cfg.Logger.Info("stopping", "node", n.cfg.Node)
	work.stop()
	system.stop()
	n.server.Stop()
	doors.stop()
	if err := n.door.Err(); err != nil {
		return err // whatever else failed did so because the door is shut
	}
	return failed.err()
}

// beWatched answers over HTTP until ctx ends. That nobody can watch the node is no
// reason to end it.
func (n *Node) beWatched(ctx context.Context) error {
	if n.http == nil {
		return nil
	}
	w := front.Watched{Health: n.Health, Metrics: n.metrics.Handler()}
	if err := n.http.Serve(ctx, w.Handler(), slog.NewLogLogger(n.cfg.Logger.Handler(), slog.LevelError)); err != nil {
		n.cfg.Logger.Error("the admin address is not served any more", "node", n.cfg.Node, "error", err)
	}
	return nil
}

func (n *Node) services() rpc.Config {
	return rpc.Config{
		Node: n, Admin: n, Traffic: &n.traffic,
		Served: func(s rpc.Served) { n.metrics.Requests.Served(s.Keyspace, s.Op, s.Level, s.Err, s.Took) },
		Begin:  n.tracing.Begin,
		Panicked: func(ctx context.Context, value any, stack []byte) {
			n.metrics.Events.Panics.Add(1)
			n.cfg.Logger.ErrorContext(ctx, "a handler panicked", "value", value, "stack", string(stack))
		},
	}
}

func (n *Node) serveRPC() error {
	if err := n.server.Serve(n.door.Listener(link.RPC)); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("node: serve: %w", err)
	}
	return nil
}
