// Command kvnode runs one node of a dialkv cluster.
//
//	kvnode --id n1 --data DIR --listen 127.0.0.1:7400 --gossip 127.0.0.1:7401
//
// It ends in an orderly way on SIGINT and SIGTERM, with the exit codes of kvctl.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/dialkv/dialkv/internal/nodeflags"
	"github.com/dialkv/dialkv/store"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := nodeflags.Run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "kvnode: %v\n", err)
		var e *store.Error
		if errors.As(err, &e) && e.Try != "" {
			fmt.Fprintf(os.Stderr, "try: %s\n", e.Try)
		}
	}
	os.Exit(nodeflags.ExitCode(err))
}
