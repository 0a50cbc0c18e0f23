//go:build mutants

package sim_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/jepsen-lite/bugs"
	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/scenario"
)

var (
	seeds    = flag.Int("sim.seeds", 1, "runs of each planted bug, each with a seed of its own")
	controls = flag.Bool("sim.controls", false, "TestNegativeControls also runs the rows that take longer than a virtual minute")
	trial    = flag.String("sim.trial", "", "internal: run this one plan, and write what came of it to the file -sim.out")
	out      = flag.String("sim.out", "", "internal: see -sim.trial")
)

// quick is the virtual time of rows whose controls are run always.
const quick = time.Minute

// trialOf is one run of a plan, with one planted bug or none, in a process of its own.
type trialOf struct {
	Bug  string
	Plan bugs.Plan
	Pace bugs.Pace
	Seed int64
}

// TestMutantsThatNoPlanCatches wants the test that is named for a bug to fail with it.
func TestMutantsThatNoPlanCatches(t *testing.T) {
	for _, bug := range bugs.Missed {
		t.Run(bug.Bug, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "go", "test", "-tags=mutants", "-count=1", "-timeout=5m", "-run=^"+bug.Test+"$", "github.com/dialkv/dialkv/"+bug.Package)
			cmd.Env = append(os.Environ(), mutant.Switch(bug.Bug))
			if log, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(log), "--- FAIL: "+bug.Test) {
				t.Errorf("%s of %s does not catch it: %v\n%s", bug.Test, bug.Package, err, log)
			}
		})
	}
}

// TestTrial is one run in a process of its own, because a process has one planted
// bug from its start to its end.
func TestTrial(t *testing.T) {
	if *trial == "" {
		t.Skip("a part of TestMutants")
	}
	var one trialOf
	if err := json.Unmarshal([]byte(*trial), &one); err != nil {
		t.Fatal(err)
	}
	if mutant.Name() != one.Bug {
		t.Fatalf("the planted bug is %q, not %q", mutant.Name(), one.Bug)
	}
	b, err := json.Marshal(one.Plan.Find(judge(t, one.record(t))))
	if err == nil {
		err = os.WriteFile(*out, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// record records the run. A planted bug may keep the cluster from ever stopping, which a
// bubble reports by a panic. Without a bug that is a failure as always.
func (one trialOf) record(t *testing.T) (r *scenario.Recording) {
	t.Helper()
	defer func() {
		if v := recover(); v != nil {
			if one.Bug == "" || r == nil {
				panic(v)
			}
			t.Logf("with the bug the cluster did not stop: %v", v)
		}
	}()
	recordTo(t, one.Plan.Options(one.Pace, one.Seed), one.Plan.Cluster(one.Seed), &r)
	return r
}

func (one trialOf) try(t *testing.T) (f bugs.Finding) {
	t.Helper()
	b, err := json.Marshal(one)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "finding.json")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTrial$", "-test.v", "-test.timeout=9m", "-sim.trial="+string(b), "-sim.out="+file)
	cmd.Env = append(os.Environ(), mutant.Switch(one.Bug))
	log, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%+v: %v\n%s", one, err, log)
	}
	b, err = os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// honest runs each plan without a bug once, whichever rows share it.
type honest struct {
	mu    sync.Mutex
	plans map[string]*sync.Once
}

func (h *honest) check(t *testing.T, one trialOf) {
	t.Helper()
	one.Bug = ""
	name := fmt.Sprintf("%+v", one)
	h.mu.Lock()
	once := h.plans[name]
	if once == nil {
		once = new(sync.Once)
		h.plans[name] = once
	}
	h.mu.Unlock()
	once.Do(func() {
		if f := one.try(t); f.Verdict != check.Pass {
			t.Errorf("%s without the bug: %s: %s", name, f.Verdict, strings.Join(f.Others(), "; "))
		}
	})
}

// TestMutants plants each bug and wants it caught by the checker that is named for
// it, in as many seeds as bugs.Gate asks for; and the same plans without a bug must pass.
func TestMutants(t *testing.T) {
	clean := &honest{plans: map[string]*sync.Once{}}
	want, most := bugs.Gate(*seeds)
	for _, row := range bugs.Table {
		t.Run(row.Bug, func(t *testing.T) {
			t.Parallel()
			caught, tried := 0, 0
			for ; tried < *seeds || caught < want && tried < most; tried++ {
				began := time.Now()
				one := trialOf{row.Bug, row.Plan, row.InVirtualTime(), *seed + int64(tried)}
				f := one.try(t)
				if row.Caught(f) != nil {
					caught++
				}
				t.Logf("seed %d: %s in %v: %s", one.Seed, f.Verdict, time.Since(began).Round(time.Second), strings.Join(f.Others(), "; "))
				clean.check(t, one)
			}
			if caught < want {
				t.Errorf("caught by %s in %d of %d seeds", strings.Join(row.CaughtBy, " or "), caught, tried)
			}
		})
	}
}

// TestNegativeControls takes from each row's plan what it says that it needs, one after
// the other. Nobody may see the bug then, or the plan shows something else than the table
// says.
func TestNegativeControls(t *testing.T) {
	for _, row := range bugs.Table {
		for _, need := range row.Must {
			if pace := row.InVirtualTime(); !*controls && pace.Length > quick {
				continue
			}
			t.Run(row.Bug+" without "+row.Plan.Tell(need), func(t *testing.T) {
				t.Parallel()
				for tried := range *seeds {
					one := trialOf{row.Bug, row.Plan.Without(need), row.InVirtualTime(), *seed + int64(tried)}
					if c := row.Caught(one.try(t)); c != nil {
						t.Errorf("seed %d: %s %s: %s", one.Seed, c.Name, c.Verdict, c.Sentence)
					}
				}
			})
		}
	}
}
