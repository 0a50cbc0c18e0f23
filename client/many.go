package client

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

// Reads and writes share one stream a connection. A unary call costs a stream of its
// own: its headers, its bookkeeping on both ends, and mostly a system call that
// nobody shares. Here a request is a message with a number, and its answer has the
// same number.
//
// A caller encodes its own request and decodes its own answer. One goroutine sends
// what was queued, one receives.
//
// What is large makes a unary call of its own: on a shared stream everybody would wait
// until it has passed, and next to it a stream costs nothing.

// maxShared is how many bytes of a write may go through the shared stream: as many as
// the window of a stream has at first.
const maxShared = 64 << 10

var manyDesc = grpc.StreamDesc{StreamName: "Many", ClientStreams: true, ServerStreams: true}

// read makes one call: a get through the connection's stream, which is opened if there
// is none; and a scan, whose page may be large, alone.
func (cc *conn) read(ctx context.Context, e endpoint, r *kvpb.ReadRequest, response *kvpb.ReadResponse) (reach, error) {
	if r.GetLimit() > 0 {
		return cc.invoke(ctx, e, kvpb.KV_Read_FullMethodName, r, response)
	}
	return cc.many(ctx, e, kvpb.ReadAsked, r, kvpb.ReadAnswered, response)
}

// write makes one call, through the connection's stream or, if it is large, alone.
func (cc *conn) write(ctx context.Context, e endpoint, r *kvpb.WriteRequest, response *kvpb.WriteResponse) (reach, error) {
	if len(r.GetValue()) > maxShared || r.GetTxn() != nil && proto.Size(r) > maxShared {
		return cc.invoke(ctx, e, kvpb.KV_Write_FullMethodName, r, response)
	}
	return cc.many(ctx, e, kvpb.WriteAsked, r, kvpb.WriteAnswered, response)
}

func (cc *conn) many(ctx context.Context, e endpoint, ask kvpb.Kind, request proto.Message, want kvpb.Kind, response proto.Message) (reach, error) {
	message, err := kvpb.Seal(ask, request)
	if err != nil {
		return unsent, err
	}
	x := &errand{message: message, answer: make(chan arrival, 1)}
	x.deadline, _ = ctx.Deadline()
	a := cc.deliver(ctx, x)
	if a.came == unsent {
		return unsent, cc.unreachable(e, a.err)
	}
	if a.err != nil {
		return a.came, kvpb.FromStatus(a.err)
	}
	if a.frame.Kind != want {
		a.frame.Free()
		return unanswered, &store.Error{Code: store.Unknown, Msg: "the answer is not one to the request"}
	}
	if err := a.frame.Open(response); err != nil {
		return unanswered, kvpb.FromStatus(err)
	}
	return answered, nil
}

// deliver runs the errand on the current lane. One that ended before it took the
// errand up is replaced, once: what ends two in a row will not stop there.
func (cc *conn) deliver(ctx context.Context, x *errand) arrival {
	for range 2 {
		l, err := cc.open(ctx)
		if err != nil {
			return arrival{came: unsent, err: err}
		}
		if a, taken := l.run(ctx, x); taken {
			return a
		}
	}
	return arrival{came: unsent, err: errors.New("the stream ends as soon as it is opened")}
}

// open returns the connection's lane. The first caller after a lane's end opens the
// next; its context bounds the opening, and not the lane.
func (cc *conn) open(ctx context.Context) (*lane, error) {
	if l := cc.lane.Load(); l != nil && !l.isOver() {
		return l, nil
	}
	select {
	case cc.opening <- struct{}{}:
		defer func() { <-cc.opening }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if l := cc.lane.Load(); l != nil && !l.isOver() {
		return l, nil
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	opened := context.AfterFunc(ctx, end)
	stream, err := cc.NewStream(life, &manyDesc, kvpb.KV_Many_FullMethodName, grpc.ForceCodecV2(kvpb.NewCodec()))
	if !opened() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		end()
		return nil, err
	}
	l := newLane(stream)
	cc.lane.Store(l)
	cc.running.Go(func() { l.serve(end) })
	return l, nil
}
