package client

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

// endpoint is a node by its name, wherever that is now, or a seed by its address.
type endpoint struct{ node, seed string }

func (e endpoint) String() string { return e.node + e.seed }

// conns keeps one connection to each endpoint that was ever called.
type conns struct {
	dial func(ctx context.Context, name, addr string) (net.Conn, error)
	addr func(node string) string

	mu     sync.Mutex
	open   map[endpoint]*conn
	closed bool
}

// conn is a connection, and the stream that its reads and writes share.
type conn struct {
	*grpc.ClientConn
	failure atomic.Pointer[error] // of the last dial

	lane    atomic.Pointer[lane] // the last that was opened; nil before the first
	opening chan struct{}        // held by whoever opens one
	running sync.WaitGroup       // lanes; added to by whoever holds opening
}

func newConns(dial func(ctx context.Context, name, addr string) (net.Conn, error), addr func(string) string) *conns {
	return &conns{dial: dial, addr: addr, open: make(map[endpoint]*conn)}
}

// get never waits: making a connection object does not dial.
func (c *conns) get(e endpoint) (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, &store.Error{Code: store.Unavailable, Msg: "the client is closed"}
	}
	if cc := c.open[e]; cc != nil {
		return cc, nil
	}
	cc := &conn{opening: make(chan struct{}, 1)}
	var err error
	cc.ClientConn, err = kvpb.Dial(e.String(), func(ctx context.Context, _ string) (net.Conn, error) {
		raw, err := c.connect(ctx, e)
		cc.failure.Store(&err)
		return raw, err
	})
	if err != nil {
		return nil, &store.Error{Code: store.Invalid, Msg: "the address " + e.String() + " cannot be dialled", Cause: err}
	}
	c.open[e] = cc
	return cc, nil
}

func (c *conns) connect(ctx context.Context, e endpoint) (net.Conn, error) {
	if e.node == "" {
		return c.dial(ctx, "", e.seed)
	}
	return c.dial(ctx, e.node, c.addr(e.node))
}

// ready returns a connection that is up. Until it has done so nothing was sent,
// which is what makes its errors definite.
func (c *conns) ready(ctx context.Context, e endpoint) (*conn, error) {
	cc, err := c.get(e)
	if err != nil {
		return nil, err
	}
	for {
		state := cc.GetState()
		switch state {
		case connectivity.Ready:
			return cc, nil
		case connectivity.Idle:
			cc.Connect()
		case connectivity.TransientFailure, connectivity.Shutdown:
			return nil, cc.unreachable(e, errors.New("not connected"))
		}
		if !cc.WaitForStateChange(ctx, state) {
			return nil, cc.unreachable(e, context.Cause(ctx))
		}
	}
}

// reach is how far a request came.
type reach int

const (
	unsent     reach = iota // it certainly did not arrive
	unanswered              // it may have arrived
	answered                // the node answered
)

// invoke makes one call. Unlike the generated stubs it knows whether the request
// was sent: a connection that was up a moment ago may not give a stream any more,
// and without a stream no message leaves.
func (cc *conn) invoke(ctx context.Context, e endpoint, method string, request, response proto.Message) (reach, error) {
	if err := kvpb.CheckSize(request); err != nil {
		return unsent, err
	}
	stream, err := cc.NewStream(ctx, &grpc.StreamDesc{}, method)
	if err != nil {
		return unsent, cc.unreachable(e, err)
	}
	// A failed send says io.EOF, and the receipt then says why.
	if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return unanswered, kvpb.FromStatus(err)
	}
	if err := stream.RecvMsg(response); err != nil {
		return unanswered, kvpb.FromStatus(err)
	}
	return answered, nil
}

func (cc *conn) unreachable(e endpoint, cause error) error {
	if failure := cc.failure.Load(); failure != nil && *failure != nil {
		cause = *failure
	}
	return &store.Error{Code: store.Unavailable, Node: e.node, Msg: e.String() + " cannot be reached", Cause: cause}
}

// close ends every connection, and returns when the goroutines of their lanes have
// ended.
func (c *conns) close() error {
	c.mu.Lock()
	open := c.open
	c.open, c.closed = nil, true
	c.mu.Unlock()
	for _, cc := range open {
		_ = cc.Close() // says only that it was closed before
	}
	for _, cc := range open {
		cc.opening <- struct{}{} // no lane can be opened any more, but one may just have been
		cc.running.Wait()
		<-cc.opening
	}
	return nil
}
