package kvpb

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/dialkv/dialkv/internal/spans"
)

// ToTrace is what a request says of the trace that ctx is part of: nil if there is none.
func ToTrace(ctx context.Context) *Trace {
	parent, state := spans.Parent(ctx)
	if parent == "" {
		return nil
	}
	return &Trace{Parent: parent, State: state, Echo: spans.EchoOf(ctx) != nil}
}

// FromTrace returns ctx at the place that a request names. If its sender wants the spans
// back, they are gathered.
func FromTrace(ctx context.Context, t *Trace) context.Context {
	if t == nil {
		return ctx
	}
	ctx = spans.WithParent(ctx, t.GetParent(), t.GetState())
	if t.GetEcho() && spans.From(ctx) != nil {
		ctx, _ = spans.WithEcho(ctx)
	}
	return ctx
}

// ToSpans is what goes back to the sender of a request that has brought t: what was
// gathered in ctx.
func ToSpans(ctx context.Context, t *Trace) []*Span {
	if !t.GetEcho() {
		return nil
	}
	var out []*Span
	for _, r := range spans.EchoOf(ctx).Records() {
		s := &Span{
			Id: r.ID[:], Parent: r.Parent[:], Name: r.Name, Node: r.Node,
			BeganNs: r.Began.UnixNano(), TookNs: int64(r.Took), Attributes: toAttributes(r.Attributes),
		}
		for _, n := range r.Notes {
			s.Notes = append(s.Notes, &Span_Note{Name: n.Name, AfterNs: int64(n.After), Attributes: toAttributes(n.Attributes)})
		}
		out = append(out, s)
	}
	return out
}

// FromSpans gathers in ctx what came back. A span without an id is left away.
func FromSpans(ctx context.Context, list []*Span) {
	if len(list) == 0 {
		return
	}
	e := spans.EchoOf(ctx)
	for _, s := range list {
		r := spans.Record{
			Name: s.GetName(), Node: s.GetNode(), Began: time.Unix(0, s.GetBeganNs()),
			Took: time.Duration(s.GetTookNs()), Attributes: fromAttributes(s.GetAttributes()),
		}
		if copy(r.ID[:], s.GetId()) < len(trace.SpanID{}) {
			continue
		}
		copy(r.Parent[:], s.GetParent())
		for _, n := range s.GetNotes() {
			r.Notes = append(r.Notes, spans.Note{Name: n.GetName(), After: time.Duration(n.GetAfterNs()), Attributes: fromAttributes(n.GetAttributes())})
		}
		e.Add(r)
	}
}

func toAttributes(list []spans.Attribute) (out []*Span_Attribute) {
	for _, a := range list {
		out = append(out, &Span_Attribute{Key: a.Key, Value: a.Value})
	}
	return out
}

func fromAttributes(list []*Span_Attribute) (out []spans.Attribute) {
	for _, a := range list {
		out = append(out, spans.Attribute{Key: a.GetKey(), Value: a.GetValue()})
	}
	return out
}
