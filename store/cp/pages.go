package cp

import (
	"context"
	"sync"

	"github.com/dialkv/dialkv/internal/mutant"
)

// Retain adds a holder of the view, so that it is kept for further pages.
func (b basis) Retain() bool { return b.view.Retain() }

// Close gives the view up.
func (b basis) Close() { b.view.Close() }

// kept is the basis of further pages, which wait for nothing.
func (b basis) kept() basis {
	b.waited, b.waitedFor = 0, ""
	return b
}

// moved is mutant M18: a later page that is read from the state as it is by now.
func (r *Replica) moved(ctx context.Context, b basis) (basis, error) {
	if !mutant.M18 {
		return b, nil
	}
	b.view.Close()
	var err error
	b.view, err = r.wait(ctx, func(*view) bool { return true })
	return b, err
}

// readers counts the calls that may hold a view, so that the engine is not closed
// under one of them.
type readers struct {
	mu    sync.Mutex
	n     int
	ended bool
	gone  chan struct{} // closed when the last has left after the end
}

// enter reports false once the replica has ended. Who entered must leave.
func (r *readers) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return false
	}
	r.n++
	return true
}

func (r *readers) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n--; r.ended && r.n == 0 {
		close(r.gone)
	}
}

// drain lets nobody in and waits for the last to leave. They wait for nothing any
// more when the views are taken away; what is left of them is the reading of a page.
func (r *readers) drain() {
	r.mu.Lock()
	r.ended, r.gone = true, make(chan struct{})
	if r.n == 0 {
		close(r.gone)
	}
	r.mu.Unlock()
	<-r.gone
}
