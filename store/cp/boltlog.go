package cp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/store"
)

// boltLock is how long an open waits for another process to let the file go.
const boltLock = time.Second

// BoltLog keeps the log of a group in a file of its own, apart from the node's
// data. The file is real whatever the engine's file system is: bbolt maps it.
func BoltLog(e *engine.Engine, group store.GroupID) (Log, io.Closer, error) {
	if err := claimLog(e, group, boltKind); err != nil {
		return nil, nil, err
	}
	path := boltPath(e, group)
	if err := checkBolt(path); err != nil {
		return nil, nil, err
	}
	s, err := openBolt(path)
	if err != nil {
		return nil, nil, boltError(path, err)
	}
	// The file's name must survive a power cut as its content does.
	if err := e.SyncFolder(); err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return boltLog{s}, s, nil
}

func openBolt(path string) (s *raftboltdb.BoltStore, err error) {
	defer recovered(&err)
	return raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout:        boltLock,
			NoFreelistSync: true, // the freelist is rebuilt at open instead of rewritten at each commit
			FreelistType:   bbolt.FreelistMapType,
			NoSync:         mutant.M25,
		},
	})
}

// recovered makes an error of a panic: bbolt ends so at pages that make no sense.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", engine.ErrCorrupt, p)
	}
}

// boltLog gives what bbolt keeps a checksum: its pages have none. An entry is stored
// as its encoding, within an entry of the library's own; term and vote with the sum
// of key and value after them.
type boltLog struct{ *raftboltdb.BoltStore }

func (l boltLog) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

func (l boltLog) StoreLogs(logs []*raft.Log) error {
	sealed := make([]*raft.Log, len(logs))
	for i, log := range logs {
		sealed[i] = &raft.Log{Index: log.Index, Term: log.Term, Type: log.Type, Data: encodeLog(log)}
	}
	return l.BoltStore.StoreLogs(sealed)
}

func (l boltLog) GetLog(index uint64, log *raft.Log) error {
	var sealed raft.Log
	if err := l.BoltStore.GetLog(index, &sealed); err != nil {
		return err
	}
	return decodeLog(index, sealed.Data, log)
}

func (l boltLog) Set(key, val []byte) error {
	return l.BoltStore.Set(key, binary.BigEndian.AppendUint32(bytes.Clone(val), sumOf(key, val)))
}

func (l boltLog) Get(key []byte) ([]byte, error) {
	b, err := l.BoltStore.Get(key)
	if err != nil {
		return nil, err
	}
	n := len(b) - 4
	if n < 0 || binary.BigEndian.Uint32(b[n:]) != sumOf(key, b[:n]) {
		return nil, fmt.Errorf("%w: raft log: the checksum of %s does not match", engine.ErrCorrupt, key)
	}
	return b[:n], nil
}

func (l boltLog) SetUint64(key []byte, val uint64) error {
	return l.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

func (l boltLog) GetUint64(key []byte) (uint64, error) {
	b, err := l.Get(key)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("%w: %s has %d bytes, not 8", engine.ErrCorrupt, key, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

func boltPath(e *engine.Engine, group store.GroupID) string {
	return e.Path("raft-" + fileName(group) + ".db")
}

// Remove deletes the files that a replica of the group kept beside the engine. The
// replica has stopped; what it kept in the engine is the engine's to drop.
func Remove(e *engine.Engine, group store.GroupID) error {
	err := e.FS().RemoveAll(e.Path("snapshots", fileName(group)))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cp: remove %v: %w", group, err)
	}
	if e.FS() != vfs.Default {
		return nil // its path names nothing on the real disk
	}
	if err := os.Remove(boltPath(e, group)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cp: remove %v: %w", group, err)
	}
	return nil
}

// checkBolt refuses a file that ends before its own header says, or whose pages do
// not hold together.
func checkBolt(path string) (err error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cp: raft log %s: %w", path, err)
	}
	if info.Size() == 0 {
		return nil // made, and nothing written before the process ended
	}
	if err := walkBolt(path, info.Size()); err != nil {
		return boltError(path, err)
	}
	return nil
}

func walkBolt(path string, size int64) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := checkMetas(file); err != nil {
		return err
	}
	// Opened so it looks no further than those, and nobody writes meanwhile.
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: boltLock})
	if err != nil {
		return err
	}
	return errors.Join(checkPages(file, size), db.Close())
}

// Where bbolt's two meta pages keep what their checksum is of, from the begin of
// their page on (bbolt's internal/common/meta.go).
const (
	boltMeta     = 16 // after the page's header
	boltPageSize = boltMeta + 8
	boltMetaSum  = boltMeta + 56
	boltMetaEnd  = boltMetaSum + 8
)

// checkMetas wants both meta pages sound. bbolt goes on with the other one when one is
// not, which is the state before the last commit, and that may have been a vote. A
// commit writes one in a single sector, which disks do not tear.
func checkMetas(file io.ReaderAt) error {
	page := make([]byte, boltMetaEnd)
	if _, err := file.ReadAt(page, 0); err != nil {
		return fmt.Errorf("%w: no meta page: %w", engine.ErrCorrupt, err)
	}
	size := int64(binary.NativeEndian.Uint32(page[boltPageSize:]))
	if size < 512 || size > 64<<10 {
		return fmt.Errorf("%w: a page size of %d", engine.ErrCorrupt, size)
	}
	for _, at := range []int64{0, size} {
		if _, err := file.ReadAt(page, at); err != nil {
			return fmt.Errorf("%w: no meta page: %w", engine.ErrCorrupt, err)
		}
		sum := fnv.New64a()
		_, _ = sum.Write(page[boltMeta:boltMetaSum])
		if sum.Sum64() != binary.NativeEndian.Uint64(page[boltMetaSum:]) {
			return fmt.Errorf("%w: the checksum of a meta page does not match", engine.ErrCorrupt)
		}
	}
	return nil
}

func boltError(path string, err error) error {
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return &store.Error{
			Code: store.Invalid, Cause: err,
			Msg: "the raft log " + path + " is in use by another process",
			Try: "stop that process, or use another --data directory",
		}
	}
	return &store.Error{
		Code: store.Corrupt, Cause: err,
		Msg: "the raft log " + path + " does not read as it was written",
		Try: "bring this node back empty under a new name; the others have its data",
	}
}
