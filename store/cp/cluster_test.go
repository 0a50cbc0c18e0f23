package cp_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

// cluster is one cp group on an in-memory network and in-memory disks, with the
// production link, Raft and engine, and peer calls over link connections.
type cluster struct {
	t     testing.TB
	net   *link.Network
	names []string
	nodes map[string]*member
	// open may be changed before a member starts.
	configure func(*cp.Config)
	wrap      func(name string, fs vfs.FS) vfs.FS
}

type member struct {
	name    string
	fs      *vfs.MemFS
	ep      *link.Endpoint
	engine  *engine.Engine
	replica *cp.Replica
	stop    context.CancelFunc
	done    sync.WaitGroup
	asked   atomic.Int64 // calls of other members
	err     error        // of Replica.Run
}

var group = store.GroupID{Keyspace: 7}

func newCluster(t testing.TB, n int, configure func(*cp.Config)) *cluster {
	return newClusterOn(t, n, configure, func(_ string, fs vfs.FS) vfs.FS { return fs })
}

// newClusterOn wraps the disk of each member.
func newClusterOn(t testing.TB, n int, configure func(*cp.Config), wrap func(name string, fs vfs.FS) vfs.FS) *cluster {
	disks := make(map[string]*vfs.MemFS)
	for i := range n {
		disks[fmt.Sprintf("n%d", i+1)] = vfs.NewCrashableMem()
	}
	return newClusterFrom(t, disks, configure, wrap)
}

// newClusterFrom starts a member on each disk.
func newClusterFrom(t testing.TB, disks map[string]*vfs.MemFS, configure func(*cp.Config), wrap func(name string, fs vfs.FS) vfs.FS) *cluster {
	c := &cluster{
		t: t, configure: configure, wrap: wrap, nodes: make(map[string]*member),
		net: link.NewNetwork(link.NetworkConfig{Seed: 1, Latency: 500 * time.Microsecond, Jitter: 500 * time.Microsecond}),
	}
	c.names = slices.Sorted(maps.Keys(disks))
	for _, name := range c.names {
		c.start(name, disks[name], c.names)
	}
	t.Cleanup(c.close)
	return c
}

func (c *cluster) close() {
	for _, m := range c.nodes {
		c.stop(m)
	}
}

func (c *cluster) stop(m *member) {
	m.stop()
	m.done.Wait()
	if m.err != nil {
		c.t.Errorf("%s: Run: %v", m.name, m.err)
	}
	if err := errors.Join(m.ep.Close(), m.engine.Close()); err != nil {
		c.t.Errorf("%s: close: %v", m.name, err)
	}
	delete(c.nodes, m.name)
}

func (c *cluster) start(name string, fs *vfs.MemFS, bootstrap []string) *member {
	c.t.Helper()
	m := &member{name: name, fs: fs}
	var err error
	if m.ep, err = c.net.Endpoint(name); err != nil {
		c.t.Fatal(err)
	}
	if m.engine, err = engine.Open(engine.Config{Dir: "/data", FS: c.wrap(name, fs), MemTable: 256 << 10}); err != nil {
		c.t.Fatal(err)
	}
	mux := cp.NewMux(m.ep)
	cfg := cp.Config{
		Node: name, Group: group, Bootstrap: bootstrap, Engine: m.engine,
		Mux: mux, Peers: peers{m.ep}, Timing: cp.Classroom,
	}
	if c.configure != nil {
		c.configure(&cfg)
	}
	if m.replica, err = cp.Open(cfg); err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	m.stop = cancel
	m.done.Go(func() {
		if err := mux.Run(ctx); err != nil {
			c.t.Errorf("%s: mux: %v", name, err)
		}
	})
	m.done.Go(func() { m.err = m.replica.Run(ctx) })
	m.done.Go(func() { m.servePeers(ctx) })
	c.nodes[name] = m
	return m
}

// crash ends a member as a power cut would and returns what was on its disk.
func (c *cluster) crash(m *member) *vfs.MemFS {
	m.ep.Kill()
	disk := m.fs.CrashClone(vfs.CrashCloneCfg{})
	m.stop()
	m.done.Wait()
	if err := m.engine.Close(); err != nil {
		c.t.Errorf("%s: close: %v", m.name, err)
	}
	delete(c.nodes, m.name)
	return disk
}

func (c *cluster) cut(spec string) {
	c.t.Helper()
	rules, err := link.ParsePartition(spec, c.names)
	if err == nil {
		err = c.net.Rules().Set(rules)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) heal() {
	if err := c.net.Rules().Set(nil); err != nil {
		c.t.Fatal(err)
	}
}

// leader waits until a majority of the members agrees with one that leads.
func (c *cluster) leader(among ...string) *member {
	c.t.Helper()
	if len(among) == 0 {
		among = c.names
	}
	for range 1000 {
		for _, name := range among {
			if m := c.nodes[name]; m != nil && c.leads(m, among) {
				return m
			}
		}
		<-time.After(10 * time.Millisecond)
	}
	c.t.Fatal("no leader within ten seconds")
	return nil
}

// follower is a member that does not lead.
func (c *cluster) follower() *member {
	c.t.Helper()
	leader := c.leader()
	for _, name := range c.names {
		if m := c.nodes[name]; m != nil && m != leader {
			return m
		}
	}
	c.t.Fatal("no follower")
	return nil
}

func (c *cluster) leads(m *member, among []string) bool {
	s := m.replica.Status()
	agree := 0
	for _, name := range among {
		if o := c.nodes[name]; o != nil && o.replica.Status().Leader == m.name && o.replica.Status().Term == s.Term {
			agree++
		}
	}
	return s.Role == "leader" && agree > len(c.names)/2
}

// write goes to the leader, as a client would, until it is answered.
func (c *cluster) write(cmd store.Command) (store.Result, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	return c.leader().replica.Write(ctx, cmd)
}

func (c *cluster) put(key, value string) store.Result {
	c.t.Helper()
	res, err := c.write(store.Command{Op: store.Put, Key: key, Value: []byte(value)})
	if err != nil {
		c.t.Fatalf("put %s: %v", key, err)
	}
	return res
}

func (m *member) get(ctx context.Context, key string, level store.Level) (string, error) {
	page, err := m.replica.Read(ctx, store.Query{Key: key, Level: level})
	if err != nil || len(page.Items) == 0 {
		return "", err
	}
	return string(page.Items[0].Values[0]), nil
}

// peers is cp.Peers with one link connection a call: four bytes of length and the
// payload, there and back. An empty answer is a refusal.
type peers struct{ ep *link.Endpoint }

func (p peers) Call(ctx context.Context, to string, payload []byte) ([]byte, error) {
	conn, err := p.ep.Dial(ctx, to, link.RPC)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	if err := send(conn, payload); err != nil {
		return nil, err
	}
	b, err := receive(conn)
	if err == nil && len(b) == 0 {
		err = errors.New("refused")
	}
	return b, err
}

func (m *member) servePeers(ctx context.Context) {
	ln := m.ep.Listener(link.RPC)
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		conns.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			defer conn.Close()
			b, err := receive(conn)
			if err != nil {
				return
			}
			_ = send(conn, m.answer(ctx, conn.RemoteAddr().String(), b))
		})
	}
}

// answer serves a call as a node does. There is none to what is refused.
func (m *member) answer(ctx context.Context, from string, payload []byte) []byte {
	m.asked.Add(1)
	if b, ok := m.replica.ServeAtOnce(from, payload); ok {
		return b
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	b, _ := m.replica.ServeCall(ctx, from, payload)
	return b
}

func send(conn net.Conn, b []byte) error {
	_, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

func receive(conn net.Conn) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(conn, head); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(head))
	_, err := io.ReadFull(conn, b)
	return b, err
}
