package ap

import (
	"container/list"
	"slices"

	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// maxAnswers bounds the executed requests that are remembered, over all sessions.
// When there are more the session that was idle longest is forgotten. That is
// safe: a retry that is not found is never executed, its caller gets Unknown.
const maxAnswers = 1 << 16

// executed is what a named request did.
type executed struct {
	dot   causal.Dot
	found bool
	value []byte // of an increment: the sum
}

// answer is one remembered request.
type answer struct {
	number uint64
	executed
}

// requests remembers what this replica has executed under a name, so that a retry
// is answered and not executed again. Only the replica that took a write can do
// that; a client repeats a request nowhere else.
type requests struct {
	sessions map[uint64]*session
	idle     *list.List // of *session, the longest idle first
	count    int        // answers
}

type session struct {
	id      uint64
	lowest  uint64   // smaller numbers are answered for good
	answers []answer // in number order
	place   *list.Element
}

func newRequests() *requests {
	return &requests{sessions: map[uint64]*session{}, idle: list.New()}
}

// find returns what the request did, if it was executed here. An error says that
// it must not be executed now.
func (q *requests) find(r store.Request) (executed, bool, error) {
	s := q.sessions[r.Session]
	if s != nil {
		if i, ok := s.search(r.Number); ok {
			return s.answers[i].executed, true, nil
		}
		if r.Number < s.lowest {
			return executed{}, false, &store.Error{
				Code: store.SessionExpired,
				Msg:  "the request is older than the oldest its session still has open",
			}
		}
	}
	if r.Retry {
		return executed{}, false, &store.Error{
			Code: store.Unknown,
			Msg:  "an earlier attempt may have been executed, and this replica does not know it",
			Try:  "read the key to see",
		}
	}
	return executed{}, false, nil
}

// record remembers what r did. forget is called for each request that is dropped
// for it.
func (q *requests) record(r store.Request, e executed, forget func(session, number uint64)) {
	s := q.restore(r.Session, r.Number, e)
	q.idle.MoveToBack(s.place)
	s.lowest = max(s.lowest, r.Lowest)
	below, _ := s.search(s.lowest)
	q.drop(s, below, forget)
	for q.count > maxAnswers {
		oldest := q.idle.Front().Value.(*session)
		if oldest == s {
			q.drop(s, 1, forget)
			continue
		}
		q.drop(oldest, len(oldest.answers), forget)
	}
}

// restore remembers a request without forgetting another.
func (q *requests) restore(id, number uint64, e executed) *session {
	s := q.sessions[id]
	if s == nil {
		s = &session{id: id}
		s.place = q.idle.PushBack(s)
		q.sessions[id] = s
	}
	at, _ := s.search(number)
	s.answers = slices.Insert(s.answers, at, answer{number, e})
	q.count++
	return s
}

// drop forgets the n lowest requests of s, and s itself when it has none left.
func (q *requests) drop(s *session, n int, forget func(session, number uint64)) {
	for _, a := range s.answers[:n] {
		forget(s.id, a.number)
	}
	s.answers = s.answers[n:]
	q.count -= n
	if len(s.answers) == 0 {
		q.idle.Remove(s.place)
		delete(q.sessions, s.id)
	}
}

func (s *session) search(number uint64) (int, bool) {
	return slices.BinarySearchFunc(s.answers, number, func(a answer, n uint64) int {
		switch {
		case a.number < n:
			return -1
		case a.number > n:
			return 1
		}
		return 0
	})
}
