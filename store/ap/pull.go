package ap

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// A stream that ended is opened again after a pause that doubles from least to
// most, and begins anew once a stream has lasted longer than the longest pause.
const (
	leastPause = 100 * time.Millisecond
	mostPause  = time.Second
)

// pullAll keeps a stream to every peer until ctx ends.
func (r *Replica) pullAll(ctx context.Context) {
	var streams sync.WaitGroup
	defer streams.Wait()
	ends := map[string]context.CancelFunc{}
	for ctx.Err() == nil {
		members := r.placed.Load()
		for _, peer := range members.peers {
			if ends[peer] == nil {
				own, end := context.WithCancel(ctx)
				ends[peer] = end
				streams.Go(func() { r.pull(own, peer) })
			}
		}
		for peer, end := range ends {
			if !members.isPeer(peer) {
				end()
				delete(ends, peer)
			}
		}
		select {
		case <-members.next:
		case <-ctx.Done():
		}
	}
	for _, end := range ends {
		end()
	}
}

// pull keeps a stream to the peer until ctx ends.
func (r *Replica) pull(ctx context.Context, peer string) {
	pause := leastPause
	for {
		began := time.Now()
		err := r.pullOnce(ctx, peer)
		if ctx.Err() != nil {
			return
		}
		r.cfg.Events.Disconnected(peer, err)
		if time.Since(began) > mostPause {
			pause = leastPause
		}
		// Jitter, so that nodes that lost each other do not come back in step.
		r.rest(ctx, peer, pause/2+rand.N(pause/2))
		pause = min(2*pause, mostPause)
	}
}

// rest pauses, and goes on early if the stream is wanted, but not at once: a peer that
// is away would be dialled for every read that misses it.
func (r *Replica) rest(ctx context.Context, peer string, pause time.Duration) {
	least := min(pause, leastPause)
	select {
	case <-time.After(least):
	case <-ctx.Done():
		return
	}
	select {
	case <-time.After(pause - least):
	case <-r.fresh.wanted(peer):
	case <-ctx.Done():
	}
}

// puller is the receiving end of one stream: one goroutine reads, one writes.
type puller struct {
	r      *Replica
	peer   string
	stream Stream
	probes *probes
	life   causal.Actor // of the peer

	incoming *incoming     // a snapshot on its way; read's
	known    atomic.Uint64 // number of the newest closure that the peer has learned
	ended    func()        // when nothing can come any more; read's, nil before the hello
}

// pullOnce returns why the stream ended; both its goroutines have.
func (r *Replica) pullOnce(ctx context.Context, peer string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer quiet.Stop()
	stream, err := r.cfg.Peers.Stream(ctx, peer)
	if err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	p := &puller{r: r, peer: peer, stream: stream, probes: newProbes()}
	written := make(chan struct{})
	go func() {
		defer close(written)
		cancel(p.write(ctx))
	}()
	err = p.read(quiet)
	p.dropSnapshot()
	if p.ended != nil {
		p.ended()
	}
	if errors.As(err, new(errGarbage)) {
		r.cfg.Events.Refused(peer, err)
	}
	cancel(err) // ends the stream, and so a Send that blocks
	<-written
	return context.Cause(ctx)
}

// write says what this replica has: at once, whenever entries from peers have been
// committed, and with a probe at every heartbeat.
func (p *puller) write(ctx context.Context) error {
	epoch := p.r.placed.Load().Epoch
	held, _, err := p.r.views.latest()
	if err != nil {
		return err
	}
	if err := sendHello(p.stream, p.r.life(), epoch, held, p.r.lives.all()); err != nil {
		return err
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	wanted := p.r.fresh.wanted(p.peer)
	said, probe := uint64(0), true
	for {
		// The epoch is read before the view: what is said with it was held by then.
		epoch := p.r.placed.Load().Epoch
		v, changed, err := p.r.views.latest()
		if err != nil {
			return err
		}
		remote := v.remote
		// What this replica wrote itself is no news to a peer that sends.
		if probe || remote != said {
			if err := p.ack(v, epoch, probe); err != nil {
				return err
			}
			said, probe = remote, false
		}
		select {
		case <-changed:
		case <-beat.C:
			probe = true
		case <-wanted:
			probe = true
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (p *puller) ack(held *view, epoch uint64, probe bool) error {
	ack := &logpb.Ack{Durable: held.shared(p.known.Load()), Epoch: epoch, Closed: held.closures.Number()}
	if probe {
		now := time.Now()
		if ack.Probe = p.probes.leave(now); ack.Probe != 0 {
			p.r.fresh.asking(p.peer, now)
		}
	}
	return send(p.stream, &logpb.Frame{Kind: &logpb.Frame_Ack{Ack: ack}})
}

// read applies what comes. It stops quiet while a frame is being applied: a slow
// disk here is not a silent peer.
func (p *puller) read(quiet *time.Timer) error {
	hello, _, err := recvHello(p.stream)
	if err != nil {
		return err
	}
	p.life = causal.Actor(hello.Actor)
	p.ended = p.r.lives.hear(p.peer, causal.Actor(hello.Actor))
	p.known.Store(hello.Closed)
	p.r.fresh.reopened(p.peer)
	p.r.cfg.Events.Connected(p.peer)
	for {
		quiet.Reset(silence)
		f, err := recv(p.stream)
		if err != nil {
			return err
		}
		quiet.Stop()
		heard := time.Now()
		p.r.heard.Store(&heard)
		if err := p.frame(f); err != nil {
			return err
		}
	}
}

func (p *puller) frame(f *logpb.Frame) error {
	if piece := f.GetSnapshot(); piece != nil {
		return p.takeSnapshot(piece)
	}
	frame := f.GetEntries()
	if frame == nil || p.incoming != nil {
		return garbage("a source sends entries, or a snapshot to its end, not %T", f.GetKind())
	}
	return p.take(frame)
}

// take applies the entries of a frame, all of which must be sound, and then uses
// its answer to a probe.
func (p *puller) take(frame *logpb.Entries) error {
	if len(frame.Writes) > frameEntries {
		return garbage("a frame has %d entries, the limit is %d", len(frame.Writes), frameEntries)
	}
	came := time.Now()
	batch := &remoteBatch{peer: p.peer, entries: make([]entry, len(frame.Writes)), done: make(chan struct{})}
	for i, raw := range frame.Writes {
		e, err := decodeEntry(raw)
		if err != nil {
			return errGarbage{err}
		}
		if (e.Count != nil) != (p.r.cfg.Policy == store.Counter) {
			return garbage("the write %s is not of a %v", e.Dot, p.r.cfg.Policy)
		}
		batch.entries[i] = e
	}
	if len(batch.entries) > 0 {
		if err := p.r.applied(batch); err != nil {
			return err
		}
	}
	if frame.Probe == 0 {
		return nil
	}
	held, err := p.r.recvShared(frame.Vector)
	if err != nil {
		return err
	}
	p.known.Store(frame.Closed)
	asked, ok := p.probes.arrive(frame.Probe)
	if !ok {
		return garbage("an answer names the probe %d, which was not sent or is answered", frame.Probe)
	}
	p.r.clocks.heard(p.peer, frame.ClockMs, asked, came)
	have, _, err := p.r.views.peek()
	if err != nil {
		return err
	}
	p.r.fresh.answered(p.peer, report{asked: asked, held: held, epoch: frame.Epoch, serves: frame.Serves, whole: frame.Whole, closed: frame.Closed, life: p.life, came: came}, have)
	return nil
}

// applied hands a batch to the applier and waits until it is published.
func (r *Replica) applied(b *remoteBatch) error {
	select {
	case r.remote <- b:
		<-b.done // the applier answers what it took
		return b.err
	case <-r.stopped:
		return errStopped
	}
}
