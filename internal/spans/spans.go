// Package spans is how the rooms take part in a trace, by OpenTelemetry's API and without
// its SDK, which only telemetry knows.
//
// Who begins a trace is the application, through its client. The trace's place goes with
// the context of the call, with the request to the node and from there to other nodes, as
// W3C Trace Context. Nothing is begun where nothing has come, and then none of this
// allocates. What was not sampled does not travel, so it costs a node nothing.
//
// No span holds a key or a value: keys are names of people as often as not, and traces are
// sent to others. The group says where the key lives.
package spans

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/dialkv/dialkv/store"
)

// Scope is the name under which all spans are made.
const Scope = "github.com/dialkv/dialkv"

// Attributes. docs/reference/traces.md has a row for each.
const (
	Keyspace = attribute.Key("kv.keyspace")
	Group    = attribute.Key("kv.group")
	Level    = attribute.Key("kv.level")
	Code     = attribute.Key("kv.code")
	Op       = attribute.Key("kv.op")
	Node     = attribute.Key("kv.node")
	Address  = attribute.Key("kv.address")
	Attempt  = attribute.Key("kv.attempt")
	Commands = attribute.Key("kv.commands")
	Readers  = attribute.Key("kv.readers")
	Role     = attribute.Key("kv.role")
	Index    = attribute.Key("kv.index")
	Wait     = attribute.Key("kv.wait_ms")
	Acked    = attribute.Key("kv.acked")
	Wanted   = attribute.Key("kv.wanted")
	Kind     = attribute.Key("kv.kind")
)

// Of returns the span of ctx if it is recorded, else nil.
func Of(ctx context.Context) trace.Span {
	if s := trace.SpanFromContext(ctx); s.IsRecording() {
		return s
	}
	return nil
}

// Below begins a span below that of ctx, from the same source. Where that is not
// recorded it returns ctx and nil.
func Below(ctx context.Context, name string, kind trace.SpanKind, links ...trace.Link) (context.Context, trace.Span) {
	parent := Of(ctx)
	if parent == nil {
		return ctx, nil
	}
	return parent.TracerProvider().Tracer(Scope).Start(ctx, name, trace.WithSpanKind(kind), trace.WithLinks(links...))
}

// cancelled is the code of what nobody waited for any more. It is no error: of several
// that were asked, some are not needed.
const cancelled = "cancelled"

// End ends a span; nil is none. Of an error it says the code: a message may name a key.
func End(s trace.Span, err error) {
	if s == nil {
		return
	}
	switch {
	case errors.Is(err, context.Canceled):
		s.SetAttributes(Code.String(cancelled))
	case err != nil:
		code := string(store.AsError(err).Code)
		s.SetAttributes(Code.String(code))
		s.SetStatus(codes.Error, code)
	}
	s.End()
}

// Apart returns ctx out of its trace: for what outlives the call that it was begun in.
func Apart(ctx context.Context) context.Context { return trace.ContextWithSpan(ctx, noop.Span{}) }

// Origin is the place in a trace for which something is done elsewhere: by another
// goroutine, or for several callers. The zero Origin is nowhere.
type Origin struct {
	span trace.Span
	echo *Echo
}

// From returns the origin that ctx is of; nil if nothing is traced.
func From(ctx context.Context) *Origin {
	s := trace.SpanFromContext(ctx)
	if !s.SpanContext().IsSampled() {
		return nil
	}
	return &Origin{s, EchoOf(ctx)}
}

// Into returns ctx with the place in it; nil changes nothing.
func (o *Origin) Into(ctx context.Context) context.Context {
	if o == nil {
		return ctx
	}
	return o.echo.into(trace.ContextWithSpan(ctx, o.span))
}

// Note adds an event to the span of the place. Attributes are made before the call, also for
// nowhere, so who has some looks for nil first.
func (o *Origin) Note(event string, attrs ...attribute.KeyValue) {
	if o != nil {
		o.span.AddEvent(event, trace.WithAttributes(attrs...))
	}
}

// Link is how another span names this place.
func (o *Origin) Link() trace.Link { return trace.Link{SpanContext: o.span.SpanContext()} }

// A request brings what others have written, so it has limits. The standard asks that 512
// characters of tracestate are passed on.
const (
	maxParent = 128
	maxState  = 512
)

// The fields of W3C Trace Context.
const (
	ParentField = "traceparent"
	StateField  = "tracestate"
)

// Parent is the W3C form of the place of ctx; "" if there is none that was sampled.
func Parent(ctx context.Context) (parent, state string) {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return "", ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	if state = carrier[StateField]; len(state) > maxState {
		state = ""
	}
	return carrier[ParentField], state
}

// WithParent returns ctx at the place that Parent has named. What is garbage, too long or
// was not sampled is as nothing; a state that is too long is left away.
func WithParent(ctx context.Context, parent, state string) context.Context {
	if parent == "" || len(parent) > maxParent {
		return ctx
	}
	if len(state) > maxState {
		state = ""
	}
	there := propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{ParentField: parent, StateField: state})
	if !trace.SpanContextFromContext(there).IsSampled() {
		return ctx
	}
	return there
}

// OnlyBelow returns a provider that begins no trace: its spans are those of p where they
// have a parent that is recorded, and nothing elsewhere.
func OnlyBelow(p trace.TracerProvider) trace.TracerProvider { return below{TracerProvider: p} }

type below struct{ trace.TracerProvider }

func (b below) Tracer(name string, opts ...trace.TracerOption) trace.Tracer {
	return belowTracer{b.TracerProvider.Tracer(name, opts...)}
}

type belowTracer struct{ trace.Tracer }

func (t belowTracer) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	if Of(ctx) == nil {
		return ctx, noop.Span{}
	}
	return t.Tracer.Start(ctx, name, opts...)
}

type providerKey struct{}

// WithProvider lets the clients that are opened with ctx trace, though who opens them does
// not know of it.
func WithProvider(ctx context.Context, p trace.TracerProvider) context.Context {
	return context.WithValue(ctx, providerKey{}, p)
}

// ProviderOf returns the provider that ctx brings, or nil.
func ProviderOf(ctx context.Context) trace.TracerProvider {
	p, _ := ctx.Value(providerKey{}).(trace.TracerProvider)
	return p
}
