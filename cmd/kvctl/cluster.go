package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

func (a *app) clusterCommand() *cobra.Command {
	cmd := group("cluster", "clusters of real processes on this machine",
		a.startCommand(), a.stopCommand(), a.statusCommand("status"), a.addCommand(), a.removeCommand(), a.destroyCommand(), a.logsCommand(), a.listCommand())
	cmd.PersistentFlags().String("name", "", "the cluster (default: --cluster, KV_CLUSTER, or the current one)")
	return cmd
}

// named is the value of --name, where the command has it.
func named(cmd *cobra.Command) string {
	if f := cmd.Flag("name"); f != nil {
		return f.Value.String()
	}
	return ""
}

func (a *app) startCommand() *cobra.Command {
	var cfg localcluster.StartConfig
	var patience time.Duration
	cmd := &cobra.Command{
		Use: "start", Short: "start a cluster, or the same nodes again", Args: takes(0, 0),
		Example: `  kvctl cluster start
  kvctl cluster start -n 5 --name test --dir ./test`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("nodes") && cfg.Nodes < 1 {
				return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("-n is %d, it must be at least 1", cfg.Nodes), Try: "-n 3"}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), patience)
			defer cancel()
			return a.start(ctx, named(cmd), cfg)
		},
	}
	cmd.Flags().IntVarP(&cfg.Nodes, "nodes", "n", 0, "how many (default 3, or as many as there were)")
	cmd.Flags().StringVar(&cfg.Dir, "dir", "", "where its data is")
	cmd.Flags().BoolVar(&cfg.Bare, "no-faults", false, "nodes that take no fault rules, on bare sockets: for measuring")
	cmd.Flags().DurationVar(&patience, "timeout", time.Minute, "how long to wait until every node is ready")
	return cmd
}

func (a *app) start(ctx context.Context, name string, cfg localcluster.StartConfig) error {
	r, err := a.registry()
	if err != nil {
		return err
	}
	for _, candidate := range []string{name, a.cluster, a.getenv("KV_CLUSTER"), r.Current(), "dev"} {
		if cfg.Name == "" {
			cfg.Name = candidate
		}
	}
	cfg.Command = nodeCommandLine()
	cfg.Progress = func(node string) { a.progress("%s is ready", node) }
	began := time.Now()
	p, err := r.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = p.Release() }()
	status, err := survey(ctx, p)
	if err != nil {
		return err
	}
	return a.show(status, func() {
		fmt.Fprintf(a.out, "%s cluster %s: %d nodes in %s\n", a.green("✓"), cfg.Name, len(status.Nodes), rough(time.Since(began)))
		a.nodeTable(status.Nodes)
	})
}

func (a *app) stopCommand() *cobra.Command {
	return &cobra.Command{
		Use: "stop", Short: "end every node; the data stays", Args: takes(0, 0),
		Example: `  kvctl cluster stop
  kvctl cluster stop --name test`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.procs(named(cmd))
			if err != nil {
				return err
			}
			if err := p.Close(); err != nil {
				return err
			}
			e, err := p.Entry()
			if err != nil {
				return err
			}
			return a.show(map[string]string{"name": e.Name, "state": "stopped"}, func() {
				fmt.Fprintf(a.out, "cluster %s is stopped; its data is in %s\n", e.Name, e.Dir)
			})
		},
	}
}

func (a *app) statusCommand(use string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: "nodes, keyspaces and who leads what", Args: takes(0, 0),
		Example: `  kvctl cluster status
  kvctl cluster status -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withNamed(named(cmd), func(c localcluster.Cluster) error {
				status, err := survey(cmd.Context(), c)
				if err != nil {
					return err
				}
				return a.show(status, func() { a.statusTable(status) })
			})
		},
	}
}

// withNamed is with, for commands that have --name.
func (a *app) withNamed(name string, do func(localcluster.Cluster) error) error {
	if name == "" {
		return a.with(do)
	}
	p, err := a.procs(name)
	if err != nil {
		return err
	}
	return errors.Join(do(p), p.Release())
}

func (a *app) statusTable(s clusterJSON) {
	fmt.Fprintf(a.out, "cluster %s\n", s.Name)
	a.nodeTable(s.Nodes)
	if len(s.Keyspaces) == 0 {
		fmt.Fprintln(a.out, "no keyspaces")
		return
	}
	rows := [][]string{{"KEYSPACE", "MODE", "GROUP", "LEADER", "TERM", "REPLICAS"}}
	for _, k := range s.Keyspaces {
		for _, g := range k.Groups {
			rows = append(rows, []string{k.Name, k.Mode, g.ID, dash(g.Leader), dash(strings.TrimPrefix(strconv.FormatUint(g.Term, 10), "0")), replicaList(g)})
		}
	}
	a.table(rows)
	a.losses(s.Keyspaces)
}

// losses says what replicas in memory lost with their processes.
func (a *app) losses(keyspaces []keyspaceView) {
	for _, k := range keyspaces {
		for _, g := range k.Groups {
			for _, r := range g.Replicas {
				if r.Lost > 0 {
					fmt.Fprintf(a.out, "%s group %s at %s: %s that it held in memory %s gone after %s\n", k.Name, g.ID, r.Node,
						count(int(r.Lost), "write"), isAre(r.Lost), count(int(r.Emptied), "restart"))
				}
			}
		}
	}
}

func isAre(n uint64) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func replicaList(g groupView) string {
	var names []string
	for _, r := range g.Replicas {
		name := r.Node
		switch {
		case r.Role == silent:
			name += "(" + silent + ")"
		case !r.Ready:
			name += "(not ready)"
		}
		if r.Behind > 0 && (r.Role == silent || !r.Ready) { // else it is on its way
			name += fmt.Sprintf("(%d behind)", r.Behind)
		}
		names = append(names, name)
	}
	return strings.Join(names, ",")
}

func (a *app) nodeTable(nodes []nodeJSON) {
	rows := [][]string{{"NODE", "STATE", "PID", "GRPC", "GROUPS"}}
	for _, n := range nodes {
		pid := dash(strings.TrimPrefix(strconv.Itoa(n.PID), "0"))
		state := n.State
		if n.Drained {
			state += " (drained)"
		}
		if len(n.reasons) > 0 {
			state += " (" + strings.Join(n.reasons, ", ") + ")"
		}
		rows = append(rows, []string{n.ID, state, pid, n.GRPC, strconv.Itoa(n.Groups)})
	}
	a.table(rows)
}

func (a *app) destroyCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "destroy", Short: "end every node and remove the data", Args: takes(0, 0),
		Example: `  kvctl cluster destroy
  kvctl cluster destroy --name test --yes`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.procs(named(cmd))
			if err != nil {
				return err
			}
			e, err := p.Entry()
			if err != nil {
				return err
			}
			if !yes && terminal(a.in) && !a.confirm(fmt.Sprintf("remove cluster %s and everything in %s?", e.Name, e.Dir)) {
				return &store.Error{Code: store.Denied, Msg: "nothing was removed", Try: "--yes"}
			}
			if err := p.Destroy(); err != nil {
				return err
			}
			return a.show(map[string]string{"name": e.Name, "state": "destroyed"}, func() { fmt.Fprintf(a.out, "cluster %s is gone\n", e.Name) })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (a *app) confirm(question string) bool {
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	lines := bufio.NewScanner(a.in)
	if !lines.Scan() {
		return false
	}
	answer := strings.ToLower(strings.TrimSpace(lines.Text()))
	return answer == "y" || answer == "yes"
}

func (a *app) logsCommand() *cobra.Command {
	lines := 0
	cmd := &cobra.Command{
		Use: "logs NODE", Short: "what a node had to say", Args: takes(1, 1),
		Example: `  kvctl cluster logs n1
  kvctl cluster logs n2 --lines 20 --name test`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.procs(named(cmd))
			if err != nil {
				return err
			}
			path, err := p.Log(args[0])
			if err != nil {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return fmt.Errorf("logs: %w", err)
			}
			all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
			last := all[max(0, len(all)-lines):]
			return a.show(map[string]any{"node": args[0], "file": path, "lines": last}, func() { fmt.Fprintln(a.out, strings.Join(last, "\n")) })
		},
	}
	cmd.Flags().IntVar(&lines, "lines", 100, "how many, from the end")
	cmd.ValidArgsFunction = a.nodesAt(0)
	return cmd
}

// listedCluster is a line of cluster list.
type listedCluster struct {
	Name    string `json:"name"`
	Current bool   `json:"current"`
	Dir     string `json:"dir"`
	Nodes   int    `json:"nodes"`
	Up      int    `json:"up"`
	State   string `json:"state"` // up, partly up, down
}

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "the clusters of this machine", Args: takes(0, 0),
		Example: `  kvctl cluster list
  kvctl cluster list -o json`,
		RunE: func(*cobra.Command, []string) error {
			r, err := a.registry()
			if err != nil {
				return err
			}
			names, err := r.Names()
			if err != nil {
				return err
			}
			list := []listedCluster{}
			for _, name := range names {
				e, err := r.Entry(name)
				if err != nil {
					return err
				}
				list = append(list, listed(e, name == r.Current()))
			}
			return a.show(map[string]any{"clusters": list}, func() { a.clusterTable(list) })
		},
	}
}

func listed(e localcluster.Entry, current bool) listedCluster {
	l := listedCluster{Name: e.Name, Current: current, Dir: e.Dir, Nodes: len(e.Nodes), State: "partly up"}
	for _, n := range e.Nodes {
		if n.State() != "down" {
			l.Up++
		}
	}
	switch l.Up {
	case 0:
		l.State = "down"
	case l.Nodes:
		l.State = "up"
	}
	return l
}

func (a *app) clusterTable(list []listedCluster) {
	if len(list) == 0 {
		fmt.Fprintln(a.out, "no clusters; kvctl cluster start makes one")
		return
	}
	rows := [][]string{{"", "CLUSTER", "STATE", "NODES", "DIR"}}
	for _, l := range list {
		mark := " "
		if l.Current {
			mark = "*"
		}
		rows = append(rows, []string{mark, l.Name, l.State, fmt.Sprintf("%d/%d", l.Up, l.Nodes), l.Dir})
	}
	a.table(rows)
}
