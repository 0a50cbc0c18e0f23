package telemetry

import (
	"context"
	"strconv"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/dialkv/dialkv/internal/spans"
)

// Tracing makes the spans of a node, or of a program that is a client. They go where they
// are kept, and back to who asked for an echo.
type Tracing struct {
	provider *sdktrace.TracerProvider
	node     string
	kept     bool
}

// NewTracing returns a Tracing for the node of that name, "" for a client. keep takes the
// spans that have ended, and stays the caller's; nil keeps none.
func NewTracing(node string, keep sdktrace.SpanProcessor) *Tracing {
	of := []attribute.KeyValue{attribute.String("service.name", "dialkv")}
	if node != "" {
		of = append(of, attribute.String("service.instance.id", node))
	}
	opts := []sdktrace.TracerProviderOption{
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())),
		sdktrace.WithResource(resource.NewSchemaless(of...)),
		sdktrace.WithSpanProcessor(&echoes{node: node}),
	}
	if keep != nil {
		opts = append(opts, sdktrace.WithSpanProcessor(keep))
	}
	return &Tracing{provider: sdktrace.NewTracerProvider(opts...), node: node, kept: keep != nil}
}

// Provider is for a client.
func (t *Tracing) Provider() trace.TracerProvider { return t.provider }

// Begin begins the span of a request that came with a place in a trace. Where there is
// none, or nobody wants to have the span, it is nil; what the request leads to still
// carries the place on.
func (t *Tracing) Begin(ctx context.Context, name string) (context.Context, trace.Span) {
	if !trace.SpanContextFromContext(ctx).IsSampled() || !t.kept && spans.EchoOf(ctx) == nil {
		return ctx, nil
	}
	return t.provider.Tracer(spans.Scope).Start(ctx, name,
		trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(spans.Node.String(t.node)))
}

// echoes hands spans that have ended to the echoes of their contexts.
type echoes struct {
	node string
	open sync.Map // span id → *spans.Echo
}

// OnStart is called by the provider.
func (e *echoes) OnStart(ctx context.Context, s sdktrace.ReadWriteSpan) {
	if to := spans.EchoOf(ctx); to != nil {
		e.open.Store(s.SpanContext().SpanID(), to)
	}
}

// OnEnd is called by the provider.
func (e *echoes) OnEnd(s sdktrace.ReadOnlySpan) {
	if to, ok := e.open.LoadAndDelete(s.SpanContext().SpanID()); ok {
		to.(*spans.Echo).Add(recordOf(s, e.node))
	}
}

// ForceFlush has nothing to do.
func (e *echoes) ForceFlush(context.Context) error { return nil }

// Shutdown has nothing to do.
func (e *echoes) Shutdown(context.Context) error { return nil }

func recordOf(s sdktrace.ReadOnlySpan, node string) spans.Record {
	r := spans.Record{
		Trace: s.SpanContext().TraceID(), ID: s.SpanContext().SpanID(), Parent: s.Parent().SpanID(), Name: s.Name(), Node: node,
		Began: s.StartTime(), Took: s.EndTime().Sub(s.StartTime()), Attributes: attributesOf(s.Attributes()),
	}
	for _, e := range s.Events() {
		r.Notes = append(r.Notes, spans.Note{Name: e.Name, After: e.Time.Sub(s.StartTime()), Attributes: attributesOf(e.Attributes)})
	}
	return r
}

func attributesOf(list []attribute.KeyValue) (out []spans.Attribute) {
	for _, a := range list {
		value := a.Value.String()
		if a.Value.Type() == attribute.FLOAT64 {
			value = strconv.FormatFloat(a.Value.AsFloat64(), 'f', 3, 64)
		}
		out = append(out, spans.Attribute{Key: string(a.Key), Value: value})
	}
	return out
}
