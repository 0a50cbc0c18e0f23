package cp

import (
	"context"
	"crypto/rand"
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
	"github.com/dialkv/dialkv/store"
)

// A snapshot that somebody saved comes back through the log, in pieces: each replica
// stages them beside its living state, and the last piece makes the staged state the
// living one, at the same entry everywhere. So a restore is replicated, survives
// crashes and is seen whole or not at all, and raft's own Restore, which lets a leader
// run ahead of its followers, is not needed. It begins a new epoch: sessions, watches
// and tokens of the old one name what is not there any more.

// pieceBytes is about how much one piece holds.
const pieceBytes = 512 << 10

// kept are the kinds of rows in a snapshot that was saved: what is not here begins
// anew with the epoch.
var kept = map[byte]bool{keyRecord: true, keyLease: true, keyAttached: true}

// errRestoring is why no snapshot of Raft's is taken; it tries again later. So one
// never lies between the pieces of a restore, and staged rows are in no snapshot.
var errRestoring = errors.New("cp: the state is being restored")

// Origin says where a saved snapshot is from.
type Origin struct{ Cluster, Keyspace string }

// Save writes the group as it is at one revision, which is at least that of every
// write acknowledged before the call. It may be called on any replica.
func (r *Replica) Save(ctx context.Context, from Origin, out io.Writer) error {
	if _, err := r.up(ctx); err != nil {
		return r.at(err, "snapshot")
	}
	if !r.readers.enter() {
		return r.at(r.stopping(), "snapshot")
	}
	b, err := r.basisFor(ctx, store.Query{Level: store.Strong}, time.Now())
	if err != nil {
		r.readers.leave()
		return r.at(err, "snapshot")
	}
	// A receiver may be slow, and must not hold up the replica's end: the view is
	// held by the side of the pipe that can be stopped.
	pipe, in := io.Pipe()
	go func() {
		defer r.readers.leave()
		defer b.view.Close()
		in.CloseWithError(r.save(b.view, from, in))
	}()
	written := make(chan struct{})
	defer close(written)
	go func() {
		select {
		case <-r.down:
			pipe.CloseWithError(r.stopping())
		case <-written:
		}
	}()
	_, err = io.Copy(out, pipe)
	pipe.CloseWithError(err)
	if err != nil {
		return r.at(&store.Error{Code: store.Unavailable, Msg: "the snapshot cannot be written", Cause: err}, "snapshot")
	}
	return nil
}

func (r *Replica) save(v *view, from Origin, out io.Writer) error {
	meta, err := v.state()
	if err != nil {
		return err
	}
	c := &capture{view: v, meta: meta, group: r.cfg.Group}
	header := c.header()
	header.Cluster, header.Name, header.Node, header.SavedMs = from.Cluster, from.Keyspace, r.cfg.Node, time.Now().UnixMilli()
	return c.write(out, header, func(kind byte) bool { return kept[kind] })
}

// Restore replaces the group by a snapshot that Save wrote, through the leader, which
// must be this replica. check looks at the header first. What is damaged, cut short or
// refused changes nothing. Unknown means that the last piece was proposed and its end
// is not known; any other error means that nothing was changed.
func (r *Replica) Restore(ctx context.Context, check func(*logpb.SnapshotHeader) error, in io.Reader) (Restored, error) {
	ra, err := r.up(ctx)
	if err == nil && ra.State() != raft.Leader {
		err = &store.Error{Code: store.NotLeader, Leader: leaderOf(ra)}
	}
	var out Restored
	if err == nil {
		out, err = r.stage(ctx, check, backup.NewReader(in))
	}
	if err != nil {
		return Restored{}, r.at(err, "restore")
	}
	return out, nil
}

// Restored is what a restore made of the group.
type Restored struct{ Epoch, Revision, Keys uint64 }

// stage proposes a snapshot's rows piece by piece, and the last piece only once the
// checksum at the end has been seen.
func (r *Replica) stage(ctx context.Context, check func(*logpb.SnapshotHeader) error, in *backup.Reader) (Restored, error) {
	header, err := readHeader(in)
	if err != nil {
		return Restored{}, unreadable(err)
	}
	if err := check(header); err != nil {
		return Restored{}, err
	}
	s := &staging{r: r, id: randomID()}
	err = s.pieces(ctx, in)
	var answer *logpb.Answer
	if err == nil {
		answer, err = s.propose(ctx, &logpb.Restore{State: header.State})
	}
	if err != nil && s.sent > 0 {
		r.abandoned.Store(s.id)
	}
	return Restored{answer.GetEpoch(), answer.GetRevision(), s.keys}, err
}

// abort drops what a restore that was given up has staged. Until that is done no
// snapshot of Raft's is taken, and the log grows. Of one that came to its end after
// all there is nothing to drop.
func (r *Replica) abort(ctx context.Context) {
	id := r.abandoned.Load()
	if id == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, enqueueTimeout)
	defer cancel()
	if ended(ctx, r.suggest(&logpb.Command{Op: logpb.Command_OP_RESTORE, Restore: &logpb.Restore{Id: id, Abort: true}})) {
		r.abandoned.CompareAndSwap(id, 0)
	}
}

func unreadable(err error) error {
	return &store.Error{Code: store.Corrupt, Msg: "the snapshot cannot be read", Try: "kvctl snapshot verify FILE, or another snapshot", Cause: err}
}

// staging is a restore on its way into the log.
type staging struct {
	r    *Replica
	id   uint64
	sent uint32
	keys uint64
}

func (s *staging) pieces(ctx context.Context, in *backup.Reader) error {
	piece := new(logpb.Restore)
	size := 0
	for {
		key, value, err := readPair(in)
		if err == io.EOF {
			_, err := s.propose(ctx, piece)
			return err
		}
		if err != nil {
			return unreadable(err)
		}
		if !kept[key[0]] {
			continue
		}
		if key[0] == keyRecord {
			s.keys++
		}
		piece.Pairs = append(piece.Pairs, &logpb.Pair{Key: key, Value: value})
		if size += len(key) + len(value); size >= pieceBytes {
			if _, err := s.propose(ctx, piece); err != nil {
				return err
			}
			piece, size = new(logpb.Restore), 0
		}
	}
}

// propose sends one piece and waits for it. An error but that of the last piece is
// definite: what is only staged changes nothing.
func (s *staging) propose(ctx context.Context, piece *logpb.Restore) (*logpb.Answer, error) {
	piece.Id, piece.Piece = s.id, s.sent
	s.sent++
	answer, err := s.r.submit(ctx, &logpb.Command{Op: logpb.Command_OP_RESTORE, Restore: piece})
	if err == nil && answer.Code != "" {
		err = &store.Error{Code: store.Code(answer.Code), Msg: answer.Msg, Try: "the restore once more, when no other is under way"}
	}
	if e := store.AsError(err); e != nil && e.MaybeApplied() && piece.State == nil {
		return nil, &store.Error{Code: store.Unavailable, Msg: "the restore came to a halt", Cause: err}
	}
	return answer, err
}

func randomID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:]) | 1
}

// restorePiece is the piece an entry holds. The proposer gives each an entry of its own.
func restorePiece(batch *logpb.Batch) *logpb.Restore {
	if len(batch.GetCommands()) == 1 {
		return batch.Commands[0].Restore
	}
	return nil
}

// restorePiece stages a piece, in a batch of its own.
func (m *machine) restorePiece(log *raft.Log, batch *logpb.Batch) any {
	s, piece := m.state, batch.Commands[0].Restore
	s.reach(log)
	answer, err := s.stage(piece)
	if err != nil {
		m.fail(err)
		return nil
	}
	if answer.Code == "" && piece.State != nil {
		m.leases.reset(s)
	}
	return []*logpb.Answer{answer}
}

// reach notes how far the state is. A restore is of one term: a leader that lost its seat
// may never go on, and what it has staged would keep Raft from its snapshots. The first
// entry of another term drops it, whatever that is; entries that open the same term
// again do not.
func (s *state) reach(log *raft.Log) {
	if log.Term != s.meta.AppliedTerm {
		s.meta.Restoring, s.meta.RestoredPieces = 0, 0
	}
	s.meta.AppliedIndex, s.meta.AppliedTerm = log.Index, log.Term
}

// stage applies a piece: rows go into the next generation; the last piece flips.
func (s *state) stage(piece *logpb.Restore) (*logpb.Answer, error) {
	next := &state{group: s.group, space: s.space, gen: s.gen + 1}
	b := s.space.Batch()
	answer := &logpb.Answer{Epoch: s.meta.Epoch, Revision: s.meta.Revision}
	switch {
	case piece.Abort:
		s.meta.Restoring, s.meta.RestoredPieces = 0, 0
	case piece.Piece == 0:
		s.meta.Restoring, s.meta.RestoredPieces = piece.Id, 0
		b.DeleteRange(next.prefix(next.gen), next.prefix(next.gen+1))
	}
	if !piece.Abort {
		switch {
		case s.meta.Restoring == 0:
			answer.Code, answer.Msg = string(store.Unavailable), "a term ended, or a restore, since this one began"
		case piece.Id != s.meta.Restoring || piece.Piece != s.meta.RestoredPieces:
			answer.Code, answer.Msg = string(store.Conflict), "another restore came in between"
		default:
			s.meta.RestoredPieces++
			for _, p := range piece.Pairs {
				b.Set(append(next.prefix(next.gen), p.Key...), p.Value)
			}
			if piece.State != nil {
				return s.flip(next, piece.State, b)
			}
		}
	}
	b.Set(s.key(keyState, nil), encode(s.meta))
	return answer, b.Commit(false)
}

// flip makes the next generation the living one. Revisions go on above both the old
// state's and the snapshot's, so none is ever used twice; the history begins anew, and
// no session of before is known.
func (s *state) flip(next *state, saved *logpb.State, b *engine.Batch) (*logpb.Answer, error) {
	revision := max(s.meta.Revision, saved.Revision) + 1
	meta := &logpb.State{
		Version: formatVersion, AppliedIndex: s.meta.AppliedIndex, AppliedTerm: s.meta.AppliedTerm,
		LeaderMs: s.meta.LeaderMs, Revision: revision, Epoch: s.meta.Epoch + 1, History: revision + 1,
		Total: s.meta.Total, Leases: saved.Leases, Lineage: s.meta.Lineage,
	}
	b.Set(next.key(keyState, nil), encode(meta))
	b.Set([]byte(keyGeneration), binary.BigEndian.AppendUint64(nil, next.gen))
	b.DeleteRange(s.prefix(s.gen), s.prefix(s.gen+1))
	if err := b.Commit(false); err != nil {
		return nil, err
	}
	s.gen = next.gen
	return &logpb.Answer{Revision: revision, Epoch: meta.Epoch}, s.load()
}

// state is what the view's generation says of itself.
func (v *view) state() (*logpb.State, error) {
	b, ok, err := v.Get(v.key(keyState, ""))
	if err != nil {
		return nil, err
	}
	meta := &logpb.State{Version: formatVersion}
	if ok {
		if err := proto.Unmarshal(b, meta); err != nil {
			return nil, fmt.Errorf("%w: cp state: %w", engine.ErrCorrupt, err)
		}
	}
	return meta, nil
}
