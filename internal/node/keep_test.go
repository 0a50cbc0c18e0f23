package node_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/node"
	"github.com/dialkv/dialkv/store"
)

// three nodes of a network, each on a file system of its own.
type three struct {
	t       *testing.T
	network *link.Network
	disks   map[string]vfs.FS
	stops   map[string]func() error
}

func startThree(t *testing.T, wrap func(vfs.FS) vfs.FS) *three {
	r := &three{
		t: t, network: link.NewNetwork(link.NetworkConfig{Latency: time.Millisecond}),
		disks: map[string]vfs.FS{}, stops: map[string]func() error{},
	}
	for _, name := range []string{"n1", "n2", "n3"} {
		r.disks[name] = wrap(vfs.NewMem())
		r.start(name)
	}
	return r
}

func (r *three) start(name string) {
	r.t.Helper()
	door, err := r.network.Endpoint(name)
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := node.Config{
		Node: name, Data: "/" + name, Timing: node.Classroom,
		Network: node.Network{Endpoint: door, DialSeed: r.network.DialClient},
		Storage: node.Storage{FS: r.disks[name], MemTable: 256 << 10},
	}
	if name != "n1" {
		cfg.Join = []string{"n1"}
	}
	r.stops[name] = start(r.t, cfg)
}

func (r *three) stop(names ...string) {
	r.t.Helper()
	for _, name := range names {
		if err := r.stops[name](); err != nil {
			r.t.Error(err)
		}
	}
}

func (r *three) admin(do func(context.Context, kvpb.AdminClient) error) {
	r.t.Helper()
	cc, err := kvpb.Dial("n1", r.network.DialClient)
	if err != nil {
		r.t.Fatal(err)
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	if err := do(ctx, kvpb.NewAdminClient(cc)); err != nil {
		r.t.Fatal(kvpb.FromStatus(err))
	}
}

func (r *three) create(mode string) store.GroupID {
	r.t.Helper()
	var id uint64
	r.admin(func(ctx context.Context, a kvpb.AdminClient) error {
		resp, err := a.CreateKeyspace(ctx, &kvpb.CreateKeyspaceRequest{Name: "k-" + mode, Mode: mode})
		id = resp.GetKeyspace().GetId()
		return err
	})
	return store.GroupID{Keyspace: id}
}

// keeps counts what a stopped node's disk holds of a group.
func (r *three) keeps(name string, id store.GroupID) (keys int) {
	r.t.Helper()
	e, err := engine.Open(engine.Config{Dir: "/" + name, FS: r.disks[name]})
	if err != nil {
		r.t.Fatal(err)
	}
	for kind := range 256 {
		view := e.Space(id, byte(kind)).View()
		for range view.Scan(nil, nil, &err) {
			keys++
		}
		view.Close()
	}
	if err := errors.Join(err, e.Close()); err != nil {
		r.t.Fatal(err)
	}
	return keys
}

func plain(fs vfs.FS) vfs.FS { return fs }

func TestKeyspaceDeletedWhileANodeWasDownLeavesNothingOnItsDisk(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		r := startThree(t, plain)
		stays := r.create("cp")
		var cp store.GroupID
		r.admin(func(ctx context.Context, a kvpb.AdminClient) error {
			resp, err := a.CreateKeyspace(ctx, &kvpb.CreateKeyspaceRequest{Name: "gone", Mode: "cp"})
			cp.Keyspace = resp.GetKeyspace().GetId()
			return err
		})
		ap := r.create("ap")
		r.stop("n3")
		if r.keeps("n3", cp) == 0 {
			t.Error("the test looks in the wrong place")
		}
		r.admin(func(ctx context.Context, a kvpb.AdminClient) error {
			_, err := a.DeleteKeyspace(ctx, &kvpb.DeleteKeyspaceRequest{Name: "gone"})
			if err == nil {
				_, err = a.DeleteKeyspace(ctx, &kvpb.DeleteKeyspaceRequest{Name: "k-ap"})
			}
			return err
		})
		r.start("n3")
		<-time.After(10 * time.Second)
		r.stop("n3")
		if n, m := r.keeps("n3", cp), r.keeps("n3", ap); n+m > 0 {
			t.Errorf("the disk still holds %d and %d keys of deleted keyspaces", n, m)
		}
		if r.keeps("n3", stays) == 0 {
			t.Error("the keyspace that was not deleted is gone")
		}
		r.stop("n1", "n2")
	})
}

func TestReplicaThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		var refusals atomic.Int64
		r := startThree(t, func(fs vfs.FS) vfs.FS {
			return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind == errorfs.OpMkdirAll && strings.HasPrefix(op.Path, "/n2/snapshots/2-") && refusals.Add(1) <= 3 {
					return errors.New("not now")
				}
				return nil
			}))
		})
		r.create("cp")
		<-time.After(10 * time.Second)
		if refusals.Load() <= 3 {
			t.Errorf("the replica was tried %d times", refusals.Load())
		}
		cc, err := kvpb.Dial("n2", r.network.DialClient)
		if err != nil {
			t.Fatal(err)
		}
		s, err := kvpb.NewAdminClient(cc).Status(t.Context(), &kvpb.StatusRequest{})
		if err != nil || !s.GetReady() {
			t.Errorf("n2 is not ready: %v, %v", s.GetReasons(), err)
		}
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
		r.stop("n3", "n2", "n1")
	})
}
