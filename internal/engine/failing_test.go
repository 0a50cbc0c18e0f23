package engine

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/store"
)

// A disk that is full, or broken, fails the engine, tells nobody of a write that it does
// not have, and has all that was acknowledged before once it is well again.
func TestFailedDiskLosesNothingThatWasAcknowledged(t *testing.T) {
	for failure, want := range map[Failure]error{Full: syscall.ENOSPC, Broken: syscall.EIO} {
		t.Run(string(failure), func(t *testing.T) {
			disk, trouble := vfs.NewCrashableMem(), new(Trouble)
			e, err := Open(Config{Dir: "data", FS: Failing(disk, trouble)})
			if err != nil {
				t.Fatal(err)
			}
			commit := func(key string) error {
				b := e.Space(store.GroupID{Keyspace: 7}, 1).Batch()
				b.Set([]byte(key), []byte("v"))
				return b.Commit(true)
			}
			if err := commit("before"); err != nil {
				t.Fatal(err)
			}
			trouble.Set(failure)
			if err := commit("after"); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), want.Error()) {
				t.Errorf("a write to it ends with %v, want %v", err, want)
			}
			if trouble.Met() == 0 {
				t.Error("nothing failed")
			}
			trouble.Set("")
			_ = e.Close() // it has failed
			v := inMemory(t, disk.CrashClone(vfs.CrashCloneCfg{})).Space(store.GroupID{Keyspace: 7}, 1).View()
			defer v.Close()
			if got, _, err := v.Get([]byte("before")); err != nil || string(got) != "v" {
				t.Errorf("what was acknowledged before is %q, %v", got, err)
			}
		})
	}
	if err := Failure("tired").Check(); !errors.Is(err, store.Invalid) {
		t.Errorf("a failure that is not known: %v", err)
	}
}

// A disk that fails when the log is full, and another has to be made, fails the engine as
// at any other time. Pebble alone would end the process.
func TestDiskThatFailsBetweenTwoLogsFailsTheEngine(t *testing.T) {
	for _, failure := range []Failure{Full, Broken} {
		t.Run(string(failure), func(t *testing.T) {
			disk, trouble := vfs.NewCrashableMem(), new(Trouble)
			e, err := Open(Config{Dir: "data", FS: Failing(disk, trouble), MemTable: 64 << 10})
			if err != nil {
				t.Fatal(err)
			}
			commit := func(key string, size int, sync bool) error {
				b := e.Space(store.GroupID{Keyspace: 7}, 1).Batch()
				b.Set([]byte(key), make([]byte, size))
				return b.Commit(sync)
			}
			if err := commit("before", 1, true); err != nil {
				t.Fatal(err)
			}
			trouble.Set(failure)
			// So large a batch has a log of its own.
			if err := commit("after", 256<<10, true); !errors.Is(err, ErrFailed) {
				t.Errorf("a write that needs another log ends with %v", err)
			}
			if err := commit("later", 1, false); !errors.Is(err, ErrFailed) {
				t.Errorf("a write after that ends with %v", err)
			}
			trouble.Set("")
			_ = e.Close() // it has failed
			v := inMemory(t, disk.CrashClone(vfs.CrashCloneCfg{})).Space(store.GroupID{Keyspace: 7}, 1).View()
			defer v.Close()
			if _, ok, err := v.Get([]byte("before")); err != nil || !ok {
				t.Errorf("what was acknowledged before is gone: %v", err)
			}
			if _, ok, err := v.Get([]byte("later")); err != nil || ok {
				t.Errorf("what was refused is there: %v", err)
			}
		})
	}
}

// Bytes that nobody waited for are written when the engine is closed. If they cannot be,
// closing says so.
func TestCloseTellsThatTheLastBytesAreNotOnDisk(t *testing.T) {
	disk, trouble := vfs.NewCrashableMem(), new(Trouble)
	e, err := Open(Config{Dir: "data", FS: Failing(disk, trouble)})
	if err != nil {
		t.Fatal(err)
	}
	b := e.Space(store.GroupID{Keyspace: 7}, 1).Batch()
	b.Set([]byte("key"), []byte("v"))
	if err := b.Commit(false); err != nil {
		t.Fatal(err)
	}
	trouble.Set(Broken)
	if err := e.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("closing ends with %v", err)
	}
}

// unwilling is a file of a disk that reserves no space, as some file systems do not.
type unwilling struct{ vfs.File }

func (unwilling) Preallocate(int64, int64) error { return syscall.EOPNOTSUPP }

func TestDiskThatReservesNoSpaceIsNoFailure(t *testing.T) {
	e := inMemory(t, vfs.NewMem())
	f, err := vfs.NewMem().Create("1.log", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if err := (guardedLog{unwilling{f}, e}).Preallocate(0, 1<<20); !errors.Is(err, syscall.EOPNOTSUPP) || e.Err() != nil {
		t.Errorf("Pebble hears %v, and the engine ends with %v", err, e.Err())
	}
}
