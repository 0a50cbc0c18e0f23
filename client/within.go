package client

import (
	"context"

	"github.com/dialkv/dialkv/internal/token"
)

// sessionKey is where a context has its session for one client. Another client, perhaps of
// another cluster, does not see it.
type sessionKey struct{ c *Client }

// Within returns a context in which calls of this client are part of the session, unless
// they name another by In. It is how a session comes with a request: see
// client/sessionhttp and client/sessiongrpc.
func (c *Client) Within(ctx context.Context, s *Session) context.Context {
	return context.WithValue(ctx, sessionKey{c}, s)
}

// SessionOf returns the session that Within put into the context; nil if none did.
func (c *Client) SessionOf(ctx context.Context) *Session {
	s, _ := ctx.Value(sessionKey{c}).(*Session)
	return s
}

// sessionIn is the session of calls in the context that name none.
func (c *Client) sessionIn(ctx context.Context) *Session {
	if s := c.SessionOf(ctx); s != nil {
		return s
	}
	return c.session
}

// AdmitSession is ResumeSession for a token that somebody else sends: one of another
// cluster, or from before a restore, is TokenMismatch at once and not with the first call.
// For that the cluster must be known; if it is not, a node is asked. Where none answers
// the token is taken as it is, and the calls will say what is wrong with it.
func (c *Client) AdmitSession(ctx context.Context, tok string) (*Session, error) {
	t, err := token.Parse(tok)
	if err != nil {
		return nil, err
	}
	if known, _ := c.router.known(); known.Cluster == "" && tok != "" {
		ctx, cancel := c.bounded(ctx, 0)
		defer cancel()
		_ = c.fetch(ctx, "") // see above
	}
	if known, _ := c.router.known(); known.Cluster != "" {
		// A later epoch than is known here is one that this client has not heard of.
		if err := t.Check(known.Cluster, max(known.Epoch, t.Epoch)); err != nil {
			return nil, err
		}
	}
	return &Session{tok: t}, nil
}

// Join adds what another process has made of the session: its Token, that came with an
// answer. Sessions that were sent to several at the same time join all that come back.
func (s *Session) Join(tok string) error {
	t, err := token.Parse(tok)
	if err != nil || tok == "" {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tok.Merge(t)
}

// MaxToken is the length of the longest token that is taken. A session that would have a
// longer one is refused, TooLarge, rather than thinned.
const MaxToken = token.MaxString
