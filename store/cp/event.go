package cp

import (
	"sync"
	"sync/atomic"
)

// event happens once.
type event struct {
	once sync.Once
	ch   chan struct{} // closed when it has
}

func (e *event) happen() { e.once.Do(func() { close(e.ch) }) }

func (e *event) happened() bool {
	select {
	case <-e.ch:
		return true
	default:
		return false
	}
}

// nudge wakes everybody who waits for something to change.
type nudge struct{ ch atomic.Pointer[chan struct{}] }

func (n *nudge) init() {
	ch := make(chan struct{})
	n.ch.Store(&ch)
}

// next is closed at the next call of all. Take it before looking at what changes.
func (n *nudge) next() <-chan struct{} { return *n.ch.Load() }

func (n *nudge) all() {
	ch := make(chan struct{})
	close(*n.ch.Swap(&ch))
}
