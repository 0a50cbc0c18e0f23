package node_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/node"
	"github.com/dialkv/dialkv/store"
)

// onDisk is a node of its own on a real disk and an in-memory network.
func onDisk(t *testing.T, name, dir string) node.Config {
	t.Helper()
	network := link.NewNetwork(link.NetworkConfig{})
	door, err := network.Endpoint(name)
	if err != nil {
		t.Fatal(err)
	}
	return node.Config{Node: name, Data: dir, Network: node.Network{Endpoint: door}, Timing: node.Classroom}
}

// start runs a node until it is ready, and returns how to stop it.
func start(t *testing.T, cfg node.Config) (stop func() error) {
	t.Helper()
	n, stop := run(t, cfg)
	select {
	case <-n.Ready():
	case <-time.After(20 * time.Second):
		t.Fatalf("the node is not ready after 20 s: %v", stop())
	}
	return stop
}

// run runs a node, and returns how to stop it.
func run(t *testing.T, cfg node.Config) (n *node.Node, stop func() error) {
	t.Helper()
	n, err := node.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	return n, func() error { cancel(); return <-done }
}

func refused(t *testing.T, err error, code store.Code, says string) {
	t.Helper()
	if !errors.Is(err, code) || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v, want %s that says %q", err, code, says)
	}
}

func TestDataDirectoryIsOfOneProcessAndOneNode(t *testing.T) {
	dir := t.TempDir()
	stop := start(t, onDisk(t, "n1", dir))
	_, err := node.Open(onDisk(t, "n1", dir))
	refused(t, err, store.Invalid, dir)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	_, err = node.Open(onDisk(t, "n2", dir))
	refused(t, err, store.Invalid, "of node n1, not n2")
	if err := start(t, onDisk(t, "n1", dir))(); err != nil {
		t.Errorf("the directory's own node, after the others were refused: %v", err)
	}
}

func TestTruncatedRaftLogIsRefusedAndNotTouched(t *testing.T) {
	dir := t.TempDir()
	if err := start(t, onDisk(t, "n1", dir))(); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "raft-*.db"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("%v, %v", logs, err)
	}
	for _, size := range []int64{100, 8192, 20000} {
		if err := os.Truncate(logs[0], size); err != nil {
			t.Fatal(err)
		}
		n, err := node.Open(onDisk(t, "n1", dir))
		if err != nil {
			t.Fatal(err)
		}
		refused(t, n.Run(t.Context()), store.Corrupt, logs[0])
		if info, err := os.Stat(logs[0]); err != nil || info.Size() != size {
			t.Errorf("the file has %d bytes after it was refused, %v; it had %d", info.Size(), err, size)
		}
	}
}

func TestRaftLogThatWasMadeAndNotWrittenIsNoFault(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "raft-1-0.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := start(t, onDisk(t, "n1", dir))(); err != nil {
		t.Error(err)
	}
}

func TestPortInUseIsNamedAndNothingIsWritten(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dir := filepath.Join(t.TempDir(), "data")
	_, err = node.Open(node.Config{Node: "n1", Data: dir, Network: node.Network{Listen: ln.Addr().String(), Gossip: "127.0.0.1:0"}})
	refused(t, err, store.Invalid, ln.Addr().String())
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data directory was made: %v", err)
	}
}

func TestBadConfigurationIsRefused(t *testing.T) {
	for name, cfg := range map[string]node.Config{
		"no name":                 {Data: "/d"},
		"a name with a slash":     {Node: "n/1", Data: "/d"},
		"no directory":            {Node: "n1"},
		"an unknown raft log":     {Node: "n1", Data: "/d", RaftLog: "paper"},
		"a bolt log in memory":    {Node: "n1", Data: "/d", RaftLog: node.RaftLogBolt, Storage: node.Storage{FS: vfs.NewMem()}},
		"less than no other node": {Node: "n1", Data: "/d", Expect: -1},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := node.Open(cfg); !errors.Is(err, store.Invalid) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAKnownNameWithAnotherDiskIsNotLetIn(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		network := link.NewNetwork(link.NetworkConfig{Latency: time.Millisecond})
		configure := func(name string, join ...string) node.Config {
			door, err := network.Endpoint(name)
			if err != nil {
				t.Fatal(err)
			}
			return node.Config{
				Node: name, Data: "/" + name, Join: join, Timing: node.Classroom,
				Network: node.Network{Endpoint: door, DialSeed: network.DialClient},
				Storage: node.Storage{FS: vfs.NewMem(), MemTable: 256 << 10},
			}
		}
		stops := []func() error{start(t, configure("n1")), start(t, configure("n2", "n1"))}
		if err := start(t, configure("n3", "n1"))(); err != nil {
			t.Fatal(err)
		}
		n, err := node.Open(configure("n3", "n1")) // on an empty disk
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		refused(t, n.Run(ctx), store.AlreadyExists, "another data directory")
		for _, stop := range stops {
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
	})
}
