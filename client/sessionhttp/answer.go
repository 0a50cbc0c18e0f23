package sessionhttp

import (
	"net/http"

	"github.com/dialkv/dialkv/client"
)

// answer is an http.ResponseWriter that sends the session along.
type answer struct {
	http.ResponseWriter
	session *client.Session
	carrier *Carrier      // if it sets a cookie
	request *http.Request // the same
	head    bool          // to a request that wants no body

	begun bool
	told  string // the token in the header
}

func (a *answer) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		a.begin(status)
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	a.begin(http.StatusOK)
	return a.ResponseWriter.Write(b)
}

// Flush is for handlers that ask for an http.Flusher.
func (a *answer) Flush() {
	a.begin(http.StatusOK)
	_ = http.NewResponseController(a.ResponseWriter).Flush() // where it is not supported nothing is
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// begin puts the token into the header, which is about to be sent.
func (a *answer) begin(status int) {
	if a.begun {
		return
	}
	a.begun = true
	a.tell()
	body := status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified && !a.head
	if h := a.Header(); a.carrier == nil && body && h.Get("Content-Length") == "" {
		h.Add("Trailer", Header)
	}
}

// tell puts the token, as it is now, into the header or a cookie.
func (a *answer) tell() {
	a.told = a.session.Token()
	if a.carrier != nil {
		a.carrier.set(a.ResponseWriter, a.request, a.told)
	} else if a.told != "" {
		a.Header().Set(Header, a.told)
	}
}

// end is called when the handler has returned: what it did after the first byte goes into
// the trailer, if there is one.
func (a *answer) end() {
	if !a.begun {
		a.tell() // the server writes the header
	} else if tok := a.session.Token(); a.carrier == nil && tok != "" {
		a.Header().Set(Header, tok)
	}
}
