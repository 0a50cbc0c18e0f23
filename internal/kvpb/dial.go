package kvpb

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// MaxMessage bounds a message in both directions: a value at its limit with room
// for everything around it, or a page of several.
const MaxMessage = 5 << 20

// What may be on its way to an end that does not read, of one stream and of one connection.
// They are fixed: to find a size of its own grpc answers what it receives with a ping, and
// waking both ends for that costs more than the message did, where messages are small. At
// a round trip of 100 ms a stream carries 10 MiB a second.
const (
	StreamWindow = 1 << 20
	ConnWindow   = 4 << 20
)

// Dial returns a connection to the named end. It connects when it is first used,
// and again by itself whenever it breaks, through dial and nothing else: no name
// is resolved, no proxy asked, and no call is sent twice behind the caller's back.
func Dial(name string, dial func(ctx context.Context, name string) (net.Conn, error)) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+name,
		grpc.WithContextDialer(dial),
		grpc.WithNoProxy(),
		// Who may talk to whom, and TLS, is decided below, where dial gets its
		// connections from.
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0),
		grpc.WithStaticStreamWindowSize(StreamWindow),
		grpc.WithStaticConnWindowSize(ConnWindow),
		grpc.WithConnectParams(grpc.ConnectParams{
			// grpc's own maximum of 120 s would keep a healed link unused that long.
			Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			// A dial into a black hole is given up after this, not after grpc's 20 s.
			MinConnectTimeout: 2 * time.Second,
		}),
		// A connection in a black hole ends after 13 s; 10 s is the least grpc takes.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage)),
	)
}

// ToAnswer returns a context that ends a little before ctx does, so that what is
// decided at the deadline still reaches the caller within it: an answer that
// says "certainly not applied" is worth more than a deadline that says nothing.
func ToAnswer(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	left := time.Until(deadline)
	return context.WithDeadline(ctx, deadline.Add(AnswerWithin(left)-left))
}

// AnswerWithin is how much of the time that is left to a call may be used to decide
// its answer; the rest is for its way back.
func AnswerWithin(left time.Duration) time.Duration {
	return left - min(left/8, 100*time.Millisecond)
}
