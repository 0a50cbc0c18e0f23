package link

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// window is how many bytes one direction holds before its writer waits, as a
	// TCP with both socket buffers full does.
	window = 256 << 10
	// retransmit is how late stream bytes come that a rule lost: TCP's smallest
	// retransmission timeout on Linux.
	retransmit = 200 * time.Millisecond
)

// pipe is one direction of a connection: a queue of chunks, each stamped when it is
// written with the time it may be read. It has no goroutine; who reads or writes
// waits for itself.
type pipe struct {
	route
	rules *Rules // nil: faults do not apply
	line  line
	late  bool // whether this half serves delays; of a real connection only the sending half does

	mu              sync.Mutex
	rng             *rand.Rand
	queue           []chunk
	size            int       // bytes in queue
	shut            bool      // the writer closed
	gone            bool      // the reader closed
	busy            time.Time // until then what was written before takes all of the bandwidth
	heard           time.Time // when the writer hears that the reader closed
	broken          bool      // reset: both ends fail
	readBy, writeBy time.Time
	readers         signal
	writers         signal
}

// chunk is some bytes, or the end of the stream. FIN and RST travel in the queue
// too, so that a hole holds them back like bytes.
type chunk struct {
	data  []byte
	end   error // io.EOF or ECONNRESET; nil for bytes
	at    time.Time
	noted bool // counted as held
}

// signal wakes all who wait. Its owner's mutex guards it.
type signal struct{ ch chan struct{} }

func (s *signal) wait() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) fire() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}

// errWait says that nothing can be done before something changes.
var errWait = errors.New("wait")

// read fills b with what has arrived, at least one byte.
func (p *pipe) read(b []byte) (int, error) {
	for {
		v, changed := p.rules.Check(p.from, p.to, p.kind)
		p.mu.Lock()
		n, until, err := p.take(b, v)
		if err != errWait {
			p.mu.Unlock()
			return n, err
		}
		wake := p.readers.wait()
		p.mu.Unlock()
		pause(wake, changed, until)
	}
}

// take is read without waiting; until is when to look again at the latest.
func (p *pipe) take(b []byte, v Verdict) (n int, until time.Time, err error) {
	now := time.Now()
	switch {
	case p.gone:
		return 0, until, net.ErrClosed
	case past(p.readBy, now):
		return 0, until, os.ErrDeadlineExceeded
	case p.broken:
		return 0, until, syscall.ECONNRESET
	case v.Action == Reset:
		p.rules.noteHeld()
		p.smash()
		return 0, until, syscall.ECONNRESET
	case len(p.queue) == 0:
		return 0, p.readBy, errWait
	}
	head := &p.queue[0]
	switch {
	case v.Action == Hole:
		if !head.noted {
			head.noted = true
			p.rules.noteHeld()
		}
		return 0, p.readBy, errWait
	case now.Before(head.at):
		return 0, sooner(p.readBy, head.at), errWait
	case head.end != nil:
		return 0, until, head.end
	}
	n = copy(b, head.data)
	p.consume(n)
	return n, until, nil
}

func (p *pipe) consume(n int) {
	if p.size >= window {
		p.writers.fire()
	}
	p.size -= n
	head := &p.queue[0]
	if head.data = head.data[n:]; len(head.data) == 0 {
		*head = chunk{}
		p.queue = p.queue[1:]
	}
}

// write queues all of b; it waits while the window is full.
func (p *pipe) write(b []byte) (int, error) {
	for done := 0; ; {
		v, changed := p.rules.Check(p.from, p.to, p.kind)
		back, _ := p.rules.Check(p.to, p.from, p.kind)
		p.mu.Lock()
		n, err := p.put(b[done:], v, back)
		done += n
		if err != errWait {
			p.mu.Unlock()
			return done, err
		}
		wake, until := p.writers.wait(), p.writeBy
		if p.gone && time.Now().Before(p.heard) {
			until = sooner(until, p.heard)
		}
		p.mu.Unlock()
		pause(wake, changed, until)
	}
}

// put is write without waiting. A writer learns that its reader has gone only while
// the link is open both ways: the news has to travel.
func (p *pipe) put(b []byte, v, back Verdict) (int, error) {
	now := time.Now()
	switch {
	case p.shut:
		return 0, net.ErrClosed
	case past(p.writeBy, now):
		return 0, os.ErrDeadlineExceeded
	case p.broken:
		return 0, syscall.ECONNRESET
	case v.Action == Reset:
		p.rules.noteHeld()
		p.smash()
		return 0, syscall.ECONNRESET
	case p.gone && !now.Before(p.heard) && v.Action == Pass && back.Action == Pass:
		return 0, syscall.EPIPE
	}
	n := min(len(b), window-p.size)
	if n > 0 {
		p.push(chunk{data: bytes.Clone(b[:n]), at: now.Add(p.transit(v, n))}, n)
	}
	if n < len(b) {
		return n, errWait
	}
	return n, nil
}

// offer queues all of b, which becomes the pipe's, or nothing of it: then there is no
// room now. What nobody will read is taken, too.
func (p *pipe) offer(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case len(b) == 0 || p.gone || p.broken || p.shut:
		return true
	case p.size+len(b) > window:
		return false
	}
	p.push(chunk{data: b, at: time.Now()}, len(b))
	return true
}

func (p *pipe) push(c chunk, n int) {
	p.queue = append(p.queue, c)
	p.size += n
	p.readers.fire()
}

// transit draws how long n bytes sent now are under way. None overtake others: the
// reader waits for the head of the queue.
func (p *pipe) transit(v Verdict, n int) time.Duration {
	if !p.late {
		return 0
	}
	if v.Bandwidth > 0 {
		now := time.Now()
		if p.busy.Before(now) {
			p.busy = now
		}
		p.busy = p.busy.Add(v.takes(n))
		v.Delay += p.busy.Sub(now)
	}
	if v.Loss > 0 && p.rng.Float64() < v.Loss {
		v.Delay += retransmit
	}
	p.rules.noteDelay(v)
	return spread(p.rng, p.line.latency+v.Delay, p.line.jitter+v.Jitter)
}

// crossing draws the time of one trip, for a dial.
func (p *pipe) crossing() time.Duration {
	v, _ := p.rules.Check(p.from, p.to, p.kind)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.transit(v, 0)
}

// finish is the writer's last word: io.EOF after what it wrote, or ECONNRESET in
// place of it.
func (p *pipe) finish(end error) {
	v, _ := p.rules.Check(p.from, p.to, p.kind)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shut || p.broken {
		return
	}
	p.shut = true
	if end != io.EOF {
		p.queue, p.size = nil, 0
	}
	p.push(chunk{end: end, at: time.Now().Add(p.transit(v, 0))}, 0)
	p.writers.fire()
}

// leave is the reader's last word. The news travels no faster than the end of what
// the reader wrote.
func (p *pipe) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone, p.heard = true, time.Now().Add(p.line.latency+p.line.jitter)
	p.readers.fire()
	p.writers.fire()
}

// breakUp fails both ends at once.
func (p *pipe) breakUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.smash()
}

func (p *pipe) smash() {
	p.broken = true
	p.queue, p.size = nil, 0
	p.readers.fire()
	p.writers.fire()
}

func (p *pipe) setReadDeadline(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readBy = t
	p.readers.fire()
}

func (p *pipe) setWriteDeadline(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writeBy = t
	p.writers.fire()
}

// past reports whether a deadline has come; the zero time never does.
func past(deadline, now time.Time) bool { return !deadline.IsZero() && !now.Before(deadline) }

func sooner(deadline, t time.Time) time.Time {
	if deadline.IsZero() || t.Before(deadline) {
		return t
	}
	return deadline
}

// pause waits for any of the three; the zero time never comes.
func pause(wake, changed <-chan struct{}, until time.Time) {
	var alarm <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		alarm = t.C
	}
	select {
	case <-wake:
	case <-changed:
	case <-alarm:
	}
}
