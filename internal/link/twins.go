package link

import (
	"context"
	"errors"
	"net"
	"time"
)

// A node is one process. One that runs on a copy of another's data directory would vote
// and acknowledge a second time in the same name, so each door remembers which process
// speaks under which name, and when another one does, finds out whether both live.
//
// A process that was started again is another one, too; but then the old one has ended
// before the new one spoke. So the old one is asked, at the address where it was, after
// the new one has spoken: if it answers, both live. Nothing else counts. A connection
// may be of a process that has ended since it dialled, so before the one that was known
// is given up, the other has to answer a question as well.
//
// All doors refuse the same one of the two, the one that was started later. It hears so
// at the first member that knows the other, and from then on nothing leaves it.

// askWithin bounds the question whether a process is there. One that cannot be reached
// is not there: if it is, it comes back and is asked for then.
const askWithin = time.Second

// Introduction is what a door says of its node beside its name.
type Introduction struct {
	Cluster string // "" as long as it belongs to none
	Start   uint64 // orders the node's runs: above that of every run before this one
	// Resolve is asked where a node is, as Config.Resolve; it is for a door in memory.
	Resolve func(name string) (addr, gossip string, ok bool)
	// Twins hears of two processes of one node, one of which was refused. It may be
	// nil and must not wait.
	Twins func(Twins)
}

// Introduce says what is to be told of this node from now on.
func (e *Endpoint) Introduce(i Introduction) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.own.cluster, e.own.Start = clusterNumber(i.Cluster), i.Start
	e.resolve, e.twins = i.Resolve, i.Twins
	select {
	case <-e.introduced:
	default:
		close(e.introduced)
	}
}

// Expelled is closed when another node has refused this process, because one that was
// started earlier runs under the same name. The endpoint is over then, as after Kill.
func (e *Endpoint) Expelled() <-chan struct{} { return e.expelled }

// Err is why the process was expelled, a *store.Error, or nil.
func (e *Endpoint) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.why
}

// expel ends the endpoint: nothing leaves the process any more.
func (e *Endpoint) expel(t Twins) {
	e.mu.Lock()
	first := e.why == nil
	if first {
		e.why = t.error()
	}
	e.mu.Unlock()
	if first {
		close(e.expelled)
		e.end(true)
	}
}

// presence is how this process introduces itself.
func (e *Endpoint) presence() presence {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.own
	p.addr = e.addr
	return p
}

// maxKnown bounds the names that are remembered; any can be forgotten, for the next
// process of that name is believed.
const maxKnown = 1024

// meet returns the other process that is known under the name, if there is one. Who is
// the first, or is known, is noted.
func (e *Endpoint) meet(name string, who presence) (other presence, met bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	known, ok := e.known[name]
	if name == e.name {
		known, ok = e.own, true
		known.addr = e.addr
	}
	if ok && who.rivals(known) {
		return known, true
	}
	if name == e.name || who.cluster == 0 || who.cluster != e.own.cluster {
		return presence{}, false
	}
	if len(e.known) >= maxKnown {
		for other := range e.known {
			delete(e.known, other)
			break
		}
	}
	e.known[name] = who
	return presence{}, false
}

// refusal is what a door answers to a process that is, or may be, the later of two.
type refusal struct{ Twins }

func (r refusal) Error() string { return r.error().Error() }
func (r refusal) Unwrap() error { return r.error() }

// admit decides whether a process may speak under a name; if it is the later one of two
// its error is a refusal. alive asks the process itself; nil if it has just answered.
func (e *Endpoint) admit(ctx context.Context, name string, who presence, alive func() error) error {
	for {
		known, met := e.meet(name, who)
		if !met {
			return nil
		}
		if name == e.name {
			return e.meetSelf(known, who, alive)
		}
		if !e.there(ctx, name, known) {
			if e.succeed(name, known, who) {
				return nil
			}
			continue // another has meanwhile
		}
		if alive != nil {
			if err := alive(); err != nil {
				return err
			}
		}
		if who.before(known.Incarnation) && !e.succeed(name, known, who) {
			continue
		}
		if t := e.tell(name, known, who); t.Refused == who.Incarnation {
			return refusal{t}
		}
		return nil
	}
}

// meetSelf is for a process under this node's own name, which lives as this one does.
func (e *Endpoint) meetSelf(own, who presence, alive func() error) error {
	if alive != nil {
		if err := alive(); err != nil {
			return err
		}
	}
	t := e.tell(e.name, own, who)
	if t.Refused == own.Incarnation {
		e.expel(t)
	}
	return refusal{t}
}

// tell says which of two stays.
func (e *Endpoint) tell(name string, a, b presence) Twins {
	if b.before(a.Incarnation) {
		a, b = b, a
	}
	t := Twins{Node: name, Kept: a.Incarnation, KeptAddr: a.addr, Refused: b.Incarnation, RefusedAddr: b.addr}
	e.mu.Lock()
	hears := e.twins
	e.mu.Unlock()
	if hears != nil {
		hears(t)
	}
	return t
}

// there reports whether a process answers that it is the one that is known.
func (e *Endpoint) there(ctx context.Context, name string, known presence) bool {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	run, err := e.world.ask(ctx, name, known.addr)
	return err == nil && run == known.Run
}

// succeed puts a process in the place of the one that was known, and ends the
// connections of that: whoever is there still has to introduce itself again. It reports
// false if another is known by now.
func (e *Endpoint) succeed(name string, known, who presence) bool {
	var old []held
	e.mu.Lock()
	now := e.known[name]
	ok := now.Run == known.Run || now.Run == who.Run
	if ok {
		e.known[name] = who
		for c, run := range e.open {
			if run == known.Run && c.RemoteAddr().String() == name {
				old = append(old, c)
			}
		}
	}
	e.mu.Unlock()
	for _, c := range old {
		c.hangUp(true)
	}
	return ok
}

// welcomes has the acceptor of a connection in memory decide about its dialer, and the
// dialer about the acceptor.
func (e *Endpoint) welcomes(ctx context.Context, dialer *Endpoint) error {
	lives := func() error {
		if dialer.life.Err() != nil {
			return net.ErrClosed
		}
		return nil
	}
	err := e.admit(ctx, dialer.name, dialer.presence(), lives)
	if r := (refusal{}); errors.As(err, &r) && r.Node == dialer.name {
		dialer.expel(r.Twins)
	}
	if err != nil {
		return err
	}
	return dialer.admit(ctx, e.name, e.presence(), nil)
}
