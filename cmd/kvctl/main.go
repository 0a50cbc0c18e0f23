// Command kvctl starts clusters, talks to them, cuts them in pieces and judges what
// happened.
//
//	kvctl demo        a cluster in this process, a partition, and the verdict
//	kvctl cluster     clusters of real processes on this machine
//	kvctl put, get …  the data
//	kvctl check       workload × faults × checkers
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run()) }

// run is main without the exit.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv}
	return a.execute(ctx, os.Args[1:])
}
