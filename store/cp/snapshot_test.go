package cp_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

// frequent makes snapshots every few entries and keeps few behind them.
func frequent(cfg *cp.Config) { cfg.Compaction = cp.Compaction{Threshold: 20, Trailing: 40} }

func TestFollowerBehindTheLogCatchesUpFromASnapshotWithItsSessions(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, frequent)
		open, err := c.write(store.Command{Op: store.OpenSession})
		if err != nil {
			t.Fatal(err)
		}
		named := store.Command{Op: store.Put, Key: "named", Value: []byte("once"), Request: store.Request{Session: open.Revision, Number: 1, Lowest: 1}}
		first, err := c.write(named)
		if err != nil {
			t.Fatal(err)
		}
		away := c.follower()
		disk := c.crash(away)
		for i := range 200 {
			c.put(fmt.Sprintf("k%03d", i%70), fmt.Sprint("v", i))
		}
		for _, m := range c.nodes {
			if err := m.replica.Snapshot(within(t, 5*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		back := c.start(away.name, disk, c.names)
		page, err := back.replica.Read(within(t, 5*time.Second), store.Query{Limit: store.MaxPage})
		if err != nil || len(page.Items) != 71 {
			t.Fatalf("%d keys, %v, want 71", len(page.Items), err)
		}
		if got, err := back.get(within(t, time.Second), "k059", store.Strong); err != nil || got != "v199" {
			t.Errorf("%q, %v", got, err)
		}
		names, err := disk.List("/data/snapshots/7-0")
		if err != nil || len(names) == 0 {
			t.Errorf("the follower got no snapshot: %v, %v", names, err)
		}
		for _, m := range c.nodes {
			if m.name != back.name {
				c.crash(m)
				c.start(m.name, m.fs.CrashClone(vfs.CrashCloneCfg{}), c.names)
			}
		}
		if res, err := c.write(named); err != nil || res.Revision != first.Revision {
			t.Errorf("a repeated request after the snapshot: %+v, %v; the first answer was %d", res, err, first.Revision)
		}
	})
}

func TestFlippedByteInASnapshotIsDetected(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, frequent)
		for i := range 100 {
			c.put("k", fmt.Sprint("v", i))
		}
		if err := c.leader().replica.Snapshot(within(t, 5*time.Second)); err != nil {
			t.Fatal(err)
		}
		disk := c.crash(c.leader())
		names, err := disk.List("/data/snapshots/7-0")
		if err != nil || len(names) == 0 {
			t.Fatalf("no snapshot: %v, %v", names, err)
		}
		flip(t, disk, "/data/snapshots/7-0/"+names[len(names)-1])
		e, err := engine.Open(engine.Config{Dir: "/data", FS: disk})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		ep, err := c.net.Endpoint("again")
		if err != nil {
			t.Fatal(err)
		}
		defer ep.Close()
		_, err = cp.Open(cp.Config{Node: "n1", Group: group, Engine: e, Mux: cp.NewMux(ep), Peers: peers{ep}})
		if !errors.Is(err, engine.ErrCorrupt) {
			t.Errorf("opened a replica on a flipped snapshot: %v", err)
		}
	})
}

// flip inverts a byte in the middle of a file.
func flip(t *testing.T, fs *vfs.MemFS, name string) {
	t.Helper()
	in, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 0xff
	out, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = out.Write(b)
	}
	if err = errors.Join(err, out.Close(), in.Close()); err != nil {
		t.Fatal(err)
	}
}
