package sessionhttp

import (
	"errors"
	"io"
	"net/http"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// Transport returns a RoundTripper that sends the session of a request's context along, and
// joins what comes back to it: that in the header before RoundTrip returns, that in the
// trailer when the body was read to its end. base makes the requests,
// http.DefaultTransport if it is nil. A request without a session goes as it is.
//
// Requests may be under way at the same time, each with the session as it was when it was
// sent. Use it for services of the same cluster: others would be told what they do not
// understand. One that answers with a token of another cluster, or a broken one, is an
// error, and the session is as it was.
func (c *Carrier) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{client: c.client, base: base}
}

type transport struct {
	client *client.Client
	base   http.RoundTripper
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	session := t.client.SessionOf(r.Context())
	if session == nil {
		return t.base.RoundTrip(r)
	}
	sent := r.Clone(r.Context())
	sent.Header.Del(Header)
	if tok := session.Token(); tok != "" {
		sent.Header.Set(Header, tok)
	}
	response, err := t.base.RoundTrip(sent)
	if err != nil {
		return response, err
	}
	if err := join(session, response.Header); err != nil {
		_ = response.Body.Close() // nobody reads it
		return nil, err
	}
	if response.Body != http.NoBody && response.StatusCode != http.StatusSwitchingProtocols {
		response.Body = &body{ReadCloser: response.Body, response: response, session: session}
	}
	return response, nil
}

// join adds the token of a header, or a trailer.
func join(session *client.Session, h http.Header) error {
	err := session.Join(h.Get(Header))
	if err == nil {
		return nil
	}
	e := *store.AsError(err)
	e.Op, e.Msg = "session", "the answer's token cannot be joined: "+e.Msg
	return &e
}

// body joins the trailer at its end.
type body struct {
	io.ReadCloser
	response *http.Response
	session  *client.Session
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		if failed := join(b.session, b.response.Trailer); failed != nil {
			return n, failed
		}
	}
	return n, err
}
