package causal

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// This file is an executable model of the counters of one key: replicas that take
// increments and deletes, pass their logs on in order, merge states whole, crash and
// begin again as another actor, and drop what they keep of deletes when these are
// settled. After every step every replica must show the sum of the increments it has
// applied less those that a delete it has applied had seen.

// countVariant is a design that must be caught.
type countVariant struct {
	foldAtOnce bool // a delete takes an actor's sum away whole, or not at all (planted bug M36)
	noBase     bool // what is gone is dropped at once
	saidIsHere bool // a delete is settled when all have it, whatever else they have
}

type countWrite struct {
	Write
	seen Vector // what its coordinator had applied; the replicas do not see it
}

// countEntry is a write, or a mark of a merge.
type countEntry struct {
	write  *countWrite
	merged Vector
}

type countReplica struct {
	actor    Actor
	vector   Vector
	siblings []Sibling
	log      []countEntry
	said     []Vector // by each peer, last
	had      []Vector // of it, settled
	next     []Vector // of it, waited for
}

// countState is a state on its way to another replica.
type countState struct {
	siblings []Sibling
	vector   Vector
}

type countModel struct {
	countVariant
	replicas []*countReplica
	flying   map[[2]int]countState
	written  map[Dot]*countWrite
	actors   Actor
}

func newCountModel(n int, v countVariant) *countModel {
	m := &countModel{countVariant: v, flying: map[[2]int]countState{}, written: map[Dot]*countWrite{}}
	for range n {
		m.actors++
		m.replicas = append(m.replicas, &countReplica{actor: m.actors, vector: Vector{}, said: make([]Vector, n), had: make([]Vector, n), next: make([]Vector, n)})
	}
	return m
}

// step does one of many things, and returns what is wrong then.
func (m *countModel) step(draw func(n int) int) error {
	i, j := draw(len(m.replicas)), draw(len(m.replicas))
	r := m.replicas[i]
	switch dice := draw(100); {
	case dice < 25:
		m.write(r, Write{Count: &Count{Delta: int64(draw(19) - 9)}})
	case dice < 35:
		m.write(r, Write{Count: &Count{}, Delete: true})
	case dice < 55:
		m.deliver(i, j)
	case dice < 58 && i != j: // a snapshot leaves
		m.flying[[2]int{i, j}] = countState{r.siblings, r.vector.Clone()}
	case dice < 60: // and arrives, at any time
		m.land(i, j)
	case dice < 82:
		m.replicas[j].said[i] = r.vector.Clone()
	case dice < 83:
		m.actors++
		r.actor = m.actors
	default:
		m.sweep(r)
	}
	return m.judge()
}

func (m *countModel) write(r *countReplica, w Write) {
	w.Dot = Dot{r.actor, r.vector[r.actor] + 1}
	if w.Delete {
		for _, s := range Alive(r.siblings) {
			w.Supersedes, w.Count.Totals = append(w.Supersedes, s.Dot), append(w.Count.Totals, s.Sum.Total)
		}
	} else {
		w.Supersedes, w.Count.Totals = Counted(r.siblings, r.actor)
	}
	written := &countWrite{Write: w, seen: r.vector.Clone()}
	m.written[w.Dot] = written
	m.apply(r, written)
}

func (m *countModel) apply(r *countReplica, w *countWrite) {
	applied := w.Write
	if m.foldAtOnce && w.Delete {
		applied.Supersedes, applied.Count = nil, &Count{}
		for i, d := range w.Supersedes {
			if holds(r.siblings, d) {
				applied.Supersedes, applied.Count.Totals = append(applied.Supersedes, d), append(applied.Count.Totals, w.Count.Totals[i])
			}
		}
	}
	r.siblings = Apply(r.siblings, applied)
	if m.noBase {
		r.siblings = Alive(r.siblings)
	}
	r.vector[w.Dot.Actor] = w.Dot.N
	r.log = append(r.log, countEntry{write: w})
}

// deliver brings from one log what the other replica lacks first, unless that needs a
// merge.
func (m *countModel) deliver(from, to int) {
	r := m.replicas[to]
	for _, e := range m.replicas[from].log {
		switch {
		case e.write == nil && !r.vector.Covers(e.merged):
			return
		case e.write != nil && !r.vector.Has(e.write.Dot):
			m.apply(r, e.write)
			return
		}
	}
}

func (m *countModel) land(from, to int) {
	s, some := m.flying[[2]int{from, to}]
	if !some {
		return
	}
	delete(m.flying, [2]int{from, to})
	r := m.replicas[to]
	r.siblings = Merge(r.siblings, r.vector, s.siblings, s.vector)
	r.vector.Join(s.vector)
	r.log = append(r.log, countEntry{merged: s.vector})
}

// sweep drops what is settled, as package ap does.
func (m *countModel) sweep(r *countReplica) {
	for p := range m.replicas {
		if r.next[p] == nil {
			r.next[p] = r.said[p]
		}
		if r.next[p] != nil && (m.saidIsHere || r.vector.Covers(r.next[p])) {
			r.had[p], r.next[p] = r.next[p], nil
		}
	}
	r.siblings = Settled(r.siblings, func(d Dot) bool {
		for p, other := range m.replicas {
			if other != r && !r.had[p].Has(d) {
				return false
			}
		}
		return true
	})
}

// judge compares every replica with what the writes it has applied come to.
func (m *countModel) judge() error {
	for i, r := range m.replicas {
		want := new(big.Int)
		for d, w := range m.written {
			if !w.Delete && r.vector.Has(d) && !m.deleted(d, r.vector) {
				want.Add(want, big.NewInt(w.Count.Delta))
			}
		}
		if got := Total(r.siblings); got.Cmp(want) != 0 {
			return fmt.Errorf("replica %d shows %s, and has applied %s", i, got, want)
		}
		if !slices.IsSortedFunc(r.siblings, func(a, b Sibling) int { return a.Dot.Compare(b.Dot) }) {
			return fmt.Errorf("replica %d holds %v, out of order", i, r.siblings)
		}
	}
	return nil
}

func (m *countModel) deleted(d Dot, applied Vector) bool {
	for _, w := range m.written {
		if w.Delete && applied.Has(w.Dot) && w.seen.Has(d) {
			return true
		}
	}
	return false
}

// settle deletes all and lets everything arrive: nothing may be left.
func (m *countModel) settle() error {
	for range len(m.replicas) * 4 {
		for i := range m.replicas {
			for j, to := range m.replicas {
				m.flying[[2]int{i, j}] = countState{m.replicas[i].siblings, m.replicas[i].vector.Clone()}
				m.land(i, j)
				m.replicas[i].said[j] = to.vector.Clone()
			}
			m.sweep(m.replicas[i])
		}
		if err := m.judge(); err != nil {
			return err
		}
		m.write(m.replicas[0], Write{Count: &Count{}, Delete: true})
	}
	for i, r := range m.replicas {
		if len(r.siblings) > 0 {
			return fmt.Errorf("replica %d keeps %+v of a counter that all have deleted", i, r.siblings)
		}
	}
	return nil
}

func TestCounterIsTheSumOfWhatNoDeleteHasSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newCountModel(rapid.IntRange(1, 4).Draw(t, "replicas"), countVariant{})
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			if err := m.step(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "draw") }); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.settle(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCounterModelInLongSchedules(t *testing.T) {
	seeds := uint64(1000)
	if testing.Short() {
		seeds = 60
	}
	for seed := range seeds {
		if err := playCounters(seed, countVariant{}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func playCounters(seed uint64, v countVariant) error {
	rng := rand.New(rand.NewPCG(seed, 36))
	m := newCountModel(3+rng.IntN(2), v)
	for range 100 {
		if err := m.step(rng.IntN); err != nil {
			return err
		}
	}
	return m.settle()
}

// A model that never fails proves nothing.
func TestCounterModelCatchesWrongDesigns(t *testing.T) {
	for name, v := range map[string]countVariant{
		"a sum folded at once":            {foldAtOnce: true},
		"what is gone is dropped at once": {noBase: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(300) {
				if err := playCounters(seed, v); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Error("it passed")
		})
	}
}

// A state may be long on its way. Replica 1 deletes what 0 counted, and 0 counts on
// before it hears of it; the state that 0 had then reaches 1 when all have said that
// they know of the delete.
func TestSettledIsWhatCameBeforeWhatIsHere(t *testing.T) {
	for name, v := range map[string]countVariant{"": {}, "as soon as all have said so": {saidIsHere: true}} {
		m := newCountModel(3, v)
		one := Write{Count: &Count{Delta: 1}}
		m.write(m.replicas[0], one)
		m.deliver(0, 1)
		m.write(m.replicas[1], Write{Count: &Count{}, Delete: true})
		m.write(m.replicas[0], one)
		m.flying[[2]int{0, 1}] = countState{m.replicas[0].siblings, m.replicas[0].vector.Clone()}
		for _, j := range []int{0, 2} {
			for range 3 {
				m.deliver(1, j)
			}
			m.replicas[1].said[j] = m.replicas[j].vector.Clone()
		}
		m.sweep(m.replicas[1])
		m.land(0, 1)
		if err := m.judge(); (err == nil) == v.saidIsHere {
			t.Errorf("settled %s: %v", name, err)
		}
	}
}
