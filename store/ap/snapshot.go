package ap

import (
	"context"
	"fmt"
	"hash"
	"hash/crc64"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// patience is how long a source waits before it sends a peer its state: what the peer
// lacks of what the log does not hold, others may be bringing it just now.
const patience = 2 * time.Second

// newChecksum is of the rows of a snapshot, in order, as they are encoded.
func newChecksum() hash.Hash64 { return crc64.New(crc64.MakeTable(crc64.ECMA)) }

// snapshot sends the peer the whole state and returns the position in the log where
// entries go on. The peer's rows that it has had already go as names.
func (s *source) snapshot(ctx context.Context) (uint64, error) {
	v, _, err := s.r.views.acquire()
	if err != nil {
		return 0, err
	}
	defer s.r.views.release(v)
	first := &logpb.Snapshot{Vector: protoVector(v.vector), Deps: v.others()}
	first.Vector.Stamp = uint64(v.stamp)
	began, out := time.Now(), &pieces{s: s, sum: newChecksum(), piece: first}
	have := s.confirmed()
	var failed error
	for key, row := range v.snap.Scan([]byte{rowKey}, []byte{rowKey + 1}, &failed) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		siblings, err := decodeSiblings(row)
		if err != nil {
			return 0, err
		}
		if err := out.add(snapshotRow(string(key[1:]), row, siblings, have)); err != nil {
			return 0, err
		}
	}
	if failed != nil {
		return 0, failed
	}
	if err := out.end(); err != nil {
		return 0, err
	}
	s.r.cfg.Events.Sent(s.peer, out.count, time.Since(began))
	return v.position, nil
}

func snapshotRow(key string, row []byte, siblings []causal.Sibling, have causal.Vector) *logpb.SnapshotRow {
	var held []*logpb.Dot
	for _, sibling := range siblings {
		if sibling.Sum != nil || !have.Has(sibling.Dot) { // what was deleted of a sum is not in its name
			return &logpb.SnapshotRow{Key: key, Siblings: append([]byte(nil), row...)}
		}
		held = append(held, protoDot(sibling.Dot))
	}
	return &logpb.SnapshotRow{Key: key, Held: held}
}

// pieces sends rows as frames of bounded size.
type pieces struct {
	s     *source
	sum   hash.Hash64
	piece *logpb.Snapshot
	size  int
	count int
}

func (p *pieces) add(row *logpb.SnapshotRow) error {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(row)
	if err != nil {
		return fmt.Errorf("encode a row of a snapshot: %w", err)
	}
	_, _ = p.sum.Write(b)
	p.piece.Rows = append(p.piece.Rows, row)
	p.count++
	if p.size += len(b); p.size < frameBytes {
		return nil
	}
	return p.send()
}

func (p *pieces) send() error {
	err := send(p.s.stream, &logpb.Frame{Kind: &logpb.Frame_Snapshot{Snapshot: p.piece}})
	p.piece, p.size = &logpb.Snapshot{}, 0
	return err
}

func (p *pieces) end() error {
	p.piece.Last, p.piece.Count, p.piece.Checksum = true, uint64(p.count), p.sum.Sum64()
	return p.send()
}

// incoming is a snapshot that a peer is sending.
type incoming struct {
	*merger
	sum   hash.Hash64
	count uint64
	last  string // the last key
	began time.Time
}

// take merges a piece of the peer's state. Nothing has changed before the last one is
// there and everything sound.
func (p *puller) takeSnapshot(piece *logpb.Snapshot) error {
	if p.incoming == nil {
		of := summary{stamp: causal.Stamp(piece.Vector.GetStamp())}
		var err error
		if of.theirs, err = vectorOf(piece.Vector); err != nil || len(of.theirs) == 0 {
			return garbage("a snapshot begins without the writes it includes: %v", err)
		}
		if of.deps, err = token.DecodeDeps(piece.Deps); err != nil {
			return errGarbage{err}
		}
		m, err := p.r.merge(of)
		if err != nil {
			return err
		}
		p.incoming = &incoming{merger: m, sum: newChecksum(), began: time.Now()}
	}
	in := p.incoming
	for _, row := range piece.Rows {
		if err := in.take(row); err != nil {
			return err
		}
	}
	if !piece.Last {
		return nil
	}
	if piece.Count != in.count || piece.Checksum != in.sum.Sum64() {
		return garbage("a snapshot ends after %d rows with the sum %x; it says %d and %x", in.count, in.sum.Sum64(), piece.Count, piece.Checksum)
	}
	return p.installSnapshot()
}

func (p *puller) installSnapshot() error {
	in := p.incoming
	if err := in.rest(); err != nil {
		return err
	}
	if err := in.install(p.peer); err != nil {
		return err
	}
	p.dropSnapshot()
	p.r.cfg.Events.Installed(p.peer, in.rows, in.staged, time.Since(in.began))
	return nil
}

// dropSnapshot ends what is on its way, if there is any.
func (p *puller) dropSnapshot() {
	if p.incoming != nil {
		p.incoming.end()
		p.incoming = nil
	}
}

// take checks a row and gives it to the merger.
func (in *incoming) take(row *logpb.SnapshotRow) error {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(row)
	if err != nil {
		return errGarbage{err}
	}
	_, _ = in.sum.Write(b)
	if err := store.CheckKey(row.Key); err != nil {
		return errGarbage{err}
	}
	if in.count > 0 && row.Key <= in.last {
		return garbage("the rows of a snapshot are out of order")
	}
	in.count, in.last = in.count+1, row.Key
	siblings, err := in.siblings(row)
	if err != nil {
		return err
	}
	return in.row(row.Key, siblings)
}

func (in *incoming) siblings(row *logpb.SnapshotRow) ([]causal.Sibling, error) {
	siblings, err := decodeSiblings(row.Siblings)
	if err != nil {
		return nil, errGarbage{err}
	}
	for _, d := range row.Held {
		dot := causal.Dot{Actor: causal.Actor(d.GetActor()), N: d.GetNumber()}
		if !in.ours.vector.Has(dot) {
			return nil, garbage("a snapshot names %s without its value, which this replica never had", dot)
		}
		siblings = append(siblings, causal.Sibling{Dot: dot})
	}
	if !in.r.cfg.fits(siblings) {
		return nil, garbage("a row of a snapshot is not of a %v", in.r.cfg.Policy)
	}
	for i, sibling := range siblings {
		if !in.theirs.Has(sibling.Dot) || i > 0 && siblings[i-1].Dot.Compare(sibling.Dot) >= 0 {
			return nil, garbage("the siblings of a snapshot's row are out of order at %s", sibling.Dot)
		}
	}
	return siblings, nil
}
