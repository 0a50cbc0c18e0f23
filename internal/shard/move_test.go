package shard

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dialkv/dialkv/store"
)

func cluster(states ...State) (t Topology) {
	for i, s := range states {
		t.Nodes = append(t.Nodes, Node{Name: fmt.Sprintf("n%d", i+1), State: s})
	}
	return t
}

func keyspace(replicas int, m Move, members ...string) Keyspace {
	return Keyspace{ID: 2, Name: "k", Mode: store.CP, Groups: 1, Replicas: replicas, Placement: [][]string{members}, Moves: []Move{m}}
}

func everybody(string) bool { return true }

func TestRepairPlansOneChangeOfAGroup(t *testing.T) {
	for name, want := range map[string]struct {
		states           []State
		down             string
		k                Keyspace
		members          []string // nil: nothing to do
		joining, leaving []string
	}{
		"all is well": {states: []State{0, 0, 0}, k: keyspace(3, Move{}, "n1", "n2", "n3")},
		"one leaves, another comes": {
			states: []State{0, Leaving, 0, 0}, k: keyspace(3, Move{}, "n1", "n2", "n3"),
			members: []string{"n1", "n2", "n3", "n4"}, joining: []string{"n4"}, leaving: []string{"n2"},
		},
		"one leaves, nobody can come": {
			states: []State{0, Leaving, 0, 0}, down: "n4", k: keyspace(3, Move{}, "n1", "n2", "n3"),
			members: []string{"n1", "n2", "n3"}, leaving: []string{"n2"},
		},
		"two are lost, the dead one goes first": {
			states: []State{0, Leaving, Dead, 0, 0}, k: keyspace(3, Move{}, "n1", "n2", "n3"),
			members: []string{"n1", "n2", "n3", "n4"}, joining: []string{"n4"}, leaving: []string{"n3"},
		},
		"a member is missing": {
			states: []State{0, 0, 0}, k: keyspace(3, Move{Changes: 2}, "n1", "n2"),
			members: []string{"n1", "n2", "n3"}, joining: []string{"n3"},
		},
		"somebody comes for one that leaves already": {
			states: []State{0, Leaving, 0, 0}, k: keyspace(3, Move{Leaving: []string{"n2"}}, "n1", "n2", "n3"),
			members: []string{"n1", "n2", "n3", "n4"}, joining: []string{"n4"}, leaving: []string{"n2"},
		},
		"under way": {
			states: []State{0, Leaving, Leaving, 0, 0},
			k:      keyspace(3, Move{Joining: []string{"n4"}, Leaving: []string{"n2"}}, "n1", "n2", "n3", "n4"),
		},
		"the newcomer is lost": {
			states:  []State{0, Leaving, 0, Dead, 0},
			k:       keyspace(3, Move{Joining: []string{"n4"}, Leaving: []string{"n2"}}, "n1", "n2", "n3", "n4"),
			members: []string{"n1", "n2", "n3", "n4", "n5"}, joining: []string{"n4", "n5"}, leaving: []string{"n2", "n4"},
		},
		"one too many": {
			states: []State{0, 0, 0}, down: "n2", k: keyspace(2, Move{}, "n1", "n2", "n3"),
			members: []string{"n1", "n2", "n3"}, leaving: []string{"n2"},
		},
	} {
		top := cluster(want.states...)
		top.Keyspaces = []Keyspace{want.k}
		steps := Repair(top, func(n string) bool { return n != want.down })
		if want.members == nil {
			if len(steps) > 0 {
				t.Errorf("%s: %+v", name, steps)
			}
			continue
		}
		if len(steps) != 1 {
			t.Errorf("%s: %d steps", name, len(steps))
			continue
		}
		got := steps[0]
		if !slices.Equal(got.Members, want.members) || !slices.Equal(got.Move.Joining, want.joining) || !slices.Equal(got.Move.Leaving, want.leaving) || got.Move.Changes != want.k.Moves[0].Changes+1 {
			t.Errorf("%s: %v, %+v", name, got.Members, got.Move)
		}
	}
}

func TestDeadMemberOfAnApGroupIsOutAtOnce(t *testing.T) {
	for name, want := range map[string]struct {
		states  []State
		down    string
		k       Keyspace
		members []string // nil: nothing to do
		move    Move
	}{
		"with another in its place": {
			states: []State{0, Dead, 0, 0}, k: keyspace(3, Move{}, "n1", "n2", "n3"),
			members: []string{"n1", "n3", "n4"}, move: Move{Joining: []string{"n4"}},
		},
		"while another one leaves": {
			states: []State{0, Dead, Leaving, 0}, k: keyspace(3, Move{Joining: []string{"n4"}, Leaving: []string{"n3"}}, "n1", "n2", "n3", "n4"),
			members: []string{"n1", "n3", "n4"}, move: Move{Joining: []string{"n4"}, Leaving: []string{"n3"}},
		},
		"one of two": {
			states: []State{0, Dead, Dead, 0}, down: "n4", k: keyspace(3, Move{}, "n1", "n2", "n3"),
			members: []string{"n1", "n3"}, move: Move{Leaving: []string{"n3"}},
		},
		"not the last that serves": {
			states: []State{0, Dead}, k: keyspace(1, Move{Joining: []string{"n1"}, Leaving: []string{"n2"}}, "n1", "n2"),
		},
		"one too many: one that is alive": {
			states: []State{0, 0, 0}, down: "n2", k: keyspace(2, Move{}, "n1", "n2", "n3"),
			members: []string{"n1", "n2", "n3"}, move: Move{Leaving: []string{"n1"}},
		},
	} {
		top := cluster(want.states...)
		want.k.Mode = store.AP
		top.Keyspaces = []Keyspace{want.k}
		steps := Repair(top, func(n string) bool { return n != want.down })
		if want.members == nil {
			if len(steps) > 0 {
				t.Errorf("%s: %+v", name, steps)
			}
			continue
		}
		if len(steps) != 1 || !slices.Equal(steps[0].Members, want.members) || !slices.Equal(steps[0].Move.Joining, want.move.Joining) ||
			!slices.Equal(steps[0].Move.Leaving, want.move.Leaving) || steps[0].Move.Changes != want.k.Moves[0].Changes+1 {
			t.Errorf("%s: %+v", name, steps)
		}
	}
}

func TestNewcomersAreSpreadOverZonesAndNodes(t *testing.T) {
	top := cluster(0, 0, 0, 0, 0)
	for i, zone := range []string{"a", "b", "b", "a", "c"} {
		top.Nodes[i].Zone = zone
	}
	k := keyspace(3, Move{}, "n1", "n2")
	k.Groups, k.Placement, k.Moves = 3, [][]string{{"n1", "n2"}, {"n1", "n2"}, {"n1", "n5"}}, make([]Move, 3)
	top.Keyspaces = []Keyspace{k}
	var came []string
	for _, s := range Repair(top, everybody) {
		came = append(came, s.Move.Joining...)
	}
	// Zone c for the first two, then b, where n3 has less than n2.
	if !slices.Equal(came, []string{"n5", "n5", "n3"}) {
		t.Errorf("%v came", came)
	}
}

// Whatever is lost and in whatever order moves end, repair never names a member that
// is not recorded, never has more than one change of a voter under way, and comes to
// rest with as many members as there can be.
func TestRepairComesToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := rapid.IntRange(1, 7).Draw(t, "nodes")
		top := cluster(make([]State, nodes)...)
		var names []string
		for _, n := range top.Nodes {
			names = append(names, n.Name)
		}
		replicas := rapid.IntRange(1, nodes).Draw(t, "replicas")
		placement, err := Place(names, replicas, 3)
		if err != nil {
			t.Fatal(err)
		}
		mode := rapid.SampledFrom([]store.Mode{store.CP, store.AP}).Draw(t, "mode")
		k := Keyspace{ID: 2, Name: "k", Mode: mode, Groups: 3, Replicas: replicas, Placement: placement, Moves: make([]Move, 3)}
		lost := 0
		for range 60 {
			if lost < nodes-1 && rapid.IntRange(0, 5).Draw(t, "lose") == 0 {
				i := rapid.IntRange(0, nodes-1).Draw(t, "who")
				if top.Nodes[i].State == Member {
					top.Nodes[i].State = State(rapid.IntRange(1, 2).Draw(t, "how"))
					lost++
				}
			}
			top.Keyspaces = []Keyspace{k}
			for _, s := range Repair(top, everybody) {
				checkStep(t, top, k, s)
				k.Placement[s.Shard], k.Moves[s.Shard] = s.Members, s.Move
			}
			if s := rapid.IntRange(0, 2).Draw(t, "settle"); !k.Moves[s].Settled() {
				k.Placement[s], k.Moves[s] = k.Target(uint32(s)), Move{Changes: k.Moves[s].Changes + 1}
			}
		}
		for range 30 { // nothing more is lost, and what is begun ends
			top.Keyspaces = []Keyspace{k}
			for _, s := range Repair(top, everybody) {
				k.Placement[s.Shard], k.Moves[s.Shard] = s.Members, s.Move
			}
			for s := range k.Placement {
				k.Placement[s], k.Moves[s] = k.Target(uint32(s)), Move{Changes: k.Moves[s].Changes + 1}
			}
		}
		for s, members := range k.Placement {
			if len(members) != min(replicas, nodes-lost) {
				t.Errorf("group %d rests with %v, %d of %d nodes are lost", s, members, lost, nodes)
			}
			for _, name := range members {
				if n, _ := top.ByName(name); n.State != Member {
					t.Errorf("%s is %s and still a member", name, n.State)
				}
			}
		}
	})
}

func checkStep(t *rapid.T, top Topology, before Keyspace, s Step) {
	for _, name := range slices.Concat(s.Move.Joining, s.Move.Leaving) {
		if !slices.Contains(s.Members, name) {
			t.Errorf("%s moves and is no member: %+v", name, s)
		}
	}
	for _, name := range before.Members(s.Shard) {
		known, _ := top.ByName(name)
		if buried := before.Mode == store.AP && known.State == Dead; !buried && !slices.Contains(s.Members, name) {
			t.Errorf("%s was a member and is not named any more, before it has left: %+v", name, s)
		}
	}
	if came := s.Move.Newcomers(); len(came) > 1 {
		t.Errorf("%v join at once", came)
	}
	voters := 0
	for _, name := range s.Move.Leaving {
		if slices.Contains(before.Serving(s.Shard), name) {
			voters++
		}
	}
	if before.Move(s.Shard).Settled() && voters > 1 {
		t.Errorf("%d members leave at once: %+v", voters, s)
	}
	for _, members := range s.Members {
		if count := len(slices.DeleteFunc(slices.Clone(s.Members), func(n string) bool { return n != members })); count != 1 {
			t.Errorf("%s is a member %d times", members, count)
		}
	}
}
