package cp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/store"
)

// Log is where Raft keeps its entries, its term and its vote. Everything in it is
// on disk before a call returns.
type Log interface {
	raft.LogStore
	raft.StableStore
}

// LogFactory opens the log of one group; the closer is called after Raft stopped.
type LogFactory func(e *engine.Engine, group store.GroupID) (Log, io.Closer, error)

// Kinds of engine space a cp group uses.
const (
	spaceLog    = 'l'
	spaceStable = 'v'
	spaceState  = 's'
)

// EngineLog keeps the log in the node's engine: all groups of a node share one
// stream of fsyncs, and the engine's file system is the one seam for disk faults.
func EngineLog(e *engine.Engine, group store.GroupID) (Log, io.Closer, error) {
	if err := claimLog(e, group, engineKind); err != nil {
		return nil, nil, err
	}
	l := &engineLog{log: e.Space(group, spaceLog), stable: e.Space(group, spaceStable)}
	view := l.log.View()
	defer view.Close()
	last, _, ok, err := view.Last(nil)
	if err != nil {
		return nil, nil, err
	}
	if ok {
		l.last.Store(binary.BigEndian.Uint64(last))
	}
	var failed error
	for key := range view.Scan(nil, nil, &failed) {
		l.first.Store(binary.BigEndian.Uint64(key))
		break
	}
	l.settling = make(chan struct{}, 1)
	return l, io.NopCloser(nil), failed
}

// The kinds of log, by the names they have in --raft-log.
const (
	engineKind = "engine"
	boltKind   = "boltdb"
)

// claimLog records which kind of log the group has on this node, before anything is
// in it, and refuses another: an empty log of the other kind would have neither the
// term and vote nor the entries that this replica has promised to keep.
func claimLog(e *engine.Engine, group store.GroupID, kind string) error {
	space := e.Space(group, spaceState)
	b, ok, err := space.Get([]byte(keyLogKind))
	switch {
	case err != nil:
		return fmt.Errorf("cp: open %v: %w", group, err)
	case ok && string(b) != kind:
		return &store.Error{
			Code: store.Invalid, Group: group,
			Msg: fmt.Sprintf("the Raft log of group %v on this node is of kind %q, not %q", group, b, kind),
			Try: fmt.Sprintf("the same --raft-log as before; for this group it is %s", b),
		}
	case ok:
		return nil
	}
	claim := space.Batch()
	claim.Set([]byte(keyLogKind), []byte(kind))
	return claim.Commit(true)
}

// keyLogKind is in the state space, beside keyGeneration; no snapshot has it.
const keyLogKind = "l"

// engineLog is written by Raft's main goroutine, cut behind snapshots by another and
// read by its replicators.
type engineLog struct {
	log, stable *engine.Space
	bounds      sync.Mutex    // held to change first and last, and late
	first, last atomic.Uint64 // 0 and 0 when the log is empty
	late        []lateEntries // not known to be on disk, the oldest first
	settling    chan struct{} // held by whoever waits for the disk; a lock for virtual time
}

// lateEntries are entries that StoreLate has stored.
type lateEntries struct {
	first  uint64
	settle func() error
}

var _ lateLog = (*engineLog)(nil)

func (l *engineLog) FirstIndex() (uint64, error) { return l.first.Load(), nil }
func (l *engineLog) LastIndex() (uint64, error)  { return l.last.Load(), nil }

func (l *engineLog) GetLog(index uint64, log *raft.Log) error {
	b, ok, err := l.log.Get(binary.BigEndian.AppendUint64(nil, index))
	switch {
	case err != nil:
		return err
	case !ok:
		return raft.ErrLogNotFound
	}
	return decodeLog(index, b, log)
}

func (l *engineLog) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

func (l *engineLog) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	if err := l.SettleAll(); err != nil {
		return err
	}
	if err := l.batchOf(logs).Commit(!mutant.M25); err != nil {
		return err
	}
	l.grow(logs)
	return nil
}

// StoreLate stores entries that Settle must be asked for before anything is told of
// them, but for copies of them to other members.
func (l *engineLog) StoreLate(logs []*raft.Log) error {
	if mutant.M25 {
		return l.StoreLogs(logs)
	}
	settle, err := l.batchOf(logs).Begin()
	if err != nil {
		return err
	}
	l.bounds.Lock()
	l.late = append(l.late, lateEntries{logs[0].Index, settle})
	l.bounds.Unlock()
	l.grow(logs)
	return nil
}

// Settle returns when the entries up to an index are on disk.
func (l *engineLog) Settle(index uint64) error {
	if l.Settled() >= index {
		return nil
	}
	l.settling <- struct{}{}
	defer func() { <-l.settling }()
	for l.Settled() < index {
		l.bounds.Lock()
		oldest := l.late[0]
		l.bounds.Unlock()
		if err := oldest.settle(); err != nil {
			return err
		}
		l.bounds.Lock()
		l.late = l.late[1:]
		l.bounds.Unlock()
	}
	return nil
}

// SettleAll returns when all entries are on disk.
func (l *engineLog) SettleAll() error { return l.Settle(math.MaxUint64) }

// Settled is the index up to which whatever is in the log is on disk.
func (l *engineLog) Settled() uint64 {
	l.bounds.Lock()
	defer l.bounds.Unlock()
	if len(l.late) == 0 {
		return math.MaxUint64
	}
	return l.late[0].first - 1
}

func (l *engineLog) batchOf(logs []*raft.Log) *engine.Batch {
	b := l.log.Batch()
	for _, log := range logs {
		b.Set(binary.BigEndian.AppendUint64(nil, log.Index), encodeLog(log))
	}
	return b
}

func (l *engineLog) grow(logs []*raft.Log) {
	l.bounds.Lock()
	defer l.bounds.Unlock()
	if l.first.Load() == 0 {
		l.first.Store(logs[0].Index)
	}
	l.last.Store(logs[len(logs)-1].Index)
}

// DeleteRange removes the entries from lo to hi, both included: Raft cuts the head
// behind a snapshot, while it appends at the other end, or a tail that another
// leader's log replaces. The bounds go first: whoever misses an entry and then looks
// must find it outside them.
func (l *engineLog) DeleteRange(lo, hi uint64) error {
	if err := l.Settle(hi); err != nil {
		return err
	}
	l.shrink(lo, hi)
	b := l.log.Batch()
	b.DeleteRange(binary.BigEndian.AppendUint64(nil, lo), binary.BigEndian.AppendUint64(nil, hi+1))
	return b.Commit(!mutant.M25)
}

func (l *engineLog) shrink(lo, hi uint64) {
	l.bounds.Lock()
	defer l.bounds.Unlock()
	switch first, last := l.first.Load(), l.last.Load(); {
	case lo <= first && hi >= last:
		l.first.Store(0)
		l.last.Store(0)
	case lo <= first:
		l.first.Store(max(first, hi+1))
	default:
		l.last.Store(min(last, lo-1))
	}
}

// errNotFound must read exactly so: Raft compares the text.
var errNotFound = errors.New("not found")

// Set is on disk when it returns, and so are all entries: a replica that is at a new
// term, or has voted, acknowledges what it has to another leader.
func (l *engineLog) Set(key, val []byte) error {
	if err := l.SettleAll(); err != nil {
		return err
	}
	b := l.stable.Batch()
	b.Set(key, val)
	return b.Commit(!mutant.M25)
}

func (l *engineLog) Get(key []byte) ([]byte, error) {
	b, ok, err := l.stable.Get(key)
	if err == nil && !ok {
		err = errNotFound
	}
	return b, err
}

func (l *engineLog) SetUint64(key []byte, val uint64) error {
	return l.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

func (l *engineLog) GetUint64(key []byte) (uint64, error) {
	b, err := l.Get(key)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("%w: %s has %d bytes, not 8", engine.ErrCorrupt, key, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// logVersion begins every stored entry, so that the format can change.
const logVersion = 2

// logHead is the version, and the CRC-32C of the index and of all that follows.
const logHead = 1 + 4

// encodeLog writes the head, then type, term, append time in unix nanoseconds, the
// length of the extensions, the extensions and the data. The sum goes with the entry
// from end to end, whatever the store below it verifies; with the index in it, an
// entry that turns up under another's key is found out too.
func encodeLog(log *raft.Log) []byte {
	b := make([]byte, logHead, logHead+32+len(log.Data)+len(log.Extensions))
	b = append(b, byte(log.Type))
	b = binary.AppendUvarint(b, log.Term)
	b = binary.AppendVarint(b, log.AppendedAt.UnixNano())
	b = binary.AppendUvarint(b, uint64(len(log.Extensions)))
	b = append(b, log.Extensions...)
	b = append(b, log.Data...)
	b[0] = logVersion
	binary.BigEndian.PutUint32(b[1:], sumOf(binary.BigEndian.AppendUint64(nil, log.Index), b[logHead:]))
	return b
}

// sumOf is the CRC-32C of a value under its key.
func sumOf(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

func decodeLog(index uint64, b []byte, log *raft.Log) error {
	bad := func(what string) error {
		return fmt.Errorf("%w: log entry %d: %s", engine.ErrCorrupt, index, what)
	}
	if len(b) <= logHead || b[0] != logVersion {
		return bad("not a version this release knows")
	}
	if binary.BigEndian.Uint32(b[1:]) != sumOf(binary.BigEndian.AppendUint64(nil, index), b[logHead:]) {
		return bad("the checksum does not match")
	}
	kind, b := b[logHead], b[logHead+1:]
	term, n := binary.Uvarint(b)
	if n <= 0 {
		return bad("no term")
	}
	b = b[n:]
	at, n := binary.Varint(b)
	if n <= 0 {
		return bad("no time")
	}
	b = b[n:]
	ext, n := binary.Uvarint(b)
	if n <= 0 || ext > uint64(len(b)-n) {
		return bad("extensions too long")
	}
	b = b[n:]
	*log = raft.Log{Index: index, Term: term, Type: raft.LogType(kind), AppendedAt: time.Unix(0, at), Data: b[ext:]}
	if ext > 0 {
		log.Extensions = b[:ext]
	}
	return nil
}
