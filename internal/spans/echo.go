package spans

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// maxEchoed bounds the spans that one request brings back; further ones are dropped.
const maxEchoed = 128

// Record is a span that has ended, for its reader.
type Record struct {
	Trace      trace.TraceID // not of what a node sends back: it is in the caller's trace
	ID, Parent trace.SpanID
	Name, Node string // the node is "" of a client
	Began      time.Time
	Took       time.Duration
	Attributes []Attribute
	Notes      []Note
}

// Attribute says something of a span or a note.
type Attribute struct{ Key, Value string }

// Note is something that happened while a span was open.
type Note struct {
	Name       string
	After      time.Duration // since the span began
	Attributes []Attribute
}

// Echo gathers the spans of one request, here and at the nodes that it came to, for
// somebody who wants to see them at once. A nil Echo is for nobody.
type Echo struct {
	mu      sync.Mutex
	records []Record
}

// Add adds what there is room for.
func (e *Echo) Add(records ...Record) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.records = append(e.records, records[:min(len(records), maxEchoed-len(e.records))]...)
}

// Records returns what was gathered so far.
func (e *Echo) Records() []Record {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.records[:len(e.records):len(e.records)]
}

type echoKey struct{}

// WithEcho returns a context whose spans are gathered.
func WithEcho(ctx context.Context) (context.Context, *Echo) {
	e := new(Echo)
	return e.into(ctx), e
}

// EchoOf returns where the spans of ctx are gathered, or nil.
func EchoOf(ctx context.Context) *Echo {
	e, _ := ctx.Value(echoKey{}).(*Echo)
	return e
}

func (e *Echo) into(ctx context.Context) context.Context {
	if e == nil {
		return ctx
	}
	return context.WithValue(ctx, echoKey{}, e)
}
