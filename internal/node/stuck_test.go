package node_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/node"
	"github.com/dialkv/dialkv/store/cp"
)

// hanging is a disk that, once told so, answers no sync of a log until it is released.
type hanging struct {
	vfs.FS
	hangs    *atomic.Bool
	released chan struct{}
}

type hangingFile struct {
	vfs.File
	disk hanging
}

func (h hanging) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := h.FS.Create(name, category)
	if err != nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return hangingFile{f, h}, nil
}

func (f hangingFile) wait() {
	if f.disk.hangs.Load() {
		<-f.disk.released
	}
}

func (f hangingFile) Sync() error     { f.wait(); return f.File.Sync() }
func (f hangingFile) SyncData() error { f.wait(); return f.File.SyncData() }

// In real time: what hangs never ends, which a bubble would not allow. A leader with a
// dead disk would keep its seat; the node ends instead, so that its process can exit.
func TestNodeWhoseDiskDoesNotAnswerEnds(t *testing.T) {
	t.Parallel()
	network := link.NewNetwork(link.NetworkConfig{})
	door, err := network.Endpoint("n1")
	if err != nil {
		t.Fatal(err)
	}
	disk := hanging{vfs.NewMem(), new(atomic.Bool), make(chan struct{})}
	n, err := node.Open(node.Config{
		Node: "n1", Data: "/n1", Timing: node.Classroom,
		Network: node.Network{Endpoint: door, DialSeed: network.DialClient},
		Storage: node.Storage{FS: disk, MemTable: 256 << 10},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer close(disk.released)
	ended := make(chan error, 1)
	go func() { ended <- n.Run(t.Context()) }()
	limit := time.After(time.Minute)
	select {
	case <-n.Ready():
	case <-limit:
		t.Fatal("it is not ready within a minute")
	}
	disk.hangs.Store(true)
	go func() { // whatever writes; it never hears how that ended
		_, _ = n.CreateKeyspace(t.Context(), &kvpb.CreateKeyspaceRequest{Name: "k", Mode: "cp"})
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, cp.ErrStuck) {
			t.Errorf("Run: %v", err)
		}
	case <-limit:
		t.Error("it goes on with a disk that does not answer")
	}
}
