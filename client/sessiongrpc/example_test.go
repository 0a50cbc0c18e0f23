package sessiongrpc_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/client/clienttest"
	"github.com/dialkv/dialkv/client/sessiongrpc"
	"github.com/dialkv/dialkv/store"
)

// lab stands in for a test.
type lab struct{ cleanups []func() }

func (*lab) Helper()                      {}
func (*lab) Context() context.Context     { return context.Background() }
func (l *lab) Cleanup(f func())           { l.cleanups = append(l.cleanups, f) }
func (*lab) Errorf(f string, args ...any) { log.Printf(f, args...) }
func (*lab) Fatalf(f string, args ...any) { log.Fatalf(f, args...) }

func (l *lab) end() {
	for _, f := range slices.Backward(l.cleanups) {
		f()
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Two services, each with a client of its own, of which a call puts a key, if it names one,
// and says what "u" holds. Who calls them has a session, and the second shows it what it
// wrote at the first.
func Example() {
	l := new(lab)
	defer l.end()
	cluster := clienttest.Start(l, clienttest.Config{Nodes: 3})
	cluster.Create(clienttest.Keyspace{Name: "carts", Mode: store.AP})
	caller := cluster.Client()

	// A server carries the sessions that come to it, and who calls it the ones that it has.
	connect := func(c *client.Client) *grpc.ClientConn {
		theirs, ours := sessiongrpc.New(c), sessiongrpc.New(caller)
		s := grpc.NewServer(grpc.UnaryInterceptor(theirs.UnaryServer), grpc.StreamInterceptor(theirs.StreamServer))
		s.RegisterService(&description, &desk{carts: c.Keyspace("carts")})
		at := bufconn.Listen(1 << 20)
		go func() { _ = s.Serve(at) }()
		conn, err := grpc.NewClient("passthrough:desk",
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return at.DialContext(ctx) }),
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithUnaryInterceptor(ours.UnaryClient), grpc.WithStreamInterceptor(ours.StreamClient))
		check(err)
		l.Cleanup(func() { _ = conn.Close(); s.Stop() })
		return conn
	}
	shop, show := connect(cluster.At("n1")), connect(cluster.At("n2"))

	// Nothing in a call is about sessions but its context.
	ctx := caller.Within(context.Background(), caller.NewSession())
	_, err := call(ctx, shop, "u")
	check(err)
	said, err := call(ctx, show, "")
	check(err)
	fmt.Println(said)
	// Output: tea
}

// A server refuses a call that brings a token of another cluster, and its caller learns why.
func ExampleReason() {
	l := new(lab)
	defer l.end()
	cluster := clienttest.Start(l, clienttest.Config{Nodes: 1})
	carrier := sessiongrpc.New(cluster.Client())
	brings := metadata.NewIncomingContext(context.Background(), metadata.Pairs(sessiongrpc.Key, "no token of ours"))
	_, err := carrier.UnaryServer(brings, nil, nil, nil) // as grpc.UnaryInterceptor calls it
	fmt.Println(sessiongrpc.Reason(err).Code)
	// Output: Invalid
}
