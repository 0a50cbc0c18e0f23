package rpc

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

const (
	// maxInFlight is how many requests of one stream are served at a time. The
	// next is not received before one of them is done.
	maxInFlight = 4096
	// maxIdle is how many workers of a stream stay for the next request. A new
	// goroutine is cheap, but for its stack, which has to grow under every request.
	maxIdle = 64
)

// Many serves the reads and writes of a stream as Read and Write do, each in a
// goroutine of its own, and sends the answers as they are done. When the stream
// ends, so do the contexts of its requests; it returns when all of them have.
func (s *kv) Many(stream grpc.BidiStreamingServer[kvpb.ManyRequest, kvpb.ManyResponse]) error {
	s.traffic.Streams.Add(1)
	defer s.traffic.Streams.Add(-1)
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	d := &desk{
		kv: s, out: newOutbox(stream), jobs: make(chan job), slots: make(chan struct{}, maxInFlight),
		cancels: make(map[uint64]context.CancelFunc),
	}
	err := d.receive(ctx, stream)
	if errors.Is(err, io.EOF) {
		err = nil // the client has said all, and waits for the answers
	} else {
		cancel()
	}
	close(d.jobs)
	d.workers.Wait()
	return err
}

// desk is one stream of requests.
type desk struct {
	kv      *kv
	out     *outbox
	jobs    chan job      // to a worker that is idle
	slots   chan struct{} // one for each request in progress
	idle    atomic.Int32
	workers sync.WaitGroup

	mu      sync.Mutex
	cancels map[uint64]context.CancelFunc // of the requests in progress
}

// job is one request in progress.
type job struct {
	ctx   context.Context
	frame kvpb.Frame
}

// receive hands requests to workers until the stream ends.
func (d *desk) receive(ctx context.Context, stream grpc.ServerStream) error {
	for {
		var f kvpb.Frame
		if err := stream.RecvMsg(&f); err != nil {
			return err
		}
		if f.Kind == kvpb.Cancelled {
			d.end(f.ID)
			f.Free()
			continue
		}
		began, err := d.begin(ctx, &f)
		if err != nil {
			f.Free()
			return err
		}
		j := job{began, f}
		select {
		case d.slots <- struct{}{}:
		case <-ctx.Done():
			d.end(f.ID)
			f.Free()
			return context.Cause(ctx)
		}
		select {
		case d.jobs <- j:
		default:
			d.workers.Go(func() { d.work(j) })
		}
	}
}

// begin starts the clock of a request. It stops a little before the caller's own, as
// that of a unary call does. Two requests of one number could not be told apart, so
// the second ends the stream.
func (d *desk) begin(ctx context.Context, f *kvpb.Frame) (context.Context, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cancels[f.ID] != nil {
		return nil, status.Errorf(codes.InvalidArgument, "request %d is still in progress; a stream's requests have numbers of their own", f.ID)
	}
	var cancel context.CancelFunc
	if f.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, kvpb.AnswerWithin(f.Timeout))
	} else {
		ctx, cancel = context.WithCancel(ctx)
	}
	d.cancels[f.ID] = cancel
	return ctx, nil
}

// end ends the context of a request, if it is still in progress.
func (d *desk) end(id uint64) {
	d.mu.Lock()
	cancel := d.cancels[id]
	delete(d.cancels, id)
	d.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

// work serves a request and then, for a while, others.
func (d *desk) work(j job) {
	for ok := true; ok; {
		d.out.add(d.serve(j))
		d.end(j.frame.ID)
		<-d.slots
		if d.idle.Add(1) > maxIdle {
			d.idle.Add(-1)
			return
		}
		j, ok = <-d.jobs
		d.idle.Add(-1)
	}
}

// serve makes the one answer to a request. A panic ends that request and no other.
func (d *desk) serve(j job) (answer *kvpb.Sealed) {
	kind := j.frame.Kind
	defer func() {
		if value := recover(); value != nil {
			answer = fail(kind, d.kv.cfg.recovered(j.ctx, value, nil))
		}
		answer.ID = j.frame.ID
	}()
	if err := d.out.room(j.ctx); err != nil {
		j.frame.Free()
		return fail(kind, err)
	}
	switch kind {
	case kvpb.ReadAsked:
		r := new(kvpb.ReadRequest)
		if err := j.frame.Open(r); err != nil {
			return fail(kind, undecoded(err))
		}
		j.ctx = kvpb.FromTrace(j.ctx, r.GetTrace())
		return sealRead(d.kv.read(j.ctx, r))
	case kvpb.WriteAsked:
		r := new(kvpb.WriteRequest)
		if err := j.frame.Open(r); err != nil {
			return fail(kind, undecoded(err))
		}
		j.ctx = kvpb.FromTrace(j.ctx, r.GetTrace())
		return sealWrite(d.kv.write(j.ctx, r))
	}
	j.frame.Free()
	return fail(kind, nil)
}

func undecoded(err error) error {
	return &store.Error{Code: store.Invalid, Msg: "the request cannot be read", Cause: err}
}

// fail answers a request that was not served. What is no request that this node
// knows gets an answer that says nothing.
func fail(kind kvpb.Kind, err error) *kvpb.Sealed {
	switch kind {
	case kvpb.ReadAsked:
		return sealRead(&kvpb.ReadResponse{Error: kvpb.ToError(store.AsError(err))})
	case kvpb.WriteAsked:
		return sealWrite(&kvpb.WriteResponse{Error: kvpb.ToError(store.AsError(err))})
	}
	return orNothing(kvpb.SealNothing(), nil)
}

func sealRead(r *kvpb.ReadResponse) *kvpb.Sealed {
	s, err := kvpb.Seal(kvpb.ReadAnswered, r)
	if err != nil {
		s, err = kvpb.Seal(kvpb.ReadAnswered, unreadable(r, err))
	}
	return orNothing(s, err)
}

func sealWrite(r *kvpb.WriteResponse) *kvpb.Sealed {
	s, err := kvpb.Seal(kvpb.WriteAnswered, r)
	if err != nil {
		s, err = kvpb.Seal(kvpb.WriteAnswered, untold(r, err))
	}
	return orNothing(s, err)
}

// orNothing is for an answer that cannot be said at all: its caller does not know.
func orNothing(s kvpb.Sealed, err error) *kvpb.Sealed {
	if err != nil {
		s = kvpb.SealNothing()
	}
	return &s
}
