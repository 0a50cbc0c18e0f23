package sessionhttp_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/client/clienttest"
	"github.com/dialkv/dialkv/client/sessionhttp"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// tok is a token of some cluster.
func tok(t *testing.T, cluster string, components int) string {
	t.Helper()
	made := token.Token{Cluster: cluster, Epoch: 1}
	var list []token.Component
	for i := range components {
		list = append(list, token.Component{ID: uint64(i) + token.MaxEpoch, N: 1 << 40})
	}
	must(t, made.Read(store.GroupID{Keyspace: 7}, token.EncodeEntry(list)))
	return made.String()
}

func TestBrokenTokenIs400AndDoesNotComeToTheHandler(t *testing.T) {
	clienttest.Bubble(t, func(t *testing.T) {
		c := clienttest.Start(t, clienttest.Config{Nodes: 1})
		cookie := &http.Cookie{Name: "seen"}
		reached := 0
		h := carrier(t, c.Client(), cookie).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }))
		for name, try := range map[string]struct {
			values []string
			want   store.Code
		}{
			"broken":             {[]string{"AAAA"}, store.Invalid},
			"of another cluster": {[]string{tok(t, strings.Repeat("ab", 16), 1)}, store.TokenMismatch},
			"too long":           {[]string{strings.Repeat("A", 10000)}, store.TooLarge},
			"two":                {[]string{"", ""}, store.Invalid},
		} {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			for _, v := range try.values {
				r.Header.Add(sessionhttp.Header, v)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != http.StatusBadRequest || w.Header().Get(sessionhttp.Error) != string(try.want) || !strings.Contains(w.Body.String(), "try: ") {
				t.Errorf("%s: %d %s %q", name, w.Code, w.Header().Get(sessionhttp.Error), w.Body)
			}
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.AddCookie(&http.Cookie{Name: "seen", Value: "AAAA"})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if gone := w.Result().Cookies(); w.Code != http.StatusBadRequest || len(gone) != 1 || gone[0].Name != "seen" || gone[0].MaxAge >= 0 {
			t.Errorf("a broken cookie: %d, and %v is set", w.Code, gone)
		}
		if reached > 0 {
			t.Errorf("the handler was reached %d times", reached)
		}
	})
}

func TestCookieOfAnyTokenIsSmallEnoughForABrowser(t *testing.T) {
	c, err := client.Open(t.Context(), client.Config{Seeds: []string{"nowhere"}, Dial: nil})
	must(t, err)
	defer c.Close()
	long := tok(t, strings.Repeat("ab", 16), 240)
	if len(long) <= 4096 {
		t.Fatalf("the token has %d characters, it would fit", len(long))
	}
	session, err := c.ResumeSession(long)
	must(t, err)
	cookie := &http.Cookie{Name: "seen", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	h := carrier(t, c, cookie).Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		must(t, c.SessionOf(r.Context()).Join(session.Token()))
	}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, set := range w.Result().Cookies() {
		if n := len(set.String()); n > 4096 || !set.Secure || !set.HttpOnly || set.SameSite != http.SameSiteLaxMode {
			t.Errorf("a cookie of %d bytes: %+v", n, set)
		}
		r.AddCookie(set)
	}
	came := ""
	carrier(t, c, cookie).Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		came = c.SessionOf(r.Context()).Token()
	})).ServeHTTP(httptest.NewRecorder(), r)
	if came != long {
		t.Errorf("%d characters came of %d", len(came), len(long))
	}
}

func TestCookieThatCannotBeSetIsRefused(t *testing.T) {
	if _, err := sessionhttp.New(nil, sessionhttp.Config{Cookie: &http.Cookie{Name: "a b"}}); store.AsError(err).Code != store.Invalid {
		t.Errorf("%v", err)
	}
}

// What a handler does behind its first byte is in the trailer.
func TestWhatComesAfterTheFirstByteIsInTheSession(t *testing.T) {
	c := clienttest.Start(t, clienttest.Config{Nodes: 1})
	notes := c.Create(clienttest.Keyspace{Name: "notes", Mode: store.CP})
	carry := carrier(t, c.Client(), nil)
	var early, late string
	site := serve(t, carry.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			_, err := notes.Put(r.Context(), fmt.Sprint(i), nil)
			must(t, err)
			if i == 0 {
				early = c.Client().SessionOf(r.Context()).Token()
			}
			fmt.Fprintln(w, i)
			w.(http.Flusher).Flush()
		}
		late = c.Client().SessionOf(r.Context()).Token()
	})))
	own := &http.Transport{}
	defer own.CloseIdleConnections()
	session := c.Client().NewSession()
	r, err := http.NewRequestWithContext(c.Client().Within(t.Context(), session), http.MethodGet, site, nil)
	must(t, err)
	response, err := carry.Transport(own).RoundTrip(r)
	must(t, err)
	if session.Token() != early || early == "" {
		t.Errorf("with the header %q came, and the first write made it %q", session.Token(), early)
	}
	_, err = io.Copy(io.Discard, response.Body)
	must(t, err)
	must(t, response.Body.Close())
	if session.Token() != late || late == early {
		t.Errorf("at the end it is %q, want %q", session.Token(), late)
	}
}

func TestAnswerWithATokenThatCannotBeJoinedIsAnError(t *testing.T) {
	c := clienttest.Start(t, clienttest.Config{Nodes: 1})
	notes := c.Create(clienttest.Keyspace{Name: "notes", Mode: store.CP})
	session := c.Client().NewSession()
	_, err := notes.Put(t.Context(), "k", nil, client.In(session))
	must(t, err)
	before := session.Token()
	site := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(sessionhttp.Header, tok(t, strings.Repeat("ab", 16), 1))
	}))
	own := &http.Transport{}
	defer own.CloseIdleConnections()
	web := &http.Client{Transport: carrier(t, c.Client(), nil).Transport(own)}
	r, err := http.NewRequestWithContext(c.Client().Within(t.Context(), session), http.MethodGet, site, nil)
	must(t, err)
	response, err := web.Do(r)
	if err == nil {
		_ = response.Body.Close()
	}
	if store.AsError(err).Code != store.TokenMismatch || session.Token() != before {
		t.Errorf("%v, and the session is %q", err, session.Token())
	}
}
