package causal

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// This file is an executable model of a group: replicas with logs, of which a crash
// loses an unsynced tail and whose beginning is cut off at any time, and streams that
// carry each log in its own order, at any speed, each write by any path, or the whole
// state where the log does not reach back far enough. It looks for divergence, for
// writes that were superseded and came back, for durable writes that were lost, and
// for writes that were applied before what they depend on. closing_test.go adds members
// that go, and actors that are closed.

var modelKeys = []string{"a", "b", "c"}

// variant is a design that must be caught.
type variant struct {
	reuseActor bool // the actor is kept across a crash
	pruneLWW   bool // apply keeps only the winner
	putsOnly   bool // nothing is deleted
	stampsFall bool // stamps are of a clock that jumps, whatever has been applied
	ownOnly    bool // a replica sends only what it took itself (planted bug M9)
	union      bool // a merge keeps what either side has (planted bug M11)
	partial    bool // a merge leaves a key out and takes the whole vector (planted bug M16)
	noMark     bool // what was written after a merge is sent to who lacks what was merged

	closing // see closing_test.go
}

type modelWrite struct {
	Write
	key  string
	deps Vector // what its coordinator had applied; the replicas do not see it
}

// modelState is what a replica keeps. Positions in the log count from its first entry
// ever.
type modelState struct {
	log    []modelEntry // the first base of them are cut off
	base   int
	vector Vector
	keys   map[string][]Sibling
}

// modelEntry is a write or a mark: what comes after it may depend on what was merged
// then, which is not all in the log.
type modelEntry struct {
	write  *modelWrite
	merged Vector
	after  Vector // what had been applied with it
}

// clone shares what never changes.
func (s *modelState) clone() modelState {
	c := *s
	c.log, c.vector, c.keys = slices.Clone(s.log), s.vector.Clone(), maps.Clone(s.keys)
	return c
}

type modelReplica struct {
	actor Actor
	epoch int // of the placement that it has confirmed
	modelState
	disk  modelState
	since []func() error // what was done since the disk was written
}

// modelFrame is a write, or a state as a whole.
type modelFrame struct {
	write *modelWrite
	keys  map[string][]Sibling
	holds Vector
}

// modelStream carries one replica's log to another.
type modelStream struct {
	life   Actor // of the sender when it was opened
	ended  bool  // that life is over; what it had sent may come yet
	cursor int
	have   Vector // as confirmed by the receiver
	flight []modelFrame
}

type model struct {
	variant
	rng      *rand.Rand
	replicas []*modelReplica
	streams  map[[2]int]*modelStream
	written  map[Dot]*modelWrite
	durable  map[Dot]bool
	contexts []Context // of reads and writes, anywhere, any time ago
	clock    Stamp
	actors   Actor

	closings
}

func newModel(seed uint64, v variant) *model {
	m := &model{
		variant: v, rng: rand.New(rand.NewPCG(seed, 7)), streams: map[[2]int]*modelStream{},
		written: map[Dot]*modelWrite{}, durable: map[Dot]bool{},
	}
	for range 3 + m.rng.IntN(3) {
		m.actors++
		r := &modelReplica{actor: m.actors, modelState: modelState{vector: Vector{}, keys: map[string][]Sibling{}}}
		r.disk = r.clone()
		m.replicas = append(m.replicas, r)
	}
	m.closings = newClosings(len(m.replicas))
	return m
}

// run plays a random schedule, lets everything arrive, and returns what is wrong.
func (m *model) run(steps int) error {
	for range steps {
		i, j := m.rng.IntN(len(m.replicas)), m.rng.IntN(len(m.replicas))
		var err error
		switch dice := m.rng.IntN(100 + m.often); {
		case dice < 30:
			err = m.write(i)
		case dice < 60:
			m.send(i, j)
		case dice < 90:
			err = m.deliver(i, j)
		case dice < 94:
			m.sync(i)
		case dice < 96:
			delete(m.streams, [2]int{i, j})
		case dice < 98:
			err = m.do(m.replicas[i], m.trim(m.replicas[i]))
		case dice < 100:
			err = m.crash(i)
		default:
			err = m.close(i, j)
		}
		if err != nil {
			return err
		}
	}
	return m.settle()
}

func (m *model) write(i int) error {
	r := m.replicas[i]
	if m.left[i] {
		return nil
	}
	if _, closed := m.closed.End(r.actor); closed && m.isMember(i) {
		return fmt.Errorf("replica %d writes as %s, which is closed", i, r.actor)
	}
	key := modelKeys[m.rng.IntN(len(modelKeys))]
	c := Context{Seen: r.vector}
	switch m.rng.IntN(4) {
	case 0:
		c = Context{} // blind
	case 1, 2:
		if len(m.contexts) > 0 {
			c = m.contexts[len(m.contexts)-1-m.rng.IntN(min(20, len(m.contexts)))]
		}
	}
	if !r.vector.Covers(c.Seen) {
		return nil // it would wait
	}
	m.clock++
	w := &modelWrite{key: key, deps: r.vector.Clone(), Write: Write{
		Dot:    Dot{r.actor, r.vector[r.actor] + 1},
		Stamp:  m.clock/8 + 1, // ties are common
		Delete: m.rng.IntN(3) == 0 && !m.putsOnly,
	}}
	w.Supersedes = c.Supersedes(r.keys[key])
	for _, s := range r.keys[key] {
		w.Stamp = max(w.Stamp, s.Stamp+1)
	}
	if m.stampsFall {
		w.Stamp = Stamp(m.rng.IntN(100)) + 1
	}
	if other := m.written[w.Dot]; other != nil {
		return fmt.Errorf("the dot %s names two writes", w.Dot)
	}
	m.written[w.Dot] = w
	if err := m.do(r, func() error { return m.apply(r, w) }); err != nil {
		return err
	}
	m.contexts = append(m.contexts, Of(w.Dot), Context{Seen: r.vector.Clone()})
	return nil
}

func (m *model) apply(r *modelReplica, w *modelWrite) error {
	if !r.vector.Covers(w.deps) {
		return fmt.Errorf("%s was applied before %v", w.Dot, r.vector.Missing(w.deps))
	}
	siblings := Apply(r.keys[w.key], w.Write)
	if winner, ok := Winner(siblings); ok && m.pruneLWW {
		siblings = []Sibling{winner}
	}
	r.keys[w.key] = siblings
	r.vector[w.Dot.Actor] = w.Dot.N
	r.log = append(r.log, modelEntry{write: w, after: r.vector.Clone()})
	return nil
}

// do does something that a crash may undo.
func (m *model) do(r *modelReplica, what func() error) error {
	r.since = append(r.since, what)
	return what()
}

// merge takes in another replica's state, and marks that in the log.
func (m *model) merge(r *modelReplica, f modelFrame) error {
	for i, key := range modelKeys {
		switch {
		case m.union:
			r.keys[key] = Merge(r.keys[key], r.vector, f.keys[key], nil)
		case m.partial && i == 0:
		default:
			r.keys[key] = Merge(r.keys[key], r.vector, f.keys[key], f.holds)
		}
	}
	r.vector.Join(f.holds)
	r.log = append(r.log, modelEntry{merged: f.holds, after: r.vector.Clone()})
	return nil
}

// trim cuts the log somewhere near its end, whoever still lacks what goes.
func (m *model) trim(r *modelReplica) func() error {
	n := len(r.log) - m.rng.IntN(4)
	return func() error {
		r.base = max(r.base, n)
		return nil
	}
}

// stream returns the stream from i to j, opened by a hello if there is none.
func (m *model) stream(i, j int) *modelStream {
	s := m.streams[[2]int{i, j}]
	if s == nil {
		s = &modelStream{life: m.replicas[i].actor, have: m.replicas[j].vector.Clone()}
		m.streams[[2]int{i, j}] = s
	}
	return s
}

func (m *model) send(i, j int) {
	if i == j || !m.knows(i, j) {
		return
	}
	s, from := m.stream(i, j), m.replicas[i]
	if s.ended {
		return
	}
	if m.rng.IntN(4) == 0 {
		s.have = m.replicas[j].vector.Clone() // an acknowledgement arrives
	}
	for ; s.cursor < len(from.log); s.cursor++ {
		if m.behind(s, from) {
			s.flight = append(s.flight, modelFrame{keys: maps.Clone(from.keys), holds: from.vector.Clone()})
			s.cursor = len(from.log)
			return
		}
		s.cursor = max(s.cursor, from.base-1)
		w := from.log[s.cursor].write
		if w == nil || s.have.Has(w.Dot) || m.ownOnly && w.Dot.Actor != from.actor {
			continue
		}
		s.flight = append(s.flight, modelFrame{write: w})
		s.cursor++
		return
	}
}

// behind reports whether what is cut off, or what was merged next, is not all at the
// receiver.
func (m *model) behind(s *modelStream, from *modelReplica) bool {
	if s.cursor < from.base {
		return !s.have.Covers(from.log[from.base-1].after)
	}
	return !m.noMark && !s.have.Covers(from.log[s.cursor].merged)
}

func (m *model) deliver(i, j int) (err error) {
	s := m.streams[[2]int{i, j}]
	if s == nil {
		return nil
	}
	if s.ended && len(s.flight) == 0 || !m.knows(j, i) {
		delete(m.streams, [2]int{i, j})
		return nil
	}
	if len(s.flight) == 0 || m.left[j] {
		return nil
	}
	defer func() { err = cmp.Or(err, m.beyond(j)) }()
	f, to := s.flight[0], m.replicas[j]
	s.flight = s.flight[1:]
	w := f.write
	if w == nil {
		return m.do(to, func() error { return m.merge(to, f) })
	}
	switch have := to.vector[w.Dot.Actor]; {
	case w.Dot.N <= have:
		return nil
	case w.Dot.N > have+1:
		return fmt.Errorf("a gap: %s came after %d", w.Dot, have)
	}
	return m.do(to, func() error { return m.apply(to, w) })
}

func (m *model) sync(i int) {
	r := m.replicas[i]
	r.disk, r.since = r.clone(), nil
	for d := range m.written {
		if r.vector.Has(d) && m.isMember(i) {
			m.durable[d] = true
		}
	}
}

// crash loses some of what was not synced, and starts a new life.
func (m *model) crash(i int) error {
	r := m.replicas[i]
	r.since = r.since[:m.rng.IntN(len(r.since)+1)]
	r.modelState = r.disk.clone()
	for _, again := range r.since {
		if err := again(); err != nil {
			return err
		}
	}
	if !m.reuseActor {
		m.actors++
		r.actor = m.actors
	}
	for pair, s := range m.streams {
		if pair[1] == i {
			delete(m.streams, pair)
		} else if pair[0] == i {
			s.ended = true
		}
	}
	return nil
}

// settle lets all streams drain and judges the end.
func (m *model) settle() error {
	m.gather()
	for range m.replicas {
		for i := range m.replicas {
			for j := range m.replicas {
				if i == j || !m.isMember(i) || !m.isMember(j) {
					continue
				}
				s := m.stream(i, j)
				for s.cursor < len(m.replicas[i].log) || len(s.flight) > 0 {
					m.send(i, j)
					if err := m.deliver(i, j); err != nil {
						return err
					}
				}
			}
		}
	}
	return m.judge()
}

func (m *model) judge() error {
	end := m.replicas[slices.Index(m.members(), true)]
	for d := range m.durable {
		if !end.vector.Has(d) {
			return fmt.Errorf("the durable write %s is lost", d)
		}
	}
	want := m.expected(end.vector)
	for i, r := range m.replicas {
		if !m.isMember(i) {
			continue
		}
		if !maps.Equal(r.vector, end.vector) {
			return fmt.Errorf("replica %d has %s, another has %s", i, r.vector, end.vector)
		}
		for _, key := range modelKeys {
			if w, want := r.winner(key), end.winner(key); w != want {
				return fmt.Errorf("replica %d shows %s under %s, another shows %s", i, w, key, want)
			}
			if got := r.dots(key); !m.pruneLWW && !slices.Equal(got, want[key]) {
				return fmt.Errorf("replica %d holds %v under %s, and %v were written and not superseded", i, got, key, want[key])
			}
		}
	}
	return m.complete(end.vector)
}

func (r *modelReplica) dots(key string) []Dot {
	var dots []Dot
	for _, s := range r.keys[key] {
		dots = append(dots, s.Dot)
	}
	return dots
}

func (r *modelReplica) winner(key string) Dot {
	w, _ := Winner(r.keys[key])
	return w.Dot
}

// expected is what there must be after all of these writes: those that added a
// value less those that another one superseded, in dot order.
func (m *model) expected(all Vector) map[string][]Dot {
	alive := map[Dot]string{}
	survivors := slices.DeleteFunc(slices.Collect(maps.Values(m.written)), func(w *modelWrite) bool { return !all.Has(w.Dot) })
	for _, w := range survivors {
		if !w.Delete {
			alive[w.Dot] = w.key
		}
	}
	for _, w := range survivors {
		for _, d := range w.Supersedes {
			delete(alive, d)
		}
	}
	want := map[string][]Dot{}
	for _, d := range slices.SortedFunc(maps.Keys(alive), Dot.Compare) {
		want[alive[d]] = append(want[alive[d]], d)
	}
	return want
}

func TestModelConverges(t *testing.T) {
	seeds := uint64(1500)
	if testing.Short() {
		seeds = 100
	}
	for seed := range seeds {
		if err := newModel(seed, variant{}).run(400); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// A model that never fails proves nothing, so each known mistake must fail in it.
func TestModelCatchesWrongDesigns(t *testing.T) {
	for name, v := range map[string]variant{
		"actor kept across a crash": {reuseActor: true},
		"lww pruned at apply":       {pruneLWW: true},
		"pruned, and stamps fall":   {pruneLWW: true, putsOnly: true, stampsFall: true},
		"own writes only":           {ownOnly: true},
		"a merge by union":          {union: true},
		"a key left out of a merge": {partial: true},
		"no mark behind a merge":    {noMark: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(300) {
				if err := newModel(seed, v).run(400); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Error("it passed")
		})
	}
}

// Pruning is wrong where something is deleted, and where stamps fall: the model catches it
// by either alone. Where neither happens it converges, so it is these that are caught, and
// no mistake of the model's own.
func TestModelPrunesWhereNothingIsDeletedAndStampsRise(t *testing.T) {
	for seed := range uint64(300) {
		if err := newModel(seed, variant{pruneLWW: true, putsOnly: true}).run(400); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}
