package page

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"time"

	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/web"
)

// Handler answers browsers. Its server needs limits of its own on headers and
// connections; a stream takes the deadlines off its connection.
func (p *Page) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(web.Files()))
	mux.HandleFunc("GET /api/events", p.stream)
	post(p, mux, "op", p.operate)
	post(p, mux, "key", p.inspect)
	post(p, mux, "links", p.changeLinks)
	post(p, mux, "node", p.changeNode)
	post(p, mux, "load", p.startLoad)
	return guard(mux)
}

// guard keeps out what did not come from the page itself.
//
// A page of another site can send requests here, though it cannot read the answers:
// what changes something must come from our own origin, and CrossOriginProtection sees
// to that. A name that first leads to the other site and then to this machine (DNS
// rebinding) makes that site our own origin, so a host must be an address or localhost:
// no name that somebody else can turn.
func guard(next http.Handler) http.Handler {
	crossing := http.NewCrossOriginProtection()
	crossing.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusForbidden, &store.Error{Code: store.Denied, Msg: "the request comes from another site's page", Try: "the page that this address serves"})
	}))
	inner := crossing.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !ownHost(r.Host) {
			refuse(w, http.StatusForbidden, &store.Error{Code: store.Denied, Msg: fmt.Sprintf("the page is not called %.80q", r.Host), Try: "its address as it was printed: an IP address or localhost"})
			return
		}
		inner.ServeHTTP(w, r)
	})
}

func ownHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else if len(host) > 2 && host[0] == '[' {
		host = host[1 : len(host)-1]
	}
	return host == "localhost" || net.ParseIP(host) != nil
}

// post serves a command: a JSON object in, one out. Its error says by its code with
// which status it is answered.
func post[In any](p *Page, mux *http.ServeMux, name string, do func(*http.Request, In) (any, error)) {
	mux.HandleFunc("POST /api/"+name, func(w http.ResponseWriter, r *http.Request) {
		select {
		case p.asks <- struct{}{}:
			defer func() { <-p.asks }()
		default:
			refuse(w, http.StatusServiceUnavailable, &store.Error{Code: store.Overloaded, Msg: fmt.Sprintf("%d requests are in progress, which is the limit", maxAsks), Try: "again in a moment"})
			return
		}
		hurry(w, breaking+5*time.Second)
		var in In
		if err := read(w, r, &in); err != nil {
			refuse(w, statusOf(err), err)
			return
		}
		out, err := do(r, in)
		if err != nil {
			refuse(w, statusOf(err), err)
			return
		}
		answer(w, http.StatusOK, out)
	})
}

// read takes one JSON object of known fields.
func read(w http.ResponseWriter, r *http.Request, in any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("the content type is %.80q", r.Header.Get("Content-Type")), Try: "application/json"}
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(in)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return &store.Error{Code: store.TooLarge, Msg: fmt.Sprintf("the request is larger than %d bytes", large.Limit), Try: "a smaller value"}
	case err != nil:
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("the request cannot be read: %.200s", err.Error()), Try: "one JSON object"}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &store.Error{Code: store.Invalid, Msg: "something stands behind the request", Try: "one JSON object"}
	}
	return nil
}

// hurry gives a request another deadline than its server's; none if d is zero.
func hurry(w http.ResponseWriter, d time.Duration) {
	var until time.Time
	if d > 0 {
		until = time.Now().Add(d)
	}
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(until)  // a server without deadlines
	_ = c.SetWriteDeadline(until) // has none to change
}

func statusOf(err error) int {
	switch store.AsError(err).Code {
	case store.Invalid, store.Unsupported, store.LevelUnsupported, store.NoSuchKeyspace, store.TokenMismatch:
		return http.StatusBadRequest
	case store.Denied:
		return http.StatusForbidden
	case store.TooLarge:
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusServiceUnavailable
}

// failure is an error as the page shows it.
type failure struct {
	Code         store.Code `json:"code"`
	Message      string     `json:"message"`
	Try          string     `json:"try,omitempty"`
	MaybeApplied bool       `json:"maybe_applied,omitempty"`
}

func failureOf(err error) *failure {
	e := store.AsError(err)
	return &failure{Code: e.Code, Message: err.Error(), Try: e.Try, MaybeApplied: e.MaybeApplied()}
}

func refuse(w http.ResponseWriter, status int, err error) {
	answer(w, status, map[string]any{"error": failureOf(err)})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(encode(v)) // nobody to tell
}

const (
	beat   = 10 * time.Second // in which a stream says something
	taking = 10 * time.Second // for a browser to take what it is told
)

// stream tells a browser what happens, from behind its Last-Event-ID on.
func (p *Page) stream(w http.ResponseWriter, r *http.Request) {
	if !p.feed.join() {
		refuse(w, http.StatusServiceUnavailable, &store.Error{Code: store.Overloaded, Msg: fmt.Sprintf("%d browsers listen, which is the limit", maxStreams), Try: "close one"})
		return
	}
	defer p.feed.leave()
	p.now()
	c, anew := p.feed.resume(r.Header.Get("Last-Event-ID"))
	w.Header().Set("Content-Type", "text/event-stream")
	hurry(w, 0)
	out := bytes.NewBufferString("retry: 500\n")
	fmt.Fprintf(out, "event: hello\ndata: %s\n\n", encode(map[string]any{"anew": anew, "now": millis(time.Now())}))
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		next, ended := p.feed.since(&c, out)
		if !flush(w, out) || ended {
			return
		}
		select {
		case <-next:
		case <-tick.C:
			out.WriteString(": still here\n\n")
		case <-r.Context().Done():
			return
		}
	}
}

func flush(w http.ResponseWriter, out *bytes.Buffer) bool {
	if out.Len() == 0 {
		return true
	}
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Now().Add(taking))
	_, err := out.WriteTo(w)
	return err == nil && c.Flush() == nil
}

// millis is a time as browsers count it.
func millis(t time.Time) float64 { return float64(t.UnixMicro()) / 1000 }
