package client

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/dialkv/dialkv/store"
)

const (
	// maxOpen is how many writes of one exactly-once session may be in progress.
	maxOpen = 128
	// window is how far the numbers may run ahead of the lowest that is open. The
	// group keeps the answers of all of them, and refuses more than this.
	window = 1024
)

// numbers gives the writes to one group the names by which their repetition is
// recognised. On cp the name is a number in an exactly-once session that was
// opened through the group's log; on ap the session is drawn at random.
type numbers struct {
	slots   chan struct{} // one for each write in progress
	opening chan struct{} // held by whoever opens a session
	current atomic.Pointer[ledger]
}

// ledger is one exactly-once session and its open numbers.
type ledger struct {
	session uint64

	mu    sync.Mutex
	next  uint64
	open  map[uint64]bool
	freed chan struct{} // closed when a number is, if anybody waits
}

func newNumbers() *numbers {
	return &numbers{slots: make(chan struct{}, maxOpen), opening: make(chan struct{}, 1)}
}

// begin names a write, in a session that it opens if there is none. The caller
// must call end with the outcome; from then on the group may forget the answer.
func (n *numbers) begin(ctx context.Context, open func(context.Context) (uint64, error)) (r store.Request, end func(error), err error) {
	select {
	case n.slots <- struct{}{}:
	case <-ctx.Done():
		return r, nil, store.Expired(ctx, "one of the session's open writes")
	}
	l, err := n.ledger(ctx, open)
	if err != nil {
		<-n.slots
		return r, nil, err
	}
	if r, err = l.add(ctx); err != nil {
		<-n.slots
		return r, nil, err
	}
	return r, func(err error) {
		l.remove(r.Number)
		if err != nil && store.AsError(err).Code == store.SessionExpired {
			n.current.CompareAndSwap(l, nil)
		}
		<-n.slots
	}, nil
}

func (n *numbers) ledger(ctx context.Context, open func(context.Context) (uint64, error)) (*ledger, error) {
	if l := n.current.Load(); l != nil {
		return l, nil
	}
	select {
	case n.opening <- struct{}{}:
		defer func() { <-n.opening }()
	case <-ctx.Done():
		return nil, store.Expired(ctx, "an exactly-once session")
	}
	if l := n.current.Load(); l != nil {
		return l, nil
	}
	session, err := open(ctx)
	if err != nil {
		return nil, err
	}
	l := &ledger{session: session, open: make(map[uint64]bool)}
	n.current.Store(l)
	return l, nil
}

// add opens the next number, once it is within the window.
func (l *ledger) add(ctx context.Context) (store.Request, error) {
	for {
		r, wait := l.tryAdd()
		if wait == nil {
			return r, nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return r, store.Expired(ctx, "an earlier write of the session")
		}
	}
}

func (l *ledger) tryAdd() (r store.Request, wait <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.next + 1
	lowest := next
	for number := range l.open {
		lowest = min(lowest, number)
	}
	if next-lowest >= window {
		if l.freed == nil {
			l.freed = make(chan struct{})
		}
		return r, l.freed
	}
	l.next = next
	l.open[next] = true
	return store.Request{Session: l.session, Number: next, Lowest: lowest}, nil
}

func (l *ledger) remove(number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, number)
	if l.freed != nil {
		close(l.freed)
		l.freed = nil
	}
}

func randomSession(context.Context) (uint64, error) { return rand.Uint64() | 1, nil }
