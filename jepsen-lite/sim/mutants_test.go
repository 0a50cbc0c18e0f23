//go:build mutants

package sim_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/jepsen-lite/bugs"
	"github.com/dialkv/dialkv/jepsen-lite/check"
)

var (
	seeds    = flag.Int("sim.seeds", 1, "runs of each planted bug, each with a seed of its own")
	controls = flag.Bool("sim.controls", false, "TestNegativeControls also runs the rows that take longer than a virtual minute")
)

// quick is the virtual time of rows whose controls are run always.
const quick = time.Minute

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

func (one trialOf) try(t *testing.T) bugs.Finding {
	t.Helper()
	f, log, err := one.attempt(t)
	if err != nil {
		t.Fatalf("%+v: %v\n%s", one, err, log)
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
				one := trialOf{Bug: row.Bug, Plan: row.Plan, Pace: row.InVirtualTime(), Seed: *seed + int64(tried)}
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
					one := trialOf{Bug: row.Bug, Plan: row.Plan.Without(need), Pace: row.InVirtualTime(), Seed: *seed + int64(tried)}
					if c := row.Caught(one.try(t)); c != nil {
						t.Errorf("seed %d: %s %s: %s", one.Seed, c.Name, c.Verdict, c.Sentence)
					}
				}
			})
		}
	}
}

// M22 needs a cut and nothing else: of five faults and ten clients one cut is left, and
// not many who ask.
func TestThePlanOfAPlantedBugIsShrunk(t *testing.T) {
	one := trialOf{
		Bug: "M22", Plan: bugs.Plan{Workload: "register", Faults: []string{"kill", "partition"}},
		Pace: bugs.Pace{Length: 30 * time.Second, Rate: 100}, Seed: *seed,
	}
	s := shrinking{t: t, tries: 2, most: 25}
	small, ok := s.shrink(one)
	if !ok {
		t.Fatal("the plan does not fail")
	}
	t.Logf("after %d runs: %s\n%s", s.runs, small, small.command())
	if !slices.Equal(small.kinds(), []string{"partition"}) || len(small.kept()) != 1 {
		t.Errorf("it needs one cut, and is left with %s", small)
	}
	if small.Pace.Length == one.Pace.Length && small.Clients == defaultClients {
		t.Error("it is as long, and has as many clients, as before")
	}
}
