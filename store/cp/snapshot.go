package cp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/backup"
	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/store"
)

// A snapshot is a stream of package backup: a SnapshotHeader, then every key of the
// generation, without the byte of its prefix, and its value.

// errReplaying is why no snapshot is taken; Raft tries again later.
var errReplaying = errors.New("cp: the log is still being replayed")

// capture is the state at one instant, to be written while entries are applied.
type capture struct {
	view   *view
	engine *engine.Engine
	meta   *logpb.State
	group  store.GroupID
	down   <-chan struct{} // Persist gives up when it is closed
}

// Persist writes the capture. Before it returns, the engine's log is synced: Raft
// will then drop entries, and a crash must not bring back a state from before them.
func (c *capture) Persist(out raft.SnapshotSink) error {
	// Entries up to the snapshot's index that the machine never sees (a leader's
	// no-op) are in the state by being nothing.
	if sink, ok := out.(*sink); ok {
		if c.meta.AppliedIndex > sink.meta.Index {
			// After a start Raft counts through what the state has already; a label
			// below the content would make a follower apply entries twice.
			return errors.Join(errReplaying, out.Cancel())
		}
		c.meta.AppliedIndex, c.meta.AppliedTerm = sink.meta.Index, sink.meta.Term
	}
	err := c.write(&paced{sink: out, down: c.down, began: time.Now()}, c.header(), func(kind byte) bool { return !mutant.M7 || kind != keySession && kind != keyAnswer })
	if err == nil {
		err = c.engine.Sync()
	}
	if err != nil {
		return errors.Join(err, out.Cancel())
	}
	return out.Close()
}

// A snapshot is written in pieces of pace bytes, which are synced one by one, with a rest
// after each of restShare times what it took: at full speed it would take the disk and a
// processor away from the writes beside it, and one sync of all of it hold up theirs.
const (
	pace      = 1 << 20
	restShare = 3
	mostRest  = 50 * time.Millisecond
)

// paced writes to a sink at that pace.
type paced struct {
	sink    io.Writer
	down    <-chan struct{}
	written int
	began   time.Time // the piece
}

func (p *paced) Write(b []byte) (int, error) {
	n, err := p.sink.Write(b)
	if p.written += n; err != nil || p.written < pace {
		return n, err
	}
	if s, ok := p.sink.(*sink); ok {
		err = s.sync()
	}
	if err == nil {
		err = p.rest(min(restShare*time.Since(p.began), mostRest))
	}
	p.written, p.began = 0, time.Now()
	return n, err
}

func (p *paced) rest(d time.Duration) error {
	if p.down == nil {
		return nil // nobody writes beside it
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-p.down:
		return errStopped
	}
}

func (c *capture) header() *logpb.SnapshotHeader {
	return &logpb.SnapshotHeader{Version: formatVersion, Keyspace: c.group.Keyspace, Shard: c.group.Shard, State: c.meta}
}

func (c *capture) write(out io.Writer, header *logpb.SnapshotHeader, wanted func(kind byte) bool) error {
	w := backup.NewWriter(out)
	w.Part(encode(header))
	prefix := c.view.key(keyRecord, "")
	prefix = prefix[:len(prefix)-1]
	var failed error
	for key, value := range c.view.Scan(prefix, binary.BigEndian.AppendUint64([]byte{generations}, c.view.gen+1), &failed) {
		if kind := key[len(prefix)]; kind == keyState || !wanted(kind) {
			continue // the header has the state
		}
		w.Part(key[len(prefix):])
		w.Part(value)
		if w.Err() != nil {
			break
		}
	}
	return errors.Join(failed, w.Close())
}

// readPair reads a row, and io.EOF at a sound end.
func readPair(in *backup.Reader) (key, value []byte, err error) {
	if key, err = in.Part(); err != nil {
		return nil, nil, err
	}
	if len(key) == 0 {
		return nil, nil, fmt.Errorf("%w: a row without a key", backup.ErrDamaged)
	}
	if value, err = in.Part(); err == io.EOF {
		err = fmt.Errorf("%w: a key without a value", backup.ErrDamaged)
	}
	return key, value, err
}

// Release gives the view up.
func (c *capture) Release() { c.view.Close() }

// restore fills the next generation from a snapshot and then, in one synced write,
// makes it the living one. Until then nothing that readers see has changed.
func (s *state) restore(source io.Reader) error {
	r := backup.NewReader(source)
	header, err := s.readHeader(r)
	if err != nil {
		return err
	}
	next := &state{group: s.group, space: s.space, gen: s.gen + 1}
	if err := next.fill(r); err != nil {
		return fmt.Errorf("cp: restore: %w", err)
	}
	flip := s.space.Batch()
	flip.Set(next.key(keyState, nil), encode(header.State))
	flip.Set([]byte(keyGeneration), binary.BigEndian.AppendUint64(nil, next.gen))
	flip.DeleteRange(s.prefix(s.gen), s.prefix(s.gen+1))
	if err := flip.Commit(true); err != nil {
		return err
	}
	s.gen = next.gen
	return s.load()
}

// readHeader reads the first part, of a release that this one knows.
func readHeader(r *backup.Reader) (*logpb.SnapshotHeader, error) {
	b, err := r.Part()
	if err != nil {
		return nil, fmt.Errorf("cp: snapshot header: %w", err)
	}
	header := new(logpb.SnapshotHeader)
	if err := proto.Unmarshal(b, header); err != nil {
		return nil, fmt.Errorf("%w: cp snapshot header: %w", engine.ErrCorrupt, err)
	}
	if header.Version != formatVersion || header.State == nil {
		return nil, fmt.Errorf("cp: the snapshot has format %d, this release knows %d", header.Version, formatVersion)
	}
	return header, nil
}

func (s *state) readHeader(r *backup.Reader) (*logpb.SnapshotHeader, error) {
	header, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	if from := (store.GroupID{Keyspace: header.Keyspace, Shard: header.Shard}); from != s.group {
		return nil, fmt.Errorf("cp: the snapshot is of group %v, not %v", from, s.group)
	}
	return header, nil
}

// fill writes the pairs of a snapshot under this generation, a megabyte at a time.
func (s *state) fill(r *backup.Reader) error {
	clear := s.space.Batch()
	clear.DeleteRange(s.prefix(s.gen), s.prefix(s.gen+1))
	if err := clear.Commit(false); err != nil {
		return err
	}
	b := s.space.Batch()
	defer func() { b.Close() }()
	for {
		key, value, err := readPair(r)
		if err == io.EOF {
			return b.Commit(false)
		}
		if err != nil {
			return err
		}
		b.Set(append(s.prefix(s.gen), key...), value)
		if b.Len() > batchBytes {
			if err := b.Commit(false); err != nil {
				return err
			}
			b = s.space.Batch()
		}
	}
}
