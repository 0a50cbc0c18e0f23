// Package sessionhttp carries sessions over HTTP, so that what a request has read and
// written is visible to the next one, at whatever service and whatever replica it lands.
//
//	carry, err := sessionhttp.New(c, sessionhttp.Config{})
//	http.Handle("/", carry.Handler(mux))                       // requests bring their session
//	peers := &http.Client{Transport: carry.Transport(nil)}     // and take it on to other services
//
// In a handler behind [Carrier.Handler] all calls of the client with the request's context
// are part of the request's session; nothing else is to be done. What other services make
// of it, which are called with that context through [Carrier.Transport], is joined to it.
// The answer brings it back.
//
// A session travels as its token, in the header Dialkv-Session or, where the other side is
// a browser, in a cookie. It is not a secret, and nothing in it is trusted. A request with
// a broken token, or one of another cluster, is answered with 400 and does not come to
// the handler.
//
// An answer's header is sent before its body. What the handler reads or writes after its
// first byte travels in a trailer of the same name, which Transport reads at the body's
// end. A cookie has no trailer, nor has an answer that states its Content-Length: there,
// write the answer last.
package sessionhttp

import (
	"cmp"
	"fmt"
	"net/http"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// Names of headers. Error is that of an answer with status 400 whose reason is the token,
// and holds a store.Code.
const (
	Header = "Dialkv-Session"
	Error  = "Dialkv-Error"
)

// Config says how sessions travel.
type Config struct {
	// Cookie, if it is set, also takes sessions from a cookie of that name, and gives them
	// back in one with these attributes to who sent no header. Its Value, Expires and
	// MaxAge are not used. A browser keeps the cookie of the answer that came last: of
	// requests that it makes at the same time, the next may have forgotten all but one.
	Cookie *http.Cookie
}

// Carrier carries the sessions of one client.
type Carrier struct {
	client *client.Client
	cookie *http.Cookie
}

// New returns a Carrier of the client's sessions.
func New(c *client.Client, cfg Config) (*Carrier, error) {
	carrier := &Carrier{client: c}
	if cfg.Cookie == nil {
		return carrier, nil
	}
	sample := *cfg.Cookie
	sample.Value, sample.MaxAge = "", 0
	if err := sample.Valid(); err != nil {
		return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("the cookie cannot be set: %v", err), Try: "a name of letters and dashes"}
	}
	carrier.cookie = &sample
	return carrier, nil
}

// Handler gives each request to next in its session: that of its token, or a new one.
func (c *Carrier) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tok, byCookie, err := c.sent(r)
		var session *client.Session
		if err == nil {
			session, err = c.client.AdmitSession(r.Context(), tok)
		}
		if err != nil {
			c.refuse(w, r, err)
			return
		}
		a := &answer{ResponseWriter: w, session: session, head: r.Method == http.MethodHead}
		if byCookie {
			a.carrier, a.request = c, r
		}
		next.ServeHTTP(a, r.WithContext(c.client.Within(r.Context(), session)))
		a.end()
	})
}

// sent is the token of a request, and whether its answer sets a cookie.
func (c *Carrier) sent(r *http.Request) (tok string, byCookie bool, err error) {
	switch headers := r.Header.Values(Header); {
	case len(headers) > 1:
		return "", false, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("the request has %d headers %s", len(headers), Header), Try: "one"}
	case len(headers) == 1:
		return headers[0], false, nil
	case c.cookie == nil:
		return "", false, nil
	}
	for _, name := range c.names() {
		if part, err := r.Cookie(name); err == nil {
			tok += part.Value
		}
	}
	return tok, true, nil
}

// refuse answers a request whose token cannot be used. A cookie is taken away: whoever
// keeps it would be refused for ever.
func (c *Carrier) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e := store.AsError(err)
	if c.cookie != nil && r.Header.Get(Header) == "" {
		c.set(w, r, "")
	}
	w.Header().Set(Error, string(e.Code))
	try := cmp.Or(e.Try, "a request without "+Header+", which begins a new session")
	http.Error(w, e.Error()+"\ntry: "+try, http.StatusBadRequest)
}

// maxCookie is how long a value may be so that every browser takes the cookie: 4096 bytes
// with its name and attributes.
const maxCookie = 3400

// names of the cookies that a token may need: the longest needs two.
func (c *Carrier) names() []string { return []string{c.cookie.Name, c.cookie.Name + "-2"} }

// set sets as many cookies as the token needs, and takes away those that it does not.
func (c *Carrier) set(w http.ResponseWriter, r *http.Request, tok string) {
	for _, name := range c.names() {
		n := min(len(tok), maxCookie)
		cookie := *c.cookie
		cookie.Name, cookie.Value, tok = name, tok[:n], tok[n:]
		if _, err := r.Cookie(name); n == 0 && err != nil {
			continue // it is not there
		}
		if n == 0 {
			cookie.MaxAge = -1
		}
		http.SetCookie(w, &cookie)
	}
}
