package engine

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guarded is the file system as Pebble sees it. When a log cannot be closed, or the next
// one not be made, Pebble panics with a lock that the panic lets go twice, which no recover
// stops: a disk that is full would end every node of the process. So errors of logs go to
// the engine, which is failed from then on and tells nobody of a write any more, and
// Pebble is told that all is well. From then on nothing is added to any log: what came
// behind a gap would make it read as damaged, and not as torn.
type guarded struct {
	vfs.FS
	e *Engine
}

func (g guarded) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return g.open(name, func() (vfs.File, error) { return g.FS.Create(name, category) })
}

func (g guarded) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return g.open(to, func() (vfs.File, error) { return g.FS.ReuseForWrite(from, to, category) })
}

// Unwrap is the disk itself, for whoever looks for its kind.
func (g guarded) Unwrap() vfs.FS { return g.FS }

func (g guarded) open(name string, do func() (vfs.File, error)) (f vfs.File, err error) {
	if !strings.HasSuffix(name, ".log") {
		return do()
	}
	if g.e.Err() == nil {
		if f, err = do(); err == nil {
			return guardedLog{f, g.e}, nil
		}
		g.e.failed(err)
	}
	return vfs.NewMem().Create("log", vfs.WriteCategoryUnspecified) // nobody will read it
}

// guardedLog is a log as Pebble sees it. Preallocate is the file's own: it is a hint, which
// some disks do not take, and whose error Pebble leaves be.
type guardedLog struct {
	vfs.File
	e *Engine
}

func (f guardedLog) Write(b []byte) (int, error) {
	return len(b), f.unless(func() error { _, err := f.File.Write(b); return err })
}

func (f guardedLog) Sync() error     { return f.unless(f.File.Sync) }
func (f guardedLog) SyncData() error { return f.unless(f.File.SyncData) }

func (f guardedLog) SyncTo(length int64) (full bool, err error) {
	return full, f.unless(func() (err error) { full, err = f.File.SyncTo(length); return err })
}

func (f guardedLog) Close() error {
	if err := f.File.Close(); err != nil {
		f.e.failed(err)
	}
	return nil
}

// unless does nothing once the engine has failed, and fails it by an error; its own is
// always nil.
func (f guardedLog) unless(do func() error) error {
	if f.e.Err() == nil {
		if err := do(); err != nil {
			f.e.failed(err)
		}
	}
	return nil
}
