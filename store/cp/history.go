package cp

import (
	"encoding/binary"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/logpb"
)

// The history of changes is kept for those who watch, one row for each revision that
// changed keys, in the replicated state: so every replica can serve a watch, and one
// that was sent a snapshot has no gap. Its oldest part is cut by a command of the
// leader, once it is too large or too old.
const (
	historyBytes = 64 << 20       // the default of Compaction.History
	historyAge   = 60 * 60 * 1000 // milliseconds of leader-proposed time, before the leader cuts
)

// change is what one revision changed.
type change struct {
	revision uint64
	*logpb.Change
}

func revisionKey(revision uint64) []byte { return binary.BigEndian.AppendUint64(nil, revision) }

// changed notes an event of a revision. Events of one revision come one after another.
func (t *tx) changed(revision uint64, e *logpb.ChangeEvent) {
	if n := len(t.changes); n == 0 || t.changes[n-1].revision != revision {
		t.changes = append(t.changes, change{revision, &logpb.Change{LeaderMs: t.s.meta.LeaderMs}})
	}
	c := t.changes[len(t.changes)-1]
	c.Events = append(c.Events, e)
	t.s.meta.Total += uint64(len(e.Key) + len(e.Value) + eventOverhead)
	c.Total = t.s.meta.Total
}

// eventOverhead is about what a row takes beside its key and value.
const eventOverhead = 32

// trimHistory drops the changes below a revision.
func (t *tx) trimHistory(below uint64) *logpb.Answer {
	below = min(below, t.s.meta.Revision+1)
	if below > t.s.meta.History {
		t.s.meta.History, t.trim = below, below
	}
	return &logpb.Answer{Revision: t.s.meta.Revision}
}

func (t *tx) commitChanges(b *engine.Batch) {
	for _, c := range t.changes {
		b.Set(t.s.key(keyChange, revisionKey(c.revision)), encode(c.Change))
	}
	if t.trim > 0 {
		b.DeleteRange(t.s.key(keyChange, nil), t.s.key(keyChange, revisionKey(t.trim)))
	}
}

// excess returns the revision below which the history of a view should be cut, 0 if
// it need not be. Once it is due, a quarter is cut, so that it is not due at once.
func (v *view) excess(limit uint64) (uint64, error) {
	oldest, ok, err := v.changeFrom(v.history)
	if err != nil || !ok {
		return 0, err
	}
	due := func(c change, most uint64, age int64) bool {
		return v.total-c.Total > most || v.leaderMS-c.LeaderMs > age
	}
	if !due(oldest, limit, historyAge) {
		return 0, nil
	}
	lo, hi := oldest.revision, v.revision+1 // lo is cut, hi is not
	for lo+1 < hi {
		mid := lo + (hi-lo)/2
		c, ok, err := v.changeFrom(mid)
		if err != nil {
			return 0, err
		}
		if ok && due(c, limit*3/4, historyAge*3/4) {
			lo = c.revision
		} else {
			hi = mid
		}
	}
	return hi, nil
}

// changeFrom is the first change kept at or above a revision.
func (v *view) changeFrom(revision uint64) (c change, ok bool, err error) {
	for c, err := range v.changesFrom(revision) {
		return c, err == nil, err
	}
	return c, false, nil
}
