package front

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"github.com/dialkv/dialkv/store"
)

// Limits of the HTTP door. Whoever watches a node asks little and reads at once; who does
// neither must not hold what the others need.
const (
	httpConns  = 64               // at a time; more wait in the kernel
	httpHeader = 16 << 10         // bytes
	httpHead   = 5 * time.Second  // for a request to arrive
	httpAnswer = 15 * time.Second // for its answer to be made and taken
	httpIdle   = 30 * time.Second // of a connection between two requests
	httpEnd    = time.Second      // for answers on their way, when the door is closed
)

// HTTP is the node's HTTP door, for those who watch it.
type HTTP struct {
	l    net.Listener
	addr string
}

// ListenHTTP opens the door; nobody is answered before Serve. An address that cannot be
// bound is an Invalid error that names it, and the flag that gave it.
func ListenHTTP(flag, addr string) (*HTTP, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		e := &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("cannot bind %s, the address of %s", addr, flag), Cause: err}
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			e.Try = "another port, or stop what holds this one: ss -ltnp 'sport = :PORT'"
		case errors.Is(err, os.ErrPermission):
			e.Try = "a port above 1023"
		default:
			e.Try = flag + " host:port with an address of this machine, for example 127.0.0.1:7402"
		}
		return nil, e
	}
	return &HTTP{l: netutil.LimitListener(l, httpConns), addr: l.Addr().String()}, nil
}

// Addr is where the door is, with the port that was really bound.
func (h *HTTP) Addr() string { return h.addr }

// Close closes a door that was never served.
func (h *HTTP) Close() error { return h.l.Close() }

// Serve answers with handler until ctx ends, which is nil; answers on their way then have
// httpEnd to leave. failures hears of handlers that panicked.
func (h *HTTP) Serve(ctx context.Context, handler http.Handler, failures *log.Logger) error {
	server := &http.Server{
		Handler: handler, ErrorLog: failures, MaxHeaderBytes: httpHeader,
		ReadHeaderTimeout: httpHead, ReadTimeout: httpHead, WriteTimeout: httpAnswer, IdleTimeout: httpIdle,
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), httpEnd)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close() // what is still being sent is cut off
		}
	})
	err := server.Serve(h.l)
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("front: http: %w", errors.Join(err, server.Close()))
}
