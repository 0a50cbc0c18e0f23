package maelstrom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/dialkv/dialkv/store"
)

// Config says what a process is to be.
type Config struct {
	Workload string // one of Workloads
	// Level is that of reads; the default is strong for lin-kv and causal for the others.
	// A weaker one than a workload's checker asks for is for watching it fail.
	Level string
	// Timeout bounds a request, 800 ms if zero. Maelstrom's clients give up after a
	// second at least, and an answer to a client that is gone ends Maelstrom's reading of
	// this process.
	Timeout time.Duration

	In       io.Reader
	Out, Log io.Writer
}

const (
	DefaultTimeout = 800 * time.Millisecond
	// MaxTimeout is what Maelstrom waits at least.
	MaxTimeout = time.Second
	// initWait is how long init may take. Maelstrom waits 10 s.
	initWait = 9 * time.Second
	// maxRequests may be in progress at once; more are told to come again.
	maxRequests = 1024
)

// Serve is the node of one process, until its input ends or ctx does. That the
// configuration cannot be is store.Invalid; a line of more than MaxLine bytes is TooLarge.
func Serve(ctx context.Context, cfg Config) error {
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Timeout < 0 || cfg.Timeout >= MaxTimeout {
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("the timeout is %s, it must be above 0 and below %s", cfg.Timeout, MaxTimeout), Try: "--timeout " + DefaultTimeout.String()}
	}
	w, err := findWorkload(cfg.Workload)
	if err != nil {
		return err
	}
	level := w.level
	if cfg.Level != "" {
		if level, err = store.ParseLevel(cfg.Level); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &server{cfg: cfg, workload: w, level: level, out: &writer{out: cfg.Out}, slots: make(chan struct{}, maxRequests)}
	return s.run(ctx)
}

// server is one process. take runs on one goroutine.
type server struct {
	cfg      Config
	workload *workload
	level    store.Level
	out      *writer
	slots    chan struct{}

	member *member // from init on; take's own
	ready  atomic.Bool
}

func (s *server) run(ctx context.Context) error {
	lines, over := make(chan message), make(chan error, 1)
	go func() {
		over <- read(s.cfg.In, func(m message) {
			select {
			case lines <- m:
			case <-ctx.Done():
			}
		}, s.log)
	}()
	var ended <-chan error
	defer func() {
		if s.member != nil {
			s.member.stop()
		}
	}()
	for {
		select {
		case m := <-lines:
			if err := s.take(ctx, m); err != nil {
				s.log(err)
			}
			if s.member != nil {
				ended = s.member.ended
			}
		case err := <-over:
			return err
		case err := <-ended:
			return errors.Join(errors.New("the node has ended"), err)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *server) log(err error) { fmt.Fprintln(s.cfg.Log, err) }

// take handles one message. Its error is one that deserves no reply.
func (s *server) take(ctx context.Context, m message) error {
	var h head
	if err := json.Unmarshal(m.Body, &h); err != nil {
		return fmt.Errorf("a body that is none, from %s: %w", m.Src, err)
	}
	switch {
	case h.Type == frameType:
		var f frameBody
		if err := json.Unmarshal(m.Body, &f); err != nil {
			return fmt.Errorf("a frame that is none, from %s: %w", m.Src, err)
		}
		if s.member == nil {
			return nil // it comes again
		}
		return s.member.carrier.Deliver(m.Src, f.Data)
	case h.MsgID == nil:
		return fmt.Errorf("a %q from %s has no msg_id, so nothing can be replied", h.Type, m.Src)
	case h.Type == "init":
		return s.begin(ctx, m, *h.MsgID)
	case s.member == nil:
		s.reply(m, *h.MsgID, failure(codeUnavailable, "this node has not had its init"))
	default:
		s.request(ctx, m, h)
	}
	return nil
}

// reply answers a request.
func (s *server) reply(m message, msgID int64, a answer) {
	a["in_reply_to"] = msgID
	s.out.write(m.Dest, m.Src, a)
}

// request answers in its own time.
func (s *server) request(ctx context.Context, m message, h head) {
	do, known := s.workload.requests[h.Type]
	switch {
	case h.Type == "topology": // who is a neighbour of whom: everybody finds everybody here
		s.reply(m, *h.MsgID, answer{"type": "topology_ok"})
		return
	case !known:
		s.reply(m, *h.MsgID, failure(codeNotSupported, fmt.Sprintf("workload %s has no %q", s.workload.name, h.Type)))
		return
	case !s.ready.Load():
		s.reply(m, *h.MsgID, failure(codeUnavailable, "the cluster is not there yet"))
		return
	}
	select {
	case s.slots <- struct{}{}:
	default:
		s.reply(m, *h.MsgID, failure(codeUnavailable, fmt.Sprintf("%d requests are in progress, which is the limit", maxRequests)))
		return
	}
	member := s.member
	go func() {
		defer func() { <-s.slots }()
		ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
		defer cancel()
		a, err := do(ctx, member.keyspace, m.Body, member.at)
		if err != nil {
			a = failed(err)
		}
		s.reply(m, *h.MsgID, a)
	}()
}
