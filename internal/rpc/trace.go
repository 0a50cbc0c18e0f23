package rpc

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/store"
)

// begin begins the span of a request whose place is in ctx. A request without a trace
// costs a look at the field that it has not; the name is made of room and op only then.
func (c Config) begin(ctx context.Context, t *kvpb.Trace, room, op string) (context.Context, trace.Span) {
	if t == nil || c.Begin == nil {
		return ctx, nil
	}
	return c.Begin(ctx, room+op)
}

// enter returns ctx at the place in a trace that a read or a write brings: in its field, as
// from our own clients, or else in the metadata, as from everybody's.
func enter(ctx context.Context, request any) context.Context {
	switch r := request.(type) {
	case *kvpb.ReadRequest:
		if r.Trace == nil {
			r.Trace = brought(ctx)
		}
		return kvpb.FromTrace(ctx, r.Trace)
	case *kvpb.WriteRequest:
		if r.Trace == nil {
			r.Trace = brought(ctx)
		}
		return kvpb.FromTrace(ctx, r.Trace)
	}
	return ctx
}

// brought is the place that stands in the metadata, as W3C Trace Context; nil if there is
// none, or none that was sampled. Of two parents neither is one.
func brought(ctx context.Context) *kvpb.Trace {
	parent := metadata.ValueFromIncomingContext(ctx, spans.ParentField)
	if len(parent) != 1 {
		return nil
	}
	state := strings.Join(metadata.ValueFromIncomingContext(ctx, spans.StateField), ",")
	return kvpb.ToTrace(spans.WithParent(ctx, parent[0], state))
}

// traced ends the span of a read or a write.
func (p *place) traced(s trace.Span, err error) {
	if s == nil {
		return
	}
	s.SetAttributes(spans.Keyspace.String(p.keyspace.Name))
	if p.replica != nil {
		s.SetAttributes(spans.Group.String(p.group.String()))
	}
	if p.level != store.LevelDefault {
		s.SetAttributes(spans.Level.String(p.level.String()))
	}
	spans.End(s, err)
}

// traced ends the span of a peer's call.
func (c *counter) traced(s trace.Span, r *kvpb.CallRequest, err error) {
	if s == nil {
		return
	}
	group := store.GroupID{Keyspace: r.GetKeyspaceId(), Shard: r.GetShard()}
	s.SetAttributes(spans.Group.String(group.String()))
	spans.End(s, err)
}
