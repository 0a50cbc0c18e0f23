// Package front is a node's door for everybody who does not find their own way.
// Each call goes through the node's own client and is routed from where this node
// stands: what the node cannot reach, the call cannot reach. That is what lets
// somebody look at a partition from both of its sides.
package front

import (
	"context"
	"encoding/base64"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/store"
)

// Service serves the API's Front over a client. A session is its token: it comes
// with the request, and goes back with what the call added.
type Service struct {
	kvpb.UnimplementedFrontServer
	client  *client.Client
	begin   Begin
	watches atomic.Int64 // open
}

// Begin begins the span of a request whose place in a trace is in ctx. It may be nil, and
// so may be the span.
type Begin func(ctx context.Context, name string) (context.Context, trace.Span)

// New returns the service. The client must connect with this node as its origin;
// the caller closes it, after the server has ended.
func New(c *client.Client, begin Begin) *Service { return &Service{client: c, begin: begin} }

// trace is nothing where a request came without a trace.
func (s *Service) trace(ctx context.Context, t *kvpb.Trace, name string) (context.Context, trace.Span) {
	if t == nil || s.begin == nil {
		return ctx, nil
	}
	return s.begin(ctx, name)
}

// Read serves a read. Its error is in the response.
func (s *Service) Read(ctx context.Context, r *kvpb.ReadRequest) (*kvpb.ReadResponse, error) {
	ctx, cancel := kvpb.ToAnswer(ctx)
	defer cancel()
	ctx, traced := s.trace(ctx, r.GetTrace(), "kv.front.read")
	keyspace := s.client.Keyspace(r.GetKeyspace())
	response := &kvpb.ReadResponse{}
	session, err := s.resume(r.GetToken())
	if err == nil {
		var q store.Query
		var page store.Page
		if q, err = kvpb.FromQuery(r); err == nil {
			page, err = keyspace.Read(ctx, q, ofRange(session, q.Scan(), r.GetShard())...)
		}
		response = kvpb.ToPage(page)
	}
	response.Error = kvpb.ToError(store.AsError(err))
	response.Mode, response.Token = s.mode(ctx, keyspace, err), tokenOf(session)
	spans.End(traced, err)
	response.Spans = kvpb.ToSpans(ctx, r.GetTrace())
	return response, nil
}

// Write serves a write. Its error is in the response.
func (s *Service) Write(ctx context.Context, r *kvpb.WriteRequest) (*kvpb.WriteResponse, error) {
	ctx, cancel := kvpb.ToAnswer(ctx)
	defer cancel()
	ctx, traced := s.trace(ctx, r.GetTrace(), "kv.front.write")
	keyspace := s.client.Keyspace(r.GetKeyspace())
	response := &kvpb.WriteResponse{}
	session, err := s.resume(r.GetToken())
	if err == nil {
		var c store.Command
		var result store.Result
		if c, err = kvpb.FromCommand(r); err == nil {
			result, err = keyspace.Write(ctx, c, ofRange(session, c.Key == "" && c.Txn == nil, r.GetShard())...)
		}
		response = kvpb.ToResult(result)
	}
	response.Error = kvpb.ToError(store.AsError(err))
	response.Mode, response.Token = s.mode(ctx, keyspace, err), tokenOf(session)
	spans.End(traced, err)
	response.Spans = kvpb.ToSpans(ctx, r.GetTrace())
	return response, nil
}

// ofRange is the options of a call: its session and, if it names no key, its group.
// A call that names a key goes to the group of the key.
func ofRange(s *client.Session, ranged bool, shard uint32) []client.Option {
	opts := []client.Option{client.In(s)}
	if ranged {
		opts = append(opts, client.InGroup(shard))
	}
	return opts
}

func (s *Service) resume(token []byte) (*client.Session, error) {
	return s.client.ResumeSession(base64.RawURLEncoding.EncodeToString(token))
}

// mode is known wherever a call succeeded, so that nobody is asked.
func (s *Service) mode(ctx context.Context, k *client.Keyspace, err error) string {
	if err != nil {
		return ""
	}
	mode, err := k.Mode(ctx)
	if err != nil {
		return ""
	}
	return mode.String()
}

func tokenOf(s *client.Session) []byte {
	if s == nil {
		return nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s.Token())
	if err != nil {
		return nil // only of a session without a valid cluster, which has seen nothing
	}
	return b
}
