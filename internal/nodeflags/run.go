package nodeflags

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"

	"github.com/spf13/pflag"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/dialkv/dialkv/internal/node"
)

// gcPercent is how much garbage a node may have before it is collected, in percent of
// what lives. What lives is little beside the caches of the engine, which are of a fixed
// size, and Go's own 100 would collect several times a second. GOGC overrides it.
const gcPercent = 400

// Run runs the node that args and the environment describe, until ctx ends. It
// prints the line "ready" to stdout once the node serves, and logs to stderr.
func Run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	f := newFlags(stdout)
	cfg, err := f.parse(args, getenv)
	if errors.Is(err, pflag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	cfg.Logger = slog.New(slog.NewTextHandler(stderr, nil))
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if cfg.Spans, err = openSpans(ctx, f.traceTo, cfg.Logger); err != nil {
		return err
	}
	defer shutdown(ctx, cfg.Spans)
	n, err := node.Open(cfg)
	if err != nil {
		return err
	}
	logPosture(cfg)
	ended := make(chan struct{})
	announced := make(chan struct{})
	go func() {
		defer close(announced)
		select {
		case <-n.Ready():
			fmt.Fprintln(stdout, "ready")
		case <-ended:
		}
	}()
	err = n.Run(ctx)
	close(ended)
	<-announced
	return err
}

// shutdown lets go what spans are left. What cannot take them was reported.
func shutdown(ctx context.Context, spans sdktrace.SpanProcessor) {
	if spans == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), spansGoodbye)
	defer cancel()
	_ = spans.Shutdown(ctx)
}

// logPosture says what protects the node and what does not.
func logPosture(cfg node.Config) {
	raftLog := cfg.RaftLog
	if raftLog == "" {
		raftLog = "engine, catalog on boltdb"
	}
	cfg.Logger.Info("starting", "node", cfg.Node,
		"listen", cfg.Network.Listen, "gossip", cfg.Network.Gossip, "admin", cfg.Network.Admin, "web", cfg.Network.Web, "data", cfg.Data, "join", cfg.Join,
		"tls", "off", "auth", "off", "faults", allowed(cfg.AllowFaults), "raft_log", raftLog)
}

func allowed(yes bool) string {
	if yes {
		return "allowed"
	}
	return "refused"
}
