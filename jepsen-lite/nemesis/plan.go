package nemesis

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/store"
)

// Parse reads a list of faults, "partition,kill". "none" and the empty list are no
// faults.
func Parse(list string) ([]string, error) {
	var faults []string
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		switch {
		case name == "none" || name == "":
		case !slices.Contains(Names, name):
			return nil, unknown(name)
		case !slices.Contains(faults, name):
			faults = append(faults, name)
		}
	}
	return faults, nil
}

func unknown(name string) error {
	return &store.Error{
		Code: store.Invalid, Op: "nemesis", Msg: fmt.Sprintf("the fault %q is not known", name),
		Try: "a list of " + strings.Join(Names, ", ") + ", or none",
	}
}

// Config is which faults, for how long, and where.
type Config struct {
	Faults    []string      // of Names; none: nothing happens
	Links     string        // that Matrix cuts: sides, "n1,n2|n3,n4,n5", or links, "n1->n2; n3<->n4"
	Duration  time.Duration // of the whole schedule, heals included
	Seed      int64
	Keyspaces []string // those of which a leader may be cut off
	// Only are the steps that are done, of those that are drawn, by number from 0; nil is
	// all. The others leave their time empty: so a plan can lose one fault and keep the rest.
	Only     []int
	Progress func(string) // hears of each fault; may be nil
}

// Shape says how a partition's sides are drawn.
type Shape string

// The shapes. With an odd number of nodes all are a majority and a minority.
const (
	Halves   Shape = "halves"
	Minority Shape = "minority" // of any size
	One      Shape = "one"
	Leader   Shape = "leader" // of a group of the keyspaces, alone; One if nobody leads
)

var shapes = []Shape{Leader, Halves, One, Minority}

// Step is one fault of the schedule.
type Step struct {
	Fault string
	Shape Shape         // of a partition; else Leader or none
	Nodes []string      // one side of the cut (the bridge first, if there is one), or who is killed or paused
	Begin time.Duration // since the schedule began; later if the one before is not healed yet
	Hold  time.Duration // until it is healed
}

// A slot is the time of one fault with its wait and its heal.
const (
	leastSlot = time.Second
	shortSlot = 2 * time.Second
	longSlot  = 6 * time.Second
)

// Plan draws the schedule. The same seed gives the same one. Every fault comes at
// least once; a Duration that has no room for that is Invalid.
func (c Config) Plan(nodes []string) ([]Step, error) {
	if err := c.check(nodes); err != nil || len(c.Faults) == 0 {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(uint64(c.Seed), 0x6e656d65736973))
	most := min(longSlot, (c.Duration-c.least())/time.Duration(len(c.Faults))+leastSlot)
	least := min(shortSlot, most)
	var steps []Step
	var round []string
	for at := time.Duration(0); ; {
		if len(round) == 0 {
			round = slices.Clone(c.Faults)
			rng.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
		}
		slot := max(kindOf(round[0]).slot, least+share(most-least, rng.Float64()))
		if at+slot > c.Duration {
			return c.only(steps)
		}
		steps = append(steps, draw(rng, round[0], at, slot, nodes))
		round = round[1:]
		at += slot
	}
}

// only leaves the steps that are asked for.
func (c Config) only(drawn []Step) ([]Step, error) {
	if c.Only == nil {
		return drawn, nil
	}
	steps := []Step{}
	for _, i := range slices.Compact(slices.Sorted(slices.Values(c.Only))) {
		if i < 0 || i >= len(drawn) {
			return nil, &store.Error{Code: store.Invalid, Op: "nemesis", Msg: fmt.Sprintf("there is no step %d, the plan has %d, from 0", i, len(drawn))}
		}
		steps = append(steps, drawn[i])
	}
	return steps, nil
}

// least is the time in which every fault can happen once.
func (c Config) least() (need time.Duration) {
	for _, fault := range c.Faults {
		need += max(leastSlot, kindOf(fault).slot)
	}
	return need
}

func (c Config) check(nodes []string) error {
	invalid := func(format string, args ...any) error {
		return &store.Error{Code: store.Invalid, Op: "nemesis", Msg: fmt.Sprintf(format, args...)}
	}
	for _, fault := range c.Faults {
		if !slices.Contains(Names, fault) {
			return unknown(fault)
		}
		if need := kindOf(fault).nodes; len(nodes) < need {
			return invalid("%s needs %d nodes, there are %d", fault, need, len(nodes))
		}
	}
	if slices.Contains(c.Faults, Matrix) || c.Links != "" {
		if _, err := c.matrix(nodes); err != nil {
			return err
		}
	}
	if need := c.least(); c.Duration < need {
		return invalid("%v is too short for %s, which need %v", c.Duration, strings.Join(c.Faults, " and "), need)
	}
	return nil
}

// matrix reads which links Matrix cuts.
func (c Config) matrix(nodes []string) ([]link.Rule, error) {
	switch {
	case c.Links == "":
		return nil, &store.Error{Code: store.Invalid, Op: "nemesis", Msg: "the fault matrix cuts links that are named, and none is", Try: "--cut 'n1,n2|n3', --cut 'n1->n2; n2<->n3'"}
	case !slices.Contains(c.Faults, Matrix):
		return nil, &store.Error{Code: store.Invalid, Op: "nemesis", Msg: fmt.Sprintf("links are named to be cut (%.80q), and the fault matrix is not asked for", c.Links), Try: "--nemesis matrix"}
	case strings.Contains(c.Links, "|"):
		return link.ParsePartition(c.Links, nodes)
	}
	var rules []link.Rule
	for spec := range strings.SplitSeq(c.Links, ";") {
		pairs, err := link.ParseLinks(strings.TrimSpace(spec), nodes)
		if err != nil {
			return nil, err
		}
		for _, p := range pairs {
			rules = append(rules, link.Rule{From: p.From, To: p.To, Action: link.Hole})
		}
	}
	return rules, nil
}

// draw fills the slot that begins at at.
func draw(rng *rand.Rand, fault string, at, slot time.Duration, nodes []string) Step {
	k := kindOf(fault)
	s := Step{
		Fault: fault,
		Begin: at + share(slot, 0.1+0.15*rng.Float64()),
		Hold:  share(slot, 0.3+0.2*rng.Float64()),
	}
	s.Hold = max(s.Hold, share(k.slot, k.hold))
	few := 1 + rng.IntN(max(1, (len(nodes)-1)/2))
	switch k.on {
	case one:
		few = 1
	case theLeader:
		s.Shape, few = Leader, 1
	case leaderOrFew:
		if rng.IntN(2) == 0 {
			s.Shape, few = Leader, 1
		}
	case sides:
		s.Shape = shapes[rng.IntN(len(shapes))]
		few = map[Shape]int{Halves: len(nodes) / 2, Minority: few, One: 1, Leader: 1}[s.Shape]
	case bridgeAndHalf:
		few = (len(nodes) + 1) / 2
	case aThird:
		few = (len(nodes) + 1) / 3
	case everyNode:
		few = len(nodes)
	}
	for _, i := range rng.Perm(len(nodes))[:few] {
		s.Nodes = append(s.Nodes, nodes[i])
	}
	if k.on != bridgeAndHalf && k.on != everyNode { // there the order matters
		slices.Sort(s.Nodes)
	}
	return s
}

func share(d time.Duration, of float64) time.Duration { return time.Duration(float64(d) * of) }
