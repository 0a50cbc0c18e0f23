package bugs

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/internal/node"
	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/nemesis"
	"github.com/dialkv/dialkv/jepsen-lite/scenario"
	"github.com/dialkv/dialkv/jepsen-lite/workload"
	"github.com/dialkv/dialkv/store"
)

// Row is a planted bug and the plan that shows it. A bug may have several.
type Row struct {
	Bug  string // of mutant.Bugs
	Plan Plan
	Must []Need // without any of these parts of the plan nobody sees the bug
	// Virtual is how long and how busy the plan is where time is virtual, and Real where it
	// is not. There a second costs a second: what needs many chances takes a higher rate.
	Virtual, Real Pace
	CaughtBy      []string      // checkers, any of these
	As            check.Verdict // what they say then; Fail if empty
}

// Need is a part of a plan that makes its run unlike an ordinary one.
type Need string

// The needs.
const (
	Faults   Need = "faults" // all of the plan's
	Latency  Need = "late links"
	Short    Need = "short logs"
	Unsynced Need = "no fsync"
)

// Plan is what clients do, what is done to the nodes, and what the nodes are like.
type Plan struct {
	Workload string        `json:"workload"`
	Faults   []string      `json:"faults"`
	Latency  time.Duration `json:"latency_ns"` // of a link; 1 ms if zero
	Short    bool          `json:"short_logs"` // they are cut so often that a node which was away needs a snapshot
	Unsynced bool          `json:"unsynced"`   // ap keyspaces do not wait for their disks
}

// Pace is how long a plan lasts, and its operations a second.
type Pace struct {
	Length time.Duration
	Rate   float64
}

// The paces of a row that names none.
var (
	inVirtualTime = Pace{time.Minute, 100}
	inRealTime    = Pace{20 * time.Second, 400}
)

// Unseen is a planted bug that no plan catches: why, and the unit test that does.
type Unseen struct {
	Bug     string `json:"-"`
	Why     string `json:"why"`
	Package string `json:"package"`
	Test    string `json:"test"`
}

// Breaks says what a bug breaks.
func Breaks(bug string) string {
	i := slices.IndexFunc(mutant.Bugs, func(b mutant.Bug) bool { return b.Name == bug })
	return mutant.Bugs[i].Breaks
}

// InVirtualTime is the row's pace in a bubble.
func (r Row) InVirtualTime() Pace { return r.Virtual.or(inVirtualTime) }

// InRealTime is the row's pace outside of one.
func (r Row) InRealTime() Pace { return r.Real.or(inRealTime) }

func (p Pace) or(q Pace) Pace {
	return Pace{cmp.Or(p.Length, q.Length), cmp.Or(p.Rate, q.Rate)}
}

// Needs are those that the plan has.
func (p Plan) Needs() []Need {
	var needs []Need
	for need, has := range map[Need]bool{Faults: len(p.Faults) > 0, Latency: p.Latency > 0, Short: p.Short, Unsynced: p.Unsynced} {
		if has {
			needs = append(needs, need)
		}
	}
	slices.Sort(needs)
	return needs
}

// Without is the plan without one of its needs.
func (p Plan) Without(need Need) Plan {
	switch need {
	case Faults:
		p.Faults = nil
	case Latency:
		p.Latency = 0
	case Short:
		p.Short = false
	case Unsynced:
		p.Unsynced = false
	}
	return p
}

// Tell says a need of the plan in words.
func (p Plan) Tell(need Need) string {
	switch need {
	case Faults:
		return strings.Join(p.Faults, ",")
	case Latency:
		return "links of " + p.Latency.String()
	}
	return string(need)
}

// String is the plan on one line.
func (p Plan) String() string {
	words := []string{p.Workload}
	for _, need := range p.Needs() {
		words = append(words, p.Tell(need))
	}
	return strings.Join(words, ", ")
}

// Options are the plan's for a scenario.
func (p Plan) Options(pace Pace, seed int64) scenario.Options {
	o := scenario.Options{
		Load:   workload.Config{Workload: p.Workload, Duration: pace.Length, Rate: pace.Rate, Seed: seed},
		Faults: p.Faults, Durability: store.Fsync,
	}
	if p.Unsynced {
		o.Durability = store.OS
	}
	return o
}

// patient is for links so late that the leaders of a classroom would not last.
const patient = 50 * time.Millisecond

// Cluster is what the plan's cluster is like. A leader whose disk stands still must be
// held up by it, as one that was paused is.
func (p Plan) Cluster(seed int64) localcluster.MemoryConfig {
	latency := cmp.Or(p.Latency, time.Millisecond)
	c := localcluster.MemoryConfig{Seed: uint64(seed), Latency: latency, Jitter: latency / 2}
	if p.Short {
		c.Storage = ShortLogs()
	}
	if latency >= patient {
		c.Timing = node.Classroom
		c.Timing.Raft.Heartbeat, c.Timing.Raft.Election, c.Timing.Raft.Lease = 10*latency, 10*latency, 6*latency
	}
	c.Storage.SyncFirst = slices.Contains(p.Faults, nemesis.Stall)
	return c
}

// ShortLogs are cut so often that a node which was away needs a snapshot.
func ShortLogs() node.Storage {
	s := node.Storage{CausalLog: 2 << 10}
	s.Compaction.Threshold, s.Compaction.Trailing, s.Compaction.Interval = 16, 32, time.Second
	return s
}
