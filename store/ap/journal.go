package ap

import (
	"encoding/binary"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// journal is what a replica knows of its log beside its rows: how long it is, and
// where it is cut off or may be. A peer that has what was applied where the log is
// cut can be sent all the rest from it; any other is sent a snapshot.
type journal struct {
	position uint64   // of the last entry
	bytes    uint64   // of all entries ever, up to that one
	base     cut      // before it there is nothing
	cuts     []cut    // where it may be cut next, in order
	recent   []logged // what the batch adds
}

// logged is an entry of the log, and what is kept beside it.
type logged struct {
	position    uint64
	raw, beside []byte
}

// cut is a place in the log, behind the entry at its position.
type cut struct {
	position uint64
	bytes    uint64        // of all entries up to it
	vector   causal.Vector // what had been applied there
}

// recentBytes bounds what a view keeps in memory of the log's end. Views of scans may be
// kept for minutes.
const recentBytes = 128 << 10

// memorable is what the batch adds, or nothing if that is much.
func (j *journal) memorable() []logged {
	size := 0
	for _, l := range j.recent {
		size += len(l.raw) + len(l.beside)
	}
	if size > recentBytes {
		return nil
	}
	return j.recent
}

// size is how many bytes of entries are in the log.
func (j *journal) size() uint64 { return j.bytes - j.base.bytes }

// last is the newest place where the log may be cut, or is.
func (j *journal) last() cut {
	if n := len(j.cuts); n > 0 {
		return j.cuts[n-1]
	}
	return j.base
}

func (c cut) encode() ([]byte, error) {
	pb := protoVector(c.vector)
	pb.Position, pb.Bytes = c.position, c.bytes
	return proto.Marshal(pb)
}

func decodeCut(b []byte) (cut, error) {
	var pb logpb.Vector
	if err := proto.Unmarshal(b, &pb); err != nil {
		return cut{}, err
	}
	v, err := vectorOf(&pb)
	return cut{pb.Position, pb.Bytes, v}, err
}

// loadCuts reads where the log is cut and may be.
func (s *state) loadCuts() error {
	row, found, err := s.space.Get([]byte{rowBase})
	if err != nil {
		return err
	}
	s.base = cut{vector: causal.Vector{}}
	if found {
		if s.base, err = decodeCut(row); err != nil {
			return corrupt("where the log begins", err)
		}
	}
	view := s.space.View()
	defer view.Close()
	var failed error
	for key, row := range view.Scan([]byte{rowCut}, []byte{rowCut + 1}, &failed) {
		c, err := decodeCut(row)
		if err != nil {
			return corrupt(fmt.Sprintf("the place %x of the log", key), err)
		}
		s.cuts = append(s.cuts, c)
	}
	return failed
}

// append adds an entry to the log, and what is kept beside it, if there is anything. The
// vector includes it already.
func (s *state) append(raw, beside []byte) error {
	s.position++
	s.bytes += uint64(len(raw) + len(beside))
	s.batch.Set(numbered(rowLog, s.position), raw)
	s.recent = append(s.recent, logged{s.position, raw, beside})
	if beside != nil {
		s.batch.Set(numbered(rowBeside, s.position), beside)
	}
	if s.bytes-s.last().bytes < s.cutEvery {
		return nil
	}
	c := cut{s.position, s.bytes, s.vector.Clone()}
	row, err := c.encode()
	if err != nil {
		return fmt.Errorf("encode a place of the log: %w", err)
	}
	s.cuts = append(s.cuts, c)
	s.batch.Set(numbered(rowCut, c.position), row)
	return nil
}

// trim cuts off what is held by every member, but for the newest keep bytes, and
// whatever is more than limit. held reports whether every member holds a vector. It
// reports whether there was something to cut.
func (s *state) trim(keep, limit uint64, held func(causal.Vector) bool) (bool, error) {
	at := -1
	for i, c := range s.cuts {
		over := s.bytes-s.base.bytes > limit
		if at >= 0 {
			over = s.bytes-s.cuts[at].bytes > limit
		}
		if !over && (s.bytes-c.bytes < keep || !held(c.vector)) {
			break
		}
		at = i
	}
	if at < 0 {
		return false, nil
	}
	return true, s.cutOff(at)
}

// cutOff drops the log up to one of its cuts.
func (s *state) cutOff(at int) error {
	to := s.cuts[at]
	row, err := to.encode()
	if err != nil {
		return fmt.Errorf("encode where the log begins: %w", err)
	}
	s.batch.Set([]byte{rowBase}, row)
	s.clear(s.base.position+1, to.position, 1, rowLog)
	s.clear(s.base.position+1, to.position, 1, rowBeside)
	for _, c := range s.cuts[:at+1] {
		s.batch.Delete(numbered(rowCut, c.position))
	}
	for _, d := range to.vector.Dots() {
		first := (s.base.vector[d.Actor]+milestone-1)/milestone*milestone + 1
		s.clear(first, d.N, milestone, rowMilestone, uint64(d.Actor))
	}
	s.base, s.cuts = to, append([]cut(nil), s.cuts[at+1:]...)
	return nil
}

// fewRows are deleted one by one. Of ranges that were deleted the engine makes a list for
// every new iterator, all that there were since it last wrote a table.
const fewRows = 256

// clear deletes the rows with the numbers from first to last, every so many of them.
func (s *state) clear(first, last, every uint64, row byte, under ...uint64) {
	at := func(n uint64) []byte { return numbered(row, append(slices.Clone(under), n)...) }
	if first > last {
		return
	}
	if (last-first)/every >= fewRows {
		s.batch.DeleteRange(at(first), at(last+1))
		return
	}
	for n := first; n <= last; n += every {
		s.batch.Delete(at(n))
	}
}

// mark adds to the log that a snapshot of this vector was merged.
func (s *state) mark(merged causal.Vector) error {
	raw, err := proto.Marshal(&logpb.Write{Merged: protoVector(merged)})
	if err != nil {
		return fmt.Errorf("encode a mark: %w", err)
	}
	return s.append(raw, nil)
}

// milestones are positions of some writes of each actor, by which a stream begins
// near what its peer lacks.
func (s *state) milestone(d causal.Dot) {
	if d.N%milestone == 1 {
		s.batch.Set(numbered(rowMilestone, uint64(d.Actor), d.N), binary.BigEndian.AppendUint64(nil, s.position))
	}
}

// cursorOf finds for each actor the milestone before the first write that have
// lacks, and returns the position before the earliest of them. Where there is none,
// the first of those writes came with a snapshot, and the log is read from where it
// begins. For who lacks what is cut off, that is 0.
func cursorOf(v *view, have causal.Vector) (uint64, error) {
	if !have.Covers(v.base.vector) {
		return 0, nil
	}
	cursor := v.position
	for _, last := range have.Missing(v.vector) {
		n := have[last.Actor]/milestone*milestone + 1
		row, found, err := v.snap.Get(numbered(rowMilestone, uint64(last.Actor), n))
		switch {
		case err != nil:
			return 0, err
		case !found:
			return v.base.position, nil
		case len(row) != 8:
			return 0, corrupt(fmt.Sprintf("the position of %s", causal.Dot{Actor: last.Actor, N: n}), nil)
		}
		cursor = min(cursor, binary.BigEndian.Uint64(row)-1)
	}
	return max(cursor, v.base.position), nil
}
