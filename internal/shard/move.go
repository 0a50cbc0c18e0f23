package shard

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dialkv/dialkv/store"
)

// State says whether a node stays in the cluster.
type State uint8

const (
	Member  State = iota // it stays
	Leaving              // it gets no new replica, and those it has move away
	Dead                 // the same, and nothing waits for it
	Removed              // it is out, and neither its directory nor its name comes back
)

func (s State) String() string {
	switch s {
	case Member:
		return "member"
	case Leaving:
		return "leaving"
	case Dead:
		return "dead"
	case Removed:
		return "removed"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Move is a change of a group's members that is under way. Who comes and who goes
// are both among the group's members, so that every node that may have a replica is
// named: one that is not named has none, or may drop it.
type Move struct {
	Joining []string // of the members: they have no vote, or do not count, yet
	Leaving []string // of the members: on their way out; a newcomer that is given up is joining too
	// Changes counts the changes since the group was made. Its members found the
	// group as long as it is 0; from then on a new member joins and never founds. Of
	// an ap group it is the epoch of the placement.
	Changes uint64
}

// Settled reports whether nothing moves.
func (m Move) Settled() bool { return len(m.Joining) == 0 && len(m.Leaving) == 0 }

// Move returns what moves in a shard.
func (k Keyspace) Move(shard uint32) Move {
	if uint64(shard) >= uint64(len(k.Moves)) {
		return Move{}
	}
	return k.Moves[shard]
}

// Target returns the members that the shard shall have.
func (k Keyspace) Target(shard uint32) []string {
	return without(k.Members(shard), k.Move(shard).Leaving)
}

// Serving returns the members that have had a replica for some time: all but those
// that are joining.
func (k Keyspace) Serving(shard uint32) []string {
	return without(k.Members(shard), k.Move(shard).Joining)
}

func without(list, out []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(name string) bool { return slices.Contains(out, name) })
}

// Step is the next change of a group's members, and the record as it is after it.
type Step struct {
	Keyspace Keyspace // as it is before
	Shard    uint32
	Members  []string
	Move     Move
}

// Newcomers are those that join and shall stay.
func (m Move) Newcomers() []string { return without(m.Joining, m.Leaving) }

// Repair plans the next change of each group that does not have the members it shall
// have: those on nodes that leave are replaced, and a group with too few members gets
// one. A group changes one member at a time: while one is joining or leaving, nothing
// new begins, except that a newcomer which is lost itself is replaced, and that a dead
// member of an ap group is out at once: nothing of it is waited for, and the others
// would wait for it. alive says who may get a replica now.
func Repair(t Topology, alive func(node string) bool) []Step {
	p := planner{states: make(map[string]State), zones: make(map[string]string), load: make(map[string]int)}
	for _, n := range t.Nodes {
		p.states[n.Name], p.zones[n.Name] = n.State, n.Zone
		if n.State == Member && alive(n.Name) {
			p.candidates = append(p.candidates, n.Name)
		}
	}
	for _, k := range t.Keyspaces {
		for s := range k.Placement {
			for _, name := range k.Target(uint32(s)) {
				p.load[name]++
			}
		}
	}
	var steps []Step
	for _, k := range t.Keyspaces {
		for s := range k.Placement {
			if step, ok := p.next(k, uint32(s)); ok {
				steps = append(steps, step)
			}
		}
	}
	return steps
}

type planner struct {
	states     map[string]State
	zones      map[string]string
	load       map[string]int // replicas a node has or is getting
	candidates []string
}

// next plans the next change of one group.
func (p *planner) next(k Keyspace, s uint32) (Step, bool) {
	step := Step{Keyspace: k, Shard: s, Members: slices.Clone(k.Members(s)), Move: k.Move(s)}
	if k.Mode == store.AP {
		step = p.bury(step)
	}
	joining, leaving := slices.Clone(step.Move.Joining), slices.Clone(step.Move.Leaving)
	lost := func(name string) bool { return p.state(name) != Member }
	// A newcomer that is lost goes again, whatever else is under way.
	for _, name := range step.Move.Newcomers() {
		if lost(name) {
			leaving = append(leaving, name)
		}
	}
	if step.Move.Settled() {
		if i := p.firstLost(step.Members); i >= 0 {
			leaving = append(leaving, step.Members[i])
		}
	}
	target := without(step.Members, leaving)
	if step.Move.Settled() && len(leaving) == 0 && len(target) > k.Replicas && k.Replicas > 0 {
		if name, ok := p.spare(k.Mode, target); ok {
			leaving = append(leaving, name)
			p.load[name]--
		}
	}
	if len(without(joining, leaving)) == 0 && len(target) < k.Replicas {
		if name, ok := p.choose(step.Members, target); ok {
			step.Members, joining = append(step.Members, name), append(joining, name)
			p.load[name]++
		}
	}
	if slices.Equal(step.Members, k.Members(s)) && slices.Equal(joining, k.Move(s).Joining) && slices.Equal(leaving, k.Move(s).Leaving) {
		return Step{}, false
	}
	step.Move = Move{Joining: joining, Leaving: leaving, Changes: step.Move.Changes + 1}
	return step, true
}

// bury takes the first dead member out of a group, unless it is the last to serve.
func (p *planner) bury(step Step) Step {
	i := slices.IndexFunc(step.Members, func(name string) bool { return p.state(name) >= Dead })
	if i < 0 {
		return step
	}
	out := step.Members[i : i+1]
	if len(without(without(step.Members, step.Move.Joining), out)) == 0 {
		return step
	}
	step.Move.Joining, step.Move.Leaving = without(step.Move.Joining, out), without(step.Move.Leaving, out)
	step.Members = without(step.Members, out)
	return step
}

// state is that of a node; one that the catalog does not name is gone.
func (p *planner) state(name string) State {
	if s, ok := p.states[name]; ok {
		return s
	}
	return Removed
}

// firstLost is the index of the member to replace first, or -1: those that are gone
// come before those that still serve while they leave.
func (p *planner) firstLost(members []string) int {
	found := -1
	for i, name := range members {
		switch s := p.state(name); {
		case s >= Dead:
			return i
		case s == Leaving && found < 0:
			found = i
		}
	}
	return found
}

// spare is the member that a group with too many gives up: one that is not alive, or
// the one whose node has the most replicas. Of an ap group it is alive: it has to give
// away what only it has.
func (p *planner) spare(mode store.Mode, members []string) (string, bool) {
	if mode == store.AP {
		members = slices.DeleteFunc(slices.Clone(members), func(name string) bool { return !slices.Contains(p.candidates, name) })
	}
	if len(members) == 0 {
		return "", false
	}
	return slices.MaxFunc(members, func(a, b string) int {
		if up := slices.Contains(p.candidates, b); up != slices.Contains(p.candidates, a) {
			if up {
				return 1
			}
			return -1
		}
		return cmp.Compare(p.load[a], p.load[b])
	}), true
}

// choose picks the node that gets a replica: in a zone where the group has none, if
// there is one, and then the one with the fewest replicas.
func (p *planner) choose(members, target []string) (string, bool) {
	crowded := make(map[string]bool)
	for _, name := range target {
		crowded[p.zones[name]] = true
	}
	best := ""
	for _, name := range p.candidates {
		if slices.Contains(members, name) {
			continue
		}
		if best == "" || p.better(name, best, crowded) {
			best = name
		}
	}
	return best, best != ""
}

func (p *planner) better(a, b string, crowded map[string]bool) bool {
	if crowded[p.zones[a]] != crowded[p.zones[b]] {
		return !crowded[p.zones[a]]
	}
	return p.load[a] < p.load[b]
}
