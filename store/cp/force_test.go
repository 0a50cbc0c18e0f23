package cp_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

// onDisk does something with a member that is not running.
func onDisk(t *testing.T, name string, fs *vfs.MemFS, do func(cp.Config) (cp.Held, error)) (cp.Held, error) {
	t.Helper()
	e, err := engine.Open(engine.Config{Dir: "/data", FS: fs, MemTable: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	h, err := do(cp.Config{Node: name, Group: group, Engine: e})
	if closeErr := e.Close(); closeErr != nil {
		t.Fatal(closeErr)
	}
	return h, err
}

func TestForcedGroupGoesOnWithWhatOneMemberHas(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		open, err := c.write(store.Command{Op: store.OpenSession})
		if err != nil {
			t.Fatal(err)
		}
		once := store.Command{Op: store.Increment, Key: "n", Delta: 1, Request: store.Request{Session: open.Revision, Number: 1, Lowest: 1}}
		if _, err := c.write(once); err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			c.put(fmt.Sprint("k", i), "v")
		}
		seen := c.put("last", "before").Entry
		disks := make(map[string]*vfs.MemFS)
		for _, name := range c.names {
			disks[name] = c.crash(c.nodes[name])
		}
		// The one that has most has all that was acknowledged.
		var held cp.Held
		var best string
		for _, name := range c.names {
			h, err := onDisk(t, name, disks[name], cp.Inspect)
			if err != nil || h.Epoch != 0 || !slices.Equal(h.Members, c.names) {
				t.Errorf("%s holds %+v, %v", name, h, err)
			}
			if h.Term > held.Term || h.Term == held.Term && h.Index > held.Index {
				held, best = h, name
			}
		}
		forced, err := onDisk(t, best, disks[best], cp.Force)
		if err != nil || forced.Index != held.Index+1 || forced.Epoch != 1 || !slices.Equal(forced.Members, []string{best}) {
			t.Errorf("forced: %+v, %v", forced, err)
		}

		others := slices.DeleteFunc(slices.Clone(c.names), func(name string) bool { return name == best })
		c.names = []string{best}
		only := c.start(best, disks[best], nil)
		for key, want := range map[string]string{"k0": "v", "k49": "v", "last": "before"} {
			if got, err := only.get(within(t, 5*time.Second), key, store.Strong); err != nil || got != want {
				t.Errorf("%s: %q, %v", key, got, err)
			}
		}
		if _, err := only.replica.Read(within(t, time.Second), store.Query{Key: "last", Level: store.Causal, After: seen}); !errors.Is(err, store.TokenMismatch) {
			t.Errorf("a token of before: %v", err)
		}
		once.Request.Retry = true
		if _, err := only.replica.Write(within(t, time.Second), once); !errors.Is(err, store.SessionExpired) {
			t.Errorf("a session of before: %v", err)
		}
		if _, err := only.replica.Watch(within(t, time.Second), store.WatchQuery{Key: "last", From: 1}); !errors.Is(err, store.Compacted) {
			t.Errorf("a watch of before: %v", err)
		}
		for i := range 20 {
			c.put(fmt.Sprint("k", i), "after")
		}

		// Members of before come back with their disks. They are a majority of what they
		// know, and no part of what it leads.
		n2 := c.start(others[0], disks[others[0]], nil)
		n3 := c.start(others[1], disks[others[1]], nil)
		<-time.After(5 * time.Second)
		if got, err := n3.get(within(t, time.Second), "k0", store.Eventual); err != nil || got != "v" {
			t.Errorf("%s, of the lineage before: %q, %v", n3.name, got, err)
		}
		if err := only.replica.AddNonvoter(within(t, time.Second), n2.name); err != nil {
			t.Fatal(err)
		}
		<-time.After(5 * time.Second)
		if got, err := n2.get(within(t, time.Second), "k0", store.Eventual); err != nil || got != "v" {
			t.Errorf("%s took in what is of another lineage: %q, %v", n2.name, got, err)
		}

		// An empty member takes in the state.
		n4 := c.start("n4", vfs.NewCrashableMem(), nil)
		if err := only.replica.AddNonvoter(within(t, time.Second), "n4"); err != nil {
			t.Fatal(err)
		}
		if got, err := n4.get(within(t, 10*time.Second), "k0", store.Strong); err != nil || got != "after" {
			t.Errorf("n4: %q, %v", got, err)
		}
	})
}

func TestForceIsWholeOrNothingAtEveryCrash(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		for i := range 20 {
			c.put(fmt.Sprint("k", i), "v")
		}
		disk := c.crash(c.follower())
		var mu sync.Mutex
		var crashes []*vfs.MemFS // what a crash would have left before each write
		watched := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				mu.Lock()
				crashes = append(crashes, disk.CrashClone(vfs.CrashCloneCfg{}))
				mu.Unlock()
			}
			return nil
		}))
		e, err := engine.Open(engine.Config{Dir: "/data", FS: watched, MemTable: 256 << 10})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cp.Force(cp.Config{Node: "n1", Group: group, Engine: e}); err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		states := make(map[uint64]int)
		for n, after := range crashes {
			h, err := onDisk(t, "n1", after, cp.Inspect)
			if err != nil {
				t.Fatalf("after a crash at write %d: %v", n, err)
			}
			states[h.Epoch]++
			forced, err := onDisk(t, "n1", after, cp.Force)
			if err != nil || forced.Epoch != h.Epoch+1 || forced.Revision <= h.Revision {
				t.Fatalf("once more after a crash at write %d: %+v, then %+v, %v", n, h, forced, err)
			}
		}
		if states[0] == 0 || states[1] == 0 || len(states) != 2 {
			t.Errorf("epochs after a crash: %v", states)
		}
	})
}

func TestForceRefusesAMemberThatNeverCaughtUp(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v")
		n4 := c.start("n4", vfs.NewCrashableMem(), nil)
		if _, err := onDisk(t, "n4", c.crash(n4), cp.Force); !errors.Is(err, store.Unavailable) {
			t.Errorf("%v", err)
		}
	})
}

func TestMembersForcedApartStayApart(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v")
		<-time.After(2 * time.Second)
		disks := make(map[string]*vfs.MemFS)
		for _, name := range c.names {
			disks[name] = c.crash(c.nodes[name])
		}
		for _, name := range []string{"n1", "n2"} {
			if _, err := onDisk(t, name, disks[name], cp.Force); err != nil {
				t.Fatal(err)
			}
		}
		one, two := c.start("n1", disks["n1"], nil), c.start("n2", disks["n2"], nil)
		<-time.After(3 * time.Second)
		for m, value := range map[*member]string{one: "one", two: "two"} {
			if _, err := m.replica.Write(within(t, 5*time.Second), store.Command{Op: store.Put, Key: "k", Value: []byte(value)}); err != nil {
				t.Fatalf("%s: %v", m.name, err)
			}
		}
		if err := one.replica.Join(within(t, 5*time.Second), "n2"); !errors.Is(err, store.Unavailable) {
			t.Errorf("one took the other in: %v", err)
		}
		if got, err := two.get(within(t, time.Second), "k", store.Strong); err != nil || got != "two" {
			t.Errorf("the other lost what it has: %q, %v", got, err)
		}
	})
}

// A forcing applies what was perhaps never committed. If it fails, the others may be there
// after all, and have gone on with something else.
func TestHalfForcedMemberDoesNotGoBackToItsGroup(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v")
		<-time.After(2 * time.Second)
		old := c.leader()
		rest := slices.DeleteFunc(slices.Clone(c.names), func(name string) bool { return name == old.name })
		c.cut(old.name + "|" + strings.Join(rest, ","))
		if _, err := old.replica.Write(within(t, 100*time.Millisecond), store.Command{Op: store.Put, Key: "k", Value: []byte("never committed")}); !errors.Is(err, store.Unknown) {
			t.Fatal(err)
		}
		disk := c.crash(old)
		full := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".part") {
				return errorfs.ErrInjected
			}
			return nil
		}))
		e, err := engine.Open(engine.Config{Dir: "/data", FS: full, MemTable: 256 << 10})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cp.Force(cp.Config{Node: old.name, Group: group, Engine: e}); err == nil {
			t.Error("forced on a disk that is full")
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		_, err = onDisk(t, old.name, disk, func(cfg cp.Config) (cp.Held, error) {
			ep, err := c.net.Endpoint("n9")
			if err != nil {
				return cp.Held{}, err
			}
			defer ep.Close()
			cfg.Mux, cfg.Peers = cp.NewMux(ep), peers{ep}
			_, err = cp.Open(cfg)
			return cp.Held{}, err
		})
		if e := store.AsError(err); e == nil || e.Code != store.Invalid || !strings.Contains(e.Try, "recover") {
			t.Errorf("a half forced member opens: %v", err)
		}
		if h, err := onDisk(t, old.name, disk, cp.Force); err != nil || h.Epoch != 1 {
			t.Errorf("forced once more: %+v, %v", h, err)
		}
	})
}
