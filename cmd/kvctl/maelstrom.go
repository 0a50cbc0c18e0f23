package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/maelstrom"
	"github.com/dialkv/dialkv/store"
)

func (a *app) maelstromCommand() *cobra.Command {
	cfg := maelstrom.Config{In: a.in, Out: a.out, Log: a.err}
	cmd := &cobra.Command{
		Use: "maelstrom", Short: "a node that Maelstrom runs: it speaks lines of JSON, and nothing else", Args: takes(0, 0),
		Long: `A node that Maelstrom (github.com/jepsen-io/maelstrom) runs, one process each. It speaks
Maelstrom's protocol on standard input and output, and through nothing else: what the
nodes say to each other is in the same lines, so Maelstrom's partitions cut the cluster.

Maelstrom calls it with what stands behind --:

  maelstrom test -w lin-kv --bin kvctl --node-count 5 --concurrency 2n --rate 100 \
    --time-limit 30 --nemesis partition -- maelstrom -w lin-kv`,
		Example: `  kvctl maelstrom -w lin-kv
  kvctl maelstrom -w lin-kv --level eventual
  kvctl maelstrom -w pn-counter`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if terminal(a.in) {
				return &store.Error{Code: store.Invalid, Msg: "this is for Maelstrom to call, and standard input is a terminal", Try: "kvctl maelstrom --help"}
			}
			return maelstrom.Serve(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&cfg.Workload, "workload", "w", "", "the one that Maelstrom was given: "+strings.Join(maelstrom.Workloads(), ", "))
	f.StringVar(&cfg.Level, "level", "", "of reads (default: strong for lin-kv, else causal); with a weaker one lin-kv is to fail")
	f.DurationVar(&cfg.Timeout, "timeout", maelstrom.DefaultTimeout, fmt.Sprintf("of a request; below the %s after which Maelstrom's clients go", maelstrom.MaxTimeout))
	a.complete(cmd, "workload", func(context.Context) []string { return maelstrom.Workloads() })
	a.complete(cmd, "level", levelWords)
	return cmd
}
