package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// process is one client of the run: one operation at a time, one session. Its fields
// are its goroutine's own.
type process struct {
	id      int
	script  script
	rng     *rand.Rand
	places  []string // the nodes it enters at; "" finds its own way
	timeout time.Duration

	target  Target
	clients map[string]*client.Client // by place
	token   string                    // all that it carries from one operation to the next
	rec     *history.Recorder
	count   Stats

	instead func(context.Context) error // of operate
	alone   func(context.Context) error // of all that ticks ask for
}

// run does an operation at every tick until there are no more. A panic is an error
// of the run, and ends no other process.
func (p *process) run(ctx context.Context, ticks <-chan struct{}) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("workload: client %d crashed: %v\n%s", p.id, v, debug.Stack())
		}
	}()
	defer func() { err = errors.Join(err, p.close()) }()
	if p.alone != nil {
		return p.alone(ctx)
	}
	operate := p.operate
	if p.instead != nil {
		operate = p.instead
	}
	for range ticks {
		if err := operate(ctx); err != nil {
			return fmt.Errorf("workload: client %d: %w", p.id, err)
		}
	}
	return nil
}

// operate does what the script says next. How it ends is for the record; an error is
// of what must not go wrong: a client that does not open, a token that cannot be read.
func (p *process) operate(ctx context.Context) error {
	at := p.place()
	c, err := p.open(ctx, at)
	if err != nil {
		return err
	}
	session, err := c.ResumeSession(p.token)
	if err != nil {
		return err
	}
	s := p.script.next()
	if direct, ok := p.target.(Direct); ok && s.own && at != "" {
		s.direct, s.at, s.patience = direct, at, p.timeout
	}
	call := s.call()
	call.Process, call.Session, call.Node = p.id, fmt.Sprintf("s%d", p.id), at
	id := p.rec.Invoke(call)
	a, saw := s.ask(ctx, c, client.In(session), client.WithTimeout(p.timeout))
	p.token = session.Token()
	a.Dot = s.dot(saw.name, p.token)
	p.rec.Complete(id, a)
	p.count.add(a.Outcome)
	p.script.saw(s, saw)
	return nil
}

// place is where the client enters now. Where its node has left the cluster it takes
// another.
func (p *process) place() string {
	at := p.places[p.rng.IntN(len(p.places))]
	nodes := p.target.Nodes()
	if at == "" || slices.Contains(nodes, at) {
		return at
	}
	return nodes[p.id%len(nodes)]
}

// ask sends the step and reads the answer.
func (s step) ask(ctx context.Context, c *client.Client, opts ...client.Option) (history.Answer, sight) {
	k := c.Keyspace(s.space.Name)
	switch s.kind {
	case history.Get:
		if s.direct != nil {
			return s.read(s.readAt(ctx))
		}
		page, err := k.Read(ctx, s.query(), opts...)
		return s.read(page, err)
	case history.Scan:
		return s.scan(ctx, k, opts)
	case history.Lock:
		return s.lock(ctx, k, opts)
	case history.Unlock:
		return answer(store.Proof{}, s.holder.Unlock(ctx)), sight{}
	}
	if s.guard != nil {
		opts = append(opts, client.Fenced(s.guard.fence))
	}
	r, err := k.Write(ctx, s.command(), opts...)
	return s.wrote(r, err)
}

func (p *process) open(ctx context.Context, at string) (*client.Client, error) {
	if c := p.clients[at]; c != nil {
		return c, nil
	}
	c, err := p.target.Client(ctx, at)
	if err != nil {
		return nil, err
	}
	p.clients[at] = c
	return c, nil
}

func (p *process) close() error {
	var errs error
	for _, c := range p.clients {
		errs = errors.Join(errs, c.Close())
	}
	return errs
}

// Stats is how the operations of a run ended, and how many were due when every
// client was busy.
type Stats struct {
	OK, Failed, Unknown int
	Dropped             int
}

func (s *Stats) add(o store.Outcome) {
	switch o {
	case store.OK:
		s.OK++
	case store.Failed:
		s.Failed++
	default:
		s.Unknown++
	}
}

func (s *Stats) join(t Stats) {
	s.OK, s.Failed, s.Unknown = s.OK+t.OK, s.Failed+t.Failed, s.Unknown+t.Unknown
}
