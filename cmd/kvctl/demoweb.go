package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"

	"github.com/dialkv/dialkv/internal/front"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/page"
	"github.com/dialkv/dialkv/store"
)

// noWeb is the --web that is none.
const noWeb = "none"

// checkWeb refuses an address that others could reach: the page asks nobody who they are.
func checkWeb(addr string) error {
	if addr == noWeb || addr == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("--web %q is not host:port", addr), Cause: err, Try: "--web 127.0.0.1:7070"}
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("--web %s can be reached from other machines, and whoever reaches the page may break the demo", addr), Try: "--web 127.0.0.1:7070"}
	}
	return nil
}

// show does something while the page of the demo is served.
func (d *demo) show(ctx context.Context, c *localcluster.Memory, do func() error) error {
	if d.web == "" || d.web == noWeb {
		return do()
	}
	door, err := d.openWeb()
	if err != nil {
		return err
	}
	d.app.progress("page: http://%s", door.Addr())
	p := page.New(page.Config{
		Name: "demo", Cluster: c, Breaker: c,
		Cannot: map[string]string{"pause": unpaused, "resume": unpaused},
	})
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 2)
	go func() { ended <- p.Run(ctx) }()
	go func() { ended <- door.Serve(ctx, p.Handler(), log.New(io.Discard, "", 0)) }()
	err = do()
	stop()
	return errors.Join(err, <-ended, <-ended)
}

const unpaused = "nodes in one process cannot be paused; kvctl cluster start runs each in its own"

// openWeb binds the address or, where none was asked for, another that is free.
func (d *demo) openWeb() (*front.HTTP, error) {
	door, err := front.ListenHTTP("--web", d.web)
	if err != nil && d.webAny {
		return front.ListenHTTP("--web", "127.0.0.1:0")
	}
	return door, err
}
