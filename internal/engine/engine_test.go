package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
)

// disk makes the syncs of the write-ahead log take time, counts them, and lets them
// fail when it is told to.
type disk struct {
	takes atomic.Int64 // nanoseconds
	syncs atomic.Int64
	bad   atomic.Bool
}

var errBroken = errors.New("the disk is broken")

func (d *disk) wrap(under vfs.FS) vfs.FS {
	return errorfs.Wrap(under, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind != errorfs.OpFileSyncData || !strings.HasSuffix(op.Path, ".log") {
			return nil
		}
		d.syncs.Add(1)
		if takes := d.takes.Load(); takes > 0 {
			<-time.After(time.Duration(takes))
		}
		if d.bad.Load() {
			return errBroken
		}
		return nil
	}))
}

// slow makes each sync take that long from now until the test ends. Opening and
// closing are fast: Pebble syncs under its mutex then, for which others may wait, and
// virtual time would stand still.
func (d *disk) slow(t *testing.T, takes time.Duration) {
	d.takes.Store(int64(takes))
	t.Cleanup(func() { d.takes.Store(0) })
}

func TestCommitsThatWaitTogetherShareTheSync(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		const writers = 100
		const takes = 10 * time.Millisecond
		d := &disk{}
		e := inMemory(t, d.wrap(vfs.NewMem()))
		d.slow(t, takes)
		d.syncs.Store(0)
		began := time.Now()
		var wg sync.WaitGroup
		for n := range writers {
			s := e.Space(store.GroupID{Keyspace: uint64(n % 7)}, 1)
			wg.Go(func() {
				b := s.Batch()
				b.Set(fmt.Append(nil, n), []byte("v"))
				if err := b.Commit(true); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		took, syncs := time.Since(began), d.syncs.Load()
		if syncs > writers/10 || took > writers/10*takes {
			t.Errorf("%d commits took %d syncs and %v", writers, syncs, took)
		}
		if took < takes {
			t.Errorf("commits returned after %v, a sync takes %v", took, takes)
		}
	})
}

func TestUnsyncedCommitDoesNotWaitForTheDisk(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		d := &disk{}
		s := inMemory(t, d.wrap(vfs.NewMem())).Space(store.GroupID{Keyspace: 7}, 1)
		d.slow(t, time.Second)
		began := time.Now()
		b := s.Batch()
		b.Set([]byte("k"), []byte("v"))
		if err := b.Commit(false); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > time.Second/2 {
			t.Errorf("took %v", took)
		}
	})
}

// Each seed is one history of synced and unsynced commits, cut off by a crash that
// keeps as much of the unsynced data as chance will.
func TestCrashLosesASuffixAndNothingSynced(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 0))
		mem := vfs.NewCrashableMem()
		e := inMemory(t, mem)
		s := e.Space(store.GroupID{Keyspace: 7}, 1)
		synced, commits := -1, 20+random.IntN(200)
		for n := range commits {
			b := s.Batch()
			b.Set(fmt.Appendf(nil, "%06d", n), make([]byte, random.IntN(2<<10)))
			b.Set([]byte("last"), fmt.Append(nil, n))
			sync := random.IntN(8) == 0
			if err := b.Commit(sync); err != nil {
				t.Fatal(err)
			}
			if sync {
				synced = n
			}
		}
		crashed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 30, 70, 100}[seed%4], RNG: random})
		survived(t, seed, inMemory(t, crashed).Space(store.GroupID{Keyspace: 7}, 1), synced, commits)
	}
}

// survived wants the commits 0 to n in s, for some n from the last synced one on.
func survived(t *testing.T, seed uint64, s *Space, synced, commits int) {
	t.Helper()
	v := s.View()
	defer v.Close()
	n := 0
	var failed error
	for key := range v.Scan(nil, []byte("last"), &failed) {
		if string(key) != fmt.Sprintf("%06d", n) {
			t.Fatalf("seed %d: commit %s survived, and %06d did not", seed, key, n)
		}
		n++
	}
	if failed != nil {
		t.Fatal(failed)
	}
	if n <= synced || n > commits {
		t.Errorf("seed %d: %d commits survived, %d of %d was synced", seed, n, synced, commits)
	}
	if last, ok, err := v.Get([]byte("last")); err != nil || ok != (n > 0) || ok && string(last) != fmt.Sprint(n-1) {
		t.Errorf("seed %d: half a batch survived: last is %q, %d keys; %v", seed, last, n, err)
	}
}

func TestSyncKeepsWhatWasCommittedBefore(t *testing.T) {
	mem := vfs.NewCrashableMem()
	e := inMemory(t, mem)
	group := store.GroupID{Keyspace: 7}
	for n := range 10 {
		b := e.Space(group, 1).Batch()
		b.Set(fmt.Append(nil, n), nil)
		if err := b.Commit(false); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Sync(); err != nil {
		t.Fatal(err)
	}
	crashed := inMemory(t, mem.CrashClone(vfs.CrashCloneCfg{}))
	if got := content(t, crashed.Space(group, 1)); len(got) != 10 {
		t.Errorf("%d of 10 commits survived", len(got))
	}
}

func TestFailedSyncFailsTheEngine(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		d := &disk{}
		mem := vfs.NewCrashableMem()
		var told []error
		e, err := Open(Config{Dir: "data", FS: d.wrap(mem), OnFailure: func(err error) { told = append(told, err) }})
		if err != nil {
			t.Fatal(err)
		}
		s := e.Space(store.GroupID{Keyspace: 7}, 1)
		set(t, s, "before", "")
		d.takes.Store(int64(time.Millisecond))
		d.bad.Store(true)

		var wg sync.WaitGroup
		for n := range 10 {
			wg.Go(func() {
				b := s.Batch()
				b.Set(fmt.Append(nil, n), nil)
				if err := b.Commit(true); !errors.Is(err, ErrFailed) {
					t.Errorf("a commit that did not reach the disk: %v", err)
				}
			})
		}
		wg.Wait()
		select {
		case <-e.Failed():
		default:
			t.Error("the engine does not say that it failed")
		}
		if err := e.Err(); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), errBroken.Error()) {
			t.Errorf("the engine failed with %v", err)
		}
		if len(told) != 1 {
			t.Errorf("OnFailure was called with %v", told)
		}

		d.takes.Store(0)
		d.bad.Store(false) // a disk that works again makes nothing good
		for _, sync := range []bool{true, false} {
			b := s.Batch()
			b.Set([]byte("after"), nil)
			if err := b.Commit(sync); !errors.Is(err, ErrFailed) {
				t.Errorf("a commit after the failure, sync %v: %v", sync, err)
			}
		}
		if err := e.Sync(); !errors.Is(err, ErrFailed) {
			t.Errorf("a sync after the failure: %v", err)
		}
		crashed := mem.CrashClone(vfs.CrashCloneCfg{})
		if err := e.Close(); err != nil {
			t.Logf("close of a failed engine: %v", err) // its answer means nothing any more; it must come
		}
		if got := content(t, inMemory(t, crashed).Space(store.GroupID{Keyspace: 7}, 1)); !slices.Contains(got, "before=") || slices.Contains(got, "after=") {
			t.Errorf("after the restart: %q", got)
		}
	})
}

func TestDirectoryInUseIsNamed(t *testing.T) {
	for name, under := range map[string]vfs.FS{"disk": vfs.Default, "memory": vfs.NewMem()} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Dir: t.TempDir(), FS: under}
			e, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Open(cfg)
			if !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), cfg.Dir) || store.AsError(err).Try == "" {
				t.Errorf("the second open: %v", err)
			}
			closed(t, e)
			again, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			closed(t, again)
		})
	}
}

func TestDirectoryNeedsAName(t *testing.T) {
	if _, err := Open(Config{FS: vfs.NewMem()}); !errors.Is(err, store.Invalid) {
		t.Errorf("got %v", err)
	}
}

func TestDirectoryThatCannotBeMadeIsNamed(t *testing.T) {
	denied := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpMkdirAll {
			return fs.ErrPermission
		}
		return nil
	}))
	if _, err := Open(Config{Dir: "somewhere", FS: denied}); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "somewhere") {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsOnTheDiskIsThereAgain(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	group := store.GroupID{Keyspace: 7}
	for n := range 3 {
		e, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		set(t, e.Space(group, 1), fmt.Sprint(n), "")
		if got := content(t, e.Space(group, 1)); len(got) != n+1 {
			t.Errorf("open %d: %q", n, got)
		}
		closed(t, e)
	}
}

// An engine in memory does all that one on a disk does, but for what outlives it.
func TestEngineInMemory(t *testing.T) {
	e, err := Open(Config{Memory: true, MemTable: 256 << 10, Cache: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	group := store.GroupID{Keyspace: 7}
	s := e.Space(group, 'a')
	const rows = 2000
	for i := range rows { // more than a few memtables
		b := s.Batch()
		b.Set(fmt.Append(nil, "k", i), slices.Repeat([]byte("v"), 1024))
		if err := b.Commit(i%2 == 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Sync(); err != nil {
		t.Fatal(err)
	}
	view := s.View()
	if err := e.Drop(group); err != nil {
		t.Fatal(err)
	}
	there := 0
	for range view.Scan(nil, nil, &err) {
		there++
	}
	view.Close()
	if err != nil || there != rows {
		t.Errorf("the view of before shows %d rows, %v", there, err)
	}
	if _, found, err := s.Get([]byte("k0")); found || err != nil {
		t.Errorf("a row of a dropped group: %v, %v", found, err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(Config{Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, found, err := again.Space(group, 'a').Get([]byte("k1")); found || err != nil {
		t.Errorf("another engine has a row of the first: %v, %v", found, err)
	}
}
