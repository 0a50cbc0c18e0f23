package rpc

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"github.com/dialkv/dialkv/internal/kvpb"
)

// A request without a trace makes not even the name of a span.
func TestBeginOfAnUntracedRequestAllocatesNothing(t *testing.T) {
	begun := ""
	cfg := Config{Begin: func(ctx context.Context, name string) (context.Context, trace.Span) {
		begun = name
		return ctx, nil
	}}
	r := &kvpb.ReadRequest{Key: "k"}
	op := "get"
	if n := testing.AllocsPerRun(100, func() {
		if _, s := cfg.begin(t.Context(), r.GetTrace(), "kv.node.", op); s != nil {
			t.Error("a span")
		}
	}); n != 0 || begun != "" {
		t.Errorf("%v allocations, and %q was begun", n, begun)
	}
	if _, _ = cfg.begin(t.Context(), &kvpb.Trace{}, "kv.node.", op); begun != "kv.node.get" {
		t.Errorf("%q was begun", begun)
	}
}

// What other metadata a caller sends is not looked through, let alone copied.
func TestEnteringOfAnUntracedRequestAllocatesNothing(t *testing.T) {
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("user-agent", "grpc-java", "content-type", "application/grpc"))
	r := &kvpb.ReadRequest{Key: "k"}
	if n := testing.AllocsPerRun(100, func() {
		if enter(ctx, r) != ctx {
			t.Error("another context")
		}
	}); n != 0 || r.Trace != nil {
		t.Errorf("%v allocations, and the trace %v", n, r.Trace)
	}
}
