package scenario

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/jepsen-lite/nemesis"
	"github.com/dialkv/dialkv/jepsen-lite/report"
	"github.com/dialkv/dialkv/jepsen-lite/workload"
	"github.com/dialkv/dialkv/store"
)

// Cluster is what a scenario runs on.
type Cluster interface {
	workload.Target
	nemesis.Cluster
}

// Options say what to run.
type Options struct {
	// Load is the workload. Its Keyspaces are made by the run; a Seed of zero is drawn.
	Load   workload.Config
	Faults []string // of nemesis.Names
	Links  string   // that nemesis.Matrix cuts
	Only   []int    // which of the drawn faults are done, as nemesis.Config has it; nil: all
	// Durability is of the ap keyspaces; fsync if zero. In memory a node that is killed
	// loses what no other has yet, and nobody is asked then whether an acknowledged write
	// was lost.
	Durability store.Durability
	Dir        string       // for the report; "" writes none
	Progress   func(string) // hears what the run does, from several goroutines; may be nil
}

// Outcome is what came of a run.
type Outcome struct {
	check.Report // Path is the report's page
	Load         workload.Stats
	Faults       []nemesis.Done
	Settled      bool          // every node was ready and knew every other before the dump
	Converged    time.Duration // from then until the replicas were equal; see Equal
	Equal        bool
}

// Run records a run, judges it and writes its report. An error says that it was
// refused, and did not begin, or that the report could not be written. Everything
// else is a verdict.
func Run(ctx context.Context, cluster Cluster, o Options) (Outcome, error) {
	r, err := Record(ctx, cluster, o)
	if err != nil {
		return Outcome{}, err
	}
	return r.Judge()
}

// Recording is a run that is over and not judged.
type Recording struct {
	o     Options
	about report.Run
	notes notes
	tape  *tape
}

// notes are what a run knows beside its history.
type notes struct {
	load      workload.Stats
	faults    nemesis.Result
	settled   bool
	converged time.Duration
	equal     bool
	wrong     string // why it proves nothing
}

// Record does all of a run but the judging. An error says that it was refused.
func Record(ctx context.Context, cluster Cluster, o Options) (*Recording, error) {
	o = o.withDefaults()
	keyspaces := workload.Keyspaces(o.Load.Workload, suffix())
	if err := o.Load.Check(); err != nil {
		return nil, err
	}
	if err := nemesis.Check(ctx, cluster, o.nemesis(keyspaces)); err != nil {
		return nil, err
	}
	t, err := openTape(o.Dir)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	about := o.about()
	if o.Dir != "" {
		if err := report.Begin(o.Dir, about); err != nil {
			return nil, err
		}
	}
	r := &run{Options: o, cluster: cluster, keyspaces: keyspaces, rec: history.NewRecorder(t)}
	done := r.guarded(ctx)
	switch {
	case ctx.Err() != nil && done.wrong != "":
		about.Status = report.Aborted
	case done.wrong != "":
		about.Status = report.Failed
	}
	return &Recording{o: o, about: about, notes: done, tape: t}, nil
}

// about is the run for its report: it begins now.
func (o Options) about() report.Run {
	faults := strings.Join(o.Faults, ",")
	if faults == "" {
		faults = "none"
	}
	command := []string{
		"check", "run", "--workload", o.Load.Workload, "--nemesis", faults, "--time", o.Load.Duration.String(),
		"--clients", strconv.Itoa(o.Load.Clients), "--rate", fmt.Sprint(o.Load.Rate), "--seed", strconv.FormatInt(o.Load.Seed, 10),
	}
	if o.Links != "" {
		command = append(command, "--cut", o.Links)
	}
	return report.Run{
		Title: fmt.Sprintf("%s under %s", o.Load.Workload, faults), Began: time.Now(),
		Command: command,
	}
}

func (o Options) withDefaults() Options {
	o.Load = o.Load.WithDefaults()
	for o.Load.Seed == 0 {
		o.Load.Seed = rand.Int64()
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o
}

// suffix keeps a run's keyspaces apart from those of runs before it.
func suffix() string { return fmt.Sprintf("%08x", rand.Uint32()) }

// nemesis is the fault schedule: it ends before the load does, so that the recovery
// shows.
func (o Options) nemesis(keyspaces []shard.Keyspace) nemesis.Config {
	c := nemesis.Config{Faults: o.Faults, Links: o.Links, Only: o.Only, Duration: o.Load.Duration * 5 / 6, Seed: o.Load.Seed, Progress: o.Progress}
	for _, k := range keyspaces {
		c.Keyspaces = append(c.Keyspaces, k.Name)
	}
	return c
}
