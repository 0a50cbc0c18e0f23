package client

import (
	"bytes"
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
	hosts hosts

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

// answer is what an answer of a group brings to the session: the entry of what it showed,
// and what that may depend on in other groups.
type answer struct {
	group store.GroupID
	entry store.Entry
	deps  store.Deps
	token []byte      // that was sent, if the answer covers what it asks for
	level store.Level // at this level
}

// shorten forgets what of the token that was sent the answer has a number for.
func (a answer) shorten(t *token.Token) error {
	if len(a.token) == 0 || !token.HasClosed(a.entry) {
		return nil
	}
	sent, err := token.Decode(a.token)
	if err != nil {
		return err
	}
	return t.Fold(a.group, sent.For(a.group, a.level), a.entry)
}

func (s *Session) read(t shard.Topology, a answer) error {
	return s.fold(t, a, (*token.Token).Read)
}

func (s *Session) wrote(t shard.Topology, a answer) error {
	return s.fold(t, a, (*token.Token).Wrote)
}

func (s *Session) fold(t shard.Topology, a answer, into func(*token.Token, store.GroupID, store.Entry) error) error {
	others, err := token.DecodeDeps(a.deps)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tok.Cluster == "" {
		s.tok.Cluster, s.tok.Epoch = t.Cluster, t.Epoch
	}
	if err := s.tok.Learn(a.group, others); err != nil {
		return err
	}
	if err := into(&s.tok, a.group, a.entry); err != nil {
		return err
	}
	return a.shorten(&s.tok)
}

// goOn is read of a watch, which has come past all that this session has passed.
func (s *Session) goOn(t shard.Topology, group store.GroupID, e store.Entry) error {
	passed, err := s.all()
	if err != nil {
		return err
	}
	return s.read(t, answer{group: group, entry: e, token: passed})
}

// merge adds what a node's own client made of the session. Where the session is still as it
// was sent, it becomes that: the node may have forgotten what numbers stand for.
func (s *Session) merge(encoded, sent []byte) error {
	t, err := token.Decode(encoded)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(encoded) == 0 {
		return nil // the node made nothing of it
	}
	if now, err := s.tok.Encode(); err != nil || len(sent) == 0 || !bytes.Equal(now, sent) {
		return s.tok.Merge(t)
	}
	if err := t.Check(s.tok.Cluster, s.tok.Epoch); err != nil {
		return err
	}
	s.tok = t
	return nil
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

// room refuses groups that the session could not take in, before anything is done there.
func (s *Session) room(groups []store.GroupID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tok.Room(groups...)
}

// rejoin adds what another has seen, if there is room for it.
func (s *Session) rejoin(other *Session) error {
	seen, err := other.all()
	if err != nil {
		return err
	}
	t, err := token.Decode(seen)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := t.Merge(s.tok); err != nil {
		return err
	}
	if _, err := t.Encode(); err != nil {
		return err
	}
	s.tok = t
	return nil
}
