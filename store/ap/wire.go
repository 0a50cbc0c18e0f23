package ap

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// A stream carries frames. Its opener, the puller, wants entries: it says hello,
// acknowledges and probes. The other side, the source, says hello, sends entries
// in its log's order, and answers probes. Each side hears the other at least once
// in every heartbeat, or takes it for dead after silence.
const (
	wireVersion = 1
	heartbeat   = 500 * time.Millisecond
	silence     = 3 * time.Second

	// frameEntries and frameBytes bound a frame of entries. A single entry may be
	// larger than frameBytes.
	frameEntries = 512
	frameBytes   = 1 << 20
)

var (
	errSilent     = fmt.Errorf("nothing was heard for %s", silence)
	errAnother    = errors.New("this replica goes on as another actor")
	errSuperseded = errors.New("the peer has opened a newer stream")
)

// errGarbage marks what a correct peer would not have sent.
type errGarbage struct{ cause error }

func (e errGarbage) Error() string { return "not a frame of the protocol: " + e.cause.Error() }
func (e errGarbage) Unwrap() error { return e.cause }

func garbage(format string, args ...any) error { return errGarbage{fmt.Errorf(format, args...)} }

func send(s Stream, f *logpb.Frame) error {
	b, err := proto.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode a frame: %w", err)
	}
	return s.Send(b)
}

func recv(s Stream) (*logpb.Frame, error) {
	b, err := s.Recv()
	if err != nil {
		return nil, err
	}
	var f logpb.Frame
	if err := proto.Unmarshal(b, &f); err != nil {
		return nil, errGarbage{err}
	}
	return &f, nil
}

func sendHello(s Stream, actor causal.Actor, epoch uint64, held *view, lives []causal.Actor) error {
	hello := &logpb.Hello{Version: wireVersion, Actor: uint64(actor), Epoch: epoch}
	if held != nil {
		hello.Vector, hello.Closed = protoVector(held.vector), held.closures.Number()
	}
	for _, a := range lives {
		hello.Lives = append(hello.Lives, uint64(a))
	}
	return send(s, &logpb.Frame{Kind: &logpb.Frame_Hello{Hello: hello}})
}

// recvHello returns the other side's hello and what it holds durably.
func recvHello(s Stream) (*logpb.Hello, causal.Vector, error) {
	f, err := recv(s)
	if err != nil {
		return nil, nil, err
	}
	hello := f.GetHello()
	if hello == nil {
		return nil, nil, garbage("the first frame is no hello")
	}
	if hello.Version != wireVersion {
		return nil, nil, garbage("the hello has version %d, this program knows %d", hello.Version, wireVersion)
	}
	if len(hello.Lives) > mostLives {
		return nil, nil, garbage("the hello names %d lives, the limit is %d", len(hello.Lives), mostLives)
	}
	v, err := recvVector(hello.Vector)
	return hello, v, err
}

// shared is how a view's vector travels to a peer that has said how far it knows closures: by
// that number, if this replica has all that was closed up to it. So what is sent all the time
// is no longer for each start of a node there ever was.
func (v *view) shared(known uint64) *logpb.Vector {
	if known == 0 || known > v.covered || !v.closures.Knows(known) {
		return protoVector(v.vector)
	}
	pb := protoVector(short(v.vector, v.closures, known).Vector)
	pb.Closed = known
	return pb
}

// recvShared reads what shared made of a peer's vector.
func (r *Replica) recvShared(pb *logpb.Vector) (causal.Vector, error) {
	v, err := recvVector(pb)
	if err != nil || pb.GetClosed() == 0 {
		return v, err
	}
	_, closures, _, err := r.views.seen()
	if err != nil {
		return nil, err
	}
	all, known := closures.Up(pb.GetClosed())
	if !known {
		return nil, garbage("a vector stands on the closure %d, which this replica has not named", pb.GetClosed())
	}
	v.Join(all)
	return v, nil
}

func recvVector(pb *logpb.Vector) (causal.Vector, error) {
	v, err := vectorOf(pb)
	if err != nil {
		return nil, errGarbage{err}
	}
	return v, nil
}
