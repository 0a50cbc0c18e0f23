//go:build mutants

package sim_test

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/nemesis"
	"github.com/dialkv/dialkv/jepsen-lite/scenario"
	"github.com/dialkv/dialkv/jepsen-lite/workload"
	"github.com/dialkv/dialkv/store"
)

var (
	seeds = flag.Int("sim.seeds", 1, "runs of each planted bug, each with a seed of its own")
	trial = flag.String("sim.trial", "", "internal: run this one plan, and write what came of it to the file -sim.out")
	out   = flag.String("sim.out", "", "internal: see -sim.trial")
)

// planted is what a planted bug needs to be seen, and who must see it.
type planted struct {
	mutant   string
	needs    plan     // but for its Mutant and Seed
	caughtBy []string // any of these
}

// plan is one run of one planted bug, or of none.
type plan struct {
	Mutant   string
	Workload string
	Faults   []string
	Length   time.Duration // virtual: a rare chance needs many
	Rate     float64       // operations a second; 100 if zero
	Latency  time.Duration // of a link; 1 ms if zero
	Short    bool          // logs are cut often
	OS       bool          // ap keyspaces do not sync
	Seed     int64
}

func (p plan) world() world {
	w := world{latency: cmp.Or(p.Latency, time.Millisecond), syncFirst: slices.Contains(p.Faults, nemesis.Stall)}
	if p.Short {
		w.logs = short
	}
	return w
}

func (p plan) durability() store.Durability {
	if p.OS {
		return store.OS
	}
	return store.Fsync
}

// The reads of a leader that does not know better are few, and the key that is read was
// not always written meanwhile. Then only versions can tell: the read stands at an older
// revision than a write of another key that was over before.
var table = []planted{
	{"M1", plan{Workload: "register", Faults: []string{"partition"}, Length: time.Minute}, []string{"linearizable"}},
	{"M2", plan{Workload: "register", Faults: []string{"stall"}, Length: 2 * time.Minute}, []string{"linearizable", "versions"}},
	{"M3", plan{Workload: "register", Length: time.Minute}, []string{"linearizable"}},
	{"M4", plan{Workload: "register", Faults: []string{"partition"}, Length: 4 * time.Minute}, []string{"linearizable", "durability"}},
	{"M5", plan{Workload: "bounded", Faults: []string{"partition"}, Length: 2 * time.Minute, Rate: 200}, []string{"staleness"}},
	{"M6", plan{Workload: "exactly-once", Length: time.Minute}, []string{"exactly-once"}},
	{"M7", plan{Workload: "exactly-once", Faults: []string{"partition"}, Length: time.Minute, Short: true}, []string{"exactly-once"}},
	// Two conditional writes must fall into one log entry: late links make entries larger.
	{"M8", plan{Workload: "register", Length: time.Minute, Rate: 200, Latency: 10 * time.Millisecond}, []string{"linearizable"}},
	{"M9", plan{Workload: "causal", Faults: []string{"bridge"}, Length: time.Minute}, []string{"causal"}},
	{"M10", plan{Workload: "roaming", Faults: []string{"partition", "bridge"}, Length: time.Minute}, []string{"read-your-writes", "monotonic-reads"}},
	{"M11", plan{Workload: "roaming", Faults: []string{"away"}, Length: 2 * time.Minute, Short: true}, []string{"causal", "convergence"}},
	// A crash takes what peers have: the dots are given to other writes.
	{"M12", plan{Workload: "roaming", Faults: []string{"kill"}, Length: 2 * time.Minute, OS: true}, []string{"versions", "convergence"}},
	{"M13", plan{Workload: "roaming", Faults: []string{"partition"}, Length: 2 * time.Minute}, []string{"durability", "causal"}},
	// Two nodes must write a key in the same millisecond.
	{"M14", plan{Workload: "roaming", Faults: []string{"partition"}, Length: 4 * time.Minute, Rate: 400}, []string{"convergence", "causal-convergence"}},
	{"M16", plan{Workload: "roaming", Faults: []string{"away"}, Length: 2 * time.Minute, Short: true}, []string{"convergence"}},
	// One side must prune a value that the other deletes before it has heard of the winner.
	{"M17", plan{Workload: "delete", Faults: []string{"partition"}, Length: 4 * time.Minute, Rate: 200}, []string{"causal", "convergence", "durability"}},
	{"M18", plan{Workload: "scan", Length: time.Minute}, []string{"scan"}},
	// A write must come between two pages: late links leave it the time.
	{"M18", plan{Workload: "ap-scan", Length: time.Minute, Rate: 200, Latency: 10 * time.Millisecond}, []string{"scan"}},
	{"M22", plan{Workload: "register", Faults: []string{"partition"}, Length: time.Minute}, []string{"linearizable", "raft"}},
	{"M24", plan{Workload: "register", Faults: []string{"stall"}, Length: 6 * time.Minute, Rate: 200}, []string{"linearizable", "versions"}},
	{"M25", plan{Workload: "register", Faults: []string{"power"}, Length: time.Minute}, []string{"durability"}},
	{"M26", plan{Workload: "watch", Faults: []string{"kill"}, Length: time.Minute}, []string{"watch"}},
	{"M26", plan{Workload: "ap-watch", Faults: []string{"kill", "partition"}, Length: 3 * time.Minute}, []string{"watch"}},
	// In a cut of five two count as three, and acknowledge what a quorum of the others lacks.
	{"M28", plan{Workload: "bounded", Faults: []string{"partition"}, Length: 2 * time.Minute, Rate: 200}, []string{"staleness"}},
	// What both sides wrote during the cut comes late to the other.
	{"M29", plan{Workload: "roaming", Faults: []string{"partition"}, Length: 2 * time.Minute}, []string{"versions", "causal"}},
	{"M31", plan{Workload: "register", Faults: []string{"succession"}, Length: 4 * time.Minute, Rate: 200}, []string{"linearizable", "versions"}},
	// A session must write on one side of a cut, then on the other, where somebody reads who
	// has not been on the first: half of the clients stay at their node.
	{"M32", plan{Workload: "bounded", Faults: []string{"partition"}, Length: time.Minute, Rate: 200}, []string{"monotonic-writes", "writes-follow-reads"}},
	// Its proof is wrong from the first sign of a new life until any member is caught up.
	{"M33", plan{Workload: "bounded", Faults: []string{"revive"}, Length: time.Minute, Rate: 200}, []string{"staleness"}},
	{"M34", plan{Workload: "exactly-once", Length: time.Minute}, []string{"exactly-once"}},
	// A loser must be hidden by a winner, which somebody who has read it deletes.
	{"M35", plan{Workload: "delete", Faults: []string{"partition"}, Length: 4 * time.Minute, Rate: 200}, []string{"causal"}},
	// Who has seen a task, and that it is gone, must not miss the post that came before.
	{"M37", plan{Workload: "across", Faults: []string{"partition"}, Length: 4 * time.Minute, Rate: 200}, []string{"causal"}},
	// A leader must die with a write that others hold, and nobody follow it in time: late
	// links leave it the time.
	{"M38", plan{Workload: "register", Faults: []string{"kill"}, Length: 2 * time.Minute, Rate: 200, Latency: 20 * time.Millisecond}, []string{"outcomes", "linearizable"}},
	// A delete must meet an increment on its way, of an actor of whom all know an older one.
	{"M36", plan{Workload: "counter", Faults: []string{"partition"}, Length: 4 * time.Minute, Rate: 200}, []string{"counter", "convergence"}},
	{"M40", plan{Workload: "ap-ttl", Length: time.Minute}, []string{"ttl"}},
	// A clock must be set back over the end of a value that somebody has seen to be gone.
	{"M41", plan{Workload: "ap-ttl", Faults: []string{"skew"}, Length: 2 * time.Minute, Rate: 200}, []string{"ttl"}},
	// The watcher must go to a node that has applied writes of its own before those that
	// were seen elsewhere: late links leave it the time.
	{"M42", plan{Workload: "ap-watch", Length: 2 * time.Minute, Rate: 200, Latency: 50 * time.Millisecond}, []string{"watch"}},
	{"M43", plan{Workload: "map", Faults: []string{"partition"}, Length: 2 * time.Minute}, []string{"map", "convergence"}},
	{"M43", plan{Workload: "set", Faults: []string{"partition"}, Length: 2 * time.Minute}, []string{"set", "convergence"}},
}

// unseen is why no plan here catches a planted bug, and the test that does.
type unseen struct{ why, pkg, test string }

var missed = map[string]unseen{
	"M15": {"a node must start alone with its clock set back, and what it writes before it hears of others must be the last of its key, or nobody sees the stamp: of some thirty such writes in two minutes of jumps none was left in the end",
		"store/ap", "TestStampsDoNotFallAcrossARestart"},
	"M23": {"a non-voter is one for a moment only, while a node enters: too short to stand by a leader that was cut off",
		"store/cp", "TestNonVoterIsNotCountedInAReadIndex"},
	"M27": {"replicas find each other by the catalog and dial by name: gossip moves no data, so a cluster that lost sight of itself converges all the same",
		"membership", "TestCutHealsByItself"},
	"M30": {"each process of a workload has a client of its own and makes one call at a time, so that no two reads of one client are in progress",
		"client", "TestStrongReadJoinsNothing"},
	"M39": {"the write must be taken by a node in the milliseconds in which it leaves and reach nobody, and a node that is cut off cannot leave: caught in 1 of 8 long runs",
		"store/ap", "TestNothingIsLostOrStaleWhileMembersComeAndGo"},
	"M44": {"a power cut must come in the milliseconds in which all of a majority but the leader has an entry on disk, and those who lack it must then elect one of them: caught in 0 of 3 long runs",
		"store/cp", "TestNothingIsToldOfAnEntryBeforeTheLeadersDiskHasIt"},
	"M45": {"an actor is closed every few seconds and long after its last write is everywhere, unless it ended in the very second in which that was under way",
		"store/ap", "TestActorIsNotClosedWhileAMemberLacksSomethingOfIt"},
}

// TestMutantsThatNoPlanCatches wants the test that is named for a bug to fail with it.
func TestMutantsThatNoPlanCatches(t *testing.T) {
	for name, bug := range missed {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "go", "test", "-tags=mutants", "-count=1", "-timeout=5m", "-run=^"+bug.test+"$", "github.com/dialkv/dialkv/"+bug.pkg)
			cmd.Env = append(os.Environ(), "KV_MUTANT="+name)
			if log, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(log), "--- FAIL: "+bug.test) {
				t.Errorf("%s of %s does not catch it: %v\n%s", bug.test, bug.pkg, err, log)
			}
		})
	}
}

// finding is what came of it.
type finding struct {
	Verdict  check.Verdict
	Checkers []check.Result
}

// TestTrial is one run in a process of its own, because a process has one planted
// bug from its start to its end.
func TestTrial(t *testing.T) {
	if *trial == "" {
		t.Skip("a part of TestMutants")
	}
	var p plan
	if err := json.Unmarshal([]byte(*trial), &p); err != nil {
		t.Fatal(err)
	}
	if mutant.Name() != p.Mutant {
		t.Fatalf("the planted bug is %q, not %q", mutant.Name(), p.Mutant)
	}
	outcome := judge(t, recordBroken(t, p, scenario.Options{
		Load:   workload.Config{Workload: p.Workload, Duration: p.Length, Rate: cmp.Or(p.Rate, 100), Seed: p.Seed},
		Faults: p.Faults, Durability: p.durability(),
	}))
	b, err := json.Marshal(p.asked(outcome))
	if err == nil {
		err = os.WriteFile(*out, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// asked leaves out of an outcome what the plan's cluster does not promise: without fsync
// a node that is killed here loses what was not synced, acknowledged or not.
func (p plan) asked(outcome scenario.Outcome) finding {
	f := finding{outcome.Verdict, outcome.Checkers}
	if !p.OS {
		return f
	}
	f.Verdict = check.Pass
	f.Checkers = slices.DeleteFunc(f.Checkers, func(c check.Result) bool { return c.Name == "durability" || c.Name == "staleness" })
	for _, c := range f.Checkers {
		if c.Verdict != check.Pass {
			f.Verdict = c.Verdict
		}
	}
	return f
}

// recordBroken records a run whose planted bug may keep the cluster from ever stopping,
// which a bubble reports by a panic. Without a bug that is a failure as always.
func recordBroken(t *testing.T, p plan, o scenario.Options) (r *scenario.Recording) {
	t.Helper()
	defer func() {
		if v := recover(); v != nil {
			if p.Mutant == "" || r == nil {
				panic(v)
			}
			t.Logf("with the bug the cluster did not stop: %v", v)
		}
	}()
	recordTo(t, o, p.world(), &r)
	return r
}

func try(t *testing.T, p plan) finding {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "finding.json")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTrial$", "-test.v", "-test.timeout=9m", "-sim.trial="+string(b), "-sim.out="+file)
	cmd.Env = append(os.Environ(), "KV_MUTANT="+p.Mutant)
	log, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%+v: %v\n%s", p, err, log)
	}
	b, err = os.ReadFile(file)
	var f finding
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// failed names the checkers that failed, with what they say.
func (f finding) failed() (names, sentences []string) {
	for _, c := range f.Checkers {
		if c.Verdict == check.Fail {
			names = append(names, c.Name)
			sentences = append(sentences, c.Name+": "+c.Sentence)
		}
	}
	return names, sentences
}

// honest runs each plan without a bug once, whichever rows share it.
type honest struct {
	mu    sync.Mutex
	plans map[string]*sync.Once
}

func (h *honest) check(t *testing.T, p plan) {
	t.Helper()
	p.Mutant = ""
	name := fmt.Sprintf("%+v", p)
	h.mu.Lock()
	once := h.plans[name]
	if once == nil {
		once = new(sync.Once)
		h.plans[name] = once
	}
	h.mu.Unlock()
	once.Do(func() {
		if f := try(t, p); f.Verdict != check.Pass {
			t.Errorf("%s without the bug: %s: %s", name, f.Verdict, strings.Join(f.others(), "; "))
		}
	})
}

// others are the sentences of the checkers that did not pass.
func (f finding) others() (sentences []string) {
	for _, c := range f.Checkers {
		if c.Verdict != check.Pass {
			sentences = append(sentences, fmt.Sprintf("%s %s: %s", c.Name, c.Verdict, c.Sentence))
		}
	}
	return sentences
}

// more is how many seeds a row may take beyond those asked for, where those are few: a
// plan that catches its bug 19 times of 20 misses it once in every other run of all rows.
const more = 2

// TestMutants plants each bug and wants it caught by the checker that is named for
// it, in 19 of 20 seeds, or, of fewer, in that part of them; and the same plans without
// a bug must pass.
func TestMutants(t *testing.T) {
	clean := &honest{plans: map[string]*sync.Once{}}
	want, most := max(1, *seeds*19/20), *seeds
	if *seeds < 20 {
		most += more
	}
	for _, row := range table {
		t.Run(row.mutant, func(t *testing.T) {
			t.Parallel()
			caught, tried := 0, 0
			for ; tried < *seeds || caught < want && tried < most; tried++ {
				began := time.Now()
				p := row.needs
				p.Mutant, p.Seed = row.mutant, *seed+int64(tried)
				f := try(t, p)
				names, sentences := f.failed()
				if slices.ContainsFunc(row.caughtBy, func(c string) bool { return slices.Contains(names, c) }) {
					caught++
				}
				t.Logf("seed %d: %s in %v: %s", p.Seed, f.Verdict, time.Since(began).Round(time.Second), strings.Join(sentences, "; "))
				clean.check(t, p)
			}
			if caught < want {
				t.Error(fmt.Sprintf("caught by %s in %d of %d seeds", strings.Join(row.caughtBy, " or "), caught, tried))
			}
		})
	}
}

func TestEveryPlantedBugHasARow(t *testing.T) {
	for _, name := range mutant.Names {
		row := slices.ContainsFunc(table, func(p planted) bool { return p.mutant == name })
		if row == (missed[name].test != "") {
			t.Errorf("%s: in the table %v, and missed because of %q", name, row, missed[name].why)
		}
	}
}
