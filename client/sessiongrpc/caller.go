package sessiongrpc

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// Calls may be under way at the same time, each with the session as it was when the call
// began; all that come back are joined.

// UnaryClient is a grpc.UnaryClientInterceptor. A call without a session goes as it is. A
// service that answers with a token of another cluster, or a broken one, is an error, and
// the session is as it was.
func (c *Carrier) UnaryClient(ctx context.Context, method string, request, response any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	session := c.client.SessionOf(ctx)
	if session == nil {
		return invoke(ctx, method, request, response, cc, opts...)
	}
	var came metadata.MD
	err := invoke(sending(ctx, session), method, request, response, cc, append(opts, grpc.Trailer(&came))...)
	if failed := join(session, came); failed != nil && err == nil {
		return failed
	}
	return err
}

// StreamClient is a grpc.StreamClientInterceptor, as UnaryClient is for a unary call. What
// comes back is joined when the stream has been received to its end.
func (c *Carrier) StreamClient(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	session := c.client.SessionOf(ctx)
	if session == nil {
		return open(ctx, desc, cc, method, opts...)
	}
	stream, err := open(sending(ctx, session), desc, cc, method, opts...)
	if err != nil {
		return nil, err
	}
	return &called{ClientStream: stream, session: session, many: desc.ServerStreams}, nil
}

// sending puts the session's token in the place of what metadata there is.
func sending(ctx context.Context, session *client.Session) context.Context {
	md, _ := metadata.FromOutgoingContext(ctx)
	md.Delete(Key) // it is a copy
	if tok := session.Token(); tok != "" {
		md = metadata.Join(md, metadata.Pairs(Key, tok))
	}
	return metadata.NewOutgoingContext(ctx, md)
}

// called is a stream whose end is joined to the session.
type called struct {
	grpc.ClientStream
	session *client.Session
	many    bool // answers
	ended   sync.Once
}

func (s *called) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil && s.many {
		return nil
	}
	var failed error
	s.ended.Do(func() { failed = join(s.session, s.Trailer()) })
	if failed != nil && (err == nil || errors.Is(err, io.EOF)) {
		return failed
	}
	return err
}

func join(session *client.Session, came metadata.MD) error {
	var err error
	for _, tok := range came.Get(Key) {
		if err = session.Join(tok); err != nil {
			e := *store.AsError(err)
			e.Op, e.Msg = "session", "the answer's token cannot be joined: "+e.Msg
			return &e
		}
	}
	return nil
}
