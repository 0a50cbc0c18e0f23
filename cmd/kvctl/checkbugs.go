package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/jepsen-lite/bugs"
	"github.com/dialkv/dialkv/jepsen-lite/scenario"
	"github.com/dialkv/dialkv/store"
)

const (
	maxSeeds = 100
	// rowPatience is how long a run may take beside its load: a bug may keep a cluster
	// from its end.
	rowPatience = 6 * time.Minute
	rowGrace    = 5 * time.Second // for a child to end when it is asked to
)

// hunt is which rows of the table are run, and how often each.
type hunt struct {
	seeds int
	seed  int64
	only  []string
	list  bool
	trial int // of a child: the one row that it is to run; -1 if we are none
}

func (a *app) checkBugsCommand() *cobra.Command {
	h := hunt{trial: -1}
	cmd := &cobra.Command{
		Use: "bugs", Short: "plant each known bug, and see it caught", Args: takes(0, 0),
		Long: `Plant each known bug, and see it caught by the checker that is named for it.

Each run is a process of its own with five nodes in it, in real time: the whole table takes
some thirty minutes. It needs a build with planted bugs, which no release is:
go build -tags mutants. Exit status 7 says that a bug was not caught.`,
		Example: `  kvctl check bugs --list
  kvctl check bugs --only M4,M7
  kvctl check bugs --runs 3 --seed 11 -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := h.check(); err != nil {
				return err
			}
			switch {
			case h.trial >= 0:
				return a.bugTrial(cmd.Context(), bugs.Table[h.trial], h.seed)
			case h.list:
				return a.showBugs(h.rows())
			}
			return a.bugHunt(cmd.Context(), h)
		},
	}
	f := cmd.Flags()
	f.IntVar(&h.seeds, "runs", 1, "runs of each bug, each with a seed of its own; of 20, 19 must catch it")
	f.Int64Var(&h.seed, "seed", 1, "of the first run")
	f.StringSliceVar(&h.only, "only", nil, "these bugs, with commas (default: all)")
	f.BoolVar(&h.list, "list", false, "show the table, and run nothing")
	f.IntVar(&h.trial, "trial", -1, "the row that this process, a child, is to run")
	_ = f.MarkHidden("trial")
	a.complete(cmd, "only", func(context.Context) []string { return mutant.Names() })
	return cmd
}

func (h hunt) check() error {
	invalid := func(try, format string, args ...any) error {
		return &store.Error{Code: store.Invalid, Op: "check bugs", Msg: fmt.Sprintf(format, args...), Try: try}
	}
	switch {
	case h.seeds < 1 || h.seeds > maxSeeds:
		return invalid("--runs 1", "--runs %d, there must be 1 to %d", h.seeds, maxSeeds)
	case h.trial >= len(bugs.Table):
		return invalid("a row of the table", "--trial %d, there are %d rows", h.trial, len(bugs.Table))
	}
	for _, name := range h.only {
		if !slices.Contains(mutant.Names(), name) {
			return invalid("kvctl check bugs --list", "there is no planted bug %q", name)
		}
	}
	if !h.list && !mutant.Enabled {
		return &store.Error{
			Code: store.Unsupported, Op: "check bugs", Msg: "no bugs are planted in this build",
			Try: "go build -tags mutants -o kvctl-mutants ./cmd/kvctl, then ./kvctl-mutants check bugs; or --list",
		}
	}
	return nil
}

func (h hunt) wants(bug string) bool { return len(h.only) == 0 || slices.Contains(h.only, bug) }

// bugHunt runs the rows one after the other: in real time they would be in each other's
// way.
func (a *app) bugHunt(ctx context.Context, h hunt) error {
	rows := h.rows()
	for i, row := range rows {
		if row.row == nil {
			continue
		}
		a.progress("%s (%d of %d): %s, for %v", row.Bug, i+1, len(rows), row.row.Plan, row.row.InRealTime().Length)
		if a.huntOne(ctx, h, row); ctx.Err() != nil {
			a.progress("interrupted")
			break
		}
	}
	missed := slices.ContainsFunc(rows, func(r *bugRow) bool { return r.row != nil && (r.Caught == nil || !*r.Caught) })
	if err := a.showBugs(rows); err != nil || !missed {
		return err
	}
	return errFailed
}

// huntOne runs a row with as many seeds as it takes.
func (a *app) huntOne(ctx context.Context, h hunt, row *bugRow) {
	want, most := bugs.Gate(h.seeds)
	caught := 0
	for tried := 0; tried < h.seeds || caught < want && tried < most; tried++ {
		began := time.Now()
		run := row.run(ctx, h.seed+int64(tried))
		if ctx.Err() != nil {
			return
		}
		took := time.Since(began)
		run.TookMS, row.took = took.Milliseconds(), row.took+took
		row.Runs = append(row.Runs, run)
		how := "not caught"
		if run.Caught {
			caught++
			how = "caught by " + run.Checker
		}
		a.progress("  %s seed %d: %s in %s: %s", a.mark(run.Caught), run.Seed, how, rough(took), run.Sentence)
	}
	enough := caught >= want
	row.Caught = &enough
}

// run is one run in a process of its own, because a process has one planted bug from its
// start to its end.
func (r *bugRow) run(ctx context.Context, seed int64) bugRun {
	out := bugRun{Seed: seed}
	ctx, cancel := context.WithTimeout(ctx, r.row.InRealTime().Length+rowPatience)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		out.Sentence = err.Error()
		return out
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, self, "check", "bugs", "--trial", strconv.Itoa(r.index), "--seed", strconv.FormatInt(seed, 10))
	cmd.Env = append(os.Environ(), mutant.Switch(r.Bug))
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = rowGrace
	err = cmd.Run()
	var f bugs.Finding
	if err == nil {
		err = json.Unmarshal(stdout.Bytes(), &f)
	}
	if err != nil {
		out.Sentence = fmt.Sprintf("the process ended without a verdict (%v): %s", err, endOf(stderr.String()))
		return out
	}
	out.Verdict, out.Sentence = string(f.Verdict), strings.Join(f.Others(), "; ")
	if c := r.row.Caught(f); c != nil {
		out.Caught, out.Checker, out.Sentence = true, c.Name, c.Sentence
	}
	return out
}

// endOf is the end of what a process wrote, on one line.
func endOf(log string) string {
	const most = 300
	words := strings.Join(strings.Fields(log), " ")
	return strings.ToValidUTF8(words[max(0, len(words)-most):], "")
}

// bugTrial is a child: it runs one row with the bug of its environment, and prints what
// came of it. The cluster ends with the process; with a bug it may not end otherwise.
func (a *app) bugTrial(ctx context.Context, row bugs.Row, seed int64) error {
	if mutant.Name() != row.Bug {
		return &store.Error{Code: store.Invalid, Op: "check bugs", Msg: fmt.Sprintf("this process has the planted bug %q, the row asks for %s", mutant.Name(), row.Bug), Try: "kvctl check bugs --only " + row.Bug}
	}
	starting, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	c, err := localcluster.NewMemory(starting, row.Plan.Cluster(seed))
	if err != nil {
		return err
	}
	o := row.Plan.Options(row.InRealTime(), seed)
	o.Progress = func(line string) { a.progress("%s", line) }
	r, err := scenario.Record(ctx, c, o)
	if err != nil {
		return err
	}
	outcome, err := r.Judge()
	if err == nil {
		a.json(row.Plan.Find(outcome))
	}
	return err
}
