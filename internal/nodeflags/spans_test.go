package nodeflags

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// makeSpans makes spans, and lets go of them.
func makeSpans(t *testing.T, to string, log *slog.Logger, names ...string) {
	t.Helper()
	keep, err := openSpans(t.Context(), to, log)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		_, s := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(keep)).Tracer("test").Start(t.Context(), name)
		s.End()
	}
	shutdown(t.Context(), keep)
}

func TestSpansGoToAFileAsALineEach(t *testing.T) {
	name := filepath.Join(t.TempDir(), "spans.jsonl")
	makeSpans(t, name, slog.New(slog.DiscardHandler), "first", "second")
	makeSpans(t, name, slog.New(slog.DiscardHandler), "third") // of another node
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		var s struct{ Name string }
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		names = append(names, s.Name)
	}
	if got := strings.Join(names, " "); got != "first second third" {
		t.Errorf("the file has the spans %s", got)
	}
}

func TestAFullFileTakesNoSpansAndThatIsSaidOnce(t *testing.T) {
	name := filepath.Join(t.TempDir(), "spans.jsonl")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, maxSpanFile-1); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	keep, err := openSpans(t.Context(), name, log)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, s := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(keep)).Tracer("test").Start(t.Context(), "lost")
		s.End()
		if err := keep.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	shutdown(t.Context(), keep)
	if info, err := os.Stat(name); err != nil || info.Size() != maxSpanFile-1 {
		t.Errorf("%v, %v", info, err)
	}
	if n := strings.Count(out.String(), "spans are lost"); n != 1 {
		t.Errorf("it was said %d times: %s", n, out.String())
	}
}

func TestSpansGoToACollector(t *testing.T) {
	got := make(chan string, 1)
	there := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.URL.Path + " " + string(body)
	}))
	defer there.Close()
	makeSpans(t, there.URL, slog.New(slog.DiscardHandler), "a span")
	if request := <-got; !strings.HasPrefix(request, "/v1/traces ") || !strings.Contains(request, "a span") {
		t.Errorf("the collector was sent %.200q", request)
	}
}
