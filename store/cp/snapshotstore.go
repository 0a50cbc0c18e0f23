package cp

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/store"
)

// snapshots is raft.SnapshotStore on the engine's file system, so that disk faults
// reach snapshots too. A file is a head, the content, and the CRC-32C of everything
// before it; the head is a magic, the length of a JSON raft.SnapshotMeta, the meta,
// and the CRC-32C of these. It is written under another name and renamed when it is
// complete and on disk. A list reads heads only; the file is read through once,
// checksum and all, before Raft is given its content.
type snapshots struct {
	fs  vfs.FS
	dir string

	installed func(*raft.SnapshotMeta) // told of each snapshot that is complete
	failed    func(error)              // told of one that does not read as it was written
}

var _ raft.SnapshotStore = (*snapshots)(nil)

const (
	snapshotMagic  = "dialkvS2"
	snapshotSuffix = ".snap"
	keptSnapshots  = 2
	maxMeta        = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openSnapshots opens the snapshots of a group and removes what was left unfinished.
func openSnapshots(e *engine.Engine, group store.GroupID) (*snapshots, error) {
	dir, err := e.Folder("snapshots", fileName(group))
	if err != nil {
		return nil, err
	}
	s := &snapshots{fs: e.FS(), dir: dir, installed: func(*raft.SnapshotMeta) {}, failed: func(error) {}}
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, fmt.Errorf("cp: snapshots: %w", err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, snapshotSuffix) {
			if err := s.fs.Remove(s.path(name)); err != nil {
				return nil, fmt.Errorf("cp: snapshots: %w", err)
			}
		}
	}
	return s, nil
}

// fileName is a group's id as part of a file's name.
func fileName(group store.GroupID) string { return strings.ReplaceAll(group.String(), "/", "-") }

func (s *snapshots) path(name string) string { return s.fs.PathJoin(s.dir, name) }

// names lists the finished snapshots, newest first: names begin with the index.
func (s *snapshots) names() ([]string, error) {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, fmt.Errorf("cp: snapshots: %w", err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, snapshotSuffix) })
	slices.Sort(names)
	slices.Reverse(names)
	return names, nil
}

// Create begins a snapshot. Raft closes or cancels the sink.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	meta := raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%020d-%020d", index, term),
		Index: index, Term: term, Configuration: conf, ConfigurationIndex: confIndex,
	}
	b, err := json.Marshal(meta)
	if err != nil {
		return nil, fmt.Errorf("cp: snapshot: %w", err)
	}
	file, err := s.fs.Create(s.path(meta.ID+".part"), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("cp: snapshot: %w", err)
	}
	k := &sink{store: s, meta: meta, file: file, sum: crc32.New(castagnoli)}
	head := append(binary.BigEndian.AppendUint32([]byte(snapshotMagic), uint32(len(b))), b...)
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	if _, err := k.Write(head); err != nil {
		return nil, errors.Join(err, k.Cancel())
	}
	return k, nil
}

// sink writes one snapshot.
type sink struct {
	store *snapshots
	meta  raft.SnapshotMeta
	file  vfs.File
	sum   interface {
		io.Writer
		Sum32() uint32
	}
	done bool
}

func (k *sink) ID() string { return k.meta.ID }

func (k *sink) Write(b []byte) (int, error) {
	// A write that fails ends the snapshot, so it does not matter that it is counted.
	_, _ = k.sum.Write(b)
	// A vfs.File may change the bytes it was given, and these may be the engine's own.
	n, err := k.file.Write(bytes.Clone(b))
	if err != nil {
		return n, fmt.Errorf("cp: snapshot: %w", err)
	}
	return n, nil
}

// sync puts what was written so far on disk, but for what a file system keeps of its
// length: Close does that.
func (k *sink) sync() error {
	if err := k.file.SyncData(); err != nil {
		return fmt.Errorf("cp: snapshot: %w", err)
	}
	return nil
}

// Close completes the snapshot: checksum, fsync, rename, fsync of the folder.
func (k *sink) Close() error {
	if k.done {
		return nil
	}
	k.done = true
	_, err := k.file.Write(binary.BigEndian.AppendUint32(nil, k.sum.Sum32()))
	if err == nil {
		err = k.file.Sync()
	}
	if err = errors.Join(err, k.file.Close()); err != nil {
		return fmt.Errorf("cp: snapshot: %w", err)
	}
	part := k.store.path(k.meta.ID + ".part")
	if err := k.store.fs.Rename(part, k.store.path(k.meta.ID+snapshotSuffix)); err != nil {
		return fmt.Errorf("cp: snapshot: %w", err)
	}
	if err := k.store.syncDir(); err != nil {
		return err
	}
	k.store.installed(&k.meta)
	return k.store.reap()
}

// Cancel drops the snapshot.
func (k *sink) Cancel() error {
	if k.done {
		return nil
	}
	k.done = true
	return errors.Join(k.file.Close(), k.store.fs.Remove(k.store.path(k.meta.ID+".part")))
}

func (s *snapshots) syncDir() error {
	dir, err := s.fs.OpenDir(s.dir)
	if err != nil {
		return fmt.Errorf("cp: snapshots: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// reap removes all but the newest snapshots.
func (s *snapshots) reap() error {
	names, err := s.names()
	if err != nil || len(names) <= keptSnapshots {
		return err
	}
	for _, name := range names[keptSnapshots:] {
		err = errors.Join(err, s.fs.Remove(s.path(name)))
	}
	return err
}

// List returns what Raft must know of each snapshot, newest first.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	var metas []*raft.SnapshotMeta
	for _, name := range names {
		meta, err := s.stat(name)
		if err != nil {
			return nil, err
		}
		metas = append(metas, meta)
	}
	return metas, nil
}

func (s *snapshots) stat(name string) (meta *raft.SnapshotMeta, err error) {
	file, err := s.fs.Open(s.path(name))
	if err != nil {
		return nil, fmt.Errorf("cp: snapshot: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	h, err := readHead(file)
	if err != nil {
		return nil, s.bad(name, err)
	}
	return h.meta, nil
}

// Open verifies a snapshot from end to end and returns its content.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	name := id + snapshotSuffix
	file, err := s.fs.Open(s.path(name))
	if err != nil {
		return nil, nil, fmt.Errorf("cp: snapshot: %w", err)
	}
	h, err := readHead(file)
	if err == nil {
		err = h.verify(file)
	}
	if err != nil {
		return nil, nil, errors.Join(s.bad(name, err), file.Close())
	}
	return h.meta, section{io.NewSectionReader(file, h.begin, h.meta.Size), file}, nil
}

// bad ends the replica if a snapshot does not read as it was written: it has cut its
// log behind it, so a member that is late could not be helped.
func (s *snapshots) bad(name string, err error) error {
	err = fmt.Errorf("cp: snapshot %s: %w", name, err)
	if errors.Is(err, engine.ErrCorrupt) {
		s.failed(err)
	}
	return err
}

// section is the content of a snapshot file.
type section struct {
	io.Reader
	io.Closer
}

// snapshotHead is what a snapshot file says of itself. The content lies from begin on
// and is meta.Size long.
type snapshotHead struct {
	meta  *raft.SnapshotMeta
	begin int64
}

func readHead(file vfs.File) (snapshotHead, error) {
	none := snapshotHead{}
	info, err := file.Stat()
	if err != nil {
		return none, err
	}
	fixed := make([]byte, len(snapshotMagic)+4)
	if err := readAt(file, fixed, 0); err != nil {
		return none, err
	}
	size := binary.BigEndian.Uint32(fixed[len(snapshotMagic):])
	if string(fixed[:len(snapshotMagic)]) != snapshotMagic || size > maxMeta {
		return none, fmt.Errorf("%w: not a snapshot", engine.ErrCorrupt)
	}
	head := make([]byte, len(fixed)+int(size)+4)
	if err := readAt(file, head, 0); err != nil {
		return none, err
	}
	text, sum := head[:len(head)-4], head[len(head)-4:]
	if binary.BigEndian.Uint32(sum) != crc32.Checksum(text, castagnoli) {
		return none, fmt.Errorf("%w: the checksum of the head does not match", engine.ErrCorrupt)
	}
	h := snapshotHead{meta: new(raft.SnapshotMeta), begin: int64(len(head))}
	if err := json.Unmarshal(text[len(fixed):], h.meta); err != nil {
		return none, fmt.Errorf("%w: %w", engine.ErrCorrupt, err)
	}
	if h.meta.Size = info.Size() - 4 - h.begin; h.meta.Size < 0 {
		return none, fmt.Errorf("%w: the file is cut short", engine.ErrCorrupt)
	}
	return h, nil
}

// verify reads the whole file.
func (h snapshotHead) verify(file vfs.File) error {
	sum, want, end := crc32.New(castagnoli), make([]byte, 4), h.begin+h.meta.Size
	if _, err := io.Copy(sum, io.NewSectionReader(file, 0, end)); err != nil {
		return err
	}
	if err := readAt(file, want, end); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(want) != sum.Sum32() {
		return fmt.Errorf("%w: the checksum does not match", engine.ErrCorrupt)
	}
	return nil
}

func readAt(file vfs.File, b []byte, at int64) error {
	n, err := file.ReadAt(b, at)
	switch {
	case n == len(b):
		return nil
	case err == nil, errors.Is(err, io.EOF):
		return fmt.Errorf("%w: the file is cut short", engine.ErrCorrupt)
	}
	return err
}
