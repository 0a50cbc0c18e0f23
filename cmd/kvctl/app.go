package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/nodeflags"
	"github.com/dialkv/dialkv/store"
)

// app is one invocation: where it reads and writes, and what the global flags say.
type app struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string

	output  string   // table or json
	cluster string   // --cluster
	seeds   []string // --seeds

	// remote opens the cluster that seeds are of.
	remote func() (*remote, error)

	// shell is the demo's cluster, when a line of its shell is executed: commands
	// then mean it and no other.
	shell localcluster.Cluster
	began bool // the command line was understood
}

// errFailed is a verdict other than pass, or a hypothesis that did not hold. What there
// is to say about it was printed.
var errFailed = errors.New("a hypothesis did not hold")

// execute runs one command line and returns the exit status.
func (a *app) execute(ctx context.Context, args []string) int {
	a.output = guessOutput(args)
	a.remote = func() (*remote, error) { return openRemote(ctx, a.seeds) }
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	if errors.Is(err, errFailed) {
		return 7
	}
	if err != nil && !a.began {
		err = asUsage(err)
	}
	if err != nil && !errors.Is(err, errReported) {
		a.report(err)
	}
	return exitCode(err)
}

// errReported marks an error whose report is on the screen already.
var errReported = errors.New("reported")

func exitCode(err error) int {
	if errors.Is(err, errAbsent) {
		return 3
	}
	if status, ran := exitStatus(err); ran {
		return status
	}
	return nodeflags.ExitCode(err)
}

// guessOutput finds -o before the command line is parsed, so that an error of
// parsing comes in the form that was asked for.
func guessOutput(args []string) string {
	joined := strings.Join(args, "\x00") + "\x00"
	for _, form := range []string{"-o\x00json\x00", "-ojson\x00", "-o=json\x00", "--output\x00json\x00", "--output=json\x00"} {
		if strings.Contains(joined, form) {
			return "json"
		}
	}
	return "table"
}

// asUsage turns what cobra says of a command line into an error of ours.
func asUsage(err error) error {
	var e *store.Error
	if errors.As(err, &e) {
		return err
	}
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return &store.Error{Code: store.Invalid, Msg: strings.TrimSuffix(lines[0], "."), Try: "kvctl help"}
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "kvctl",
		Short: "kvctl runs, asks, breaks and judges dialkv clusters",
		Example: `  kvctl demo
  kvctl cluster start -n 3
  kvctl keyspace create orders --mode cp
  kvctl put orders/42 paid
  kvctl get orders/42 --level eventual --explain`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.output != "table" && a.output != "json" {
				return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("output %q is not known", a.output), Try: "-o table or -o json"}
			}
			if len(a.seeds) > 0 && a.cluster != "" {
				return &store.Error{Code: store.Invalid, Msg: "--seeds and --cluster name a cluster each", Try: "one of them"}
			}
			if err := checkSeeds(a.seeds); err != nil {
				return err
			}
			a.began = true
			return nil
		},
	}
	root.PersistentFlags().StringVarP(&a.output, "output", "o", a.output, "table or json")
	root.PersistentFlags().StringVar(&a.cluster, "cluster", "", "which cluster (default: KV_CLUSTER, else the current one)")
	if a.shell == nil {
		root.PersistentFlags().StringSliceVar(&a.seeds, "seeds", nil, "a cluster that runs elsewhere: addresses of some of its nodes, HOST:PORT,…")
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &store.Error{Code: store.Invalid, Msg: err.Error(), Try: cmd.CommandPath() + " --help"}
	})
	root.AddCommand(a.dataCommands()...)
	root.AddCommand(a.nodeCommand(), a.netCommand(), a.keyspaceCommand(), a.explainCommand(), a.benchCommand(), a.doctorCommand())
	if a.shell != nil {
		root.AddCommand(a.statusCommand("status"))
		root.CompletionOptions.DisableDefaultCmd = true
		return root
	}
	root.AddCommand(a.topCommand(), a.demoCommand(), a.clusterCommand(), a.useCommand(), a.checkCommand(), a.labCommand(), a.maelstromCommand(),
		a.versionCommand(), a.runNodeCommand())
	return root
}

// group is a command that only has others below it, each of which gives it an example.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	var examples []string
	for _, c := range below {
		first, _, _ := strings.Cut(c.Example, "\n")
		examples = append(examples, first)
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Example: strings.Join(examples, "\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			var names []string
			for _, c := range below {
				names = append(names, c.Name())
			}
			return &store.Error{
				Code: store.Invalid, Msg: fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0]),
				Try: cmd.CommandPath() + " " + strings.Join(names, ", "),
			}
		},
	}
	cmd.AddCommand(below...)
	return cmd
}

// takes refuses a command line with fewer or more arguments; most below 0 is no limit.
func takes(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && (most < 0 || len(args) <= most) {
			return nil
		}
		return &store.Error{
			Code: store.Invalid,
			Msg:  fmt.Sprintf("%s got %d arguments", cmd.CommandPath(), len(args)),
			Try:  cmd.UseLine(),
		}
	}
}

// registry is where the clusters of real processes are written down.
func (a *app) registry() (*localcluster.Registry, error) {
	if len(a.seeds) > 0 {
		return nil, elsewhere()
	}
	return localcluster.OpenRegistry(a.getenv)
}

// clusterName is the cluster that is meant: own, which a command's --name may give,
// --cluster, KV_CLUSTER, or the current one.
func (a *app) clusterName(r *localcluster.Registry, own string) (string, error) {
	names := []string{own, a.cluster, a.getenv("KV_CLUSTER"), r.Current()}
	if i := slices.IndexFunc(names, func(n string) bool { return n != "" }); i >= 0 {
		return names[i], nil
	}
	return "", &store.Error{Code: store.Invalid, Msg: "no cluster is named, and none is current", Try: "kvctl cluster start, or --cluster NAME"}
}

// procs opens the cluster of processes that is meant. The caller releases it.
func (a *app) procs(own string) (*localcluster.Procs, error) {
	r, err := a.registry()
	if err != nil {
		return nil, err
	}
	name, err := a.clusterName(r, own)
	if err != nil {
		return nil, err
	}
	return r.Open(name, nodeCommandLine())
}

// with runs do on the cluster that is meant.
func (a *app) with(do func(localcluster.Cluster) error) error {
	c, release, err := a.open()
	if err != nil {
		return err
	}
	return errors.Join(do(c), release())
}

// open opens the cluster that is meant. The caller releases it.
func (a *app) open() (c localcluster.Cluster, release func() error, err error) {
	if a.shell != nil {
		return a.shell, func() error { return nil }, nil // the demo closes it
	}
	if len(a.seeds) > 0 {
		r, err := a.remote()
		if err != nil {
			return nil, nil, err
		}
		return r, r.Release, nil
	}
	p, err := a.procs("")
	if err != nil {
		return nil, nil, err
	}
	return p, p.Release, nil
}

// client runs do with a client of the cluster that is meant, which enters at a node or,
// if at is empty, finds its own way.
func (a *app) client(ctx context.Context, at string, do func(*client.Client) error) error {
	open := func(c localcluster.Cluster) error {
		cl, err := c.Client(ctx, at)
		if err != nil {
			return err
		}
		return errors.Join(do(cl), cl.Close())
	}
	if len(a.seeds) > 0 {
		return open(&remote{seeds: a.seeds}) // who else is there the client finds out itself
	}
	return a.with(open)
}

// nodeCommandLine is what runs a node: the kvnode beside this program or, where
// there is none, this program.
func nodeCommandLine() []string {
	self, err := os.Executable()
	if err != nil {
		return []string{"kvnode"}
	}
	beside := strings.TrimSuffix(self, "kvctl") + "kvnode"
	if info, err := os.Stat(beside); strings.HasSuffix(self, "kvctl") && err == nil && info.Mode().IsRegular() {
		return []string{beside}
	}
	return []string{self, runNode}
}
