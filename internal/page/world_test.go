package page_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/front"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/page"
)

// world is a cluster of five nodes in this process, and its page.
type world struct {
	*localcluster.Memory
	at   string // host:port of the page
	stop func() // ends the page's server
}

// demo starts one with the keyspaces of the demo.
func demo(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := localcluster.NewMemory(ctx, localcluster.MemoryConfig{})
	must(t, err)
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	admin, err := m.Admin("n1")
	must(t, err)
	_, err = admin.CreateKeyspace(ctx, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap", Replicas: 5, Conflict: "siblings"})
	must(t, kvpb.FromStatus(err))
	_, err = admin.CreateKeyspace(ctx, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp", Replicas: 5})
	must(t, kvpb.FromStatus(err))
	w := &world{Memory: m}
	w.serve(t, "127.0.0.1:0")
	return w
}

// serve serves the page at the address until stop, or the end of the test.
func (w *world) serve(t *testing.T, addr string) {
	t.Helper()
	door, err := front.ListenHTTP("--web", addr)
	must(t, err)
	p := page.New(page.Config{Name: "demo", Cluster: w.Memory, Breaker: w.Memory, Cannot: map[string]string{"pause": "in one process", "resume": "in one process"}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- p.Run(ctx) }()
	go func() { ended <- door.Serve(ctx, p.Handler(), log.New(io.Discard, "", 0)) }()
	stopped := false
	w.at = door.Addr()
	w.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := errors.Join(<-ended, <-ended); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(w.stop)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// post sends a command and returns its status and answer.
func (w *world) post(t *testing.T, name, body string, change ...func(*http.Request)) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.at+"/api/"+name, strings.NewReader(body))
	must(t, err)
	r.Header.Set("Content-Type", "application/json")
	for _, f := range change {
		f(r)
	}
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(answer)
}
