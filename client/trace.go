package client

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/store"
)

// A call of an application is a span, and each attempt of it one below that, with which its
// place in the trace goes to the node. What happens between the attempts is a note of the
// call. Without a TracerProvider none of this looks further than at a nil, and a span of the
// application's own, which ctx may hold, is left alone.

func newTracer(p trace.TracerProvider) trace.Tracer {
	if p == nil {
		return nil
	}
	return p.Tracer(spans.Scope)
}

// begin begins the span of a call; it is nil if nobody traces, or it was not sampled.
func (k *Keyspace) begin(ctx context.Context, op string) (context.Context, trace.Span) {
	if k.c.tracer == nil {
		return ctx, nil
	}
	ctx, s := k.c.tracer.Start(ctx, "kv."+op, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(spans.Keyspace.String(k.name)))
	if !s.IsRecording() {
		return ctx, nil
	}
	return ctx, s
}

// opOf is what a read is called.
func opOf(q store.Query) string {
	if q.Scan() {
		return "scan"
	}
	return "get"
}

// place is what a request says of the trace that it belongs to.
func (c *Client) place(ctx context.Context) *kvpb.Trace {
	if c.tracer == nil {
		return nil
	}
	return kvpb.ToTrace(ctx)
}

// carry puts the place of ctx in the metadata of a stream, which lives as long as life.
func (c *Client) carry(life, ctx context.Context) context.Context {
	at := c.place(ctx)
	if at == nil {
		return life
	}
	life = metadata.AppendToOutgoingContext(life, spans.ParentField, at.GetParent())
	if state := at.GetState(); state != "" {
		life = metadata.AppendToOutgoingContext(life, spans.StateField, state)
	}
	return life
}

// span is that of a call, for notes: nil where there is none.
func (c *Client) span(ctx context.Context) trace.Span {
	if c.tracer == nil {
		return nil
	}
	return spans.Of(ctx)
}

// below begins the span of something that is sent for a call; nil if that has none.
func (c *Client) below(ctx context.Context, name string) (context.Context, trace.Span) {
	if c.tracer == nil {
		return ctx, nil
	}
	return spans.Below(ctx, name, trace.SpanKindClient)
}

// traceAttempt begins the span of an attempt.
func (k *call) traceAttempt(ctx context.Context) (context.Context, trace.Span) {
	ctx, s := k.c.below(ctx, "kv.attempt")
	if s == nil {
		return ctx, nil
	}
	k.attempts++
	s.SetAttributes(
		spans.Op.String(k.op), spans.Attempt.Int(k.attempts), spans.Group.String(k.group.String()),
		spans.Node.String(k.node), spans.Address.String(k.c.router.addr(k.node)),
	)
	return ctx, s
}

// note says that something happened at a node, or before an attempt at it.
func (k *call) note(ctx context.Context, what, node string) {
	if s := k.c.span(ctx); s != nil {
		s.AddEvent(what, trace.WithAttributes(spans.Node.String(node)))
	}
}

// noteWait says that another attempt follows, after a while; or that it may not.
func (k *call) noteWait(ctx context.Context, what string) {
	if s := k.c.span(ctx); s != nil && (k.delay > 0 || !k.again) {
		s.AddEvent(what, trace.WithAttributes(milliseconds(k.delay)))
	}
}

func milliseconds(d time.Duration) attribute.KeyValue {
	return spans.Wait.Float64(float64(d) / float64(time.Millisecond))
}

// noteLevel says at which level is read.
func (c *Client) noteLevel(ctx context.Context, level store.Level) {
	if s := c.span(ctx); s != nil {
		s.SetAttributes(spans.Level.String(level.String()))
	}
}

// noteKind says which way an answer came.
func (c *Client) noteKind(ctx context.Context, what, kind string) {
	if s := c.span(ctx); s != nil {
		s.AddEvent(what, trace.WithAttributes(spans.Kind.String(kind)))
	}
}
