package storetest

import (
	"context"
	"encoding/binary"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// modelNode is the name of the model's only node.
const modelNode = "model"

// model is a group of one replica kept in a map: the smallest thing that keeps the
// contract, written to be read beside it.
//
// Every write takes the next number. On cp the number is its revision; on ap it is
// its dot, of which there is one actor, and a context is the list of the dots read.
type model struct {
	mode   store.Mode
	policy store.Policy

	mu       sync.Mutex
	state    *state
	sessions map[uint64]*session // cp: by id; ap: by whatever the client drew
	history  []store.Change      // what each write changed, from 1 on; nothing is forgotten
	views    map[uint64]view     // that pages may go on with, by their number
	viewed   uint64              // number of the last view
	changed  chan struct{}       // closed and replaced at every write
}

// state is what the group holds after one write. It is never changed: the next write
// makes another, so a page goes on with the view it began with, and a refused
// transaction leaves nothing behind.
type state struct {
	number uint64            // of the last write
	keys   map[string][]cell // never an empty list
	leases map[uint64]lease  // cp, by id
	deps   token.Deps        // what its writes depend on in other groups
}

// cell is one value under a key. A cp key has exactly one.
type cell struct {
	number                  uint64
	field                   string // of a set or a map
	value                   []byte
	created, version, lease uint64    // cp
	ends                    time.Time // ap: when it has a TTL
}

// next is a copy of the state for the write that comes.
func (s *state) next() *state {
	return &state{number: s.number + 1, keys: maps.Clone(s.keys), leases: maps.Clone(s.leases), deps: s.deps}
}

// note adds what the writer had seen of other groups.
func (s *state) note(c store.Command) {
	seen, _ := token.DecodeDeps(c.Deps) // it was read before
	s.deps = s.deps.Join(seen)
}

type session struct {
	lowest  uint64
	answers map[uint64]answer
}

type answer struct {
	result store.Result
	err    error
}

// NewModel is one replica of a group of its own, in memory. It serves from the
// start; Run ends leases in time, also when nobody calls.
func NewModel(mode store.Mode, policy store.Policy) store.Replica {
	return &model{
		mode:     mode,
		policy:   policy,
		state:    &state{keys: map[string][]cell{}, leases: map[uint64]lease{}},
		sessions: map[uint64]*session{},
		views:    map[uint64]view{},
		changed:  make(chan struct{}),
	}
}

func (m *model) Run(ctx context.Context) error {
	for {
		m.lock()
		changed := m.changed
		var due <-chan time.Time
		if next := m.state.due(); !next.IsZero() {
			due = time.After(time.Until(next))
		}
		m.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-due:
		}
	}
}

func (m *model) Status() store.Status {
	m.lock()
	defer m.mu.Unlock()
	s := store.Status{Mode: m.mode, Node: modelNode, Role: m.role(), Revision: m.state.number, Members: []string{modelNode}, Ready: true}
	if m.mode == store.CP {
		s.Leader, s.Term, s.Applied = modelNode, 1, m.state.number
	} else {
		s.Vector = dotName(m.state.number)
	}
	return s
}

func (m *model) role() string {
	if m.mode == store.CP {
		return "leader"
	}
	return "replica"
}

// proof is that of an answer at a level. One replica is never stale, and its majority
// is itself.
func (m *model) proof(level store.Level) store.Proof {
	p := store.Proof{Node: modelNode, Role: m.role(), Asked: level, Served: level, Fresh: true}
	if m.mode == store.CP {
		p.Term = 1
	}
	if level == store.Quorum && m.mode == store.CP {
		p.Served = store.Strong
	}
	return p
}

func (m *model) Write(ctx context.Context, c store.Command) (store.Result, error) {
	if err := c.Check(); err != nil {
		return store.Result{}, err
	}
	if c.Field != "" && (m.mode == store.CP || !m.policy.Fields()) {
		return store.Result{}, refusal(store.Unsupported, "there are no members and fields", "a key of its own")
	}
	if m.mode == store.AP && onlyCP(c) && (c.Op != store.Increment || m.policy != store.Counter || c.If.Kind != store.Always) {
		return store.Result{}, refusal(store.Unsupported, "an ap keyspace has no "+c.Op.String()+" with that", "a cp keyspace")
	}
	if err := m.lockCovering(ctx, c.After); err != nil {
		return store.Result{}, err
	}
	defer m.mu.Unlock()
	seen, err := token.DecodeDeps(c.Deps)
	if err == nil {
		err = m.state.deps.Join(seen).Check()
	}
	if err != nil {
		return store.Result{}, err
	}
	if !c.Request.Named() {
		return m.apply(c)
	}
	return m.once(c)
}

// onlyCP reports whether the command needs one order of all writes of the group.
func onlyCP(c store.Command) bool {
	return c.Op != store.Put && c.Op != store.Delete || c.If.Kind != store.Always || c.Lease != 0
}

// once applies a named request the first time and answers its repetition the same.
func (m *model) once(c store.Command) (store.Result, error) {
	s, open := m.sessions[c.Request.Session]
	if !open {
		if m.mode == store.CP {
			return store.Result{}, refusal(store.SessionExpired, "the group does not know the session", "")
		}
		s = &session{answers: map[uint64]answer{}}
		m.sessions[c.Request.Session] = s
	}
	if known, ok := s.answers[c.Request.Number]; ok && c.Request.Number >= s.lowest {
		return known.result, known.err
	}
	if c.Request.Number < s.lowest {
		return store.Result{}, refusal(store.Unknown, "the request's number is below the lowest open one, its answer is forgotten", "")
	}
	if m.mode == store.AP && c.Request.Retry {
		return store.Result{}, refusal(store.Unknown, "the repeated request is not known here", "")
	}
	s.lowest = max(s.lowest, c.Request.Lowest)
	result, err := m.apply(c)
	s.answers[c.Request.Number] = answer{result, err}
	return result, err
}

// apply lets the command make the next state, or refuse to.
func (m *model) apply(c store.Command) (result store.Result, err error) {
	switch {
	case c.Op == store.KeepAlive:
		result, err = m.keepAlive(c.Lease)
	case c.Op == store.CloseSession:
		delete(m.sessions, c.Request.Session)
		result.Revision = m.state.number
	case m.mode == store.CP:
		s := m.state.next()
		if result, err = s.write(c); err == nil {
			s.note(c)
			s.endEmpty()
			m.becomes(s, false)
		}
	default:
		s := m.state.next()
		write := s.writeAP
		if dataType(m.policy) {
			write = s.writeType
		}
		if result, err = write(c, m.policy); err == nil {
			s.note(c)
			m.becomes(s, false)
		}
	}
	if err == nil && c.Op == store.OpenSession {
		m.sessions[result.Revision] = &session{lowest: 1, answers: map[uint64]answer{}}
	}
	result.Entry, result.Proof = entry(m.state.number), m.proof(store.LevelDefault)
	result.Deps = m.state.deps.Encode()
	return result, err
}

// becomes makes s the state and wakes those who wait for it.
func (m *model) becomes(s *state, expired bool) {
	did := events
	if m.mode == store.AP {
		did = m.eventsAP
	}
	m.history = append(m.history, store.Change{Revision: s.number, Events: did(m.state, s, expired), Entry: entry(s.number), Deps: s.deps.Encode()})
	m.state = s
	close(m.changed)
	m.changed = make(chan struct{})
}

// lock returns with the lock held and all ended whose time has come.
func (m *model) lock() {
	m.mu.Lock()
	m.expire()
	m.expireAP()
}

// lockCovering returns with the lock held and all that e names applied, or with an
// error and without the lock.
func (m *model) lockCovering(ctx context.Context, e store.Entry) error {
	var wanted uint64
	if len(e) > 0 {
		n, size := binary.Uvarint(e)
		if size != len(e) {
			return refusal(store.Invalid, "the session's entry does not read as one", "")
		}
		wanted = n
	}
	m.lock()
	for m.state.number < wanted {
		changed := m.changed
		m.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return &store.Error{Code: store.SessionUnreachable, Node: modelNode, Msg: "the session has seen writes that are not here", Cause: context.Cause(ctx)}
		}
		m.lock()
	}
	return nil
}

func entry(number uint64) store.Entry { return binary.AppendUvarint(nil, number) }

func dotName(number uint64) string { return modelNode + ":" + strconv.FormatUint(number, 10) }

func refusal(code store.Code, msg, try string) *store.Error {
	return &store.Error{Code: code, Node: modelNode, Msg: msg, Try: try}
}
