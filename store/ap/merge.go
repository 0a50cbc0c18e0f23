package ap

import (
	"errors"
	"fmt"
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// installBytes is the size of one batch of an install.
const installBytes = 4 << 20

// merger takes a peer's state in, row by row, beside the reads and writes of this
// replica, and stages those rows by which the states differ. When all are there the
// applier merges them, and with the last batch takes the peer's vector.
//
// Between begin and end the applier applies nothing of other peers. What it applies
// of clients is no reason to look at a row again that needed no merge: those writes
// are in nobody's snapshot, and what they superseded the merge would drop as known.
type merger struct {
	r *Replica
	summary
	ours   *view // as of the beginning
	next   func() ([]byte, []byte, bool)
	stop   func()
	failed error // of reading ours
	key    string
	local  []causal.Sibling
	more   bool // key and local are the next row of ours

	batch  *engine.Batch // staged, not written yet
	rows   int           // of the peer
	staged int
}

// summary is what a peer's state is beside its rows.
type summary struct {
	theirs causal.Vector
	deps   token.Deps   // what its writes depend on in other groups
	stamp  causal.Stamp // above those of all its writes, also of those that left no row
}

// merge begins one. Its error says that another one is under way.
func (r *Replica) merge(of summary) (*merger, error) {
	m := &merger{r: r, summary: of}
	if err := r.run(func() error { return r.beginMerge(m) }); err != nil {
		return nil, err
	}
	m.next, m.stop = iter.Pull2(m.ours.snap.Scan([]byte{rowKey}, []byte{rowKey + 1}, &m.failed))
	return m, m.advance()
}

var (
	errMerging = errors.New("another snapshot is being merged")
	errLeaving = errors.New("the replica takes nothing in any more, for it is about to leave")
)

// beginMerge belongs to the applier.
func (r *Replica) beginMerge(m *merger) error {
	if r.state.merging {
		return errMerging
	}
	if err := r.state.possible(m.theirs); err != nil {
		return err
	}
	ours, _, err := r.views.acquire()
	if err != nil {
		return err
	}
	r.state.merging, m.ours = true, ours
	m.batch = r.space.Batch()
	return nil
}

// end lets go of what the merger holds; without install before it, nothing has
// changed.
func (m *merger) end() {
	m.stop()
	m.batch.Close()
	m.r.views.release(m.ours)
	_ = m.r.run(func() error { // without an applier there is nothing to end
		m.r.state.merging = false
		return m.r.state.unstage()
	})
}

// advance reads our next row.
func (m *merger) advance() error {
	key, row, ok := m.next()
	if m.more = ok; !ok {
		return m.failed
	}
	siblings, err := decodeSiblings(row)
	m.key, m.local = string(key[1:]), siblings
	return err
}

// row takes the peer's next row, in key order.
func (m *merger) row(key string, remote []causal.Sibling) error {
	m.rows++
	for m.more && m.key < key {
		if err := m.compare(m.key, m.local, nil); err != nil {
			return err
		}
	}
	if m.more && m.key == key {
		return m.compare(key, m.local, remote)
	}
	return m.stage(key, nil, remote)
}

// rest takes the end of the peer's rows.
func (m *merger) rest() error {
	for m.more {
		if err := m.compare(m.key, m.local, nil); err != nil {
			return err
		}
	}
	return m.failed
}

func (m *merger) compare(key string, local, remote []causal.Sibling) error {
	if err := m.stage(key, local, remote); err != nil {
		return err
	}
	return m.advance()
}

// stage keeps the peer's row if a merge changes ours.
func (m *merger) stage(key string, local, remote []causal.Sibling) error {
	if causal.Same(local, causal.Merge(local, m.ours.vector, remote, m.theirs)) {
		return nil
	}
	m.staged++
	if mutant.M16 && m.staged%2 == 0 {
		return nil
	}
	row, err := encodeSiblings(remote)
	if err != nil {
		return fmt.Errorf("encode siblings: %w", err)
	}
	m.batch.Set(append([]byte{rowStaged}, key...), row)
	if m.batch.Len() < installBytes {
		return nil
	}
	return m.flush()
}

// flush writes what is staged; the install that follows is synced, and with it this.
func (m *merger) flush() error {
	err := m.batch.Commit(false)
	m.batch = m.r.space.Batch()
	return err
}

// install merges what was staged and publishes it.
func (m *merger) install(peer string) error {
	if err := m.flush(); err != nil {
		return err
	}
	return m.r.run(func() error {
		switch {
		case m.r.state.closed:
			return errLeaving
		case !m.r.placed.Load().isPeer(peer):
			return errStranger
		}
		if err := m.r.state.possible(m.theirs); err != nil {
			return err
		}
		if err := m.r.state.install(m.summary, m.r.syncs()); err != nil {
			return storageError{err}
		}
		m.r.publish()
		return nil
	})
}

// install merges the staged rows into the state, as many in one batch as it takes
// well. With the first batch goes the note that it has begun, by which resume ends it
// after a crash; with the last, the vector. Until then the rows of the state are of
// no one moment, and nobody may see them.
func (s *state) install(of summary, sync bool) error {
	view := s.space.View()
	defer view.Close()
	pb := protoVector(of.theirs)
	pb.Stamp = uint64(of.stamp)
	pb.Deps = of.deps.Encode()
	note, err := proto.Marshal(pb)
	if err != nil {
		return fmt.Errorf("encode the note of a merge: %w", err)
	}
	s.begin()
	s.batch.Set([]byte{rowInstall}, note)
	var failed error
	for key, row := range view.Scan([]byte{rowStaged}, []byte{rowStaged + 1}, &failed) {
		if err := s.mergeRow(string(key[1:]), row, of.theirs); err != nil {
			s.drop()
			return err
		}
		if s.batch.Len() < installBytes {
			continue
		}
		if err := s.batch.Commit(false); err != nil {
			return err
		}
		s.begin()
	}
	if failed != nil {
		s.drop()
		return failed
	}
	return s.installed(of, sync)
}

func (s *state) mergeRow(key string, row []byte, theirs causal.Vector) error {
	remote, err := decodeSiblings(row)
	if err != nil {
		return err
	}
	local, err := s.siblings(key)
	if err != nil {
		return err
	}
	if mutant.M11 {
		theirs = nil
	}
	return s.store(key, local, causal.Merge(local, s.vector, remote, theirs))
}

// installed ends an install.
func (s *state) installed(of summary, sync bool) error {
	s.batch.Delete([]byte{rowInstall})
	s.batch.DeleteRange([]byte{rowStaged}, []byte{rowStaged + 1})
	s.vector.Join(of.theirs)
	s.deps = s.deps.Join(of.deps)
	s.clock.Observe(of.stamp)
	s.remote++ // our peers want to hear of it
	if err := s.mark(of.theirs); err != nil {
		s.drop()
		return err
	}
	return s.commit(sync)
}

// resume ends an install that a crash interrupted, and drops the rows of a snapshot
// that never came to it.
func (s *state) resume() error {
	note, found, err := s.space.Get([]byte{rowInstall})
	if err != nil {
		return err
	}
	if !found {
		return s.unstage()
	}
	var pb logpb.Vector
	if err := proto.Unmarshal(note, &pb); err != nil {
		return corrupt("the note of a merge", err)
	}
	of := summary{stamp: causal.Stamp(pb.Stamp)}
	of.theirs, err = vectorOf(&pb)
	var undecoded error
	of.deps, undecoded = token.DecodeDeps(pb.Deps)
	if err := errors.Join(err, undecoded); err != nil {
		return corrupt("the note of a merge", err)
	}
	return s.install(of, true)
}

// unstage drops staged rows.
func (s *state) unstage() error {
	view := s.space.View()
	var failed error
	some := false
	for range view.Scan([]byte{rowStaged}, []byte{rowStaged + 1}, &failed) {
		some = true
		break
	}
	view.Close()
	if failed != nil || !some {
		return failed
	}
	b := s.space.Batch()
	b.DeleteRange([]byte{rowStaged}, []byte{rowStaged + 1})
	return b.Commit(false)
}
