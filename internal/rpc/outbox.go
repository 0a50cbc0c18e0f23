package rpc

import (
	"context"
	"sync"

	"google.golang.org/grpc"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

// maxUnsent is how many bytes of answers may wait to be sent before no more requests
// are begun: a client that does not read must not fill the node's memory. Those that
// are in progress by then still add theirs.
const maxUnsent = 32 << 20

// overhead is what an answer takes beside its bytes, about.
const overhead = 256

// outbox sends the answers of one stream. Whoever comes while nobody is sending
// sends, his own answer and those that come meanwhile.
type outbox struct {
	stream grpc.ServerStream
	broken bool // it takes no more; known to whoever is sending

	mu      sync.Mutex
	queue   []*kvpb.Sealed
	bytes   int // of the answers not sent yet
	sending bool
	drained chan struct{} // closed when bytes fall to the limit; nil if nobody waits
}

func newOutbox(stream grpc.ServerStream) *outbox { return &outbox{stream: stream} }

// add takes an answer, and may send others, too.
func (o *outbox) add(answer *kvpb.Sealed) {
	o.mu.Lock()
	o.queue = append(o.queue, answer)
	o.bytes += answer.Len() + overhead
	mine := !o.sending
	o.sending = true
	o.mu.Unlock()
	if !mine {
		return
	}
	for batch := o.take(nil); len(batch) > 0; batch = o.take(batch) {
		o.send(batch)
	}
}

// take returns what is to be sent next; nothing ends the sending. The queue goes on
// in the batch that was sent.
func (o *outbox) take(sent []*kvpb.Sealed) []*kvpb.Sealed {
	clear(sent)
	o.mu.Lock()
	defer o.mu.Unlock()
	batch := o.queue
	o.queue, o.sending = sent[:0], len(batch) > 0
	return batch
}

// send belongs to whoever is sending, and so does broken.
func (o *outbox) send(batch []*kvpb.Sealed) {
	for _, answer := range batch {
		size := answer.Len() + overhead
		if o.broken {
			answer.Free()
		} else {
			o.broken = o.stream.SendMsg(answer) != nil // the receiver learns why
		}
		o.sent(size)
	}
}

func (o *outbox) sent(size int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes -= size
	if o.drained != nil && o.bytes <= maxUnsent {
		close(o.drained)
		o.drained = nil
	}
}

// room waits until no more than maxUnsent bytes wait to be sent. Its error is that of
// a request of which nothing was done.
func (o *outbox) room(ctx context.Context) error {
	for {
		wait := o.full()
		if wait == nil {
			return nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return store.Expired(ctx, "earlier answers to be taken")
		}
	}
}

func (o *outbox) full() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bytes <= maxUnsent {
		return nil
	}
	if o.drained == nil {
		o.drained = make(chan struct{})
	}
	return o.drained
}
