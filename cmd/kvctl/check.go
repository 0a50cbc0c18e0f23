package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/node"
	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/nemesis"
	"github.com/dialkv/dialkv/jepsen-lite/scenario"
	"github.com/dialkv/dialkv/jepsen-lite/workload"
	"github.com/dialkv/dialkv/store"
)

// startPatience is how long a cluster of our own may take to be ready.
const startPatience = time.Minute

func (a *app) checkCommand() *cobra.Command {
	return group("check", "workload × faults × checkers", a.checkRunCommand(), a.replayCommand(), a.compareCommand(), a.checkBugsCommand())
}

// world is where a check runs.
type world struct {
	name  string
	nodes int
	seed  int64
	// syncFirst holds a leader up while its disk stands still, in one process.
	syncFirst bool
	patient   bool // its leaders are replaced as in production, not as in a classroom
}

func (a *app) checkRunCommand() *cobra.Command {
	var w world
	var faults, durability string
	o := scenario.Options{Progress: func(line string) { a.progress("%s", line) }}
	cmd := &cobra.Command{
		Use: "run", Short: "load a cluster of its own, hurt it, and judge what happened", Args: takes(0, 0),
		Example: `  kvctl check run
  kvctl check run -w bank --nemesis partition,kill --time 1m --seed 7
  kvctl check run -w causal --nemesis partition --world procs --nodes 3
  kvctl check run --nemesis matrix --cut 'n1->n2; n3<->n4'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Load.Workload == "txn" {
				o.Load.Workload = "bank"
			}
			err := errors.Join(w.check(), aboveZero(cmd.Flags(), "time", "clients", "rate"))
			if err == nil {
				o.Faults, err = nemesis.Parse(faults)
			}
			if err == nil {
				o.Durability, err = store.ParseDurability(durability)
			}
			if err == nil {
				err = o.Load.WithDefaults().Check()
			}
			if err != nil {
				return err
			}
			w.seed = o.Load.Seed
			return a.checkRun(cmd.Context(), w, o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Load.Workload, "workload", "w", "register", "one of "+strings.Join(workload.Names, ", ")+"; txn is bank")
	f.StringVar(&faults, "nemesis", "partition", "faults, with commas, or none: "+strings.Join(nemesis.Names, ", "))
	f.StringVar(&o.Links, "cut", "", "links that the fault matrix cuts: 'n1,n2|n3,n4,n5', or 'n1->n2; n3<->n4'")
	f.StringVar(&durability, "durability", "fsync", "of the ap keyspaces: "+strings.Join(store.DurabilityNames, ", ")+"; in memory nothing is said of lost writes")
	f.DurationVar(&o.Load.Duration, "time", 30*time.Second, "how long the load lasts")
	f.StringVar(&w.name, "world", "local", "local (one process) or procs (real processes, sockets and disks)")
	f.IntVar(&w.nodes, "nodes", 5, "nodes of the cluster")
	f.IntVar(&o.Load.Clients, "clients", 10, "clients, one operation at a time each")
	f.Float64Var(&o.Load.Rate, "rate", 400, "operations a second, all clients together")
	f.Int64Var(&o.Load.Seed, "seed", 0, "of load and faults (default: drawn)")
	f.StringVar(&o.Dir, "report", "report", "directory for the report")
	a.complete(cmd, "workload", func(context.Context) []string { return workload.Names })
	a.complete(cmd, "nemesis", func(context.Context) []string { return append([]string{"none"}, nemesis.Names...) })
	a.complete(cmd, "world", func(context.Context) []string { return []string{"local", "procs"} })
	return cmd
}

// checkRun judges once the cluster is gone: after an interrupt there is nothing left
// by then but the record, and a second one ends the judging, too.
func (a *app) checkRun(ctx context.Context, w world, o scenario.Options) error {
	var r *scenario.Recording
	err := a.inWorld(ctx, w, func(c localcluster.Cluster) (err error) {
		r, err = scenario.Record(ctx, c, o)
		return err
	})
	if r == nil {
		return err
	}
	signal.Reset(os.Interrupt, syscall.SIGTERM)
	outcome, unwritten := r.Judge()
	if err = errors.Join(err, unwritten); err != nil {
		if outcome.Verdict == check.Pass {
			return err
		}
		a.progress("%v", err)
	}
	return a.judged(outcome.Report)
}

// aboveZero refuses zeros that were given: a plan would take them for its defaults.
func aboveZero(flags *pflag.FlagSet, names ...string) error {
	for _, name := range names {
		if f := flags.Lookup(name); f.Changed && slices.Contains([]string{"0", "0s"}, f.Value.String()) {
			return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("--%s %s must be above 0", name, f.Value), Try: fmt.Sprintf("--%s %s", name, f.DefValue)}
		}
	}
	return nil
}

func (w world) check() error {
	switch {
	case w.name != "local" && w.name != "procs":
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("world %q is not known", w.name), Try: "--world local or --world procs"}
	case w.nodes < 1 || w.nodes > 7:
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("%d nodes, it must be between 1 and 7", w.nodes), Try: "--nodes 5"}
	}
	return nil
}

// inWorld runs do on a cluster that exists for it alone.
func (a *app) inWorld(ctx context.Context, w world, do func(localcluster.Cluster) error) error {
	a.progress("starting %d nodes", w.nodes)
	starting, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if w.name == "local" {
		cfg := memoryConfig(w.nodes, w.seed)
		cfg.Storage.SyncFirst = w.syncFirst
		if w.patient {
			cfg.Timing = node.Timing{Membership: node.Classroom.Membership}
		}
		c, err := localcluster.NewMemory(starting, cfg)
		if err != nil {
			return err
		}
		return errors.Join(do(c), c.Close())
	}
	dir, err := os.MkdirTemp("", "kvctl-check-")
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	home := func(name string) string { return map[string]string{"KV_HOME": filepath.Join(dir, "home")}[name] }
	r, err := localcluster.OpenRegistry(home)
	if err != nil {
		return err
	}
	c, err := r.Start(starting, localcluster.StartConfig{Name: "check", Dir: filepath.Join(dir, "data"), Nodes: w.nodes, Command: nodeCommandLine()})
	if err != nil {
		return err
	}
	return errors.Join(do(c), c.Close())
}

// memoryConfig is the network of a small data centre: with no latency at all every
// operation would be concurrent with every other.
func memoryConfig(nodes int, seed int64) localcluster.MemoryConfig {
	return localcluster.MemoryConfig{Nodes: nodes, Seed: uint64(seed), Latency: 500 * time.Microsecond, Jitter: 200 * time.Microsecond}
}

var _ workload.Target = localcluster.Cluster(nil)
