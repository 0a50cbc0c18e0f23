// Package sessiongrpc carries sessions over gRPC, so that what a call has read and written
// is visible to the next one, at whatever service and whatever replica it lands.
//
//	carry := sessiongrpc.New(c)
//	server := grpc.NewServer(grpc.UnaryInterceptor(carry.UnaryServer), grpc.StreamInterceptor(carry.StreamServer))
//	conn, err := grpc.NewClient(target, grpc.WithUnaryInterceptor(carry.UnaryClient), grpc.WithStreamInterceptor(carry.StreamClient))
//
// In a handler behind the server's interceptors all calls of the client with the handler's
// context are part of the call's session; nothing else is to be done. What other services
// make of it, which are called with that context over the client's interceptors, is joined
// to it. The trailer of the answer brings it back, whether the call succeeds or not.
//
// A session travels as its token, in the metadata dialkv-session. It is not a secret, and
// nothing in it is trusted. A call with a broken token, or one of another cluster, does not
// come to the handler: its status is InvalidArgument or FailedPrecondition, and [Reason]
// tells the *store.Error that it carries.
package sessiongrpc

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

// Key is the metadata that a token travels in.
const Key = "dialkv-session"

// Carrier carries the sessions of one client. Its methods are interceptors.
type Carrier struct{ client *client.Client }

// New returns a Carrier of the client's sessions.
func New(c *client.Client) *Carrier { return &Carrier{client: c} }

// Reason is the error of the contract that a call's error carries, such as a server's
// refusal of a token; nil if it carries none.
func Reason(err error) *store.Error { return kvpb.Carried(err) }

// UnaryServer is a grpc.UnaryServerInterceptor.
func (c *Carrier) UnaryServer(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	session, err := c.admit(ctx)
	if err != nil {
		return nil, err
	}
	response, err := handle(c.client.Within(ctx, session), request)
	_ = grpc.SetTrailer(ctx, trailer(session)) // it fails where no server is, and then nobody waits
	return response, err
}

// StreamServer is a grpc.StreamServerInterceptor.
func (c *Carrier) StreamServer(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	session, err := c.admit(stream.Context())
	if err != nil {
		return err
	}
	err = handle(srv, &served{ServerStream: stream, ctx: c.client.Within(stream.Context(), session)})
	stream.SetTrailer(trailer(session))
	return err
}

// served is a stream whose context has the session.
type served struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *served) Context() context.Context { return s.ctx }

// admit is the session that came with a call. Its error is a status.
func (c *Carrier) admit(ctx context.Context) (*client.Session, error) {
	tok := ""
	switch sent := metadata.ValueFromIncomingContext(ctx, Key); {
	case len(sent) > 1:
		return nil, kvpb.Status(&store.Error{Code: store.Invalid, Msg: fmt.Sprintf("the call has %d tokens in %s", len(sent), Key), Try: "one"})
	case len(sent) == 1:
		tok = sent[0]
	}
	session, err := c.client.AdmitSession(ctx, tok)
	return session, kvpb.Status(err)
}

func trailer(session *client.Session) metadata.MD {
	tok := session.Token()
	if tok == "" {
		return nil
	}
	return metadata.Pairs(Key, tok)
}
