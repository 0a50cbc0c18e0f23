package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/jepsen-lite/lab"
	"github.com/dialkv/dialkv/jepsen-lite/report"
	"github.com/dialkv/dialkv/store"
)

// labRun is one run of an experiment on this terminal.
type labRun struct {
	app         *app
	world, name string
	journal     string // file
	report      string // directory
	stepping    bool
	lines       *bufio.Scanner // of the input
}

func (a *app) labRunCommand(use, short string, stepping bool) *cobra.Command {
	r := &labRun{app: a, stepping: stepping}
	cmd := &cobra.Command{
		Use: use + " NAME|FILE", Short: short, Args: takes(1, 1),
		Long: short + ".\n\n" +
			"The experiment gets a cluster of its own, and the hypothesis is looked at before the method and\n" +
			"after it. Rollbacks are done in any case. The exit status is 0 if all held, 7 if something did not.",
		Example: fmt.Sprintf("  kvctl lab %s cap\n  kvctl lab %[1]s mine.yaml --world procs --report report", use),
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.world != "demo" && r.world != "procs" {
				return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("world %q is not known", r.world), Try: "--world demo or --world procs"}
			}
			e, _, err := experiment(args[0])
			if err != nil {
				return err
			}
			r.name, r.lines = args[0], bufio.NewScanner(a.in)
			return r.run(cmd.Context(), e)
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.world, "world", "demo", "demo (one process, in memory) or procs (real processes, sockets and disks)")
	f.StringVar(&r.journal, "journal", "", "file for the journal, in the shape of the Chaos Toolkit's")
	f.StringVar(&r.report, "report", "", "directory for the history and the report, with the journal")
	a.complete(cmd, "world", func(context.Context) []string { return []string{"demo", "procs"} })
	cmd.ValidArgsFunction = lessonFirst
	return cmd
}

// run plays the experiment, on a cluster if it needs one, and says what came of it.
func (r *labRun) run(ctx context.Context, e *lab.Experiment) error {
	began := time.Now()
	var j *lab.Journal
	play := func(c lab.Cluster) (err error) {
		r.head(e)
		j, err = e.Run(ctx, lab.Options{Cluster: c, Getenv: r.app.getenv, Watcher: r.watcher(e)})
		return err
	}
	var err error
	if e.Needs == nil {
		err = play(nil)
	} else {
		w := world{name: map[string]string{"demo": "local", "procs": "procs"}[r.world], nodes: e.Needs.Nodes, seed: 1, syncFirst: true, patient: e.Needs.Timing == lab.Production}
		err = r.app.inWorld(ctx, w, func(c localcluster.Cluster) error { return play(c) })
	}
	if j == nil {
		return err
	}
	if err != nil { // of ending the cluster: the run has its result
		r.app.progress("%s", sentence(err))
	}
	return r.conclude(j, e, began)
}

// conclude writes what was asked for and says whether all held.
func (r *labRun) conclude(j *lab.Journal, e *lab.Experiment, began time.Time) error {
	verdict, err := r.keep(j, e, began)
	if err != nil {
		return err
	}
	right, asked := 0, 0
	for _, g := range j.Predictions {
		if g.Given != "" {
			asked++
			if g.Right() {
				right++
			}
		}
	}
	if r.app.output == "json" {
		r.app.json(j)
	} else {
		r.summary(j, right, asked)
	}
	switch {
	case j.Status == lab.Interrupted:
		return fmt.Errorf("the run was interrupted; %d of %d rollbacks were done", len(j.Rollbacks)-len(j.NotRolledBack()), len(e.Rollbacks))
	case j.Status == lab.Aborted:
		return fmt.Errorf("the run crashed: %s", j.Crash)
	case !j.Held() || len(j.NotRolledBack()) > 0 || verdict == check.Fail:
		return errFailed
	}
	return nil
}

func (r *labRun) summary(j *lab.Journal, right, asked int) {
	held := 0
	for _, result := range j.Run {
		if result.Tolerated != nil && *result.Tolerated {
			held++
		}
	}
	line := fmt.Sprintf("%s %s held in %s", r.app.mark(j.Held()), count(held, "assertion"), rough(time.Duration(j.Duration*float64(time.Second))))
	if s := j.SteadyStates; j.Held() && s.Before != nil && s.After != nil {
		line += "; the hypothesis held before and after"
	}
	if asked > 0 {
		line += fmt.Sprintf("; %d of %d predictions right", right, asked)
	}
	fmt.Fprintln(r.app.out, line)
	for _, u := range j.Unmet() {
		fmt.Fprintf(r.app.out, "  did not hold: %s\n", u.Name)
	}
	for _, u := range j.NotRolledBack() {
		fmt.Fprintf(r.app.out, "  was not rolled back: %s: %s\n", u.Name, u.Exception)
	}
}

// keep writes the report and the journal.
func (r *labRun) keep(j *lab.Journal, e *lab.Experiment, began time.Time) (check.Verdict, error) {
	var verdict check.Verdict
	if r.report != "" {
		h, err := j.History()
		if err != nil && !errors.Is(err, history.ErrEmpty) {
			return verdict, err
		}
		none := 0
		rep := check.Run(h, check.Options{Floor: &none})
		verdict = rep.Verdict
		about := report.Run{Title: e.Title, Command: []string{"lab", "run", r.name, "--world", r.world}, Began: began}
		page, err := report.Write(r.report, h, rep, about)
		if err != nil {
			return verdict, err
		}
		r.app.progress("report: %s (checkers: %s)", page, verdict)
		if err := writeJournal(filepath.Join(r.report, "journal.json"), j); err != nil {
			return verdict, err
		}
	}
	if r.journal == "" {
		return verdict, nil
	}
	return verdict, writeJournal(r.journal, j)
}

func writeJournal(path string, j *lab.Journal) error {
	b, err := json.MarshalIndent(j, "", "  ")
	if err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o644)
	}
	if err != nil {
		return &store.Error{Code: store.Invalid, Op: "lab", Msg: "the journal cannot be written", Cause: err}
	}
	return nil
}

func (r *labRun) say(format string, args ...any) {
	if r.app.output == "table" {
		fmt.Fprintf(r.app.out, format+"\n", args...)
	}
}

func (r *labRun) head(e *lab.Experiment) {
	r.say("%s", e.Title)
	r.say("%s", wrap(e.Description, "  "))
}

// watcher prints the run as it goes.
func (r *labRun) watcher(e *lab.Experiment) lab.Watcher {
	w := lab.Watcher{
		Phase: func(name string) {
			if strings.HasPrefix(name, "hypothesis") {
				name += ": " + e.Hypothesis.Title
			}
			r.say("%s", name)
		},
		Say:     func(text string) { r.say("\n%s", wrap(text, "  ")) },
		Predict: r.predict,
		Reveal:  r.reveal,
		Done:    r.done,
	}
	if r.stepping {
		w.Before = func(ctx context.Context, s lab.Step) error {
			if s.Activity != nil {
				r.app.progress("  next: %s (Enter)", s.Activity.Name)
			} else {
				r.app.progress("  next (Enter)")
			}
			_, err := r.line(ctx)
			return err
		}
	}
	return w
}

// line reads one, or ends with the run.
func (r *labRun) line(ctx context.Context) (string, error) {
	got := make(chan bool, 1)
	go func() { got <- r.lines.Scan() }()
	select {
	case ok := <-got:
		if !ok {
			return "", errors.New("the input has ended")
		}
		return strings.TrimSpace(r.lines.Text()), nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// predict asks where there is a terminal.
func (r *labRun) predict(ctx context.Context, p lab.Prediction) string {
	r.say("  ? %s", p.Ask)
	for i, c := range p.Choices {
		r.say("      %d) %s", i+1, c)
	}
	if !terminal(r.app.in) || r.app.output != "table" {
		return ""
	}
	for range 3 {
		fmt.Fprint(r.app.out, "    your guess: ")
		text, err := r.line(ctx)
		if err != nil || text == "" {
			return ""
		}
		if i, err := strconv.Atoi(text); err == nil && i >= 1 && i <= len(p.Choices) {
			return p.Choices[i-1]
		}
		if slices.Contains(p.Choices, text) {
			return text
		}
		r.say("    a number from 1 to %d, or Enter for none", len(p.Choices))
	}
	return ""
}

func (r *labRun) reveal(g lab.Guess) {
	mark := "→"
	if g.Given != "" {
		mark = r.app.mark(g.Right())
	}
	r.say("    %s %s", mark, g.Answer)
	if g.Why != "" {
		r.say("%s", wrap(g.Why, "      "))
	}
}
