package localcluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/node"
	"github.com/dialkv/dialkv/membership"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

// writer puts k0, k1, … of a keyspace until it is stopped, and remembers what was
// acknowledged.
type writer struct {
	stop  context.CancelFunc
	done  chan struct{}
	acked []string
	errs  []error
}

func write(t *testing.T, c localcluster.Cluster, keyspace string) *writer {
	t.Helper()
	cl, err := c.Client(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := &writer{stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		defer cl.Close()
		for i := 0; ctx.Err() == nil; i++ {
			key := fmt.Sprintf("k%d", i)
			try, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			_, err := cl.Keyspace(keyspace).Put(try, key, []byte("v"))
			cancel()
			if err == nil {
				w.acked = append(w.acked, key)
			} else {
				w.errs = append(w.errs, err)
			}
			<-time.After(20 * time.Millisecond)
		}
	}()
	return w
}

// check ends the writer and wants no write failed and none lost.
func (w *writer) check(t *testing.T, c localcluster.Cluster, keyspace string) {
	t.Helper()
	w.checkRead(t, c, keyspace, store.Strong)
}

func (w *writer) checkRead(t *testing.T, c localcluster.Cluster, keyspace string, level store.Level) {
	t.Helper()
	w.stop()
	<-w.done
	if len(w.errs) > 0 {
		t.Errorf("%d writes failed, the first with %v", len(w.errs), w.errs[0])
	}
	if len(w.acked) == 0 {
		t.Error("nothing was written")
	}
	cl, err := c.Client(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, key := range w.acked {
		if item, err := cl.Keyspace(keyspace).Get(within(t, 5*time.Second), key, client.At(level)); err != nil || !item.Found {
			t.Fatalf("%s was acknowledged: %+v, %v", key, item, err)
		}
	}
}

// refused drops the errors of writes that were certainly not applied: with a single
// replica there is a moment when nobody that the client knows of holds the group.
func (w *writer) refused(t *testing.T) {
	t.Helper()
	w.stop()
	<-w.done
	w.errs = slices.DeleteFunc(w.errs, func(err error) bool { return errors.Is(err, store.Unavailable) })
}

func remove(t *testing.T, c localcluster.Cluster, name string, dead bool) ([]string, error) {
	t.Helper()
	return c.Remove(within(t, 20*time.Second), name, dead, nil)
}

func mustRemove(t *testing.T, c localcluster.Cluster, name string, dead bool) []string {
	t.Helper()
	moved, err := remove(t, c, name, dead)
	if err != nil {
		t.Fatalf("remove %s: %v", name, err)
	}
	return moved
}

func add(t *testing.T, c localcluster.Cluster, want string) {
	t.Helper()
	name, err := c.Add(within(t, 20*time.Second), "")
	if err != nil || name != want {
		t.Fatalf("added %q: %v", name, err)
	}
}

// replicas of a keyspace, by group: who says it has one, and who has a vote.
func replicas(t *testing.T, c localcluster.Cluster, keyspace string) (held map[string][]string, leaders map[string]string) {
	t.Helper()
	held, leaders = map[string][]string{}, map[string]string{}
	for _, name := range c.Nodes() {
		admin, err := c.Admin(name)
		if err != nil {
			continue
		}
		s, err := admin.Status(within(t, time.Second), &kvpb.StatusRequest{})
		if err != nil {
			continue
		}
		for _, r := range s.GetReplicas() {
			if r.GetKeyspace() == keyspace {
				held[r.GetGroup()] = append(held[r.GetGroup()], name)
				if r.GetRole() == "leader" {
					leaders[r.GetGroup()] = name
				}
			}
		}
	}
	return held, leaders
}

// eventually looks every 100 ms of virtual time, for at most a minute.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 600 {
		if holds() {
			return
		}
		<-time.After(100 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

// everyGroup wants each group of the keyspace on exactly so many nodes, of which name
// is, or is not, one.
func everyGroup(t *testing.T, c localcluster.Cluster, keyspace string, count int, without string) {
	t.Helper()
	eventually(t, fmt.Sprintf("every group of %s on %d nodes without %s", keyspace, count, without), func() bool {
		held, leaders := replicas(t, c, keyspace)
		for group, nodes := range held {
			if len(nodes) != count || slices.Contains(nodes, without) || leaders[group] == "" {
				return false
			}
		}
		return len(held) > 0
	})
}

func TestAddedNodeVotesAndRemovedNodeLosesNothing(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 3)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp", Groups: 4})
		w := write(t, c, "orders")
		add(t, c, "n4")
		if held, _ := replicas(t, c, "orders"); len(held["2/0"]) != 3 || slices.Contains(held["2/0"], "n4") {
			t.Errorf("the new node changed the placement: %v", held)
		}
		moved := mustRemove(t, c, "n1", false)
		if len(moved) != 4 {
			t.Errorf("moved %v, want 4 groups", moved)
		}
		everyGroup(t, c, "orders", 3, "n1")
		w.check(t, c, "orders")
		if _, err := c.Add(within(t, time.Second), "n1"); !errors.Is(err, store.AlreadyExists) {
			t.Errorf("the name of a removed node: %v", err)
		}
		for _, name := range c.Nodes() {
			if members := statusOf(t, c, name).GetReplicas()[0].GetMembers(); slices.Contains(members, "n1") {
				t.Errorf("%s counts n1 in the catalog: %v", name, members)
			}
		}
	})
}

// Of two voters the one that stays must not be left alone with a vote that is missing.
func TestTwoNodesBecomeOne(t *testing.T) {
	for _, leaves := range []string{"n1", "n2"} {
		t.Run(leaves, func(t *testing.T) {
			linktest.Bubble(t, func(t *testing.T) {
				c := memory(t, 2)
				create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp", Groups: 2})
				w := write(t, c, "orders")
				mustRemove(t, c, leaves, false)
				everyGroup(t, c, "orders", 1, leaves)
				w.check(t, c, "orders")
				create(t, c, &kvpb.CreateKeyspaceRequest{Name: "more", Mode: "cp", Replicas: 1})
			})
		})
	}
}

func TestDeadNodeIsReplacedInOneCommand(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 4)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp", Replicas: 3, Groups: 2})
		w := write(t, c, "orders")
		if err := c.Kill(t.Context(), "n2"); err != nil {
			t.Fatal(err)
		}
		if _, err := remove(t, c, "n2", false); !errors.Is(err, store.Unavailable) {
			t.Errorf("a dead node was asked to leave: %v", err)
		}
		if _, err := remove(t, c, "n3", true); !errors.Is(err, store.Invalid) {
			t.Errorf("a living node was called dead: %v", err)
		}
		if moved := mustRemove(t, c, "n2", true); len(moved) != 2 {
			t.Errorf("moved %v, want both groups", moved)
		}
		everyGroup(t, c, "orders", 3, "n2")
		w.check(t, c, "orders")
	})
}

// A wiped disk comes back as another node, which takes over what the old one had.
func TestWipedNodeComesBackUnderAnotherName(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 3)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp"})
		w := write(t, c, "orders")
		if err := c.Kill(t.Context(), "n2"); err != nil {
			t.Fatal(err)
		}
		if err := c.Wipe("n2"); err != nil {
			t.Fatal(err)
		}
		err := c.Restart(within(t, 10*time.Second), "n2")
		if !errors.Is(err, store.AlreadyExists) || store.AsError(err).Try == "" {
			t.Errorf("a wiped disk under the old name: %v", err)
		}
		if moved := mustRemove(t, c, "n2", true); len(moved) != 0 {
			t.Errorf("moved %v, there was nobody to take it", moved)
		}
		everyGroup(t, c, "orders", 2, "n2")
		add(t, c, "n4")
		everyGroup(t, c, "orders", 3, "n2")
		w.check(t, c, "orders")
	})
}

func TestRemovedNodeThatComesBackIsRefused(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 4)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp", Replicas: 3})
		if err := c.Kill(t.Context(), "n4"); err != nil {
			t.Fatal(err)
		}
		admin, err := c.Admin("n1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := admin.RemoveNode(within(t, 20*time.Second), &kvpb.RemoveNodeRequest{Node: "n4", Dead: true}); err != nil {
			t.Fatal(kvpb.FromStatus(err))
		}
		err = c.Restart(within(t, 20*time.Second), "n4")
		if !errors.Is(err, store.Denied) || store.AsError(err).Try == "" {
			t.Errorf("the removed node's directory: %v", err)
		}
		mustRemove(t, c, "n4", true) // it is out already
	})
}

func TestRemovalThatWouldLoseAQuorumOrDataIsRefusedAndChangesNothing(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 3)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp"})
		before := statusOf(t, c, "n1").GetReplicas()
		refuse := func(name string, dead bool, code store.Code) {
			t.Helper()
			_, err := remove(t, c, name, dead)
			if !errors.Is(err, code) || store.AsError(err).Try == "" {
				t.Errorf("remove %s: %v, want %s", name, err, code)
			}
		}
		if err := c.Kill(t.Context(), "n3"); err != nil {
			t.Fatal(err)
		}
		refuse("n2", false, store.Unavailable) // n3 alone would be left, beside n1: one of two
		refuse("n9", false, store.Invalid)     // by name, before anybody is asked
		if err := c.Kill(t.Context(), "n2"); err != nil {
			t.Fatal(err)
		}
		refuse("n3", true, store.Unavailable) // there is no majority to agree on it
		for _, name := range []string{"n2", "n3"} {
			if err := c.Restart(within(t, 20*time.Second), name); err != nil {
				t.Fatal(err)
			}
		}
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap", Replicas: 1})
		for _, name := range c.Nodes() {
			held, _ := replicas(t, c, "carts")
			if !slices.Contains(held["3/0"], name) {
				continue
			}
			if err := c.Kill(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			refuse(name, true, store.Invalid) // its data would be gone
			if err := c.Restart(within(t, 20*time.Second), name); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(10 * time.Second)
		if after := statusOf(t, c, "n1").GetReplicas(); !slices.Equal(after[0].GetMembers(), before[0].GetMembers()) || !slices.Equal(after[1].GetMembers(), before[1].GetMembers()) {
			t.Errorf("refusals changed something: %v", after)
		}
		for _, name := range c.Nodes() {
			if statusOf(t, c, name).GetDraining() {
				t.Errorf("%s is drained", name)
			}
		}
		alone := memory(t, 1)
		if _, err := remove(t, alone, "n1", false); !errors.Is(err, store.Invalid) {
			t.Errorf("the only node: %v", err)
		}
	})
}

func TestLastReplicaMovesBeforeItsNodeLeaves(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 2)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp", Replicas: 1})
		w := write(t, c, "orders")
		held, _ := replicas(t, c, "orders")
		from := held["2/0"][0]
		add(t, c, "n3")
		mustRemove(t, c, from, false)
		everyGroup(t, c, "orders", 1, from)
		w.refused(t)
		w.check(t, c, "orders")
	})
}

func TestDrainedNodeLeadsNothingUntilItRestarts(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 3)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp", Groups: 6})
		w := write(t, c, "orders")
		drain := func(name string) {
			admin, err := c.Admin(name)
			if err == nil {
				_, err = admin.Drain(within(t, 10*time.Second), &kvpb.DrainRequest{})
			}
			if err != nil {
				t.Fatal(kvpb.FromStatus(err))
			}
		}
		drain("n1")
		leadsNothing := func() bool {
			return !slices.ContainsFunc(statusOf(t, c, "n1").GetReplicas(), func(r *kvpb.ReplicaStatus) bool { return r.GetRole() == "leader" })
		}
		if !leadsNothing() || !statusOf(t, c, "n1").GetDraining() {
			t.Errorf("after the drain: %v", statusOf(t, c, "n1").GetReplicas())
		}
		w.check(t, c, "orders")
		// It is not given leadership, and what it wins it gives back.
		_, leaders := replicas(t, c, "orders")
		if err := transfer(t, c, leaders["2/0"], "orders", 0, "n1"); !errors.Is(err, store.Unavailable) {
			t.Errorf("leadership for a drained node: %v", err)
		}
		if err := c.Kill(t.Context(), "n3"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "n2 leads, though n1 may win elections", func() bool {
			_, leaders := replicas(t, c, "orders")
			return len(leaders) == 6 && leadsNothing()
		})
		if err := c.Kill(t.Context(), "n1"); err != nil {
			t.Fatal(err)
		}
		if err := c.Restart(within(t, 20*time.Second), "n1"); err != nil {
			t.Fatal(err)
		}
		if statusOf(t, c, "n1").GetDraining() {
			t.Error("the drain survived a restart")
		}
	})
}

func transfer(t *testing.T, c localcluster.Cluster, at, keyspace string, group uint32, to string) error {
	t.Helper()
	admin, err := c.Admin(at)
	if err != nil {
		t.Fatal(err)
	}
	_, err = admin.TransferLeader(within(t, 5*time.Second), &kvpb.TransferLeaderRequest{Keyspace: keyspace, Shard: group, To: to})
	return kvpb.FromStatus(err)
}

func TestLeadershipGoesWhereItIsSent(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 3)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp"})
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap"})
		w := write(t, c, "orders")
		for _, to := range []string{"n1", "n2", "n3", "n1"} {
			_, leaders := replicas(t, c, "orders")
			if leaders["2/0"] == to {
				continue
			}
			for _, at := range c.Nodes() {
				if at == leaders["2/0"] {
					continue
				}
				if err := transfer(t, c, at, "orders", 0, to); !errors.Is(err, store.NotLeader) || store.AsError(err).Leader != leaders["2/0"] {
					t.Errorf("%s does not lead: %v", at, err)
				}
			}
			if err := transfer(t, c, leaders["2/0"], "orders", 0, to); err != nil {
				t.Fatal(err)
			}
			if _, leaders := replicas(t, c, "orders"); leaders["2/0"] != to {
				t.Errorf("%v leads, want %s", leaders, to)
			}
		}
		_, leaders := replicas(t, c, "orders")
		for name, want := range map[string]struct {
			keyspace string
			group    uint32
			to       string
			code     store.Code
		}{
			"a stranger":       {"orders", 0, "n9", store.Invalid},
			"no such group":    {"orders", 7, "n2", store.Invalid},
			"an ap keyspace":   {"carts", 0, "n2", store.Unsupported},
			"no such keyspace": {"nosuch", 0, "n2", store.NoSuchKeyspace},
		} {
			if err := transfer(t, c, leaders["2/0"], want.keyspace, want.group, want.to); !errors.Is(err, want.code) {
				t.Errorf("%s: %v, want %s", name, err, want.code)
			}
		}
		w.check(t, c, "orders")
	})
}

// inTheMiddle waits for a group with a member that has no vote yet or, if early is
// false, with a member too many, and returns the node that leads it.
func inTheMiddle(t *testing.T, c localcluster.Cluster, early bool) string {
	t.Helper()
	for range 500 {
		for _, name := range []string{"n1", "n3", "n4"} { // n2 leaves, and n5 was asked
			for _, r := range statusOf(t, c, name).GetReplicas() {
				moving := len(r.GetNonVoters()) > 0
				if !early {
					moving = len(r.GetMembers()) == 4 && !moving
				}
				if r.GetKeyspace() == "orders" && r.GetRole() == "leader" && moving {
					return name
				}
			}
		}
		<-time.After(time.Millisecond)
	}
	return ""
}

// slowed delays every link between the nodes.
func slowed(delay time.Duration, names ...string) (rules []link.Rule) {
	for _, from := range names {
		for _, to := range names {
			if from != to {
				rules = append(rules, link.Rule{From: from, To: to, Delay: delay})
			}
		}
	}
	return rules
}

// Whoever carries a move out dies in the middle of it, again and again; the move is
// finished all the same.
func TestMoveGoesOnAfterCrashes(t *testing.T) {
	for seed := range 4 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			linktest.Bubble(t, func(t *testing.T) {
				c := memory(t, 5)
				create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp", Replicas: 3, Groups: 4})
				cl, err := c.Client(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				defer cl.Close()
				for i := range 50 {
					if _, err := cl.Keyspace("orders").Put(within(t, 5*time.Second), fmt.Sprintf("k%d", i), []byte("v")); err != nil {
						t.Fatal(err)
					}
				}
				admin, err := c.Admin("n5")
				if err != nil {
					t.Fatal(err)
				}
				// Without it a whole move fits between two looks.
				if err := c.SetFaults(t.Context(), slowed(5*time.Millisecond, "n1", "n2", "n3", "n4", "n5")); err != nil {
					t.Fatal(err)
				}
				begun := make(chan error, 1)
				go func() {
					_, err := admin.RemoveNode(within(t, 50*time.Second), &kvpb.RemoveNodeRequest{Node: "n2"})
					begun <- kvpb.FromStatus(err)
				}()
				caught := 0
				for range 3 {
					victim := inTheMiddle(t, c, seed%2 == 0)
					if victim == "" {
						break // the move is over
					}
					caught++
					if err := c.Kill(t.Context(), victim); err != nil {
						t.Fatal(err)
					}
					<-time.After(500 * time.Millisecond)
					if err := c.Restart(within(t, 20*time.Second), victim); err != nil {
						t.Fatal(err)
					}
				}
				t.Logf("%d leaders were killed in the middle of a move", caught)
				if caught == 0 {
					t.Error("no leader was caught in the middle of a move")
				}
				if err := <-begun; err != nil && !errors.Is(err, store.Unavailable) {
					t.Fatal(err)
				}
				mustRemove(t, c, "n2", false)
				everyGroup(t, c, "orders", 3, "n2")
				for i := range 50 {
					if item, err := cl.Keyspace("orders").Get(within(t, 5*time.Second), fmt.Sprintf("k%d", i)); err != nil || !item.Found {
						t.Fatalf("k%d: %+v, %v", i, item, err)
					}
				}
			})
		})
	}
}

func TestLeadersOfSixteenGroupsAreSpreadAndStayQuiet(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memoryOf(t, localcluster.MemoryConfig{Nodes: 3, Timing: node.Timing{Raft: slow, Membership: membership.Classroom}})
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp", Groups: 16})
		spread := func() (most, least int) {
			count := map[string]int{"n1": 0, "n2": 0, "n3": 0}
			_, leaders := replicas(t, c, "orders")
			for _, name := range leaders {
				count[name]++
			}
			return max(count["n1"], count["n2"], count["n3"]), min(count["n1"], count["n2"], count["n3"])
		}
		if most, least := spread(); least == 0 {
			t.Errorf("from the beginning: one node leads %d groups, another none", most)
		}
		// While links are cut or slowed on purpose, nothing is moved.
		if err := c.SetFaults(t.Context(), []link.Rule{{From: "n1", To: "n2", Delay: time.Millisecond}}); err != nil {
			t.Fatal(err)
		}
		_, leaders := replicas(t, c, "orders")
		for group, at := range leaders { // n1 gets everything
			id, _ := store.ParseGroupID(group)
			if at != "n1" {
				if err := transfer(t, c, at, "orders", id.Shard, "n1"); err != nil {
					t.Fatal(err)
				}
			}
		}
		<-time.After(15 * time.Second)
		if most, _ := spread(); most != 16 {
			t.Error("leadership moved in the middle of an experiment")
		}
		if err := c.SetFaults(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the leaders are spread", func() bool {
			<-time.After(2 * time.Second)
			most, least := spread()
			return most-least <= 1
		})
		_, before := replicas(t, c, "orders")
		<-time.After(45 * time.Second)
		if _, after := replicas(t, c, "orders"); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("a balanced cluster was not left alone: %v, then %v", before, after)
		}
	})
}

// slow is the timing of a cluster whose idle groups are to cost little virtual work.
var slow = cp.Timing{Heartbeat: 2 * time.Second, Election: 2 * time.Second, Lease: time.Second, Commit: 500 * time.Millisecond, Proof: 10 * time.Second}

func TestKeyspaceIsGivenOtherReplicaCounts(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 5)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp", Replicas: 3, Groups: 2})
		w := write(t, c, "orders")
		alter := func(name string, replicas uint32) error {
			admin, err := c.Admin("n3")
			if err != nil {
				t.Fatal(err)
			}
			_, err = admin.AlterKeyspace(within(t, 30*time.Second), &kvpb.AlterKeyspaceRequest{Name: name, Replicas: replicas})
			return kvpb.FromStatus(err)
		}
		for _, count := range []int{5, 1, 3} {
			if err := alter("orders", uint32(count)); err != nil {
				t.Fatal(err)
			}
			everyGroup(t, c, "orders", count, "")
		}
		for name, want := range map[string]struct {
			keyspace string
			replicas uint32
			code     store.Code
		}{
			"none":             {"orders", 0, store.Invalid},
			"more than nodes":  {"orders", 6, store.Invalid},
			"no such keyspace": {"nosuch", 3, store.NoSuchKeyspace},
		} {
			if err := alter(want.keyspace, want.replicas); !errors.Is(err, want.code) {
				t.Errorf("%s: %v, want %s", name, err, want.code)
			}
		}
		w.refused(t)
		w.check(t, c, "orders")
	})
}
