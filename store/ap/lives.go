package ap

import (
	"maps"
	"slices"
	"sync"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// mostLives bounds the actors that are remembered beside those in the vector. Each is a
// start of a node; one that is forgotten is only never closed before it has written.
const mostLives = 4096

// lives knows as whom the other members run, and ran.
type lives struct {
	mu      sync.Mutex
	known   map[causal.Actor]bool           // that were heard, and this replica's own of before
	streams map[string]map[int]causal.Actor // by peer: the streams of which something may still come
	opened  int
}

func newLives(own []causal.Actor) *lives {
	l := &lives{known: map[causal.Actor]bool{}, streams: map[string]map[int]causal.Actor{}}
	for _, a := range own {
		l.known[a] = true
	}
	return l
}

// meet notes the actors that a peer's hello names, itself among them.
func (r *Replica) meet(hello *logpb.Hello) {
	_, known, _, err := r.views.seen()
	if err != nil {
		return
	}
	r.lives.mu.Lock()
	defer r.lives.mu.Unlock()
	for _, a := range append(hello.Lives, hello.Actor) {
		if _, closed := known.End(causal.Actor(a)); !closed {
			r.lives.meet(causal.Actor(a))
		}
	}
}

// met notes that this replica ran as another actor.
func (l *lives) met(a causal.Actor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.meet(a)
}

func (l *lives) meet(a causal.Actor) {
	if a != 0 && len(l.known) < mostLives {
		l.known[a] = true
	}
}

// hear notes that the peer's log is taken in, of the life in which it is that actor, until
// the returned function is called.
func (l *lives) hear(peer string, a causal.Actor) (end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.meet(a)
	l.opened++
	name := l.opened
	if l.streams[peer] == nil {
		l.streams[peer] = map[int]causal.Actor{}
	}
	l.streams[peer][name] = a
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.streams[peer], name)
	}
}

// hears tells of each peer the life whose log is taken in, if it is one only.
func (l *lives) hears() map[string]causal.Actor {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := make(map[string]causal.Actor, len(l.streams))
	for peer, streams := range l.streams {
		if len(streams) != 1 {
			continue
		}
		for _, a := range streams {
			one[peer] = a
		}
	}
	return one
}

// all are the actors that are known.
func (l *lives) all() []causal.Actor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.known))
}

// forget drops those that were closed.
func (l *lives) forget(closed causal.Vector) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.known, func(a causal.Actor, _ bool) bool { _, ok := closed[a]; return ok })
}
