package bugs_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/jepsen-lite/bugs"
	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/nemesis"
	"github.com/dialkv/dialkv/jepsen-lite/scenario"
	"github.com/dialkv/dialkv/jepsen-lite/workload"
)

func TestEveryPlantedBugHasARowOrATest(t *testing.T) {
	rows := map[string]int{}
	for _, row := range bugs.Table {
		rows[row.Bug]++
	}
	missed := map[string]int{}
	for _, bug := range bugs.Missed {
		missed[bug.Bug]++
	}
	for _, name := range mutant.Names() {
		if (rows[name] > 0) == (missed[name] == 1) {
			t.Errorf("%s: %d rows, and %d times without one", name, rows[name], missed[name])
		}
		if bugs.Breaks(name) == "" {
			t.Errorf("%s breaks nothing", name)
		}
		delete(rows, name)
		delete(missed, name)
	}
	if len(rows)+len(missed) > 0 {
		t.Errorf("no planted bugs: %v, %v", rows, missed)
	}
}

// A row must be a plan that can be run at both paces, and be judged by those it names.
func TestRowsCanBeRun(t *testing.T) {
	nodes := []string{"n1", "n2", "n3", "n4", "n5"}
	for _, row := range bugs.Table {
		for _, pace := range []bugs.Pace{row.InVirtualTime(), row.InRealTime()} {
			o := row.Plan.Options(pace, 1)
			if err := o.Load.WithDefaults().Check(); err != nil {
				t.Errorf("%s: %v", row.Bug, err)
			}
			if _, err := (nemesis.Config{Faults: o.Faults, Duration: o.Load.Duration * 5 / 6}).Plan(nodes); err != nil {
				t.Errorf("%s: %v", row.Bug, err)
			}
		}
		judges := append(workload.Claims(row.Plan.Workload), "outcomes", "versions", "nemesis")
		for _, c := range row.CaughtBy {
			if !slices.Contains(judges, c) {
				t.Errorf("%s: %s is not asked of the workload %s", row.Bug, c, row.Plan.Workload)
			}
		}
		for _, need := range row.Must {
			if !slices.Contains(row.Plan.Needs(), need) || slices.Contains(row.Plan.Without(need).Needs(), need) {
				t.Errorf("%s: its plan %s has not, or cannot be without, %s", row.Bug, row.Plan, need)
			}
		}
	}
}

// In real time a row of minutes is one that nobody waits for.
func TestRowsDoNotTakeLongInRealTime(t *testing.T) {
	for _, row := range bugs.Table {
		if pace := row.InRealTime(); pace.Length > 3*time.Minute {
			t.Errorf("%s takes %v", row.Bug, pace.Length)
		}
	}
}

func TestTestsThatAreNamedExist(t *testing.T) {
	for _, bug := range bugs.Missed {
		files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(bug.Package), "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(files, func(file string) bool {
			text, err := os.ReadFile(file)
			return err == nil && strings.Contains(string(text), "func "+bug.Test+"(")
		}) {
			t.Errorf("%s: %s has no %s", bug.Bug, bug.Package, bug.Test)
		}
	}
}

func TestOnlyTheNamedCheckerCatches(t *testing.T) {
	found := bugs.Finding{Checkers: []check.Result{{Name: "nemesis", Verdict: check.Invalid}, {Name: "raft", Verdict: check.Fail}, {Name: "bank", Verdict: check.Pass}}}
	for _, c := range []struct {
		row  bugs.Row
		want string
	}{
		{bugs.Row{CaughtBy: []string{"raft"}}, "raft"},
		{bugs.Row{CaughtBy: []string{"bank", "raft"}}, "raft"},
		{bugs.Row{CaughtBy: []string{"bank"}}, ""},
		{bugs.Row{CaughtBy: []string{"nemesis"}}, ""},
		{bugs.Row{CaughtBy: []string{"nemesis"}, As: check.Invalid}, "nemesis"},
		{bugs.Row{CaughtBy: []string{"raft"}, As: check.Invalid}, ""},
	} {
		got := ""
		if r := c.row.Caught(found); r != nil {
			got = r.Name
		}
		if got != c.want {
			t.Errorf("%v as %q: caught by %q, want %q", c.row.CaughtBy, c.row.As, got, c.want)
		}
	}
}

// Without fsync a crash may take what was acknowledged: that is no bug, and what else was
// found decides.
func TestWhatIsNotPromisedIsNotFound(t *testing.T) {
	outcome := scenario.Outcome{Report: check.Report{Verdict: check.Fail, Checkers: []check.Result{
		{Name: "durability", Verdict: check.Fail}, {Name: "causal", Verdict: check.Pass}, {Name: "nemesis", Verdict: check.Invalid}, {Name: "raft", Verdict: check.Pass},
	}}}
	if f := (bugs.Plan{Unsynced: true}).Find(outcome); f.Verdict != check.Invalid || len(f.Others()) != 1 {
		t.Errorf("without fsync: %+v", f)
	}
	outcome.Checkers = []check.Result{{Name: "durability", Verdict: check.Fail}}
	if f := (bugs.Plan{}).Find(outcome); f.Verdict != check.Fail || len(f.Others()) != 1 {
		t.Errorf("with fsync: %+v", f)
	}
}

func TestGate(t *testing.T) {
	for seeds, w := range map[int][2]int{1: {1, 3}, 2: {1, 4}, 3: {2, 5}, 10: {9, 12}, 20: {19, 20}, 100: {95, 100}} {
		if want, most := bugs.Gate(seeds); want != w[0] || most != w[1] {
			t.Errorf("of %d seeds %d must catch a bug, %d at most are tried; want %v", seeds, want, most, w)
		}
	}
}
