package cp

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/store"
)

const (
	maxSessions  = 64 << 10       // in one group
	maxKept      = 1024           // answers a session may make the group keep
	maxKeptValue = 4 << 10        // bytes of values in a kept answer
	answersInRow = 16             // numbers whose answers share a row
	sessionIdle  = 60 * 60 * 1000 // milliseconds of leader-proposed time before a session may be evicted
)

// session is one client's exactly-once session, with the answers that it may ask for
// again (Ongaro, "Consensus: Bridging Theory and Practice", 6.3).
type session struct {
	*logpb.Session
	answers map[uint64]*logpb.Answer // by number
}

// answerRow names a row of kept answers: what a client has under way at a time has
// neighbouring numbers, so a run of entries changes few rows.
type answerRow struct{ session, row uint64 }

func rowOf(session, number uint64) answerRow { return answerRow{session, number / answersInRow} }

func (k answerRow) bytes() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, k.session), k.row)
}

func (k answerRow) compare(other answerRow) int {
	return cmp.Or(cmp.Compare(k.session, other.session), cmp.Compare(k.row, other.row))
}

// in returns what a session keeps in a row, nil if that is nothing.
func (k answerRow) in(s *session) *logpb.Answers {
	var row logpb.Answers
	for i := range uint64(answersInRow) {
		if a := s.answers[k.row*answersInRow+i]; a != nil {
			row.Answers = append(row.Answers, a)
		}
	}
	if len(row.Answers) == 0 {
		return nil
	}
	return &row
}

func sessionKey(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

func (t *tx) commitSessions(b *engine.Batch) {
	for id := range t.sessions {
		if s := t.s.sessions[id]; s == nil {
			b.Delete(t.s.key(keySession, sessionKey(id)))
		} else {
			b.Set(t.s.key(keySession, sessionKey(id)), encode(s.Session))
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(t.answers), answerRow.compare) {
		var row *logpb.Answers
		if s := t.s.sessions[k.session]; s != nil {
			row = k.in(s)
		}
		if row == nil {
			b.Delete(t.s.key(keyAnswer, k.bytes()))
		} else {
			b.Set(t.s.key(keyAnswer, k.bytes()), encode(row))
		}
	}
}

// openSession adds a session whose id is the revision that opened it. A full table
// gives up the session that was idle longest, if that was long enough.
func (t *tx) openSession() *logpb.Answer {
	if len(t.s.sessions) >= maxSessions {
		oldest := t.longestIdle()
		if t.s.meta.LeaderMs-oldest.LastMs < sessionIdle {
			return &logpb.Answer{Code: string(store.Overloaded), Msg: fmt.Sprintf("the group has %d sessions, none idle for an hour", maxSessions)}
		}
		t.evict(oldest)
	}
	id := t.next()
	t.s.sessions[id] = &session{Session: &logpb.Session{Id: id, LastMs: t.s.meta.LeaderMs}, answers: make(map[uint64]*logpb.Answer)}
	t.sessions[id] = true
	t.s.meta.Sessions = uint64(len(t.s.sessions))
	return &logpb.Answer{Revision: id}
}

// closeSession ends a session whose client is done: what it sends later is refused, as
// if the session had been evicted.
func (t *tx) closeSession(id uint64) *logpb.Answer {
	if s := t.s.sessions[id]; s != nil {
		t.evict(s)
		t.s.meta.Sessions = uint64(len(t.s.sessions))
	}
	return &logpb.Answer{Revision: t.s.meta.Revision}
}

func (t *tx) evict(s *session) {
	for number := range s.answers {
		t.answers[rowOf(s.Id, number)] = true
	}
	delete(t.s.sessions, s.Id)
	t.sessions[s.Id] = true
}

func (t *tx) longestIdle() *session {
	var oldest *session
	for _, s := range t.s.sessions {
		if oldest == nil || s.LastMs < oldest.LastMs || s.LastMs == oldest.LastMs && s.Id < oldest.Id {
			oldest = s
		}
	}
	return oldest
}

// once applies a numbered command at most once: a number that was answered is
// answered the same again, and one the client has finished with is refused, so a
// straggler never lands after a later command of its session.
func (t *tx) once(c *logpb.Command) *logpb.Answer {
	s := t.s.sessions[c.Session]
	if s == nil {
		if mutant.M34 {
			return t.execute(c)
		}
		return &logpb.Answer{Code: string(store.SessionExpired), Msg: fmt.Sprintf("the group has no session %d", c.Session)}
	}
	if c.Number < s.Lowest {
		return &logpb.Answer{Code: string(store.SessionExpired), Msg: fmt.Sprintf("request %d is below %d, the lowest the session has open", c.Number, s.Lowest)}
	}
	if kept := s.answers[c.Number]; kept != nil && !mutant.M6 {
		return kept
	}
	t.sessions[s.Id] = true
	s.LastMs = t.s.meta.LeaderMs
	t.forget(s, c.Lowest)
	if len(s.answers) >= maxKept {
		return &logpb.Answer{Code: string(store.Overloaded), Msg: fmt.Sprintf("the group keeps %d answers for the session, from number %d on", maxKept, s.Lowest)}
	}
	answer := t.execute(c)
	answer.Number, answer.Epoch = c.Number, t.s.meta.Epoch
	s.answers[c.Number] = keep(answer)
	t.answers[rowOf(s.Id, c.Number)] = true
	return answer
}

// keep is what stays of an answer for its repetition. Large values that a failed
// condition or a transaction saw are not kept: of the first, the revision says which
// it was; of the second, nothing can stand in for them, so the repetition says that
// the transaction was done and that its answer is gone.
func keep(answer *logpb.Answer) *logpb.Answer {
	size := len(answer.Value)
	for _, s := range answer.Steps {
		size += len(s.Value)
	}
	switch {
	case size <= maxKeptValue:
		return answer
	case len(answer.Steps) > 0:
		return &logpb.Answer{
			Number: answer.Number, Epoch: answer.Epoch, Code: string(store.Unknown), Revision: answer.Revision,
			Msg: fmt.Sprintf("the transaction was done at revision %d; the %d bytes it read are not kept for a repeated request", answer.Revision, size),
		}
	}
	return &logpb.Answer{
		Number: answer.Number, Epoch: answer.Epoch, Code: answer.Code, Revision: answer.Revision, Found: answer.Found,
		Msg: fmt.Sprintf("%s; its %d bytes are not kept for a repeated request", answer.Msg, size),
	}
}

// forget drops the answers below lowest, which the client will not ask for again.
func (t *tx) forget(s *session, lowest uint64) {
	if lowest <= s.Lowest {
		return
	}
	from := s.Lowest
	s.Lowest = lowest
	drop := func(number uint64) {
		if s.answers[number] != nil {
			delete(s.answers, number)
			t.answers[rowOf(s.Id, number)] = true
		}
	}
	if lowest-from <= uint64(len(s.answers)) {
		for ; from < lowest; from++ {
			drop(from)
		}
		return
	}
	for number := range s.answers {
		if number < lowest {
			drop(number)
		}
	}
}

// loadSessions reads the table of the living generation.
func (s *state) loadSessions(view *engine.View) error {
	s.sessions = make(map[uint64]*session)
	var failed error
	for _, b := range view.Scan(s.key(keySession, nil), s.key(keySession+1, nil), &failed) {
		row := &session{Session: new(logpb.Session), answers: make(map[uint64]*logpb.Answer)}
		if err := proto.Unmarshal(b, row.Session); err != nil {
			return fmt.Errorf("%w: cp session: %w", engine.ErrCorrupt, err)
		}
		s.sessions[row.Id] = row
	}
	prefix := len(s.key(keyAnswer, nil))
	for key, b := range view.Scan(s.key(keyAnswer, nil), s.key(keyAnswer+1, nil), &failed) {
		answers := new(logpb.Answers)
		if err := proto.Unmarshal(b, answers); err != nil || len(key) != prefix+16 {
			return fmt.Errorf("%w: cp answer: %w", engine.ErrCorrupt, err)
		}
		if row := s.sessions[binary.BigEndian.Uint64(key[prefix:])]; row != nil {
			for _, a := range answers.Answers {
				row.answers[a.Number] = a
			}
		}
	}
	return failed
}
