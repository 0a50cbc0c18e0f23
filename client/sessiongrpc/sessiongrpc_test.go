package sessiongrpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/client/clienttest"
	"github.com/dialkv/dialkv/client/sessiongrpc"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The service has a unary call and a stream. Each puts the keys that it is sent, reads the
// key "u" within a moment, and says what it holds.
const (
	once = "/desk/Once"
	many = "/desk/Many"

	failing = "x" // a key that is put, and then the call fails
)

type desk struct {
	t     *testing.T
	carts *client.Keyspace
}

func (d *desk) visit(ctx context.Context, key string) (*wrapperspb.StringValue, error) {
	if key != "" {
		if _, err := d.carts.Put(ctx, key, []byte("tea")); err != nil {
			return nil, status.Error(codes.Unavailable, err.Error())
		}
	}
	if key == failing {
		return nil, status.Error(codes.Aborted, "as it was asked to")
	}
	item, err := d.carts.Get(ctx, "u", client.At(client.ReadYourWrites), client.WithTimeout(300*time.Millisecond))
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return wrapperspb.String(string(item.Value)), nil
}

var description = grpc.ServiceDesc{
	ServiceName: "desk", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Once", Handler: func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.StringValue)
		if err := decode(in); err != nil {
			return nil, err
		}
		return intercept(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: once}, func(ctx context.Context, _ any) (any, error) {
			return srv.(*desk).visit(ctx, in.GetValue())
		})
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Many", ServerStreams: true, ClientStreams: true, Handler: func(srv any, stream grpc.ServerStream) error {
		for {
			in := new(wrapperspb.StringValue)
			if err := stream.RecvMsg(in); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			out, err := srv.(*desk).visit(stream.Context(), in.GetValue())
			if err != nil {
				return err
			}
			if err := stream.SendMsg(out); err != nil {
				return err
			}
		}
	}}},
}

// serve runs the service over a client and returns a connection that carries another's
// sessions.
func serve(t *testing.T, c, caller *client.Client) *grpc.ClientConn {
	t.Helper()
	theirs, ours := sessiongrpc.New(c), sessiongrpc.New(caller)
	s := grpc.NewServer(grpc.UnaryInterceptor(theirs.UnaryServer), grpc.StreamInterceptor(theirs.StreamServer))
	s.RegisterService(&description, &desk{t, c.Keyspace("carts")})
	l := bufconn.Listen(1 << 20)
	go func() { _ = s.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:desk",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(ours.UnaryClient), grpc.WithStreamInterceptor(ours.StreamClient))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(); s.Stop() })
	return conn
}

func call(ctx context.Context, conn *grpc.ClientConn, key string) (string, error) {
	out := new(wrapperspb.StringValue)
	err := conn.Invoke(ctx, once, wrapperspb.String(key), out)
	return out.GetValue(), err
}

// stream sends the keys one after the other and returns the last answer.
func stream(ctx context.Context, conn *grpc.ClientConn, keys ...string) (string, error) {
	s, err := conn.NewStream(ctx, &description.Streams[0], many)
	if err != nil {
		return "", err
	}
	out := new(wrapperspb.StringValue)
	for _, key := range keys {
		if err := s.SendMsg(wrapperspb.String(key)); err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		if err := s.RecvMsg(out); err != nil {
			return "", err
		}
	}
	if err := s.CloseSend(); err != nil {
		return "", err
	}
	if err := s.RecvMsg(new(wrapperspb.StringValue)); !errors.Is(err, io.EOF) {
		return "", err
	}
	return out.GetValue(), nil
}

// world is two services, whose nodes are cut off from each other, and who calls them.
func world(t *testing.T, f func(t *testing.T, c *clienttest.Cluster, first, second *grpc.ClientConn)) {
	clienttest.Bubble(t, func(t *testing.T) {
		c := clienttest.Start(t, clienttest.Config{Nodes: 3, Seed: 1})
		c.Create(clienttest.Keyspace{Name: "carts", Mode: store.AP})
		first, second := serve(t, c.At("n1"), c.Client()), serve(t, c.At("n2"), c.Client())
		c.Cut("n1|n2,n3")
		f(t, c, first, second)
	})
}

func TestSessionOfAUnaryCallIsShownToAStream(t *testing.T) {
	world(t, func(t *testing.T, c *clienttest.Cluster, first, second *grpc.ClientConn) {
		ctx := c.Client().Within(t.Context(), c.Client().NewSession())
		said, err := call(ctx, first, "u")
		must(t, err)
		other, err := stream(t.Context(), second, "")
		must(t, err)
		if said != "tea" || other != "" {
			t.Errorf("the first says %q, and the second without a session %q", said, other)
		}
		if _, err := stream(ctx, second, ""); err == nil || !strings.Contains(err.Error(), "SessionUnreachable") {
			t.Errorf("while the write cannot come the second says %v", err)
		}
		c.Heal()
		c.Settle()
		if said, err := stream(ctx, second, ""); err != nil || said != "tea" {
			t.Errorf("the second says %q, %v", said, err)
		}
	})
}

func TestSessionOfAStreamIsShownToAUnaryCall(t *testing.T) {
	world(t, func(t *testing.T, c *clienttest.Cluster, first, second *grpc.ClientConn) {
		ctx := c.Client().Within(t.Context(), c.Client().NewSession())
		_, err := stream(ctx, first, "a", "u")
		must(t, err)
		if said, err := call(t.Context(), second, ""); err != nil || said != "" {
			t.Errorf("without a session the second says %q, %v", said, err)
		}
		if _, err := call(ctx, second, ""); err == nil || !strings.Contains(err.Error(), "SessionUnreachable") {
			t.Errorf("while the write cannot come the second says %v", err)
		}
		c.Heal()
		c.Settle()
		if said, err := call(ctx, second, ""); err != nil || said != "tea" {
			t.Errorf("the second says %q, %v", said, err)
		}
	})
}

// A call that fails has done what it did before that, and tells of it.
func TestFailedCallBringsItsSessionBack(t *testing.T) {
	world(t, func(t *testing.T, c *clienttest.Cluster, first, second *grpc.ClientConn) {
		for name, try := range map[string]func(ctx context.Context) (string, error){
			"unary":  func(ctx context.Context) (string, error) { return call(ctx, first, failing) },
			"stream": func(ctx context.Context) (string, error) { return stream(ctx, first, failing) },
		} {
			ctx := c.Client().Within(t.Context(), c.Client().NewSession())
			if _, err := try(ctx); status.Code(err) != codes.Aborted {
				t.Fatalf("%s: %v", name, err)
			}
			if _, err := call(ctx, second, ""); err == nil || !strings.Contains(err.Error(), "SessionUnreachable") {
				t.Errorf("%s: the second service does not know what was written before it failed: %v", name, err)
			}
		}
	})
}

func TestBrokenTokenDoesNotComeToTheHandler(t *testing.T) {
	world(t, func(t *testing.T, c *clienttest.Cluster, first, _ *grpc.ClientConn) {
		foreign := token.Token{Cluster: strings.Repeat("ab", 16), Epoch: 1}
		must(t, foreign.Read(store.GroupID{Keyspace: 7}, token.EncodeEntry([]token.Component{{N: 4}})))
		for name, try := range map[string]struct {
			tokens []string
			status codes.Code
			code   store.Code
		}{
			"broken":             {[]string{"AAAA"}, codes.InvalidArgument, store.Invalid},
			"of another cluster": {[]string{foreign.String()}, codes.FailedPrecondition, store.TokenMismatch},
			"too long":           {[]string{strings.Repeat("A", client.MaxToken+1)}, codes.InvalidArgument, store.TooLarge},
			"two":                {[]string{"", ""}, codes.InvalidArgument, store.Invalid},
		} {
			ctx := t.Context()
			for _, tok := range try.tokens {
				ctx = metadata.AppendToOutgoingContext(ctx, sessiongrpc.Key, tok)
			}
			_, unary := call(ctx, first, "u")
			_, streaming := stream(ctx, first, "u")
			for _, err := range []error{unary, streaming} {
				if reason := sessiongrpc.Reason(err); status.Code(err) != try.status || reason == nil || reason.Code != try.code {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		item, err := c.At("n1").Keyspace("carts").Get(t.Context(), "u")
		must(t, err)
		if item.Found {
			t.Error("the handler was reached")
		}
		if sessiongrpc.Reason(nil) != nil || sessiongrpc.Reason(errors.New("x")) != nil {
			t.Error("an error that carries none has a reason")
		}
	})
}

// An answer with a token that cannot be joined must not pass for one without.
func TestAnswerWithATokenThatCannotBeJoinedIsAnError(t *testing.T) {
	world(t, func(t *testing.T, c *clienttest.Cluster, first, _ *grpc.ClientConn) {
		foreign := token.Token{Cluster: strings.Repeat("ab", 16), Epoch: 1}
		must(t, foreign.Read(store.GroupID{Keyspace: 7}, token.EncodeEntry([]token.Component{{N: 4}})))
		session, err := c.Client().ResumeSession(foreign.String())
		must(t, err)
		ctx := c.Client().Within(t.Context(), session)
		came := func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, opts ...grpc.CallOption) error {
			for _, o := range opts {
				if trailer, ok := o.(grpc.TrailerCallOption); ok {
					own := c.Client().NewSession()
					_, err := c.Client().Keyspace("carts").Put(t.Context(), "x", nil, client.In(own))
					must(t, err)
					*trailer.TrailerAddr = metadata.Pairs(sessiongrpc.Key, own.Token())
				}
			}
			return nil
		}
		if err := sessiongrpc.New(c.Client()).UnaryClient(ctx, once, nil, nil, first, came); !errors.Is(err, store.TokenMismatch) || session.Token() != foreign.String() {
			t.Errorf("%v", err)
		}
	})
}
