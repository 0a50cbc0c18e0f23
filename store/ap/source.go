package ap

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// source is the sending end of one stream. It keeps no queue: a cursor in the log
// says where the peer is.
type source struct {
	r      *Replica
	life   causal.Actor // as whom the stream was begun
	peer   string
	stream Stream
	alive  chan struct{} // of one: a frame has come
	news   chan struct{} // of one: the fields below have changed

	aside aside // send's

	mu     sync.Mutex
	have   causal.Vector // what the peer has confirmed
	author causal.Actor  // as whom the peer writes
	known  uint64        // number of the newest closure that it has learned
	probe  uint64        // not answered yet
}

// ServeStream sends this replica's log to the member that opened the stream,
// until the stream fails, ctx ends, the peer falls silent or the replica stops. It
// always returns an error, which says why.
//
// It may return while a Send or a Recv of s still blocks; both must return once
// the stream is torn down, which the caller does next (a gRPC handler does it by
// returning).
func (r *Replica) ServeStream(ctx context.Context, from string, s Stream) error {
	if !r.placed.Load().isPeer(from) {
		return r.fault(store.Denied, "stream", fmt.Sprintf("%q is not another member of the group", from), "")
	}
	if _, err := r.await(ctx, "stream", need{}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	src := &source{r: r, life: r.life(), peer: from, stream: s, alive: make(chan struct{}, 1), news: make(chan struct{}, 1)}
	ended := make(chan error, 2)
	go func() { ended <- src.receive() }()
	go func() { ended <- src.send(ctx) }()
	err := src.watch(ctx, ended)
	if errors.As(err, new(errGarbage)) {
		r.cfg.Events.Refused(from, err)
	}
	return fmt.Errorf("ap: stream for %s: %w", from, err)
}

// watch returns why the stream ends.
func (s *source) watch(ctx context.Context, ended <-chan error) error {
	quiet := time.NewTimer(silence)
	defer quiet.Stop()
	for {
		members := s.r.placed.Load()
		if !members.isPeer(s.peer) {
			return errStranger
		}
		if s.life != s.r.life() {
			return errAnother
		}
		select {
		case <-members.next:
		case err := <-ended:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.r.stopped:
			return errStopped
		case <-s.alive:
			quiet.Reset(silence)
		case <-quiet.C:
			return errSilent
		}
	}
}

// receive takes the hello and then acknowledgements and probes.
func (s *source) receive() error {
	hello, durable, err := recvHello(s.stream)
	if err != nil {
		return err
	}
	s.r.meet(hello)
	life := s.r.acks.greet(s.peer, durable, hello.Epoch)
	s.mu.Lock()
	s.author = causal.Actor(hello.Actor)
	s.mu.Unlock()
	s.heard(durable, hello.Closed, 0)
	for {
		f, err := recv(s.stream)
		if err != nil {
			return err
		}
		ack := f.GetAck()
		if ack == nil {
			return garbage("a puller sends acknowledgements, not %T", f.GetKind())
		}
		durable, err := s.r.recvShared(ack.Durable)
		if err != nil {
			return err
		}
		if !s.r.acks.confirm(s.peer, life, durable, ack.Epoch) {
			return errSuperseded
		}
		if mutant.M33 {
			s.r.counted(s.peer, causal.Actor(hello.Actor), durable)
		}
		s.heard(durable, ack.Closed, ack.Probe)
	}
}

func (s *source) heard(durable causal.Vector, known, probe uint64) {
	s.mu.Lock()
	s.have, s.known = durable, known
	if probe != 0 {
		s.probe = probe
	}
	s.mu.Unlock()
	for _, c := range []chan struct{}{s.alive, s.news} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (s *source) confirmed() causal.Vector {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.have
}

// has reports whether the peer has a write: it has confirmed so, or made it itself in
// this life. Nobody has heard of one of these before it was committed there.
func (s *source) has(have causal.Vector, d causal.Dot) bool {
	return d.Actor == s.author || have.Has(d)
}

// takeProbe returns the newest probe that was not answered, or 0, and which closures its
// sender knows.
func (s *source) takeProbe() (probe, known uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	probe = s.probe
	s.probe = 0
	return probe, s.known
}

// send is the one writer of the stream.
func (s *source) send(ctx context.Context) error {
	select {
	case <-s.news: // the hello
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	cursor, err := s.begin()
	if err != nil {
		return err
	}
	turn := s.turn()
	var lost <-chan time.Time // fires when a peer that is behind has been so for long
	for ctx.Err() == nil {
		l, err := s.look(cursor, turn.held())
		if err != nil {
			return err
		}
		if l.frame != nil {
			if err := send(s.stream, &logpb.Frame{Kind: &logpb.Frame_Entries{Entries: l.frame}}); err != nil {
				return err
			}
		}
		switch {
		case !l.behind:
			lost = nil
		case lost == nil:
			lost = time.After(patience)
		}
		if l.frame != nil || l.next != cursor {
			cursor = l.next
			continue
		}
		select {
		case <-l.changed:
		case <-s.news:
			turn.progressed(s.confirmed())
		case <-turn.timer:
			turn.timer = nil
		case <-l.later:
		case <-lost:
			if cursor, err = s.snapshot(ctx); err != nil {
				return err
			}
			lost = nil
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}

// begin answers the hello and returns the log position behind which there is all
// that the peer lacks.
func (s *source) begin() (uint64, error) {
	v, _, err := s.r.views.acquire()
	if err != nil {
		return 0, err
	}
	cursor, err := cursorOf(v, s.confirmed())
	s.r.views.release(v)
	if err != nil {
		return 0, err
	}
	return cursor, sendHello(s.stream, s.life, s.r.placed.Load().Epoch, v, nil)
}

// look is what a source sees behind its cursor.
type look struct {
	frame   *logpb.Entries   // nil if there is nothing to say
	next    uint64           // how far it has looked
	first   uint64           // position of the frame's first write
	behind  bool             // the peer lacks what the log does not hold
	own     bool             // the frame has writes of this replica's own
	later   <-chan time.Time // fires when what was put aside is due; nil if nothing was
	changed <-chan struct{}  // closed when there is more to look at
}

// look collects what follows the cursor and the peer has not confirmed.
//
// What it skips the peer has, and what it sends comes in the log's order: so
// whatever a write depends on is at the peer before it.
//
// Held back, it says no more than that it is there.
func (s *source) look(cursor uint64, held bool) (look, error) {
	// The probe is taken before the placement and the view: the answer must hold
	// everything that was confirmed and acknowledged here before the probe left.
	probe, known := s.takeProbe()
	members := s.r.placed.Load()
	v, changed, err := s.r.views.acquire()
	if err != nil {
		return look{}, err
	}
	defer s.r.views.release(v)
	l := look{next: cursor, changed: changed, frame: &logpb.Entries{}}
	if !held {
		if err := s.collect(&l, v); err != nil {
			return look{}, err
		}
	}
	switch {
	case len(l.frame.Writes) == 0:
		s.aside.none()
	case !l.own && probe == 0:
		if wait := s.aside.wait(l.first, time.Now()); wait > 0 {
			l.frame.Writes, l.next, l.later = nil, l.first-1, time.After(wait)
		}
	}
	switch {
	case probe != 0:
		l.frame.Probe, l.frame.Vector, l.frame.ClockMs = probe, v.shared(known), s.r.cfg.Clock().UnixMilli()
		l.frame.Closed = v.closures.Number()
		l.frame.Epoch, l.frame.Serves = members.Epoch, members.serves()
		l.frame.Whole = l.frame.Serves && s.r.isWhole()
	case len(l.frame.Writes) == 0:
		l.frame = nil
	}
	return l, nil
}

// collect stops before a mark, and where the log begins, unless the peer has all that
// came before.
func (s *source) collect(l *look, v *view) error {
	have, size := s.confirmed(), 0
	if l.next < v.base.position {
		if l.behind = !have.Covers(v.base.vector); l.behind {
			return nil
		}
		l.next = v.base.position
	}
	if l.next == v.position {
		return nil
	}
	var failed error
	for key, raw := range v.snap.Scan(numbered(rowLog, l.next+1), []byte{rowLog + 1}, &failed) {
		d, merged, err := nameOf(raw)
		if err != nil {
			return corrupt(fmt.Sprintf("entry %x of the log", key), err)
		}
		if merged != nil && !have.Covers(merged) {
			l.behind = true
			break
		}
		skip := merged != nil || s.has(have, d) || mutant.M9 && d.Actor != s.r.life()
		if !skip && len(l.frame.Writes) > 0 && size+len(raw) > frameBytes {
			break
		}
		l.next++
		if skip {
			continue
		}
		if len(l.frame.Writes) == 0 {
			l.first = l.next
		}
		size += len(raw)
		l.own = l.own || d.Actor == s.life
		l.frame.Writes = append(l.frame.Writes, append([]byte(nil), raw...))
		if len(l.frame.Writes) == frameEntries {
			break
		}
	}
	return failed
}
