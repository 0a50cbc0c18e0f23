package nemesis

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/store"
)

// The faults.
const (
	Partition = "partition" // silence between two sides, both ways
	OneWay    = "oneway"    // what the others send to a minority does not arrive; what it sends does
	Away      = "away"      // silence around one node, for so long that others may forget what it lacks
	Bridge    = "bridge"    // silence between two halves, and one node that hears both
	Kill      = "kill"      // kill -9 of a minority, then a restart
	Pause     = "pause"     // SIGSTOP of a minority, then SIGCONT

	Reset      = "reset"      // a partition whose links break with errors
	Delay      = "delay"      // every link is late, and out of step
	Power      = "power"      // kill -9 of all nodes at once; in memory, un-synced bytes are lost
	DiskSlow   = "disk-slow"  // every sync of a minority takes longer
	Skew       = "skew"       // the wall clocks of a minority are wrong by up to ten seconds
	Stall      = "stall"      // a leader's disk stands still while it is cut off: it does not notice
	Succession = "succession" // a leader is killed, and every link is late from then on
	Transfer   = "transfer"   // leaders hand their groups to other members
	Membership = "membership" // a node leaves, and a new one takes its place
	Revive     = "revive"     // a node is cut off, killed there, and started again once the links are whole
	Jump       = "jump"       // a node is cut off and starts again there, with its clock set back
)

// Names lists the faults. "none" asks for none of them.
var Names = []string{Partition, OneWay, Away, Bridge, Kill, Pause, Reset, Delay, Power, DiskSlow, Skew, Stall, Succession, Transfer, Membership, Revive, Jump}

// slots are those faults that need more time than leastSlot: another leader, or a start.
var slots = map[string]time.Duration{Stall: 4 * time.Second, Membership: 4 * time.Second, Power: 4 * time.Second, Revive: 8 * time.Second, Jump: 8 * time.Second, Succession: 6 * time.Second, Away: 16 * time.Second}

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
	Duration  time.Duration // of the whole schedule, heals included
	Seed      int64
	Keyspaces []string     // those of which a leader may be cut off
	Progress  func(string) // hears of each fault; may be nil
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
	Shape Shape         // of a partition; of a kill, Leader or none
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
		slot := max(slots[round[0]], least+share(most-least, rng.Float64()))
		if at+slot > c.Duration {
			return steps, nil
		}
		steps = append(steps, draw(rng, round[0], at, slot, nodes))
		round = round[1:]
		at += slot
	}
}

// atLeast is how many nodes a fault needs, so that it is one.
var atLeast = map[string]int{
	Partition: 2, OneWay: 2, Away: 2, Bridge: 3, Kill: 3, Pause: 3, Reset: 2, Delay: 2, DiskSlow: 2, Skew: 2, Stall: 3, Succession: 3, Transfer: 2, Membership: 2, Revive: 3, Jump: 3,
}

// least is the time in which every fault can happen once.
func (c Config) least() (need time.Duration) {
	for _, fault := range c.Faults {
		need += max(leastSlot, slots[fault])
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
		if need := atLeast[fault]; len(nodes) < need {
			return invalid("%s needs %d nodes, there are %d", fault, need, len(nodes))
		}
	}
	if need := c.least(); c.Duration < need {
		return invalid("%v is too short for %s, which need %v", c.Duration, strings.Join(c.Faults, " and "), need)
	}
	return nil
}

// draw fills the slot that begins at at.
func draw(rng *rand.Rand, fault string, at, slot time.Duration, nodes []string) Step {
	s := Step{
		Fault: fault,
		Begin: at + share(slot, 0.1+0.15*rng.Float64()),
		Hold:  share(slot, 0.3+0.2*rng.Float64()),
	}
	few := 1 + rng.IntN(max(1, (len(nodes)-1)/2))
	switch fault {
	case Stall, Succession:
		s.Hold = max(s.Hold, share(slots[fault], 0.73))
		few = 1
	case Away:
		s.Shape, few = One, 1
	case Transfer, Membership:
		few = 1
	case Revive, Jump:
		s.Hold, few = max(s.Hold, share(slots[fault], 0.6)), 1
	case Kill:
		if rng.IntN(2) == 0 {
			s.Shape, few = Leader, 1
		}
	case Partition, Reset:
		s.Shape = shapes[rng.IntN(len(shapes))]
		few = map[Shape]int{Halves: len(nodes) / 2, Minority: few, One: 1, Leader: 1}[s.Shape]
	case Bridge:
		few = (len(nodes) + 1) / 2
	}
	for _, i := range rng.Perm(len(nodes))[:few] {
		s.Nodes = append(s.Nodes, nodes[i])
	}
	if fault != Bridge {
		slices.Sort(s.Nodes) // of a bridge's, the first hears both halves
	}
	return s
}

func share(d time.Duration, of float64) time.Duration { return time.Duration(float64(d) * of) }
