// Package engine is a node's storage: one Pebble for everything the node keeps, a
// [Space] of its own for each group, on a real disk or in memory. What is kept only in
// memory, and shall not outlive the process, is in a second one.
//
// All writes of a node go through one function, Batch.Commit, so that synced
// writes of different groups share one fsync and so that nobody is told of a
// write that did not reach the disk. A storage error is final: the engine is then
// failed, every later commit says so, and the node must stop. What a crash may
// lose is exactly the batches whose Commit had not returned, and those committed
// without sync since the last synced one; what survives is a prefix.
//
// The file system is the seam for disk faults: pass another vfs.FS.
package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/store"
)

// ErrFailed is what every commit returns once a write did not reach the disk.
var ErrFailed = errors.New("engine: storage failed")

// ErrCorrupt marks data that does not read as what was written.
var ErrCorrupt = errors.New("engine: corrupt")

// Config opens an engine.
type Config struct {
	// Dir holds the files. It is locked while the engine is open.
	Dir string
	// FS is the file system; nil is the real disk.
	FS vfs.FS
	// Memory keeps everything in the memory of the process instead, and no log of it:
	// Dir and FS mean nothing, a commit is done when it can be read, and all of it is gone
	// with Close.
	Memory bool
	// MemTable is the size in bytes of a memtable, and so of a WAL file before it
	// is rotated. Default 16 MiB; small where many engines share a process.
	MemTable uint64
	// Cache is the size in bytes of the block cache. Default 64 MiB.
	Cache int64
	// OnFailure is called once, with the first error that fails the engine.
	OnFailure func(error)
}

func (c Config) withDefaults() Config {
	if c.Memory {
		c.Dir, c.FS = "memory", vfs.NewMem()
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.MemTable == 0 {
		c.MemTable = 16 << 20
	}
	if c.Cache == 0 {
		c.Cache = 64 << 20
	}
	if c.OnFailure == nil {
		c.OnFailure = func(error) {}
	}
	return c
}

// Engine is one open storage. It is safe for concurrent use.
type Engine struct {
	cfg  Config
	db   *pebble.DB
	gate chan struct{} // held around ApplyNoSyncWait: a lock that may be waited for in virtual time
	once sync.Once
	down chan struct{} // closed when the engine has failed
	fail atomic.Pointer[error]

	stalls atomic.Uint64
	life   sync.RWMutex // of closed: held by who looks at db beside those who use it
	closed bool
}

// database is the folder that is Pebble's.
const database = "pebble"

// Open opens the storage in cfg.Dir, making it if it is not there.
func Open(cfg Config) (*Engine, error) {
	cfg = cfg.withDefaults()
	if cfg.Dir == "" {
		return nil, &store.Error{Code: store.Invalid, Msg: "the data directory has no name"}
	}
	e := &Engine{cfg: cfg, gate: make(chan struct{}, 1), down: make(chan struct{})}
	dir, err := e.Folder(database)
	if err != nil {
		return nil, err
	}
	// The first log of a new database is written without the marks by which Pebble
	// later tells damage in it from a torn end, so a new one is opened twice.
	was, err := pebble.Peek(dir, cfg.FS)
	if err != nil {
		return nil, openError(cfg.Dir, err)
	}
	if e.db, err = pebble.Open(dir, e.options()); err == nil && !was.Exists {
		if err = e.db.Close(); err == nil {
			e.db, err = pebble.Open(dir, e.options())
		}
	}
	if err == nil && e.Err() != nil { // a log that could not be made
		err = errors.Join(e.Err(), e.db.Close())
	}
	if err != nil {
		return nil, openError(cfg.Dir, err)
	}
	return e, nil
}

func (e *Engine) options() *pebble.Options {
	opts := &pebble.Options{
		FS:                          guarded{e.cfg.FS, e},
		CacheSize:                   e.cfg.Cache,
		MemTableSize:                e.cfg.MemTable,
		MemTableStopWritesThreshold: 4,
		MaxOpenFiles:                256,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
		FormatMajorVersion:          pebble.FormatNewest,
		Logger:                      fatalFlag{e},
		DisableWAL:                  e.cfg.Memory,
	}
	// Every write of a cp group first reads what it replaces, and a key that is new
	// must cost no look into the tables.
	opts.Levels[0].FilterPolicy = bloom.FilterPolicy(10)
	opts.EventListener = &pebble.EventListener{
		BackgroundError: e.failed,
		DataCorruption:  func(info pebble.DataCorruptionInfo) { e.failed(fmt.Errorf("%w: %v", ErrCorrupt, info)) },
		WriteStallBegin: func(pebble.WriteStallBeginInfo) { e.stalls.Add(1) },
	}
	return opts
}

func openError(dir string, err error) error {
	switch {
	case pebble.IsCorruptionError(err):
		return &store.Error{Code: store.Corrupt, Cause: err, Msg: "the data directory " + dir + " does not read as it was written"}
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EWOULDBLOCK), strings.Contains(err.Error(), "lock"):
		return &store.Error{
			Code: store.Invalid, Cause: err,
			Msg: fmt.Sprintf("the data directory %s is in use by another process", dir),
			Try: "stop that process, or use another --data directory",
		}
	case errors.Is(err, fs.ErrPermission):
		return &store.Error{Code: store.Invalid, Cause: err, Msg: "no permission to use the data directory " + dir}
	}
	return fmt.Errorf("engine: open %s: %w", dir, err)
}

// FS is the file system the engine stands on, for files beside the database.
func (e *Engine) FS() vfs.FS { return e.cfg.FS }

// Path names a file or folder beside the database.
func (e *Engine) Path(elem ...string) string {
	return filepath.Join(append([]string{e.cfg.Dir}, elem...)...)
}

// Folder makes a folder beside the database and returns its path. Its entry, and
// those of the folders above it, are on disk when it returns: a file in a folder
// whose own name was not synced is gone after a power cut, synced or not.
func (e *Engine) Folder(elem ...string) (string, error) {
	path := e.Path(elem...)
	if err := e.cfg.FS.MkdirAll(path, 0o700); err != nil {
		return "", fmt.Errorf("engine: make %s: %w", path, err)
	}
	for dir := path; ; {
		dir = filepath.Dir(dir)
		f, err := e.cfg.FS.OpenDir(dir)
		if err != nil {
			return "", fmt.Errorf("engine: sync %s: %w", dir, err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return "", fmt.Errorf("engine: sync %s: %w", dir, err)
		}
		if dir == filepath.Dir(filepath.Clean(e.cfg.Dir)) {
			return path, nil
		}
	}
}

// SyncFolder makes the entries of a folder beside the database durable: files that
// were made or renamed in it survive a power cut under their names.
func (e *Engine) SyncFolder(elem ...string) error {
	dir, err := e.cfg.FS.OpenDir(e.Path(elem...))
	if err != nil {
		return fmt.Errorf("engine: sync %s: %w", e.Path(elem...), err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Failed is closed once a write did not reach the disk.
func (e *Engine) Failed() <-chan struct{} { return e.down }

// Err is the error that failed the engine, or nil.
func (e *Engine) Err() error {
	if p := e.fail.Load(); p != nil {
		return fmt.Errorf("%w: %w", ErrFailed, *p)
	}
	return nil
}

func (e *Engine) failed(err error) {
	e.once.Do(func() {
		e.fail.Store(&err)
		close(e.down)
		e.cfg.OnFailure(err)
	})
}

// Sync returns when everything committed so far is on disk.
func (e *Engine) Sync() error {
	if e.cfg.Memory {
		return e.Err()
	}
	b := e.db.NewBatch()
	defer b.Close()
	if err := b.LogData(nil, nil); err != nil {
		return err
	}
	return e.commit(b, true)
}

// commit writes a batch and, with sync, waits for the disk.
func (e *Engine) commit(b *pebble.Batch, sync bool) error {
	if err := e.apply(b, sync); err != nil || !sync {
		return err
	}
	return e.settle(b)
}

// apply is the only writer of the database: everybody sees the batch when it returns,
// and with sync it is on its way to the disk. A goroutine that waits for the gate
// waits on a channel, and the wait for the disk is outside it: group commit stays,
// and virtual time can pass.
func (e *Engine) apply(b *pebble.Batch, sync bool) error {
	if err := e.Err(); err != nil {
		return err
	}
	sync = sync && !e.cfg.Memory // there is nothing to wait for
	e.gate <- struct{}{}
	var err error
	if sync {
		err = e.db.ApplyNoSyncWait(b, pebble.Sync)
	} else {
		err = e.db.Apply(b, pebble.NoSync)
	}
	<-e.gate
	return e.noted(err)
}

// settle waits until a batch that was applied with sync is on disk.
func (e *Engine) settle(b *pebble.Batch) error { return e.noted(b.SyncWait()) }

// noted is err, or what has failed the engine: Pebble reports a WAL that cannot be
// written by Logger.Fatalf and then returns nil, so the flag is looked at before
// anybody is told.
func (e *Engine) noted(err error) error {
	if err != nil {
		e.failed(err)
	}
	return e.Err()
}

// Close closes the storage. Views must be closed before. An error says that what was
// committed without a sync may not be on disk.
func (e *Engine) Close() error {
	e.life.Lock()
	e.closed = true
	e.life.Unlock()
	before := e.Err()
	err := e.db.Close()
	if before == nil { // else it was told already
		err = errors.Join(err, e.Err())
	}
	if err != nil {
		return fmt.Errorf("engine: close: %w", err)
	}
	return nil
}

// fatalFlag is Pebble's logger: what Pebble would end the process for fails the
// engine, and the rest is dropped.
type fatalFlag struct{ e *Engine }

func (f fatalFlag) Infof(string, ...any)  {}
func (f fatalFlag) Errorf(string, ...any) {}
func (f fatalFlag) Fatalf(format string, args ...any) {
	f.e.failed(fmt.Errorf(format, args...))
}
