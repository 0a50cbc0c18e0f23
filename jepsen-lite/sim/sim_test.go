package sim_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/node"
	"github.com/dialkv/dialkv/jepsen-lite/bugs"
	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/nemesis"
	"github.com/dialkv/dialkv/jepsen-lite/scenario"
	"github.com/dialkv/dialkv/jepsen-lite/workload"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

var (
	hours  = flag.Float64("sim.hours", defaultHours, "virtual hours with each workload, in runs of half an hour at most")
	faults = flag.String("sim.faults", "partition,kill", "what happens to the nodes meanwhile, as kvctl check run --nemesis takes it")
	rate   = flag.Float64("sim.rate", defaultRate, "operations each virtual second")
	seed   = flag.Int64("sim.seed", 1, "seed of the first run")
)

// unhurried is a timing between a classroom's and production's: what an idle cluster
// costs is mostly heartbeats, and virtual time passes as fast as they are few.
var unhurried = node.Timing{Raft: cp.Timing{
	Heartbeat: 500 * time.Millisecond, Election: 500 * time.Millisecond,
	Lease: 300 * time.Millisecond, Commit: 100 * time.Millisecond,
}}

// short is a cluster whose logs are cut so often that a node which was away needs a
// snapshot.
var short = localcluster.MemoryConfig{Latency: time.Millisecond, Storage: bugs.ShortLogs()}

// record runs a scenario in a bubble. Checkers run outside of it: they measure real
// time.
func record(t *testing.T, o scenario.Options, on localcluster.MemoryConfig) *scenario.Recording {
	t.Helper()
	var r *scenario.Recording
	recordTo(t, o, on, &r)
	return r
}

// recordTo is record for a cluster that may not come to its end: what was recorded is
// there nevertheless.
func recordTo(t *testing.T, o scenario.Options, on localcluster.MemoryConfig, to **scenario.Recording) {
	t.Helper()
	o.Progress = func(line string) { t.Log(line) }
	linktest.Bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), o.Load.Duration+10*time.Minute)
		defer cancel()
		on.Seed, on.Jitter, on.Timing, on.Storage.MemTable = uint64(o.Load.Seed), on.Latency/2, unhurried, memTable(o.Faults)
		cluster, err := localcluster.NewMemory(ctx, on)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := cluster.Close(); err != nil {
				t.Error(err)
			}
		}()
		if *to, err = scenario.Record(ctx, cluster, o); err != nil {
			t.Fatal(err)
		}
	})
}

// memTable is how large a node's memtable may grow, and with it its log. An in-memory disk
// copies the whole log at each sync, so a large one makes a long run slow. But no table may
// be written while a disk stands still: that would hold up virtual time.
func memTable(faults []string) uint64 {
	if slices.Contains(faults, nemesis.DiskSlow) || slices.Contains(faults, nemesis.Stall) {
		return 64 << 20
	}
	return 256 << 10
}

func judge(t *testing.T, r *scenario.Recording) scenario.Outcome {
	t.Helper()
	outcome, err := r.Judge()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range outcome.Checkers {
		t.Logf("%-22s %-8s %+v %s", c.Name, c.Verdict, c.Compared, c.Sentence)
	}
	return outcome
}

// TestMembersComeAndGo replaces one node after the other, with cuts in between, under
// workloads of ap keyspaces.
func TestMembersComeAndGo(t *testing.T) {
	minutes(t, []string{"roaming", "causal", "counter", "ap-watch"}, nemesis.Membership, nemesis.Partition)
}

// TestClocksAreWrong sets wall clocks wrong by seconds, with cuts in between. They order
// concurrent writes, and end values by as much early or late; they promise nothing else.
func TestClocksAreWrong(t *testing.T) {
	minutes(t, []string{"roaming", "causal", "bounded", "delete", "ap-ttl"}, nemesis.Skew, nemesis.Partition)
}

// TestDisksGoAndNodesRestart loses one node after the other for good, and restarts all of
// them in turns.
func TestDisksGoAndNodesRestart(t *testing.T) {
	busyMinutes(t, []string{"register", "roaming"}, nemesis.Wipe, nemesis.Restart)
}

// TestLinksAreCutAndBad cuts off who leads, cuts links into a ring, loses and delays what
// they carry, and a zone goes dark.
func TestLinksAreCutAndBad(t *testing.T) {
	busyMinutes(t, []string{"register", "causal"}, nemesis.Isolate, nemesis.Ring, nemesis.Zone, nemesis.Loss, nemesis.Jitter)
}

// TestLinksAreNarrowAndOutOfOrder lets gossip come twice and out of order, and makes all
// links narrow; and strangers flood nodes with connections.
func TestLinksAreNarrowAndOutOfOrder(t *testing.T) {
	busyMinutes(t, []string{"register", "causal"}, nemesis.Duplicate, nemesis.Reorder, nemesis.Bandwidth, nemesis.Flood)
}

// TestDisksFail lets nodes end by disks that are full, or broken, and start again.
func TestDisksFail(t *testing.T) {
	busyMinutes(t, []string{"register", "roaming"}, nemesis.DiskFull, nemesis.DiskError)
}

// TestNamedLinksAreCut cuts one link one way and another both ways, again and again.
func TestNamedLinksAreCut(t *testing.T) {
	outcome := judge(t, record(t, scenario.Options{
		Load:   workload.Config{Workload: "register", Duration: time.Minute, Rate: 100, Seed: *seed},
		Faults: []string{nemesis.Matrix}, Links: "n1->n2; n3<->n4",
	}, short))
	if outcome.Verdict != check.Pass {
		t.Errorf("verdict %s", outcome.Verdict)
	}
}

// TestClocksGoToAndFro strobes the wall clock that orders concurrent writes, and ends values.
func TestClocksGoToAndFro(t *testing.T) {
	minutes(t, []string{"roaming", "ap-ttl"}, nemesis.Strobe, nemesis.Partition)
}

// TestKeyspacesInMemory kills nodes, which are emptied by it, and cuts links. What a
// session has seen it goes on to see, or is told that it cannot; replicas become equal.
func TestKeyspacesInMemory(t *testing.T) {
	minutesOn(t, store.Memory, defaultRate, []string{"causal", "roaming", "delete"}, nemesis.Kill, nemesis.Partition)
}

// minutes keeps five nodes under faults for a virtual minute with each workload.
func minutes(t *testing.T, workloads []string, faults ...string) {
	t.Helper()
	minutesOn(t, store.Fsync, defaultRate, workloads, faults...)
}

// busyMinutes is minutes with so many operations that some meet even where faults leave
// few of them.
func busyMinutes(t *testing.T, workloads []string, faults ...string) {
	t.Helper()
	minutesOn(t, store.Fsync, 100, workloads, faults...)
}

func minutesOn(t *testing.T, durability store.Durability, rate float64, workloads []string, faults ...string) {
	t.Helper()
	for i, name := range workloads {
		t.Run(name, func(t *testing.T) {
			outcome := judge(t, record(t, scenario.Options{
				Load:   workload.Config{Workload: name, Duration: time.Minute, Rate: rate, Seed: *seed + int64(i)},
				Faults: faults, Durability: durability,
			}, short))
			if outcome.Verdict != check.Pass {
				t.Errorf("verdict %s", outcome.Verdict)
			}
		})
	}
}

// longest is the virtual length of one run: its history is still judged in seconds, and a
// seed that fails is run again in a minute.
const longest = 30 * time.Minute

// TestSim keeps five production nodes under cuts and crashes for some virtual minutes
// with each workload, and has the history judged. Hours are many runs, each with a seed of
// its own, which gives it again, as many at a time as there are processors.
func TestSim(t *testing.T) {
	what, err := nemesis.Parse(*faults)
	if err != nil {
		t.Fatal(err)
	}
	total := time.Duration(*hours * float64(time.Hour))
	runs := int((total + longest - 1) / longest)
	for _, name := range workload.Names {
		t.Run(name, func(t *testing.T) {
			if *shrink {
				plan := bugs.Plan{Workload: name, Faults: what, Short: true}
				shrinkFailing(t, trialOf{Plan: plan, Pace: bugs.Pace{Length: total / time.Duration(runs), Rate: *rate}, Seed: *seed})
				return
			}
			sum, began := new(tally), time.Now()
			t.Run("runs", func(t *testing.T) {
				for n := range runs {
					o := scenario.Options{
						Load:   workload.Config{Workload: name, Rate: *rate, Duration: total / time.Duration(runs), Seed: *seed + int64(n)},
						Faults: what,
					}
					t.Run(fmt.Sprint("seed ", o.Load.Seed), func(t *testing.T) {
						t.Parallel()
						sum.add(pass(t, o))
					})
				}
			})
			t.Logf("%d runs, %v of virtual time in %v, %.0f ×; %d operations, %d faults", runs, total, time.Since(began).Round(time.Second),
				total.Seconds()/time.Since(began).Seconds(), sum.operations.Load(), sum.faults.Load())
		})
	}
}

// tally adds up what several runs did.
type tally struct{ operations, faults atomic.Int64 }

func (s *tally) add(o scenario.Outcome) {
	s.operations.Add(int64(o.Load.OK + o.Load.Failed + o.Load.Unknown))
	s.faults.Add(int64(len(o.Faults)))
}

// pass records a run, and wants its history to pass.
func pass(t *testing.T, o scenario.Options) scenario.Outcome {
	t.Helper()
	began := time.Now()
	recording := record(t, o, short)
	ran := time.Since(began)
	outcome := judge(t, recording)
	t.Logf("seed %d: %v of virtual time in %v, %.0f ×; judged in %v; %d operations, %d faults",
		o.Load.Seed, o.Load.Duration, ran.Round(time.Millisecond), o.Load.Duration.Seconds()/ran.Seconds(),
		(time.Since(began) - ran).Round(time.Millisecond), outcome.Load.OK+outcome.Load.Failed+outcome.Load.Unknown, len(outcome.Faults))
	if outcome.Verdict != check.Pass {
		t.Errorf("verdict %s", outcome.Verdict)
	}
	return outcome
}
