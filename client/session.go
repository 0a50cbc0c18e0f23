package client

import (
	"sync"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// Session is what a sequence of calls has seen and written, over all groups and
// keyspaces of a cluster. Calls that name it are shown at least that, as far as
// their level asks. It is safe for concurrent use, but concurrent calls are not
// ordered among themselves.
type Session struct {
	mu  sync.Mutex
	tok token.Token
}

// ResumeSession returns the session whose Token this is, in this process or any
// other. The empty string is a session that has seen nothing.
func (c *Client) ResumeSession(tok string) (*Session, error) {
	t, err := token.Parse(tok)
	if err != nil {
		return nil, err
	}
	return &Session{tok: t}, nil
}

// Token returns the session as a string that is safe in a header or a cookie. It
// is not a secret. A session that has seen nothing has the empty token.
func (s *Session) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tok.String()
}

// encode returns the token for a request to the group, if there is room in it for
// what the answer will add.
func (s *Session) encode(group store.GroupID) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.tok.Room(group); err != nil {
		return nil, err
	}
	return s.tok.Encode()
}

// read folds into the session what an answer of the group showed: entry, and what that
// may depend on in other groups.
func (s *Session) read(t shard.Topology, group store.GroupID, e store.Entry, deps store.Deps) error {
	return s.fold(t, group, e, deps, (*token.Token).Read)
}

func (s *Session) wrote(t shard.Topology, group store.GroupID, e store.Entry, deps store.Deps) error {
	return s.fold(t, group, e, deps, (*token.Token).Wrote)
}

func (s *Session) fold(t shard.Topology, group store.GroupID, e store.Entry, deps store.Deps, into func(*token.Token, store.GroupID, store.Entry) error) error {
	others, err := token.DecodeDeps(deps)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tok.Cluster == "" {
		s.tok.Cluster, s.tok.Epoch = t.Cluster, t.Epoch
	}
	if err := s.tok.Learn(group, others); err != nil {
		return err
	}
	return into(&s.tok, group, e)
}

// merge adds what a node's own client made of the session.
func (s *Session) merge(encoded []byte) error {
	t, err := token.Decode(encoded)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tok.Merge(t)
}

// only is a session that has read what this one has of one group, and nothing else.
func (s *Session) only(group store.GroupID) (*Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := &Session{tok: token.Token{Cluster: s.tok.Cluster, Epoch: s.tok.Epoch}}
	return of, of.tok.Read(group, s.tok.For(group, store.Monotonic))
}

// sum is how much of a group the session has read: a revision, or a number of writes.
func (s *Session) sum(group store.GroupID) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return token.Sum(s.tok.For(group, store.Monotonic))
}

func (s *Session) all() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tok.Encode()
}
