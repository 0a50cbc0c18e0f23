package causal

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// This file adds to the model members that are given up for lost and live on, that leave
// and come back, whose disk is replaced by an older one; and actors that are closed by
// what all members report, each at its own time, some of them long ago. It looks for a
// write of a closed actor that comes up after all, or is held and would be called lost,
// and for one that was closed in and that not everybody has.

// closing are wrong ways to close.
type closing struct {
	often int // of closings among the steps; 0: actors are not closed

	mostOf   bool // a majority of the members was heard
	asMuch   bool // members hold different numbers, and the largest is taken
	anyEpoch bool // somebody may not have heard who is out
	stale    bool // what an earlier life of a member sent may still come
	unasked  bool // actors that were heard of only by the reports
	unsynced bool // what was reported may be lost in a crash
	guess    bool // who hears of a closure takes it for what it holds
	forget   bool // who hears of a closure drops the actor
	remain   bool // who left and comes back goes on as the same actor
	outdated bool // the asker knows an older placement, and who has come since may be running
}

type closings struct {
	placements [][]bool // by epoch, by replica
	left       map[int]bool
	backups    map[int]modelState

	closed  *Closures
	asked   []Actor
	epoch   int
	reports map[int]Report
	owed    []owed
}

// owed is what every member had when it was closed, and whose disks are those still.
type owed struct {
	ends  Vector
	disks map[int]bool
}

func newClosings(n int) closings {
	return closings{placements: [][]bool{slices.Repeat([]bool{true}, n)}, left: map[int]bool{}, backups: map[int]modelState{}}
}

func (m *model) members() []bool     { return m.placements[len(m.placements)-1] }
func (m *model) isMember(i int) bool { return m.members()[i] }

// knows reports whether, as far as i has heard, j is a member.
func (m *model) knows(i, j int) bool { return m.placements[m.replicas[i].epoch][j] }

func (m *model) count() (n int) {
	for _, in := range m.members() {
		if in {
			n++
		}
	}
	return n
}

// place makes the next epoch.
func (m *model) place(i int, in bool) {
	next := slices.Clone(m.members())
	next[i] = in
	m.placements = append(m.placements, next)
}

// close is one step of all that has to do with closures.
func (m *model) close(i, j int) error {
	r := m.replicas[i]
	switch dice := m.rng.IntN(100); {
	case dice < 1 && m.count() > 2 && m.isMember(i): // it is given up for lost, and does not know
		m.place(i, false)
		m.excuse(i)
	case dice < 4 && m.count() > 2 && m.isMember(i) && m.inherited(i):
		m.place(i, false)
		m.left[i] = true
	case dice < 10 && m.left[i]:
		m.comeBack(i)
	case dice < 12:
		m.backups[i] = r.disk.clone()
	case dice < 13:
		return m.restore(i)
	case dice < 30:
		if m.isMember(i) {
			r.epoch = len(m.placements) - 1 // durable at once
		}
	case dice < 45:
		return m.hear(i)
	case dice < 55:
		m.ask(i)
	case dice < 80:
		m.report(i)
	case dice < 90:
		for _, i := range m.rng.Perm(len(m.replicas)) {
			m.report(i)
		}
	default:
		return m.decide()
	}
	return nil
}

// excuse gives up the writes that nobody else has on disk.
func (m *model) excuse(lost int) {
	for _, o := range m.owed {
		delete(o.disks, lost)
	}
	for d := range m.durable {
		held := false
		for i, r := range m.replicas {
			held = held || m.isMember(i) && r.disk.vector.Has(d)
		}
		if !held {
			delete(m.durable, d)
		}
	}
}

// inherited reports whether all others hold durably what i holds.
func (m *model) inherited(i int) bool {
	for j, r := range m.replicas {
		if i != j && m.isMember(j) && !r.disk.vector.Covers(m.replicas[i].vector) {
			return false
		}
	}
	return true
}

func (m *model) comeBack(i int) {
	delete(m.left, i)
	m.place(i, true)
	r := m.replicas[i]
	r.epoch = len(m.placements) - 1
	if !m.remain {
		m.begin(i)
	}
}

// begin gives i a new actor. Its old streams end, and what they carried may still come.
func (m *model) begin(i int) {
	m.actors++
	m.replicas[i].actor = m.actors
	for pair, s := range m.streams {
		s.ended = s.ended || pair[0] == i
		if pair[1] == i {
			delete(m.streams, pair)
		}
	}
}

// restore puts an older disk in the place of the one that is there.
func (m *model) restore(i int) error {
	old, ok := m.backups[i]
	if !ok || m.left[i] {
		return nil
	}
	r := m.replicas[i]
	r.modelState, r.disk, r.since = old.clone(), old.clone(), nil
	m.excuse(i)
	return m.crash(i)
}

// hear learns of closures.
func (m *model) hear(i int) error {
	r := m.replicas[i]
	if m.closed == nil || !m.isMember(i) {
		return nil
	}
	for a, n := range m.closed.ends {
		switch {
		case m.guess && n > 0:
			r.vector[a] = max(r.vector[a], n)
		case m.forget:
			delete(r.vector, a)
		}
	}
	if m.guess || m.forget {
		r.disk, r.since = r.clone(), nil
	}
	return m.beyond(i)
}

// beyond is the error of a member that holds more than there can be.
func (m *model) beyond(i int) error {
	if m.closed == nil || !m.isMember(i) {
		return nil
	}
	if dots := m.closed.Beyond(m.replicas[i].vector); len(dots) > 0 {
		return fmt.Errorf("replica %d holds %v, and those actors were closed before", i, dots)
	}
	return nil
}

// ask begins a round: i asks about all actors that it knows of, if then its placement is
// the newest one.
func (m *model) ask(i int) {
	if m.replicas[i].epoch < len(m.placements)-1 && !m.outdated {
		return
	}
	m.asked, m.reports, m.epoch = m.knownTo(i), map[int]Report{}, m.replicas[i].epoch
}

// knownTo is what i has of actors, and the lives of others it has heard on streams.
func (m *model) knownTo(i int) []Actor {
	known := map[Actor]bool{}
	for a := range m.replicas[i].vector {
		known[a] = true
	}
	for pair, s := range m.streams {
		if pair[1] == i {
			known[s.life] = true
		}
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(known)), func(a Actor) bool { _, closed := m.closed.End(a); return closed })
}

// report is one member's. What it says is on its disk then.
func (m *model) report(i int) {
	if m.reports == nil {
		return
	}
	if !m.unsynced {
		m.sync(i)
	}
	r := m.replicas[i]
	said := Report{Node: fmt.Sprint(i), Epoch: uint64(r.epoch), Actor: r.actor, Holds: r.vector.Clone(), Hears: map[string]Actor{}}
	for j := range m.replicas {
		if s := m.streams[[2]int{j, i}]; s != nil && j != i {
			said.Hears[fmt.Sprint(j)] = s.life
		}
	}
	m.reports[i] = said
	if m.unasked {
		m.asked = append(m.asked, m.knownTo(i)...)
	}
}

// decide closes what the reports allow, as the placement has it that the asker knew.
func (m *model) decide() error {
	var names []string
	var reports []Report
	for i, in := range m.placements[m.epoch] {
		said, ok := m.reports[i]
		if m.anyEpoch {
			said.Epoch = uint64(m.epoch)
		}
		if ok {
			reports = append(reports, said)
		}
		if in && (ok || !m.mostOf) {
			names = append(names, fmt.Sprint(i))
		}
	}
	if m.reports == nil || 2*len(names) <= m.count() {
		return nil
	}
	m.wrong(reports)
	ends := Ended(m.asked, names, uint64(m.epoch), reports)
	maps.DeleteFunc(ends, func(a Actor, _ uint64) bool { _, closed := m.closed.End(a); return closed })
	if len(ends) == 0 {
		return nil
	}
	m.closed = m.closed.With(m.closed.Number()+1, ends)
	m.reports = nil
	m.owed = append(m.owed, owed{ends, map[int]bool{}})
	for i, in := range m.placements[m.epoch] {
		if in {
			m.owed[len(m.owed)-1].disks[i] = true
		}
	}
	for i := range m.replicas {
		if err := m.beyond(i); err != nil {
			return err
		}
	}
	return nil
}

// wrong is what a wrong way makes of the reports.
func (m *model) wrong(reports []Report) {
	if m.asMuch {
		all := Vector{}
		for _, r := range reports {
			all.Join(r.Holds)
		}
		for i := range reports {
			reports[i].Holds = all
		}
	}
	if m.stale || m.mostOf {
		for i := range reports {
			for _, other := range reports {
				reports[i].Hears[other.Node] = other.Actor
			}
		}
	}
}

// gather ends the run: all members hear of all.
func (m *model) gather() {
	for i := range m.replicas {
		if m.isMember(i) {
			m.replicas[i].epoch = len(m.placements) - 1
		}
	}
	maps.DeleteFunc(m.streams, func(pair [2]int, s *modelStream) bool { return s.ended || !m.isMember(pair[0]) })
}

// complete is the error of an end that lacks what was closed in, although the disk of one
// of those that were members then is still there.
func (m *model) complete(end Vector) error {
	for _, o := range m.owed {
		if missing := end.Missing(o.ends); len(o.disks) > 0 && len(missing) > 0 {
			return fmt.Errorf("%v were closed, and nobody has them", missing)
		}
	}
	if dots := m.closed.Beyond(end); len(dots) > 0 {
		return fmt.Errorf("%v is above what was closed", dots)
	}
	return nil
}

func TestModelClosesActors(t *testing.T) {
	seeds := uint64(800)
	if testing.Short() {
		seeds = 200
	}
	closed, actors := uint64(0), 0
	for seed := range seeds {
		m := newModel(seed, variant{closing: closing{often: 60}})
		if err := m.run(800); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if closed += m.closed.Number(); m.closed != nil {
			actors += len(m.closed.ends)
		}
	}
	t.Logf("%d closures of %d actors in %d runs", closed, actors, seeds)
	if closed < seeds/2 {
		t.Errorf("%d closures in %d runs: nothing is shown", closed, seeds)
	}
}

// Each wrong way must fail in the model.
func TestModelCatchesWrongClosings(t *testing.T) {
	for name, c := range map[string]closing{
		"a majority was heard":                      {mostOf: true},
		"not every member holds as much":            {asMuch: true},
		"a member has not heard who is out":         {anyEpoch: true},
		"frames of an earlier life are on the way":  {stale: true},
		"the actor was not known when it was asked": {unasked: true},
		"what was reported may be lost":             {unsynced: true},
		"what was closed is taken for held":         {guess: true},
		"what was closed is forgotten":              {forget: true},
		"who comes back is the same actor":          {remain: true},
		"the asker's placement is an old one":       {outdated: true},
	} {
		t.Run(name, func(t *testing.T) {
			c.often = 60
			for seed := range uint64(3000) {
				if err := newModel(seed, variant{closing: c}).run(800); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Error("it passed")
		})
	}
}

// A vector is what is left of it and the number up to which it has what was closed.
func TestNumberStandsForWhatWasClosed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c *Closures
		for range rapid.IntRange(0, 4).Draw(t, "closures") {
			next := Vector{}
			for range rapid.IntRange(1, 3).Draw(t, "actors") {
				a := Actor(rapid.Uint64Range(1, 12).Draw(t, "actor"))
				if _, closed := c.End(a); !closed {
					next[a] = rapid.Uint64Range(0, 3).Draw(t, "end")
				}
			}
			c = c.With(c.Number()+rapid.Uint64Range(1, 3).Draw(t, "step"), next)
		}
		v := Vector{}
		for range rapid.IntRange(0, 12).Draw(t, "seen") {
			v[Actor(rapid.Uint64Range(1, 16).Draw(t, "actor"))] = rapid.Uint64Range(1, 3).Draw(t, "n")
		}
		if all, ok := c.Up(c.Number()); ok && rapid.Bool().Draw(t, "covers") {
			v.Join(all)
		}
		maps.DeleteFunc(v, func(_ Actor, n uint64) bool { return n == 0 })
		for _, d := range c.Beyond(v) {
			n, _ := c.End(d.Actor)
			v[d.Actor] = n
		}
		maps.DeleteFunc(v, func(_ Actor, n uint64) bool { return n == 0 })
		number := c.Covered(v, 0)
		back, ok := c.Up(number)
		if !ok {
			t.Fatalf("%d is not known, of %d", number, c.Number())
		}
		back.Join(c.Open(v, number))
		if !slices.Equal(back.Dots(), v.Dots()) {
			t.Errorf("%s is %s behind %d, which is %s", v, c.Open(v, number), number, back)
		}
		if _, ok := c.Up(c.Number() + 1); ok || c.Knows(c.Number()+1) {
			t.Error("a closure is known that there is not")
		}
		if known, all := c.Since(number), c.Since(0); len(known) > len(all) || len(known) > 0 && known[0] <= number {
			t.Errorf("behind %d of %v come %v", number, all, known)
		}
		if n := c.Sum(number) + c.Open(v, number).Sum(); n != v.Sum() {
			t.Errorf("%d writes are %d", v.Sum(), n)
		}
	})
}
