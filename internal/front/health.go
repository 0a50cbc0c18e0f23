package front

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Health is how a node is, by what it knows itself.
type Health struct {
	Node    string `json:"node"`
	Cluster string `json:"cluster,omitempty"`
	Ready   bool   `json:"ready"`
	// Draining: the node serves, and leads nothing any more.
	Draining bool     `json:"draining,omitempty"`
	Reasons  []string `json:"reasons"` // why it is not ready, in sentences
	// Groups are those that the node holds, or shall hold.
	Groups []GroupHealth `json:"groups"`
}

// GroupHealth is how the node's replica of one group is.
type GroupHealth struct {
	Group    string `json:"group"`
	Keyspace string `json:"keyspace"`
	Mode     string `json:"mode"`
	Ready    bool   `json:"ready"`
	Role     string `json:"role,omitempty"`
	Leader   string `json:"leader,omitempty"`
	// Detail says why it is not ready, or what is worth to know of one that is.
	Detail string `json:"detail,omitempty"`
}

// Watched is what the HTTP door shows of a node.
type Watched struct {
	Health  func() Health
	Metrics http.Handler // or nil
}

// Handler answers on the HTTP door.
func (w Watched) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(out http.ResponseWriter, _ *http.Request) { text(out, http.StatusOK, "alive\n") })
	mux.HandleFunc("GET /readyz", w.readyz)
	mux.HandleFunc("GET /{$}", func(out http.ResponseWriter, _ *http.Request) {
		text(out, http.StatusOK, "/livez    this process answers\n/readyz   this node serves; if not, why (?format=json)\n/metrics  for Prometheus\n")
	})
	if w.Metrics != nil {
		mux.Handle("GET /metrics", w.Metrics)
	}
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		out.Header().Set("Cache-Control", "no-store")
		out.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(out, r)
	})
}

// readyz answers 200 if the node is ready and 503 if not, and says why.
func (w Watched) readyz(out http.ResponseWriter, r *http.Request) {
	asJSON, err := wantsJSON(r)
	if err != nil {
		text(out, http.StatusBadRequest, err.Error()+"\n")
		return
	}
	h := w.Health()
	status := http.StatusServiceUnavailable
	if h.Ready {
		status = http.StatusOK
	}
	if !asJSON {
		text(out, status, h.String())
		return
	}
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(status)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(h) // nobody to tell
}

func wantsJSON(r *http.Request) (bool, error) {
	switch format := r.URL.Query().Get("format"); format {
	case "":
		return strings.Contains(r.Header.Get("Accept"), "application/json"), nil
	case "json":
		return true, nil
	case "text":
		return false, nil
	default:
		return false, fmt.Errorf("format %.40q is not known; there are json and text", format)
	}
}

// String says it in lines.
func (h Health) String() string {
	if h.Ready {
		return h.Node + " is ready\n"
	}
	return h.Node + " is not ready\n" + strings.Join(append(h.Reasons, ""), "\n")
}

func text(out http.ResponseWriter, status int, body string) {
	out.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out.WriteHeader(status)
	_, _ = out.Write([]byte(body)) // nobody to tell
}
