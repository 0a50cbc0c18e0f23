package sim_test

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/jepsen-lite/bugs"
	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/scenario"
)

var (
	trial = flag.String("sim.trial", "", "run this one plan, as shrinking prints it, and write what came of it to the file -sim.out, if there is one")
	out   = flag.String("sim.out", "", "internal: see -sim.trial")
)

// trialOf is one run of a plan, with one planted bug or none, in a process of its own.
type trialOf struct {
	Bug     string `json:",omitempty"`
	Plan    bugs.Plan
	Pace    bugs.Pace
	Only    []int // of the faults that are drawn, by number; null is all
	Clients int   `json:",omitempty"` // the workload's number if zero
	Seed    int64
}

func (one trialOf) options() scenario.Options {
	o := one.Plan.Options(one.Pace, one.Seed)
	o.Load.Clients, o.Only = one.Clients, one.Only
	return o
}

// TestTrial is one run in a process of its own, because a process has one planted
// bug from its start to its end.
func TestTrial(t *testing.T) {
	if *trial == "" {
		t.Skip("a part of other tests")
	}
	var one trialOf
	if err := json.Unmarshal([]byte(*trial), &one); err != nil {
		t.Fatal(err)
	}
	if mutant.Name() != one.Bug {
		t.Fatalf("the planted bug is %q, not %q", mutant.Name(), one.Bug)
	}
	f := one.Plan.Find(judge(t, one.record(t)))
	if *out == "" { // somebody runs a plan again
		if f.Verdict != check.Pass {
			t.Errorf("verdict %s", f.Verdict)
		}
		return
	}
	b, err := json.Marshal(f)
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
	recordTo(t, one.options(), one.Plan.Cluster(one.Seed), &r)
	return r
}

// attempt runs the plan in a process of its own.
func (one trialOf) attempt(t *testing.T) (f bugs.Finding, log []byte, err error) {
	t.Helper()
	b, err := json.Marshal(one)
	if err != nil {
		return f, nil, err
	}
	file := filepath.Join(t.TempDir(), "finding.json")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTrial$", "-test.v", "-test.timeout=9m", "-sim.trial="+string(b), "-sim.out="+file)
	cmd.Env = append(os.Environ(), mutant.Switch(one.Bug))
	if log, err = cmd.CombinedOutput(); err != nil {
		return f, log, err
	}
	if b, err = os.ReadFile(file); err == nil {
		err = json.Unmarshal(b, &f)
	}
	return f, log, err
}
