package localcluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/node"
	"github.com/dialkv/dialkv/store"
)

// MemoryConfig describes a cluster in this process.
type MemoryConfig struct {
	Nodes int // default 5
	Seed  uint64
	// Latency and Jitter of every link. In virtual time they must not be zero:
	// operations that take no time are all concurrent, and nothing can be stale.
	Latency, Jitter time.Duration
	// Timing is each node's; the default is node.Classroom.
	Timing node.Timing
	// Storage is each node's, but for its FS. A MemTable of zero is 256 KiB, so that
	// tables are written, and a Cache of zero is 1 MiB.
	Storage node.Storage
	// Clock gives each node its wall clock; nil is time.Now.
	Clock  func(name string) func() time.Time
	Logger *slog.Logger
	// Spans takes those of all nodes; nil keeps none.
	Spans sdktrace.SpanProcessor
}

// Memory is a cluster in this process, on an in-memory network and in-memory
// disks that lose what was not synced when a node is killed.
type Memory struct {
	cfg MemoryConfig
	net *link.Network

	mu       sync.Mutex
	names    []string
	removed  []string // names of nodes that were taken out
	nodes    map[string]*running
	disks    map[string]*vfs.MemFS   // of nodes that are down
	paces    map[string]*engine.Pace // of their disks
	troubles map[string]*engine.Trouble
	clones   []*running
}

// running is one node of this process.
type running struct {
	node  *node.Node
	door  *link.Endpoint
	disk  *vfs.MemFS
	stop  context.CancelFunc
	done  chan struct{} // closed when node.Run has returned err
	err   error
	admin *grpc.ClientConn
}

// ended reports whether the node has ended.
func (r *running) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

var _ Cluster = (*Memory)(nil)

// NewMemory starts the cluster and returns when every node is ready.
func NewMemory(ctx context.Context, cfg MemoryConfig) (*Memory, error) {
	if cfg.Nodes == 0 {
		cfg.Nodes = 5
	}
	if cfg.Timing == (node.Timing{}) {
		cfg.Timing = node.Classroom
	}
	cfg.Storage.MemTable = cmp.Or(cfg.Storage.MemTable, 256<<10)
	cfg.Storage.Cache = cmp.Or(cfg.Storage.Cache, 1<<20)
	m := &Memory{
		cfg:   cfg,
		net:   link.NewNetwork(link.NetworkConfig{Seed: cfg.Seed, Latency: cfg.Latency, Jitter: cfg.Jitter}),
		nodes: make(map[string]*running), disks: make(map[string]*vfs.MemFS), paces: make(map[string]*engine.Pace), troubles: make(map[string]*engine.Trouble),
	}
	for i := range cfg.Nodes {
		m.names = append(m.names, fmt.Sprintf("n%d", i+1))
	}
	for _, name := range m.Nodes() {
		if err := m.start(ctx, name, vfs.NewCrashableMem()); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	for _, name := range m.Nodes() {
		if err := m.awaitReady(ctx, name); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	return m, nil
}

// start runs a node on a disk. It belongs to the cluster's whole life, not to ctx.
func (m *Memory) start(ctx context.Context, name string, disk *vfs.MemFS) error {
	door, err := m.net.Endpoint(name)
	if err != nil {
		return err
	}
	r, err := m.open(ctx, name, disk, door)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes[name] = r
	delete(m.disks, name)
	return nil
}

// open runs a node on a disk and behind a door.
func (m *Memory) open(ctx context.Context, name string, disk *vfs.MemFS, door *link.Endpoint) (*running, error) {
	names := m.Nodes()
	cfg := node.Config{
		Node: name, Data: "/" + name, Expect: len(names), AllowFaults: true,
		Network: node.Network{Endpoint: door, DialSeed: m.net.DialClient},
		Storage: m.cfg.Storage,
		Timing:  m.cfg.Timing, Logger: m.cfg.Logger, Spans: m.cfg.Spans,
	}
	cfg.Storage.FS = engine.Slow(engine.Failing(disk, m.troubleOf(name)), m.paceOf(name))
	if len(m.all()) > 0 { // the first of all founds the cluster
		cfg.Join = slices.DeleteFunc(names, func(other string) bool { return other == name })
	}
	if m.cfg.Clock != nil {
		cfg.Clock = m.cfg.Clock(name)
	}
	n, err := node.Open(cfg)
	if err != nil {
		return nil, errors.Join(err, door.Close())
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{node: n, door: door, disk: disk, stop: stop, done: make(chan struct{})}
	addr := door.Addr()
	r.admin, err = kvpb.Dial(name, func(ctx context.Context, _ string) (net.Conn, error) { return m.net.DialClient(ctx, addr) })
	if err != nil {
		stop()
		return nil, err
	}
	go func() {
		defer close(r.done)
		r.err = n.Run(life)
	}()
	return r, nil
}

func (m *Memory) awaitReady(ctx context.Context, name string) error {
	r, err := m.get(name)
	if err != nil {
		return err
	}
	select {
	case <-r.node.Ready():
		return nil
	case <-r.done:
		if r.err != nil {
			return r.err
		}
		return &store.Error{Code: store.Unavailable, Node: name, Msg: "the node stopped before it was ready"}
	case <-ctx.Done():
		e := store.Expired(ctx, name+" to be ready")
		e.Msg += ": " + r.lacks(context.WithoutCancel(ctx))
		return e
	}
}

// lacks is why the node is not ready.
func (r *running) lacks(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	s, err := kvpb.NewAdminClient(r.admin).Status(ctx, &kvpb.StatusRequest{})
	if err != nil {
		return "it does not say why: " + kvpb.FromStatus(err).Error()
	}
	return strings.Join(s.GetReasons(), ", ")
}

func (m *Memory) get(name string) (*running, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.nodes[name]; r != nil {
		return r, nil
	}
	if !slices.Contains(m.names, name) {
		return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("there is no node %q", name), Try: fmt.Sprintf("one of %v", m.names)}
	}
	return nil, &store.Error{Code: store.Unavailable, Node: name, Msg: "the node is down", Try: "node restart " + name}
}

// Nodes names the nodes.
func (m *Memory) Nodes() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.names)
}

// all are the nodes that run.
func (m *Memory) all() map[string]*running {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.nodes)
}

// Client returns a client that stands outside of the nodes' network.
func (m *Memory) Client(ctx context.Context, at string) (*client.Client, error) {
	if at != "" && !slices.Contains(m.Nodes(), at) {
		_, err := m.get(at)
		return nil, err
	}
	cfg, err := m.Outside()
	if err != nil {
		return nil, err
	}
	cfg.At = at
	return client.Open(ctx, cfg)
}

// Knock connects to a node as a client does, whatever the rules of links are.
func (m *Memory) Knock(ctx context.Context, name string) (net.Conn, error) {
	r, err := m.get(name)
	if err != nil {
		return nil, err
	}
	return m.net.DialClient(ctx, r.door.Addr())
}

// Outside is how a client finds the cluster that stands outside of the nodes' network.
func (m *Memory) Outside() (client.Config, error) {
	return client.Config{
		Seeds: m.Nodes(),
		Dial:  func(ctx context.Context, _, addr string) (net.Conn, error) { return m.net.DialClient(ctx, addr) },
	}, nil
}

// Admin is the admin API of a node that runs.
func (m *Memory) Admin(name string) (kvpb.AdminClient, error) {
	r, err := m.get(name)
	if err != nil {
		return nil, err
	}
	return kvpb.NewAdminClient(r.admin), nil
}

// SetFaults sets the rules of the network, which all nodes share. They hold for
// nodes that are restarted later, too.
func (m *Memory) SetFaults(_ context.Context, rules []link.Rule) error {
	return m.net.Rules().Set(rules)
}

// Kill ends a node: its links first, so that nothing leaves any more, then the
// instant of its disk is kept, and what the dying node still does nobody sees.
func (m *Memory) Kill(_ context.Context, name string) error {
	r, err := m.get(name)
	if err != nil {
		return err
	}
	r.door.Kill()
	disk := r.disk.CrashClone(vfs.CrashCloneCfg{})
	m.mu.Lock()
	delete(m.nodes, name)
	m.disks[name] = disk
	m.mu.Unlock()
	r.stop()
	<-r.done // the error of a node that was killed says nothing
	return r.admin.Close()
}

// Stop ends a node as SIGTERM does: it gives away what it leads, answers what it was
// asked, and its disk has everything.
func (m *Memory) Stop(_ context.Context, name string) error {
	r, err := m.get(name)
	if err != nil {
		return err
	}
	r.stop()
	<-r.done
	m.mu.Lock()
	delete(m.nodes, name)
	m.disks[name] = r.disk
	m.mu.Unlock()
	return errors.Join(r.err, r.admin.Close())
}

// Restart starts a node again on what its disk has; one that runs is ended first, in an
// orderly way.
func (m *Memory) Restart(ctx context.Context, name string) error {
	if r, err := m.get(name); err == nil {
		ended := r.ended() // by itself, of what it has told
		if err := m.Stop(ctx, name); err != nil && !ended {
			return err
		}
	}
	m.mu.Lock()
	disk := m.disks[name]
	m.mu.Unlock()
	if disk == nil {
		_, err := m.get(name)
		return err
	}
	if err := m.start(ctx, name, disk); err != nil {
		return err
	}
	return m.awaitReady(ctx, name)
}

// Add starts one more node.
func (m *Memory) Add(ctx context.Context, name string) (string, error) {
	m.mu.Lock()
	if name == "" {
		name = nextName(slices.Concat(m.names, m.removed))
	}
	err := checkNew(name, m.names, m.removed)
	if err == nil {
		m.names = append(m.names, name)
	}
	m.mu.Unlock()
	if err != nil {
		return "", err
	}
	if err := m.start(ctx, name, vfs.NewCrashableMem()); err != nil {
		m.forget(name)
		return "", err
	}
	if err := m.awaitReady(ctx, name); err != nil {
		return "", err
	}
	return name, awaitVote(ctx, m, name)
}

// Remove takes a node out of the cluster.
func (m *Memory) Remove(ctx context.Context, name string, dead bool, progress func(string)) ([]string, error) {
	moved, err := retire(ctx, m, name, dead, progress)
	if err != nil {
		return nil, err
	}
	if r := m.forget(name); r != nil {
		r.stop()
		<-r.done // it may have ended by itself, because it was removed
		err = r.admin.Close()
	}
	return moved, err
}

// forget drops a node and its disk, and returns it if it runs.
func (m *Memory) forget(name string) *running {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.nodes[name]
	delete(m.nodes, name)
	delete(m.disks, name)
	m.names = slices.DeleteFunc(m.names, func(n string) bool { return n == name })
	m.removed = append(m.removed, name)
	return r
}

// Wipe empties the disk of a node that is down.
func (m *Memory) Wipe(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.disks[name] == nil {
		return &store.Error{Code: store.Invalid, Node: name, Msg: "the node is not down", Try: "node kill " + name}
	}
	m.disks[name] = vfs.NewCrashableMem()
	return nil
}

func unpausable(name string) error {
	return &store.Error{
		Code: store.Unsupported, Node: name, Msg: "a node in this process cannot be paused",
		Try: "kvctl cluster start, which runs nodes as processes",
	}
}

// Pause is Unsupported.
func (m *Memory) Pause(_ context.Context, name string) error { return unpausable(name) }

// Resume is Unsupported.
func (m *Memory) Resume(_ context.Context, name string) error { return unpausable(name) }

// Close ends every node in an orderly way.
func (m *Memory) Close() error {
	m.mu.Lock()
	nodes := m.nodes
	m.nodes = make(map[string]*running)
	clones := m.clones
	m.mu.Unlock()
	for _, r := range nodes {
		r.stop()
	}
	var errs error
	for _, r := range clones {
		r.stop()
		<-r.done // what it ends with, who cloned it knows
		errs = errors.Join(errs, r.admin.Close())
	}
	for name, r := range nodes {
		if <-r.done; r.err != nil {
			errs = errors.Join(errs, fmt.Errorf("%s: %w", name, r.err))
		}
		errs = errors.Join(errs, r.admin.Close())
	}
	return errs
}
