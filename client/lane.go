package client

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/dialkv/dialkv/internal/kvpb"
)

// maxInFlight is how many calls of one stream may be under way. Others wait for
// their turn, as long as their contexts allow.
const maxInFlight = 4096

// lane is one stream of many calls. It lives until the stream ends, in whatever way,
// and is not used again.
type lane struct {
	stream grpc.ClientStream
	slots  chan struct{} // one for each call under way, and for each cancel not sent yet
	wake   chan struct{} // something is queued
	over   chan struct{} // closed when the stream has ended

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]*errand
	queue   []*errand
	ended   bool
}

// errand is one call of a lane, or the cancel of one.
type errand struct {
	message  kvpb.Sealed
	deadline time.Time // zero: none
	stage    atomic.Int32
	answer   chan arrival // gets one, unless the caller took the errand back
}

// The stages of an errand. What is queued either side may take: the sender to send
// it, the caller to drop it.
const (
	queued int32 = iota
	handed
	dropped
)

// arrival is how an errand ended.
type arrival struct {
	came  reach
	frame kvpb.Frame // if it was answered
	err   error      // if it was not
}

func newLane(stream grpc.ClientStream) *lane {
	return &lane{
		stream: stream, waiting: make(map[uint64]*errand),
		slots: make(chan struct{}, maxInFlight), wake: make(chan struct{}, 1), over: make(chan struct{}),
	}
}

func (l *lane) isOver() bool {
	select {
	case <-l.over:
		return true
	default:
		return false
	}
}

// run queues the errand and waits for its end, or for the caller's. It reports false
// if the lane had ended before.
func (l *lane) run(ctx context.Context, x *errand) (arrival, bool) {
	if ctx.Err() != nil {
		return arrival{came: unsent, err: context.Cause(ctx)}, true
	}
	select {
	case l.slots <- struct{}{}:
	case <-l.over:
		return arrival{}, false
	case <-ctx.Done():
		return arrival{came: unsent, err: context.Cause(ctx)}, true
	}
	if !l.add(x) {
		return arrival{}, false
	}
	select {
	case a := <-x.answer:
		<-l.slots
		return a, true
	case <-ctx.Done():
		return l.leave(ctx, x), true
	}
}

// add queues the errand under the next number, unless the lane has ended.
func (l *lane) add(x *errand) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.last++
	x.message.ID = l.last
	l.waiting[l.last] = x
	l.push(x)
	return true
}

// push is called with mu held.
func (l *lane) push(x *errand) {
	l.queue = append(l.queue, x)
	select {
	case l.wake <- struct{}{}:
	default: // it is awake
	}
}

// leave takes the errand back, because its caller's context has ended. Its slot goes
// with what remains in the queue: the errand, or the cancel of it.
func (l *lane) leave(ctx context.Context, x *errand) arrival {
	if x.stage.CompareAndSwap(queued, dropped) {
		l.forget(x, nil)
		x.message.Free()
		return arrival{came: unsent, err: context.Cause(ctx)}
	}
	id := x.message.ID
	if !l.forget(x, &errand{message: kvpb.SealCancel(id)}) {
		<-l.slots
		return <-x.answer // it came at the last moment
	}
	return arrival{came: unanswered, err: context.Cause(ctx)}
}

// forget reports whether nobody had answered the errand yet, and then nobody will.
func (l *lane) forget(x, cancel *errand) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting[x.message.ID] != x {
		return false
	}
	delete(l.waiting, x.message.ID)
	if cancel != nil {
		l.push(cancel)
	}
	return true
}

// serve runs the lane until its stream ends.
func (l *lane) serve(end context.CancelFunc) {
	var sender sync.WaitGroup
	sender.Go(func() { l.send(end) })
	err := l.receive()
	end()
	left := l.finish()
	sender.Wait() // from here on nobody takes up an errand
	for _, x := range left {
		l.fail(x, err)
	}
}

// fail ends an errand that nobody answers any more.
func (l *lane) fail(x *errand, err error) {
	a := arrival{came: unanswered, err: err}
	if x.stage.CompareAndSwap(queued, dropped) {
		a.came = unsent
	}
	x.answer <- a
}

// finish ends the lane and returns the errands that nobody has answered.
func (l *lane) finish() []*errand {
	l.mu.Lock()
	defer l.mu.Unlock()
	var left []*errand
	for _, x := range l.waiting {
		left = append(left, x)
	}
	clear(l.waiting)
	l.queue, l.ended = nil, true
	close(l.over)
	return left
}

// send sends what is queued. If the stream has ended, the receiver learns why.
func (l *lane) send(end context.CancelFunc) {
	var batch []*errand
	for {
		select {
		case <-l.wake:
		case <-l.over:
			return
		}
		batch = l.take(batch)
		for _, x := range batch {
			if err := l.hand(x); err != nil {
				if !errors.Is(err, io.EOF) {
					end()
				}
				return
			}
		}
	}
}

// take returns what is queued. The queue goes on in the batch that was sent.
func (l *lane) take(sent []*errand) []*errand {
	clear(sent)
	l.mu.Lock()
	defer l.mu.Unlock()
	batch := l.queue
	l.queue = sent[:0]
	return batch
}

// hand sends one message. The node's share of the deadline is what is left of it now.
func (l *lane) hand(x *errand) error {
	if !x.stage.CompareAndSwap(queued, handed) {
		<-l.slots // it was dropped
		return nil
	}
	if !x.deadline.IsZero() {
		x.message.Timeout = max(time.Until(x.deadline), 1)
	}
	err := l.stream.SendMsg(&x.message)
	if x.answer == nil {
		<-l.slots // it was a cancel
	}
	return err
}

// receive hands out answers until the stream ends, and returns why it did.
func (l *lane) receive() error {
	for {
		var a arrival
		if err := l.stream.RecvMsg(&a.frame); err != nil {
			return err
		}
		a.came = answered
		if x := l.claim(a.frame.ID); x != nil {
			x.answer <- a
		} else {
			a.frame.Free()
		}
	}
}

// claim returns the errand of the number, for the one who answers it.
func (l *lane) claim(id uint64) *errand {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.waiting[id]
	delete(l.waiting, id)
	return x
}
