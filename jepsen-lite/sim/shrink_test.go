package sim_test

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/bugs"
	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/nemesis"
)

var (
	shrink = flag.Bool("sim.shrink", false, "make the plan of a run that fails as small as it can be and still fail, and print it")
	tries  = flag.Int("sim.tries", 3, "how often a smaller plan may pass before it counts as one that does not fail")
	budget = flag.Int("sim.budget", 100, "runs that shrinking may take")
)

// defaultClients is how many a workload has that says nothing else.
const defaultClients = 10

// Limits below which nothing is shrunk: a load of one is never concurrent, and the
// nemesis has five sixths of the time.
const (
	leastClients = 2
	leastRate    = 10
	leastLength  = 3 * time.Second
)

// shrinkFailing shrinks a plan if it fails.
func shrinkFailing(t *testing.T, p trialOf) {
	t.Helper()
	s := shrinking{t: t, tries: *tries, most: *budget}
	small, ok := s.shrink(p)
	if !ok {
		t.Logf("seed %d does not fail in %d runs", p.Seed, s.runs)
		return
	}
	t.Errorf("seed %d fails; the smallest plan of %d runs that does is %s\n%s", p.Seed, s.runs, small, small.command())
}

// shrinking looks for a smaller plan that fails in the same way. A seed promises the same
// plan and not the same run, so each plan has several tries.
type shrinking struct {
	t     *testing.T
	tries int
	most  int // runs
	runs  int
	run   func(trialOf) []string // the checkers that fail; nil: attempt
	by    []string               // those that failed first
}

// shrink is greedy: of all plans one step smaller the first that fails takes the place
// of the one before, until none does. ok is false if the plan itself does not fail.
func (s *shrinking) shrink(p trialOf) (small trialOf, ok bool) {
	s.t.Helper()
	if s.run == nil {
		s.run = s.attempt
	}
	p.Clients = cmp.Or(p.Clients, defaultClients)
	p.Pace.Rate = cmp.Or(p.Pace.Rate, 100)
	if !s.fails(p) {
		return p, false
	}
	for {
		plans := p.smaller()
		i := slices.IndexFunc(plans, s.fails)
		if i < 0 {
			return p, true
		}
		p = plans[i]
		s.t.Logf("run %d: %s fails, too", s.runs, p)
	}
}

// fails reports whether a plan fails by one of the checkers that failed first.
func (s *shrinking) fails(p trialOf) bool {
	for try := 0; try < s.tries && s.runs < s.most; try++ {
		s.runs++
		failed := s.run(p)
		if s.by == nil && len(failed) > 0 {
			s.by = failed
		}
		if slices.ContainsFunc(failed, func(name string) bool { return slices.Contains(s.by, name) }) {
			return true
		}
	}
	return false
}

// attempt runs a plan in a process of its own. One that does not come to a verdict is
// another failure, and not looked for here.
func (s *shrinking) attempt(p trialOf) []string {
	f, log, err := p.attempt(s.t)
	if err != nil {
		s.t.Logf("%s: %v\n%s", p, err, log[max(0, len(log)-2000):])
		return nil
	}
	if f.Verdict != check.Fail {
		return nil
	}
	var names []string
	for _, c := range f.Checkers {
		if c.Verdict == check.Fail {
			names = append(names, c.Name)
		}
	}
	return names
}

// steps are the faults that are drawn for a plan; none if it is too short for one of each.
func (one trialOf) steps() []nemesis.Step {
	nodes := []string{"n1", "n2", "n3", "n4", "n5"}
	steps, err := nemesis.Config{Faults: one.Plan.Faults, Duration: one.Pace.Length * 5 / 6, Seed: one.Seed}.Plan(nodes)
	if err != nil {
		return nil
	}
	return steps
}

// possible reports whether the faults that are asked for are drawn.
func (one trialOf) possible() bool {
	drawn := len(one.steps())
	return (len(one.Plan.Faults) == 0 || drawn > 0) && !slices.ContainsFunc(one.Only, func(i int) bool { return i >= drawn })
}

// smaller are the plans one step smaller, the boldest step first: fewer kinds of faults,
// fewer faults, less time, fewer clients, fewer operations.
func (one trialOf) smaller() []trialOf {
	var plans []trialOf
	with := func(change func(*trialOf)) {
		q := one
		if change(&q); q.possible() {
			plans = append(plans, q)
		}
	}
	if kinds := one.kinds(); len(kinds) < len(one.Plan.Faults) {
		with(func(q *trialOf) { q.Plan.Faults, q.Only = kinds, nil })
	}
	for _, only := range fewer(one.kept()) {
		with(func(q *trialOf) { q.Only = only })
	}
	for _, part := range []time.Duration{2, 3} { // of four
		if l := (one.Pace.Length * part / 4).Round(time.Second); l >= leastLength && l < one.Pace.Length {
			with(func(q *trialOf) { q.Pace.Length = l })
		}
	}
	if n := max(leastClients, one.Clients/2); n < one.Clients {
		with(func(q *trialOf) { q.Clients = n })
	}
	if r := max(leastRate, one.Pace.Rate/2); r < one.Pace.Rate {
		with(func(q *trialOf) { q.Pace.Rate = r })
	}
	return plans
}

// kept are the numbers of the faults that are done.
func (one trialOf) kept() []int {
	if one.Only != nil {
		return one.Only
	}
	all := make([]int, len(one.steps()))
	for i := range all {
		all[i] = i
	}
	return all
}

// kinds are those of the faults that are done.
func (one trialOf) kinds() (kinds []string) {
	steps := one.steps()
	for _, i := range one.kept() {
		if kind := steps[i].Fault; !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// fewer leaves out all, either half, and each one.
func fewer(kept []int) (sets [][]int) {
	n := len(kept)
	if n == 0 {
		return nil
	}
	sets = append(sets, []int{})
	if n > 2 {
		sets = append(sets, slices.Clone(kept[:n/2]), slices.Clone(kept[n/2:]))
	}
	for i := range kept {
		if n > 1 {
			sets = append(sets, slices.Delete(slices.Clone(kept), i, i+1))
		}
	}
	return sets
}

func (one trialOf) String() string {
	faults := "all faults of " + strings.Join(one.Plan.Faults, ",")
	switch {
	case len(one.Plan.Faults) == 0:
		faults = "no faults"
	case one.Only != nil:
		faults = fmt.Sprintf("faults %v of %s", one.Only, strings.Join(one.Plan.Faults, ","))
	}
	return fmt.Sprintf("%s for %s with %s, %d clients, %g operations a second, seed %d", one.Plan.Workload, one.Pace.Length, faults, one.Clients, one.Pace.Rate, one.Seed)
}

// command is what runs the plan again.
func (one trialOf) command() string {
	bug, tags := "", ""
	if one.Bug != "" {
		bug, tags = "KV_MUTANT="+one.Bug+" ", "-tags mutants "
	}
	b, err := json.Marshal(one)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%sgo test %s./jepsen-lite/sim -run Trial -count 1 -v -sim.trial '%s'", bug, tags, b)
}

// A made-up bug needs a kill and three clients for ten seconds; what else is in the plan
// must go, and what it needs must stay.
func TestShrinkingKeepsWhatTheFailureNeeds(t *testing.T) {
	p := trialOf{Plan: bugs.Plan{Workload: "register", Faults: []string{"partition", "kill"}}, Pace: bugs.Pace{Length: time.Minute}, Seed: 3}
	s := shrinking{t: t, tries: 1, most: 1000, run: func(p trialOf) []string {
		if !slices.Contains(p.kinds(), "kill") || p.Clients < 3 || p.Pace.Length < 10*time.Second {
			return []string{"convergence"} // another failure, which is not looked for
		}
		return []string{"linearizable", "durability"}
	}}
	small, ok := s.shrink(p)
	if !ok || !slices.Equal(small.Plan.Faults, []string{"kill"}) || len(small.kept()) != 1 || small.Clients != 5 || small.Pace.Rate != leastRate {
		t.Errorf("%v: %s", ok, small)
	}
	if small.Pace.Length < 10*time.Second || small.Pace.Length*3/4 >= 10*time.Second {
		t.Errorf("it lasts %s", small.Pace.Length)
	}
	var again trialOf
	if _, text, _ := strings.Cut(small.command(), "-sim.trial "); json.Unmarshal([]byte(strings.Trim(text, "'")), &again) != nil || again.String() != small.String() {
		t.Errorf("the command %s is of %s", small.command(), again)
	}
}

func TestShrinkingEndsWithItsRuns(t *testing.T) {
	always := func(trialOf) []string { return []string{"causal"} }
	s := shrinking{t: t, tries: 1, most: 3, run: always}
	if _, ok := s.shrink(trialOf{Plan: bugs.Plan{Workload: "causal"}, Pace: bugs.Pace{Length: time.Hour}}); !ok || s.runs != 3 {
		t.Errorf("%v after %d runs", ok, s.runs)
	}
	s = shrinking{t: t, tries: 4, most: 100, run: func(trialOf) []string { return nil }}
	if _, ok := s.shrink(trialOf{Plan: bugs.Plan{Workload: "causal"}, Pace: bugs.Pace{Length: time.Hour}}); ok || s.runs != 4 {
		t.Errorf("a plan that passes counts as one that fails, after %d runs", s.runs)
	}
}
