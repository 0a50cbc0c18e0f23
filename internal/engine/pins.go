package engine

import (
	"container/list"
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// MaxPins bounds the views that Pins keeps. Each holds back the engine from dropping
	// what was overwritten since.
	MaxPins = 128
	// PinIdle is how long a view is kept after it was taken last.
	PinIdle = time.Minute
	// finishedIdle is how long after Finish.
	finishedIdle = 5 * time.Second
)

// Pinned is a view that several may hold, and each of them closes.
type Pinned interface {
	// Retain adds a holder. It reports false if the view has ended already.
	Retain() bool
	Close()
}

// Pins keeps the views of a group's scans between their pages, so that all pages of a
// scan are of one moment.
type Pins[V Pinned] struct {
	kept chan struct{} // of one: a view was kept, or its scan has ended

	mu     sync.Mutex
	closed bool
	byName map[uint64]*list.Element
	byUse  list.List // of *pin; the one that was longest idle is in front
}

// pin is one kept view.
type pin[V Pinned] struct {
	view V
	name uint64
	used time.Time
}

// NewPins keeps nothing yet.
func NewPins[V Pinned]() *Pins[V] {
	return &Pins[V]{kept: make(chan struct{}, 1), byName: make(map[uint64]*list.Element)}
}

// Keep retains the view, which the caller holds, and returns its name. The name is
// drawn, so that one of before a restart finds nothing. The view that was longest idle
// makes room.
func (p *Pins[V]) Keep(view V) uint64 {
	if !view.Retain() {
		panic("engine: a view is kept by one who does not hold it")
	}
	v := &pin[V]{view: view, name: rand.Uint64(), used: time.Now()}
	if out := p.in(v); out != nil {
		out.view.Close()
	}
	p.look()
	return v.name
}

// in takes a view in and returns the one that goes for it: itself after the end.
func (p *Pins[V]) in(v *pin[V]) (out *pin[V]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return v
	}
	if p.byUse.Len() >= MaxPins {
		out = p.out(p.byUse.Front())
	}
	p.byName[v.name] = p.byUse.PushBack(v)
	return out
}

// out takes a view out. The caller holds mu, and closes the view without it.
func (p *Pins[V]) out(e *list.Element) *pin[V] {
	v := p.byUse.Remove(e).(*pin[V])
	delete(p.byName, v.name)
	return v
}

// Take returns a kept view, retained for the caller, and lets its time begin again.
func (p *Pins[V]) Take(name uint64) (view V, kept bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byName[name]
	if e == nil {
		return view, false
	}
	v := e.Value.(*pin[V])
	if time.Since(v.used) >= PinIdle || !v.view.Retain() {
		return view, false
	}
	v.used = time.Now()
	p.byUse.MoveToBack(e)
	return v.view, true
}

// Finish says that a scan has had its last page. The view is kept a little longer, for
// one whose answer was lost and who asks again, and is the first to make room.
func (p *Pins[V]) Finish(name uint64) {
	p.mu.Lock()
	if e := p.byName[name]; e != nil {
		e.Value.(*pin[V]).used = time.Now().Add(finishedIdle - PinIdle)
		p.byUse.MoveToFront(e)
	}
	p.mu.Unlock()
	p.look()
}

// look wakes Run.
func (p *Pins[V]) look() {
	select {
	case p.kept <- struct{}{}:
	default:
	}
}

// Run gives up the views that nobody came back for, until ctx ends.
func (p *Pins[V]) Run(ctx context.Context) {
	timer := time.NewTimer(PinIdle)
	defer timer.Stop()
	for {
		timer.Reset(p.expire())
		select {
		case <-timer.C:
		case <-p.kept:
		case <-ctx.Done():
			return
		}
	}
}

// expire gives up what was idle for too long and returns when to look again.
func (p *Pins[V]) expire() time.Duration {
	for {
		p.mu.Lock()
		e := p.byUse.Front()
		if e == nil {
			p.mu.Unlock()
			return time.Hour // a view that is kept says so
		}
		if left := PinIdle - time.Since(e.Value.(*pin[V]).used); left > 0 {
			p.mu.Unlock()
			return left
		}
		v := p.out(e)
		p.mu.Unlock()
		v.view.Close()
	}
}

// Close gives all views up. What is kept afterwards is given up at once.
func (p *Pins[V]) Close() {
	p.mu.Lock()
	p.closed = true
	var all []*pin[V]
	for p.byUse.Len() > 0 {
		all = append(all, p.out(p.byUse.Front()))
	}
	p.mu.Unlock()
	for _, v := range all {
		v.view.Close()
	}
}

// Len is how many views are kept.
func (p *Pins[V]) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byUse.Len()
}
