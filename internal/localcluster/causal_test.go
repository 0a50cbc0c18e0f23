package localcluster_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

// settles wants each group of the ap keyspace on exactly so many nodes, all of which
// say that they are caught up and name each other, and without not among them.
func settles(t *testing.T, c localcluster.Cluster, keyspace string, count int, without string) {
	t.Helper()
	eventually(t, fmt.Sprintf("every group of %s settled on %d nodes without %s", keyspace, count, without), func() bool {
		held := map[string]int{}
		for _, name := range c.Nodes() {
			admin, err := c.Admin(name)
			if err != nil {
				return false
			}
			s, err := admin.Status(within(t, time.Second), &kvpb.StatusRequest{})
			if err != nil {
				continue
			}
			for _, r := range s.GetReplicas() {
				if r.GetKeyspace() != keyspace {
					continue
				}
				if !r.GetReady() || len(r.GetMembers()) != count || len(r.GetNonVoters()) > 0 || slices.Contains(r.GetMembers(), without) {
					return false
				}
				held[r.GetGroup()]++
			}
		}
		for _, n := range held {
			if n != count {
				return false
			}
		}
		return len(held) > 0
	})
}

// heldAt are the keys that a node's replica holds, nil if it has none.
func heldAt(t *testing.T, c localcluster.Cluster, node string, id store.GroupID) map[string]bool {
	t.Helper()
	admin, err := c.Admin(node)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for from := ""; ; {
		page, err := admin.Dump(within(t, 5*time.Second), &kvpb.DumpRequest{KeyspaceId: id.Keyspace, Shard: id.Shard, From: from})
		if err != nil {
			return nil
		}
		for _, item := range page.GetItems() {
			keys[item.GetKey()] = true
		}
		if from = page.GetNext(); from == "" {
			return keys
		}
	}
}

// checkCausal ends the writer and wants no write failed, and each of them at every
// replica of the keyspace's one group. Of few the end may be unknown: only the node that
// took a write to an ap group can say what came of it, and that node may be gone.
func (w *writer) checkCausal(t *testing.T, c localcluster.Cluster, id store.GroupID, replicas int) {
	t.Helper()
	w.stop()
	<-w.done
	for _, err := range w.errs {
		if !errors.Is(err, store.Unknown) {
			t.Errorf("a write failed: %v", err)
		}
	}
	if len(w.errs) > 3 {
		t.Errorf("%d writes have no answer, the first with %v", len(w.errs), w.errs[0])
	}
	if len(w.acked) < 10 {
		t.Errorf("only %d writes were acknowledged", len(w.acked))
	}
	<-time.After(5 * time.Second)
	found := 0
	for _, node := range c.Nodes() {
		keys := heldAt(t, c, node, id)
		if keys == nil {
			continue
		}
		found++
		for _, key := range w.acked {
			if !keys[key] {
				t.Fatalf("%s was acknowledged, and %s has %d keys without it", key, node, len(keys))
			}
		}
	}
	if found != replicas {
		t.Errorf("%d nodes have a replica, want %d", found, replicas)
	}
}

var carts = store.GroupID{Keyspace: 2}

func TestCausalGroupsMoveWhileWriting(t *testing.T) {
	for _, acks := range []string{"local", "majority"} {
		t.Run(acks, func(t *testing.T) {
			linktest.Bubble(t, func(t *testing.T) {
				c := memory(t, 3)
				create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap", W: acks})
				w := write(t, c, "carts")
				for i := range 3 {
					add(t, c, fmt.Sprintf("n%d", 4+i))
					if moved := mustRemove(t, c, fmt.Sprintf("n%d", 1+i), false); !slices.Equal(moved, []string{"2/0"}) {
						t.Errorf("moved %v", moved)
					}
				}
				settles(t, c, "carts", 3, "n1")
				w.checkCausal(t, c, carts, 3)
			})
		})
	}
}

func TestCausalKeyspaceIsGivenOtherReplicaCounts(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 5)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap", Replicas: 3})
		w := write(t, c, "carts")
		for _, count := range []int{5, 1, 4} {
			admin, err := c.Admin("n3")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := admin.AlterKeyspace(within(t, 30*time.Second), &kvpb.AlterKeyspaceRequest{Name: "carts", Replicas: uint32(count)}); err != nil {
				t.Fatal(kvpb.FromStatus(err))
			}
			settles(t, c, "carts", count, "")
		}
		w.refused(t)
		w.checkCausal(t, c, carts, 4)
	})
}

func TestDeadMemberOfACausalGroupIsReplacedInOneCommand(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 4)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap", Replicas: 3})
		if err := c.Kill(t.Context(), "n2"); err != nil {
			t.Fatal(err)
		}
		w := write(t, c, "carts")
		if moved := mustRemove(t, c, "n2", true); len(moved) != 1 {
			t.Errorf("moved %v, want the group", moved)
		}
		settles(t, c, "carts", 3, "n2")
		w.checkCausal(t, c, carts, 3)
	})
}

// Who leaves has to give away what only it has, so those that stay must be there.
func TestMemberOfACausalGroupDoesNotLeaveWhileAnotherIsAway(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 4)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap", Replicas: 3})
		if err := c.Kill(t.Context(), "n2"); err != nil {
			t.Fatal(err)
		}
		if _, err := remove(t, c, "n1", false); !errors.Is(err, store.Unavailable) || store.AsError(err).Try == "" {
			t.Errorf("%v", err)
		}
		if err := c.Restart(within(t, 20*time.Second), "n2"); err != nil {
			t.Fatal(err)
		}
		mustRemove(t, c, "n1", false)
		settles(t, c, "carts", 3, "n1")
	})
}

// What a node took while it was cut off from the others outlives its removal, which
// waits for it; and it goes on after crashes of who comes and of who goes.
func TestRemovalOfACausalMemberWaitsForWhatOnlyItHas(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 4)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap", Replicas: 3})
		if err := c.SetFaults(t.Context(), link.Isolate("n1", c.Nodes())); err != nil {
			t.Fatal(err)
		}
		cl, err := c.Client(t.Context(), "n1")
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if _, err := cl.Keyspace("carts").Put(within(t, 5*time.Second), "only", []byte("v")); err != nil {
			t.Fatal(err)
		}
		if err := c.SetFaults(t.Context(), slowed(20*time.Millisecond, "n1", "n2", "n3", "n4")); err != nil {
			t.Fatal(err)
		}
		admin, err := c.Admin("n2")
		if err != nil {
			t.Fatal(err)
		}
		begun := make(chan error, 1)
		go func() {
			_, err := admin.RemoveNode(within(t, 50*time.Second), &kvpb.RemoveNodeRequest{Node: "n1"})
			begun <- kvpb.FromStatus(err)
		}()
		for _, victim := range []string{"n4", "n1"} {
			<-time.After(300 * time.Millisecond)
			if err := c.Kill(t.Context(), victim); err != nil {
				t.Fatal(err)
			}
			<-time.After(2 * time.Second)
			if err := c.Restart(within(t, 20*time.Second), victim); err != nil {
				t.Logf("%s is out already: %v", victim, err)
			}
		}
		if err := <-begun; err != nil {
			t.Fatal(err)
		}
		mustRemove(t, c, "n1", false)
		settles(t, c, "carts", 3, "n1")
		for _, node := range []string{"n2", "n3", "n4"} {
			if !heldAt(t, c, node, carts)["only"] {
				t.Errorf("%s lacks what n1 took while it was cut off", node)
			}
		}
	})
}
