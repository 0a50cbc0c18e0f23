package cp

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/store"
)

// maxLeaderMS is the last proposed time that is not nonsense.
const maxLeaderMS = int64(1)<<62 - 1

// tx applies commands on top of the state and collects what changed, so that a
// whole run of log entries becomes one engine batch. Commands of a run see each
// other's writes.
type tx struct {
	s        *state
	records  map[string]*logpb.Record // nil: deleted
	sessions map[uint64]bool          // changed; gone if the table has none
	answers  map[answerRow]bool       // rows that changed
	leases   map[uint64]bool          // changed; gone if the table has none
	attached map[attachment]bool
	empty    []uint64 // leases made for a put that this command may have left without a key
	changes  []change // in the order of revisions
	trim     uint64   // drop the changes below it
	err      error    // of reading the state
}

func (s *state) begin() *tx {
	return &tx{
		s: s, records: make(map[string]*logpb.Record),
		sessions: make(map[uint64]bool), answers: make(map[answerRow]bool),
		leases: make(map[uint64]bool), attached: make(map[attachment]bool),
	}
}

// commit writes what changed. It is not synced: the log has it. Rows go in the order of
// their keys, in which the engine finds their places with the least search.
func (t *tx) commit() error {
	b := t.s.space.Batch()
	for _, key := range slices.Sorted(maps.Keys(t.records)) {
		if rec := t.records[key]; rec == nil {
			b.Delete(t.s.key(keyRecord, []byte(key)))
		} else {
			b.Set(t.s.key(keyRecord, []byte(key)), encode(rec))
		}
	}
	t.commitSessions(b)
	t.commitLeases(b)
	t.commitChanges(b)
	b.Set(t.s.key(keyState, nil), encode(t.s.meta))
	if err := b.Commit(false); err != nil {
		return err
	}
	for key, rec := range t.records {
		t.s.recent.put(key, markOf(rec))
	}
	return nil
}

func (t *tx) applyBatch(batch *logpb.Batch) []*logpb.Answer {
	if ms := batch.LeaderMs; ms > t.s.meta.LeaderMs && ms < maxLeaderMS {
		t.s.meta.LeaderMs = ms
	}
	answers := make([]*logpb.Answer, len(batch.Commands))
	for i, c := range batch.Commands {
		a := t.command(c)
		if a.Epoch != t.s.meta.Epoch { // a kept answer has it, and others may be reading it
			a.Epoch = t.s.meta.Epoch
		}
		answers[i] = a
	}
	return answers
}

func (t *tx) command(c *logpb.Command) *logpb.Answer {
	switch c.Op {
	case logpb.Command_OP_OPEN_TERM:
		return &logpb.Answer{}
	case logpb.Command_OP_OPEN_SESSION:
		return t.openSession()
	case logpb.Command_OP_CLOSE_SESSION:
		return t.closeSession(c.Session)
	case logpb.Command_OP_EXPIRE:
		return t.expire(c)
	case logpb.Command_OP_TRIM:
		return t.trimHistory(c.ExpectRevision)
	case logpb.Command_OP_SETTLE:
		return t.settle(c)
	}
	if effects[c.Op] == nil {
		t.err = fmt.Errorf("cp: the log holds operation %v, which this release does not know", c.Op)
		return &logpb.Answer{}
	}
	if c.Number == 0 {
		return t.execute(c)
	}
	return t.once(c)
}

// effects are the commands of clients.
var effects = map[logpb.Command_Op]func(*tx, *logpb.Command) *logpb.Answer{
	logpb.Command_OP_PUT:        (*tx).put,
	logpb.Command_OP_DELETE:     (*tx).delete,
	logpb.Command_OP_INCREMENT:  (*tx).increment,
	logpb.Command_OP_TRANSACT:   (*tx).transact,
	logpb.Command_OP_GRANT:      (*tx).grant,
	logpb.Command_OP_KEEP_ALIVE: (*tx).keepAlive,
	logpb.Command_OP_REVOKE:     (*tx).revoke,
}

// execute applies a command if its condition holds. What is applied takes the next
// revision; a failed condition tells what it saw, and a refusal changes nothing.
func (t *tx) execute(c *logpb.Command) *logpb.Answer {
	if c.Condition != logpb.Command_CONDITION_ALWAYS {
		rec := t.record(c.Key)
		if mutant.M8 {
			rec = t.committed(c.Key)
		}
		if !holds(c, rec) {
			return refusal(c, rec, t.s.meta.Revision)
		}
	}
	deps, refused := t.noting(c)
	if refused != nil {
		return refused
	}
	answer := effects[c.Op](t, c)
	t.dropEmpty()
	if len(c.Deps) > 0 && answer.Code == "" {
		t.s.setDeps(deps)
	}
	return answer
}

// next takes the revision of a command that will be applied.
func (t *tx) next() uint64 {
	t.s.meta.Revision++
	return t.s.meta.Revision
}

func (t *tx) put(c *logpb.Command) *logpb.Answer {
	switch {
	case c.TtlMs > 0:
		return t.putWithTTL(c)
	case c.Lease != 0 && t.s.leases[c.Lease] == nil:
		return noLease(c.Lease)
	case c.Lease != 0 && t.full(c.Lease, c.Key):
		return fullLease(c.Lease)
	}
	return written(t.set(c.Key, c.Value, c.Lease, t.next()))
}

func (t *tx) delete(c *logpb.Command) *logpb.Answer {
	revision := t.next()
	answer := written(t.remove(c.Key, revision, false))
	answer.Revision = revision
	return answer
}

func (t *tx) increment(c *logpb.Command) *logpb.Answer {
	rec := t.record(c.Key)
	value, refused := sum(rec, c.Delta)
	if refused != nil {
		return refused
	}
	answer := written(t.set(c.Key, value, rec.GetLease(), t.next()))
	answer.Value = value
	return answer
}

// written is the answer to a step that stands by itself.
func written(step *logpb.StepAnswer) *logpb.Answer {
	return &logpb.Answer{Revision: step.Revision, Replaced: step.Replaced, Found: step.Found}
}

// set writes a key at a revision.
func (t *tx) set(key string, value []byte, lease, revision uint64) *logpb.StepAnswer {
	was := t.mark(key)
	next := &logpb.Record{Value: value, CreateRevision: revision, ModifyRevision: revision, Version: was.version + 1, Lease: lease}
	if was.found() {
		next.CreateRevision = was.created
	}
	if was.lease != lease {
		t.detach(was.lease, key)
		t.attach(lease, key)
	}
	t.records[key] = next
	t.changed(revision, &logpb.ChangeEvent{Key: key, Value: value, Replaced: was.modified, Version: next.Version, Lease: lease})
	return &logpb.StepAnswer{Found: was.found(), Revision: revision, Replaced: was.modified}
}

// remove deletes a key at a revision; where there is none it changes nothing.
func (t *tx) remove(key string, revision uint64, expired bool) *logpb.StepAnswer {
	was := t.mark(key)
	if !was.found() {
		return &logpb.StepAnswer{Revision: revision}
	}
	t.detach(was.lease, key)
	t.records[key] = nil
	t.changed(revision, &logpb.ChangeEvent{Key: key, Deleted: true, Expired: expired, Replaced: was.modified})
	return &logpb.StepAnswer{Found: true, Revision: revision, Replaced: was.modified}
}

// sum adds delta to the decimal integer of a record, in the one form that an
// integer has: no plus, no spaces, no leading zeros.
func sum(rec *logpb.Record, delta int64) ([]byte, *logpb.Answer) {
	var n int64
	if rec != nil {
		var err error
		n, err = strconv.ParseInt(string(rec.Value), 10, 64)
		if err != nil || strconv.FormatInt(n, 10) != string(rec.Value) {
			return nil, &logpb.Answer{Code: string(store.Invalid), Revision: rec.ModifyRevision, Msg: fmt.Sprintf("the key holds %d bytes that are no decimal integer", len(rec.Value))}
		}
	}
	if delta > 0 && n > math.MaxInt64-delta || delta < 0 && n < math.MinInt64-delta {
		return nil, &logpb.Answer{Code: string(store.Invalid), Revision: rec.GetModifyRevision(), Msg: fmt.Sprintf("%d and %d make more than 64 bits hold", n, delta)}
	}
	return strconv.AppendInt(nil, n+delta, 10), nil
}

func holds(c *logpb.Command, rec *logpb.Record) bool {
	switch c.Condition {
	case logpb.Command_CONDITION_VALUE:
		return rec != nil && bytes.Equal(rec.Value, c.ExpectValue)
	case logpb.Command_CONDITION_REVISION:
		return rec != nil && rec.ModifyRevision == c.ExpectRevision
	case logpb.Command_CONDITION_ABSENT:
		return rec == nil
	}
	return true
}

func refusal(c *logpb.Command, rec *logpb.Record, revision uint64) *logpb.Answer {
	answer := &logpb.Answer{Code: string(store.Conflict), Revision: revision}
	if rec == nil {
		answer.Msg = "the key is not there"
		return answer
	}
	answer.Found, answer.Value, answer.Revision = true, rec.Value, rec.ModifyRevision
	answer.Msg = fmt.Sprintf("the key is at revision %d", rec.ModifyRevision)
	if c.Condition == logpb.Command_CONDITION_VALUE {
		answer.Msg = fmt.Sprintf("the key holds another value, at revision %d", rec.ModifyRevision)
	}
	return answer
}

// record is what the key holds now, commands before this one included, or nil.
func (t *tx) record(key string) *logpb.Record {
	if rec, ok := t.records[key]; ok {
		return rec
	}
	return t.committed(key)
}

// mark is that of what record would return.
func (t *tx) mark(key string) mark {
	if rec, ok := t.records[key]; ok {
		return markOf(rec)
	}
	if m, ok := t.s.recent.get(key); ok {
		return m
	}
	return markOf(t.committed(key))
}

// committed is what the key held before this run of entries, or nil.
func (t *tx) committed(key string) *logpb.Record {
	b, ok, err := t.s.space.Get(t.s.key(keyRecord, []byte(key)))
	if err == nil && ok {
		rec := new(logpb.Record)
		if err = proto.Unmarshal(b, rec); err == nil {
			return rec
		}
		err = fmt.Errorf("%w: cp record: %w", engine.ErrCorrupt, err)
	}
	if err != nil {
		t.err = err
	}
	return nil
}
