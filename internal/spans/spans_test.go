package spans_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/store"
)

const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// What is not traced costs no memory, and not a byte on the wire.
func TestUntracedAllocatesNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if n := testing.AllocsPerRun(100, func() {
		inner, s := spans.Below(ctx, "kv.attempt", trace.SpanKindClient)
		from := spans.From(inner)
		from.Note("nothing")
		spans.End(s, nil)
		if kvpb.ToTrace(from.Into(inner)) != nil || kvpb.FromTrace(ctx, nil) != ctx {
			t.Error("something is traced")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAPlaceTravelsAsTraceparent(t *testing.T) {
	ctx := kvpb.FromTrace(t.Context(), &kvpb.Trace{Parent: parent, State: "vendor=1"})
	got := kvpb.ToTrace(ctx)
	if got.GetParent() != parent || got.GetState() != "vendor=1" || got.GetEcho() {
		t.Errorf("got %v", got)
	}
	ctx = kvpb.FromTrace(t.Context(), &kvpb.Trace{Parent: parent, Echo: true})
	if !kvpb.ToTrace(ctx).GetEcho() {
		t.Error("the echo does not go on")
	}
}

// What others have written is taken for what it can be, and never for an error.
func TestGarbageIsAsNothing(t *testing.T) {
	for _, bad := range []string{
		"", "garbage", parent[:54], "ff" + parent[2:], strings.ToUpper(parent), strings.Repeat("0", 55),
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01", parent + strings.Repeat("-0", 1000), "\x00" + parent,
		strings.TrimSuffix(parent, "1") + "0", // not sampled
	} {
		ctx := kvpb.FromTrace(t.Context(), &kvpb.Trace{Parent: bad, State: "vendor=1", Echo: true})
		if spans.From(ctx) != nil || spans.EchoOf(ctx) != nil || kvpb.ToTrace(ctx) != nil {
			t.Errorf("%.80q is a place", bad)
		}
	}
	for _, state := range []string{"a=" + strings.Repeat("x", 1000), "=", strings.Repeat("a", 100_000)} {
		if got := kvpb.ToTrace(kvpb.FromTrace(t.Context(), &kvpb.Trace{Parent: parent, State: state})); got.GetParent() != parent || got.GetState() != "" {
			t.Errorf("with the state %.20q the place is %v", state, got)
		}
	}
}

func TestAnEndTellsTheCodeAndNotTheMessage(t *testing.T) {
	kept := tracetest.NewInMemoryExporter()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept)).Tracer("test")
	for _, err := range []error{
		nil, &store.Error{Code: store.Conflict, Msg: "the secret key"},
		fmt.Errorf("wrapped: %w", context.Canceled), errors.New("the secret key"),
	} {
		_, s := tracer.Start(t.Context(), "s")
		spans.End(s, err)
	}
	var got []string
	for _, s := range kept.GetSpans() {
		got = append(got, fmt.Sprint(s.Status.Code == codes.Error, s.Status.Description, s.Attributes))
	}
	all := strings.Join(got, "\n")
	if strings.Contains(all, "secret") || !strings.Contains(got[1], "true") || !strings.Contains(got[1], "Conflict") || strings.Contains(got[2], "true") || strings.Contains(got[0], "kv.code") {
		t.Errorf("the ends are\n%s", all)
	}
}

func TestAnEchoHasALimit(t *testing.T) {
	ctx, echo := spans.WithEcho(t.Context())
	list := make([]*kvpb.Span, 1000)
	for i := range list {
		list[i] = &kvpb.Span{Id: []byte{1, 2, 3, 4, 5, 6, 7, byte(i)}}
	}
	list[0] = &kvpb.Span{Id: []byte("short")}
	kvpb.FromSpans(ctx, list)
	kvpb.FromSpans(ctx, list)
	if n := len(echo.Records()); n != 128 {
		t.Errorf("%d spans are gathered, want 128", n)
	}
	kvpb.FromSpans(t.Context(), list) // nobody gathers
	if len(kvpb.ToSpans(ctx, &kvpb.Trace{})) > 0 {
		t.Error("spans go back to who did not ask for them")
	}
}

// Who looks at a trace finds every attribute on the page, and no other.
func TestThePageOfTracesHasEveryAttribute(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", "traces.md"))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("spans.go")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## Attributes")
	table, _, _ = strings.Cut(table, "\n## ")
	keys := regexp.MustCompile(`attribute\.Key\("([^"]+)"\)`).FindAllStringSubmatch(string(source), -1)
	for _, key := range keys {
		if !strings.Contains(table, "\n| `"+key[1]+"` | ") {
			t.Errorf("docs/reference/traces.md has no row for %s", key[1])
		}
	}
	if rows := strings.Count(table, "\n| `"); rows != len(keys) || rows == 0 {
		t.Errorf("the page has %d rows for %d attributes", rows, len(keys))
	}
}
