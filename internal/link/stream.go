package link

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	// segment is how many bytes a segment has at most: a line of base64 that a reader of
	// lines still likes.
	segment = 16 << 10
	// inFlight is how many segments may be unacknowledged. They fit into the reader's window.
	inFlight = window / segment
	// repeatMost is how far the pause between repetitions grows; it begins with retransmit.
	repeatMost = time.Second
	// farewell is how long a closed connection goes on to tell so: nobody else tells who
	// only reads at the other end, and behind a cut there is no kernel that would.
	farewell = time.Minute
)

// stream is one end of a connection of a Carrier: two pipes, and between the outer
// one and the messages a sliding window with cumulative acknowledgements (go-back-N, but
// that the receiver keeps what overtook).
type stream struct {
	*conn
	carrier  *Carrier
	id       streamID
	kind     Kind
	answered chan struct{} // closed when the other end is known to be there, or has refused
	over     chan struct{} // closed when nothing is sent any more

	mu      sync.Mutex
	next    uint64  // number of the next segment
	unacked []frame // sent, oldest first
	again   bool    // the oldest was repeated, and the others may be lost, too
	pause   time.Duration
	timer   *time.Timer
	room    signal // fired when unacked shrinks
	refused bool
	ended   bool

	want  uint64           // number of the next segment to take
	early map[uint64]frame // those that overtook it, or had no room
}

func newStream(c *Carrier, id streamID, kind Kind) *stream {
	e := c.endpoint
	there := route{e.name, id.peer, kind}
	s := &stream{
		carrier: c, id: id, kind: kind,
		answered: make(chan struct{}), over: make(chan struct{}),
		pause: retransmit, early: map[uint64]frame{},
		conn: &conn{
			in:  &pipe{route: route{id.peer, e.name, kind}, rules: e.rules},
			out: &pipe{route: there, rules: e.rules, late: true, rng: e.line.rng(there, id.number)},
		},
	}
	s.timer = time.AfterFunc(time.Hour, s.repeat)
	s.timer.Stop()
	return s
}

// pump sends what is written until its end, and stays until that has arrived.
func (s *stream) pump() {
	defer s.finish()
	if !s.submit(frame{open: uint8(s.kind)}) {
		return
	}
	buf := make([]byte, segment)
	for {
		n, err := s.out.read(buf)
		switch {
		case err == nil:
			if !s.submit(frame{data: bytes.Clone(buf[:n])}) {
				return
			}
		case err == io.EOF:
			if s.submit(frame{last: true}) {
				s.drain()
			}
			return
		default: // reset here, or closed for longer than farewell
			s.carrier.transmit(s.id, frame{kind: resetFrame})
			return
		}
	}
}

// submit sends one more segment when the window has room; false when the stream is over.
func (s *stream) submit(f frame) bool {
	s.mu.Lock()
	for len(s.unacked) >= inFlight && !s.ended {
		wake := s.room.wait()
		s.mu.Unlock()
		if !s.wait(wake) {
			return false
		}
		s.mu.Lock()
	}
	if s.ended {
		s.mu.Unlock()
		return false
	}
	f.kind, f.seq, f.ack = segmentFrame, s.next, s.want
	s.next++
	if s.unacked = append(s.unacked, f); len(s.unacked) == 1 {
		s.timer.Reset(s.pause)
	}
	s.mu.Unlock()
	s.carrier.transmit(s.id, f)
	return true
}

// wait waits for the other end, but not past farewell after a Close.
func (s *stream) wait(wake <-chan struct{}) bool {
	s.out.mu.Lock()
	until := s.out.readBy
	s.out.mu.Unlock()
	if past(until, time.Now()) {
		return false
	}
	pause(wake, s.over, until)
	return true
}

// drain waits until everything has arrived.
func (s *stream) drain() {
	for {
		s.mu.Lock()
		left, wake := len(s.unacked) > 0 && !s.ended, s.room.wait()
		s.mu.Unlock()
		if !left || !s.wait(wake) {
			return
		}
	}
}

// finish ends the sending side. Who still writes to the other end learns of it when its
// next segment meets nobody.
func (s *stream) finish() {
	s.stop()
	s.out.leave()
	s.carrier.retire(s)
	s.carrier.endpoint.forget(s)
}

func (s *stream) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	s.unacked = nil
	s.timer.Stop()
	close(s.over)
	s.room.fire()
}

// repeat sends the oldest segment again. The others follow when it is acknowledged.
func (s *stream) repeat() {
	s.mu.Lock()
	if s.ended || len(s.unacked) == 0 {
		s.mu.Unlock()
		return
	}
	f := s.unacked[0]
	f.ack = s.want
	s.again = true
	s.pause = min(2*s.pause, repeatMost)
	s.timer.Reset(s.pause)
	s.mu.Unlock()
	s.carrier.transmit(s.id, f)
}

// take is given every frame of the connection.
func (s *stream) take(f frame) {
	switch f.kind {
	case resetFrame:
		s.refuse()
	case ackFrame:
		s.acknowledge(f.ack)
	case segmentFrame:
		s.acknowledge(f.ack)
		s.receive(f)
	}
}

// acknowledge drops what has arrived. If it had to be repeated, what is left is sent
// again: it was probably lost with it.
func (s *stream) acknowledge(ack uint64) {
	s.mu.Lock()
	n := 0
	for n < len(s.unacked) && s.unacked[n].seq < ack {
		n++
	}
	if n == 0 {
		s.mu.Unlock()
		return
	}
	s.unacked = s.unacked[n:]
	var lost []frame
	if s.again {
		lost = append(lost, s.unacked...)
	}
	s.again, s.pause = false, retransmit
	s.timer.Stop()
	if len(s.unacked) > 0 {
		s.timer.Reset(s.pause)
	}
	s.room.fire()
	s.mu.Unlock()
	s.answer()
	for _, f := range lost {
		s.carrier.transmit(s.id, f)
	}
}

// receive puts a segment in its place and hands on what has become whole.
func (s *stream) receive(f frame) {
	s.mu.Lock()
	if f.seq >= s.want && f.seq < s.want+inFlight {
		s.early[f.seq] = f
	}
	for {
		head, ok := s.early[s.want]
		if !ok || !s.in.offer(head.data) {
			break
		}
		if head.last {
			s.in.finish(io.EOF)
		}
		delete(s.early, s.want)
		s.want++
	}
	ack := s.want
	s.mu.Unlock()
	s.carrier.transmit(s.id, frame{kind: ackFrame, ack: ack})
}

// refuse is the other end's reset.
func (s *stream) refuse() {
	s.mu.Lock()
	s.refused = true
	s.mu.Unlock()
	s.answer()
	s.breakUp()
	s.stop()
}

func (s *stream) answer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.answered:
	default:
		close(s.answered)
	}
}

func (s *stream) reset() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// Close returns at once; what was written still goes out, within farewell.
func (s *stream) Close() error {
	s.closeWithin(farewell)
	return nil
}

func (s *stream) closeWithin(d time.Duration) {
	s.end(false)
	s.out.setReadDeadline(time.Now().Add(d))
	s.mu.Lock()
	s.room.fire() // so that the deadline is seen
	s.mu.Unlock()
}

// hangUp hard is what a process that died leaves: nothing of it is sent any more.
func (s *stream) hangUp(hard bool) {
	if !hard {
		s.closeWithin(lastLinger)
		return
	}
	s.end(true)
	s.breakUp()
	s.stop()
	s.carrier.transmit(s.id, frame{kind: resetFrame})
	s.finish()
}
