package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

func (a *app) addCommand() *cobra.Command {
	var patience time.Duration
	cmd := &cobra.Command{
		Use: "add [NAME]", Short: "start one more node, which joins", Args: takes(0, 1),
		Long: "Start one more node. It gets a copy of the catalog and a vote in it. Replicas go to it only\n" +
			"where a group has fewer than it shall have, and where a new keyspace is placed.",
		Example: `  kvctl cluster add
  kvctl cluster add n6 --name test`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), patience)
			defer cancel()
			return a.withNamed(named(cmd), func(c localcluster.Cluster) error {
				a.progress("starting a node")
				name, err := c.Add(ctx, strings.Join(args, ""))
				if err != nil {
					return err
				}
				return a.show(map[string]any{"added": name, "nodes": c.Nodes()}, func() {
					fmt.Fprintf(a.out, "%s %s is ready and votes: %s\n", a.green("✓"), name, count(len(c.Nodes()), "node"))
				})
			})
		},
	}
	cmd.Flags().DurationVar(&patience, "timeout", time.Minute, "how long to wait until it votes")
	return cmd
}

// removedJSON is what cluster remove prints with -o json.
type removedJSON struct {
	Removed string   `json:"removed"`
	Moved   []string `json:"moved"` // groups that have another member in its place
	Nodes   []string `json:"nodes"` // that are left
}

func (a *app) removeCommand() *cobra.Command {
	var dead bool
	var patience time.Duration
	cmd := &cobra.Command{
		Use: "remove NODE [--dead]", Short: "take a node out for good", Args: takes(1, 1),
		Long: "Take a node out. Its leaderships and its replicas go to other nodes first; then its process\n" +
			"ends. Its name is not used again, and its directory cannot come back. With --dead nothing\n" +
			"waits for it. What would lose a majority or the only copy of a group is refused.",
		Example: `  kvctl cluster remove n2
  kvctl cluster remove n2 --dead`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), patience)
			defer cancel()
			return a.withNamed(named(cmd), func(c localcluster.Cluster) error {
				moved, err := c.Remove(ctx, args[0], dead, func(step string) { a.progress("%s", step) })
				if err != nil {
					return err
				}
				out := removedJSON{Removed: args[0], Moved: append([]string{}, moved...), Nodes: c.Nodes()}
				return a.show(out, func() { a.removed(out) })
			})
		},
	}
	cmd.Flags().BoolVar(&dead, "dead", false, "it does not answer and never will")
	cmd.Flags().DurationVar(&patience, "timeout", 2*time.Minute, "how long to wait; the removal goes on after that")
	cmd.ValidArgsFunction = a.nodesAt(0)
	return cmd
}

func (a *app) removed(r removedJSON) {
	fmt.Fprintf(a.out, "%s %s is out: %s left", a.green("✓"), r.Removed, count(len(r.Nodes), "node"))
	if len(r.Moved) > 0 {
		fmt.Fprintf(a.out, "; moved: %s", strings.Join(r.Moved, ", "))
	}
	fmt.Fprintln(a.out)
}

func (a *app) drainCommand() *cobra.Command {
	var patience time.Duration
	cmd := &cobra.Command{
		Use: "drain NODE", Short: "move all leadership off a node, until it restarts", Args: takes(1, 1),
		Example: `  kvctl node drain n1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), patience)
			defer cancel()
			return a.with(func(c localcluster.Cluster) error {
				admin, err := c.Admin(args[0])
				if err != nil {
					return err
				}
				resp, err := admin.Drain(ctx, &kvpb.DrainRequest{})
				if err != nil {
					return kvpb.FromStatus(err)
				}
				return a.show(map[string]any{"drained": args[0], "moved": resp.GetMoved()}, func() {
					fmt.Fprintf(a.out, "%s is drained: %s handed over; it leads again after kvctl node restart %[1]s\n", args[0], count(int(resp.GetMoved()), "leadership"))
				})
			})
		},
	}
	cmd.Flags().DurationVar(&patience, "timeout", 15*time.Second, "how long to wait until others lead")
	cmd.ValidArgsFunction = a.nodesAt(0)
	return cmd
}

func (a *app) transferCommand() *cobra.Command {
	var group uint32
	var patience time.Duration
	cmd := &cobra.Command{
		Use: "transfer-leader KEYSPACE NODE", Short: "let a node lead a group of a cp keyspace", Args: takes(2, 2),
		Example: `  kvctl node transfer-leader orders n2
  kvctl node transfer-leader orders n2 --group 1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), patience)
			defer cancel()
			return a.with(func(c localcluster.Cluster) error {
				if _, err := targets(ctx, c, args[1:]); err != nil {
					return err
				}
				leader, err := transferLeader(ctx, c, &kvpb.TransferLeaderRequest{Keyspace: args[0], Shard: group, To: args[1]})
				if err != nil {
					return err
				}
				return a.show(map[string]any{"keyspace": args[0], "group": group, "leader": leader}, func() {
					fmt.Fprintf(a.out, "%s leads group %d of %s\n", leader, group, args[0])
				})
			})
		},
	}
	cmd.Flags().Uint32Var(&group, "group", 0, "which group, from 0")
	cmd.Flags().DurationVar(&patience, "timeout", 10*time.Second, "how long it may take")
	cmd.ValidArgsFunction = a.keyspaceThenNode()
	return cmd
}

// transferLeader asks the node that leads the group, and while nobody does, again.
func transferLeader(ctx context.Context, c localcluster.Cluster, r *kvpb.TransferLeaderRequest) (leader string, err error) {
	ask := func(admin kvpb.AdminClient) error {
		resp, err := admin.TransferLeader(ctx, r)
		leader = resp.GetLeader()
		return kvpb.FromStatus(err)
	}
	tick := time.NewTicker(glance / 5)
	defer tick.Stop()
	for {
		if at := groupLeader(keyspacesOf(answers(ctx, c)), r.GetKeyspace(), r.GetShard()); at == "" {
			err = somewhere(ctx, c, ask) // who says what is wrong, if anything is
		} else if admin, lost := c.Admin(at); lost != nil {
			err = lost
		} else {
			err = ask(admin)
		}
		if !errors.Is(err, store.NotLeader) {
			return leader, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", err
		}
	}
}

func groupLeader(keyspaces []keyspaceView, name string, group uint32) string {
	for _, k := range keyspaces {
		for _, g := range k.Groups {
			if id, err := store.ParseGroupID(g.ID); err == nil && k.Name == name && id.Shard == group {
				return g.Leader
			}
		}
	}
	return ""
}

func (a *app) alterCommand() *cobra.Command {
	var replicas int
	var patience time.Duration
	cmd := &cobra.Command{
		Use: "alter NAME --replicas N", Short: "change how many replicas a cp keyspace has", Args: takes(1, 1),
		Example: `  kvctl keyspace alter orders --replicas 5`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if replicas < 1 {
				return &store.Error{Code: store.Invalid, Keyspace: args[0], Msg: fmt.Sprintf("%d replicas, it must be at least 1", replicas), Try: "--replicas 3"}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), patience)
			defer cancel()
			return a.with(func(c localcluster.Cluster) error {
				var k shard.Keyspace
				err := somewhere(ctx, c, func(admin kvpb.AdminClient) error {
					resp, err := admin.AlterKeyspace(ctx, &kvpb.AlterKeyspaceRequest{Name: args[0], Replicas: uint32(replicas)})
					if err == nil {
						k, err = kvpb.FromKeyspace(resp.GetKeyspace())
					}
					return err
				})
				if err != nil {
					return err
				}
				if err := awaitServing(ctx, c, k); err != nil {
					return err
				}
				return a.show(keyspaceOf(k), func() { a.created(k) })
			})
		},
	}
	cmd.Flags().IntVar(&replicas, "replicas", 0, "nodes that shall hold each group")
	cmd.Flags().DurationVar(&patience, "timeout", time.Minute, "how long to wait; the groups go on moving after that")
	cmd.ValidArgsFunction = a.keyspaceFirst("")
	return cmd
}

// nodesAt offers the nodes for the argument at a position; below 0 for all.
func (a *app) nodesAt(position int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if position >= 0 && len(args) != position {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.nodeNames(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *app) keyspaceThenNode() cobra.CompletionFunc {
	keyspaces, nodes := a.keyspaceFirst(""), a.nodesAt(1)
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return keyspaces(cmd, args, word)
		}
		return nodes(cmd, args, word)
	}
}
