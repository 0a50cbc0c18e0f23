package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

func (a *app) nodeCommand() *cobra.Command {
	return group("node", "look at nodes, and break them",
		a.nodeListCommand(),
		a.breakCommand("kill", "end nodes as kill -9 does", "killed", localcluster.Cluster.Kill),
		a.breakCommand("pause", "stop nodes as SIGSTOP does", "paused", localcluster.Cluster.Pause),
		a.breakCommand("resume", "let paused nodes go on", "resumed", localcluster.Cluster.Resume),
		a.breakCommand("restart", "start nodes again, on what their disks hold", "restarted", localcluster.Cluster.Restart),
		a.drainCommand(),
		a.transferCommand(),
		a.recoverCommand(),
	)
}

func (a *app) nodeListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "the nodes and their state", Args: takes(0, 0),
		Example: `  kvctl node list
  kvctl node list -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(func(c localcluster.Cluster) error {
				status, err := survey(cmd.Context(), c)
				if err != nil {
					return err
				}
				return a.show(map[string]any{"nodes": status.Nodes}, func() { a.nodeTable(status.Nodes) })
			})
		},
	}
}

func (a *app) breakCommand(use, short, done string, do func(localcluster.Cluster, context.Context, string) error) *cobra.Command {
	var patience time.Duration
	cmd := &cobra.Command{
		Use: use + " NODE… | leader:KEYSPACE", Short: short, Args: takes(1, -1),
		Example: fmt.Sprintf("  kvctl node %s n1 n2\n  kvctl node %[1]s leader:orders", use),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), patience)
			defer cancel()
			return a.with(func(c localcluster.Cluster) error {
				nodes, err := targets(ctx, c, args)
				if err != nil {
					return err
				}
				err = together(nodes, func(name string) error { return do(c, ctx, name) }, func(name string) {
					if a.output == "table" {
						fmt.Fprintf(a.out, "%s %s\n", name, done)
					}
				})
				if err != nil {
					return err
				}
				if a.output == "json" {
					a.json(map[string]any{done: nodes})
				}
				return nil
			})
		},
	}
	cmd.Flags().DurationVar(&patience, "timeout", 30*time.Second, "how long it may take")
	cmd.ValidArgsFunction = a.nodesAt(-1)
	return cmd
}

// together does something to all nodes at once, for a node may need the others to become
// ready, and tells of each that is done. Its error is the first.
func together(nodes []string, do func(string) error, told func(string)) error {
	type result struct {
		node string
		err  error
	}
	results := make(chan result)
	for _, name := range nodes {
		go func() { results <- result{name, do(name)} }()
	}
	var first error
	for range nodes {
		switch r := <-results; {
		case r.err == nil:
			told(r.node)
		case first == nil:
			first = r.err
		}
	}
	return first
}

// targets reads names of nodes and leader:KEYSPACE, all of which must be there
// before anything is done.
func targets(ctx context.Context, c localcluster.Cluster, args []string) ([]string, error) {
	var nodes []string
	for _, arg := range args {
		found := []string{arg}
		if keyspace, ok := strings.CutPrefix(arg, "leader:"); ok {
			var err error
			if found, err = leaders(ctx, c, keyspace); err != nil {
				return nil, err
			}
		} else if !slices.Contains(c.Nodes(), arg) {
			return nil, &store.Error{
				Code: store.Invalid, Msg: fmt.Sprintf("there is no node %q", arg),
				Try: "one of " + strings.Join(c.Nodes(), ", ") + ", or leader:KEYSPACE",
			}
		}
		for _, name := range found {
			if !slices.Contains(nodes, name) {
				nodes = append(nodes, name)
			}
		}
	}
	return nodes, nil
}
