package rpc

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

const (
	// dialWithin bounds the making of a connection, as that of a gRPC one.
	dialWithin = 2 * time.Second
	// dialPause is how long calls fail at once after a dial has failed.
	dialPause = 100 * time.Millisecond
	// silence is how long nothing at all may come back before the other end is asked
	// whether it is there, and then before the line is given up.
	silence = 500 * time.Millisecond
)

// caller keeps a line to one node, and makes a new one when it has ended.
type caller struct {
	dial func(ctx context.Context) (net.Conn, error)
	life context.Context // of its lines, and
	work *sync.WaitGroup // their goroutines

	mu     sync.Mutex
	line   *line
	dialed chan struct{} // closed when the dial that is under way has ended; nil if none is
	err    error         // of the last dial, if it failed
	failed time.Time
}

// call makes one call. Its error is Unknown if no answer came back, and else what the
// node said.
func (c *caller) call(ctx context.Context, r *kvpb.CallRequest) (*kvpb.CallResponse, error) {
	l, err := c.up(ctx)
	var response *kvpb.CallResponse
	if err == nil {
		response, err = l.call(ctx, r)
		kvpb.FromSpans(ctx, response.GetSpans())
	}
	switch {
	case err != nil:
		return nil, &store.Error{Code: store.Unknown, Op: "peer", Node: r.GetTo(), Msg: r.GetTo() + " has not answered", Cause: err}
	case response.GetError() != nil:
		return nil, kvpb.FromError(response.GetError())
	}
	return response, nil
}

// up returns a line that has not ended. A dial is nobody's own: a caller that has what
// it needs from others, and leaves, does not end it.
func (c *caller) up(ctx context.Context) (*line, error) {
	for {
		c.mu.Lock()
		switch {
		case c.life.Err() != nil:
			defer c.mu.Unlock()
			return nil, context.Cause(c.life)
		case c.line != nil && !c.line.ended():
			defer c.mu.Unlock()
			return c.line, nil
		case c.err != nil && time.Since(c.failed) < dialPause:
			defer c.mu.Unlock()
			return nil, c.err
		case c.dialed == nil:
			c.dialed = make(chan struct{})
			c.work.Go(c.connect)
		}
		dialed := c.dialed
		c.mu.Unlock()
		select {
		case <-dialed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// settle returns when whoever is about to dial has seen that life has ended, or has
// begun: from then on work only shrinks.
func (c *caller) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
}

func (c *caller) connect() {
	ctx, cancel := context.WithTimeout(c.life, dialWithin)
	defer cancel()
	conn, err := c.dial(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.dialed)
	c.dialed, c.err = nil, err
	if err != nil {
		c.failed = time.Now()
		return
	}
	l := &line{life: c.life, conn: conn, writing: make(chan struct{}, 1), over: make(chan struct{}), waiting: make(map[uint64]chan *kvpb.CallResponse)}
	c.line = l
	c.work.Go(func() { l.receive(c.life) })
}

// line is a connection for calls. It lives until the connection ends, in whatever way,
// and is not used again.
type line struct {
	life    context.Context
	conn    net.Conn
	writing chan struct{} // held by whoever writes
	over    chan struct{} // closed by end
	once    sync.Once

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan *kvpb.CallResponse
	since   time.Time // when the first frame was sent after the last that was heard; zero: none was
	asked   time.Time // when a ping was sent, that being long ago; zero: none was
}

var errLineEnded = errors.New("the connection ended")

// end closes the connection. Nobody takes the line up any more.
func (l *line) end() {
	l.once.Do(func() {
		close(l.over)
		_ = l.conn.Close()
	})
}

func (l *line) ended() bool {
	select {
	case <-l.over:
		return true
	default:
		return false
	}
}

// call sends r and waits for its answer.
func (l *line) call(ctx context.Context, r *kvpb.CallRequest) (*kvpb.CallResponse, error) {
	answer := make(chan *kvpb.CallResponse, 1)
	l.mu.Lock()
	l.last++
	r.Id = l.last
	l.waiting[r.Id] = answer
	if l.since.IsZero() {
		l.since = time.Now()
	}
	l.mu.Unlock()
	defer l.forget(r.Id)
	if deadline, ok := ctx.Deadline(); ok {
		r.TimeoutNs = max(int64(time.Until(deadline)), 1)
	}
	if err := l.send(ctx, r); err != nil {
		return nil, err
	}
	select {
	case response := <-answer:
		return response, nil
	case <-l.over:
		return nil, errLineEnded
	case <-ctx.Done():
		l.suspect()
		return nil, context.Cause(ctx)
	}
}

// suspect is for a caller who leaves without an answer. Its call may be a slow one; but
// where nothing at all was heard for long, the other end is asked, and if it does not
// answer that either the line is given up: it may be gone without a word, and the next
// dial will tell.
func (l *line) suspect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.since.IsZero() || time.Since(l.since) < silence:
	case l.asked.IsZero():
		l.asked = time.Now()
		go func() {
			ctx, cancel := context.WithTimeout(l.life, silence)
			defer cancel()
			_ = l.send(ctx, new(kvpb.CallRequest)) // if it fails, the line is given up as well
		}()
	case time.Since(l.asked) >= silence:
		l.end()
	}
}

// hear notes that the other end is there.
func (l *line) hear(response *kvpb.CallResponse) (answer chan *kvpb.CallResponse) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since, l.asked = time.Time{}, time.Time{}
	answer = l.waiting[response.GetId()]
	delete(l.waiting, response.GetId())
	return answer
}

func (l *line) send(ctx context.Context, r *kvpb.CallRequest) error {
	select {
	case l.writing <- struct{}{}:
		defer func() { <-l.writing }()
	case <-l.over:
		return errLineEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := writeFrame(l.conn, r); err != nil {
		l.end() // a part of the frame may have left
		return err
	}
	return nil
}

func (l *line) forget(id uint64) {
	l.mu.Lock()
	delete(l.waiting, id)
	l.mu.Unlock()
}

// receive hands out answers until the connection ends, or life does.
func (l *line) receive(life context.Context) {
	defer l.end()
	stop := context.AfterFunc(life, l.end)
	defer stop()
	in := bufio.NewReader(l.conn)
	for {
		response := new(kvpb.CallResponse)
		if readFrame(in, response) != nil {
			return
		}
		if answer := l.hear(response); answer != nil {
			answer <- response
		}
	}
}
