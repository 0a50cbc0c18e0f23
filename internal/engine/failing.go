package engine

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/dialkv/dialkv/store"
)

// Failure is what is wrong with a disk. The zero Failure is nothing.
type Failure string

// The failures.
const (
	Full   Failure = "full"  // nothing that takes space succeeds: ENOSPC
	Broken Failure = "error" // no write and no sync succeeds: EIO
)

// Check refuses a failure that is not known.
func (f Failure) Check() error {
	if f != "" && f != Full && f != Broken {
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("the disk failure %.40q is not known", string(f)), Try: "full, error, or nothing"}
	}
	return nil
}

// meets is the error that an operation ends with.
func (f Failure) meets(op errorfs.OpKind) error {
	switch op {
	case errorfs.OpCreate, errorfs.OpMkdirAll, errorfs.OpFileWrite, errorfs.OpFileWriteAt:
		switch f {
		case Full:
			return syscall.ENOSPC
		case Broken:
			return syscall.EIO
		}
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo, errorfs.OpFileFlush:
		if f == Broken {
			return syscall.EIO
		}
	}
	return nil
}

// Trouble is the failure of a disk, at the moment. It may outlive the engine, and be used
// by several goroutines.
type Trouble struct {
	now atomic.Pointer[Failure]
	met atomic.Uint64
}

// Set puts a failure in the place of the one before; none heals.
func (t *Trouble) Set(f Failure) { t.now.Store(&f) }

// Met is how many operations have failed so far.
func (t *Trouble) Met() uint64 { return t.met.Load() }

// again is how long Pebble has to wait for an error when it writes a table: it tries
// again at once, for ever.
const again = 10 * time.Millisecond

// Failing is the disk fs, of which operations fail as trouble says. Reads never do: what
// cannot be read is not a failure but damage. Nor does the sync of Pebble's own folder: see
// guarded for why Pebble would end the process, and it cannot be told there whether it is
// a log that has to be made.
func Failing(fs vfs.FS, trouble *Trouble) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		f := trouble.now.Load()
		if f == nil || op.Kind == errorfs.OpFileSync && filepath.Base(op.Path) == database {
			return nil
		}
		err := f.meets(op.Kind)
		if err == nil {
			return nil
		}
		trouble.met.Add(1)
		if strings.HasSuffix(op.Path, ".sst") {
			<-time.After(again)
		}
		return err
	}))
}
