package localcluster_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

// inMemory is a cluster with a keyspace in memory, in which a majority holds every write.
func inMemory(t *testing.T, nodes int) *localcluster.Memory {
	t.Helper()
	c := memory(t, nodes)
	create(t, c, &kvpb.CreateKeyspaceRequest{Name: "cache", Mode: "ap", Groups: 2, Replicas: 3, W: "majority", Durability: "memory"})
	return c
}

func putMany(t *testing.T, c localcluster.Cluster, prefix string, n int) {
	t.Helper()
	cl, err := c.Client(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i := range n {
		if _, err := cl.Keyspace("cache").Put(within(t, 10*time.Second), fmt.Sprint(prefix, i), []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
}

// found counts the keys that are there.
func found(t *testing.T, c localcluster.Cluster, prefix string, n int) (there int) {
	t.Helper()
	cl, err := c.Client(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i := range n {
		item, err := cl.Keyspace("cache").Get(within(t, 10*time.Second), fmt.Sprint(prefix, i), client.At(store.Quorum))
		if err != nil {
			t.Fatal(err)
		}
		if item.Found {
			there++
		}
	}
	return there
}

// emptied sums up what the replicas say of a keyspace.
func emptied(t *testing.T, c localcluster.Cluster) (emptied, lost uint64) {
	t.Helper()
	for _, name := range c.Nodes() {
		for _, r := range statusOf(t, c, name).GetReplicas() {
			emptied, lost = emptied+r.GetEmptied(), lost+r.GetLost()
		}
	}
	return emptied, lost
}

func TestKeyspaceInMemorySurvivesRestartsInTurn(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := inMemory(t, 3)
		putMany(t, c, "a", 100)
		for _, name := range c.Nodes() {
			if err := c.Kill(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			putMany(t, c, name, 10)
			if err := c.Restart(within(t, 30*time.Second), name); err != nil {
				t.Fatal(err)
			}
		}
		if n := found(t, c, "a", 100); n != 100 {
			t.Errorf("%d of 100 are left", n)
		}
		for _, name := range c.Nodes() {
			if n := found(t, c, name, 10); n != 10 {
				t.Errorf("%d of the 10 are left that were written while %s was down", n, name)
			}
		}
		if times, lost := emptied(t, c); times != 6 || lost != 0 {
			t.Errorf("two groups on three nodes were emptied %d times and lost %d", times, lost)
		}
	})
}

func TestKeyspaceInMemoryOfWhichAllNodesRestartedSaysWhatIsLost(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := inMemory(t, 3)
		putMany(t, c, "a", 50)
		<-time.After(3 * time.Second)
		for _, name := range c.Nodes() {
			if err := c.Kill(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		var starts sync.WaitGroup
		for _, name := range c.Nodes() {
			starts.Go(func() {
				if err := c.Restart(within(t, 30*time.Second), name); err != nil {
					t.Error(err)
				}
			})
		}
		starts.Wait()
		if n := found(t, c, "a", 50); n != 0 {
			t.Errorf("%d of 50 are there, and nobody kept them", n)
		}
		if times, lost := emptied(t, c); times != 6 || lost != 3*50 {
			t.Errorf("two groups on three nodes were emptied %d times, and each node lost 50: %d", times, lost)
		}
		putMany(t, c, "b", 20)
		if n := found(t, c, "b", 20); n != 20 {
			t.Errorf("%d of 20 new ones are there", n)
		}
	})
}

func TestMembersOfAKeyspaceInMemoryComeAndGo(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := inMemory(t, 3)
		putMany(t, c, "a", 100)
		add(t, c, "n4")
		mustRemove(t, c, "n2", false)
		settles(t, c, "cache", 3, "n2")
		if n := found(t, c, "a", 100); n != 100 {
			t.Errorf("%d of 100 are left", n)
		}
		if err := c.Kill(t.Context(), "n4"); err != nil {
			t.Fatal(err)
		}
		if err := c.Restart(within(t, 30*time.Second), "n4"); err != nil {
			t.Fatal(err)
		}
		putMany(t, c, "b", 10)
		if n := found(t, c, "a", 100); n != 100 {
			t.Errorf("%d of 100 are left", n)
		}
	})
}

// A keyspace that is deleted leaves nothing, and one that is made again is empty.
func TestDeletedKeyspaceInMemoryIsGone(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := inMemory(t, 3)
		putMany(t, c, "a", 10)
		admin, err := c.Admin("n1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := admin.DeleteKeyspace(within(t, 5*time.Second), &kvpb.DeleteKeyspaceRequest{Name: "cache"}); err != nil {
			t.Fatal(kvpb.FromStatus(err))
		}
		eventually(t, "no node holds a replica", func() bool {
			for _, name := range c.Nodes() {
				if len(statusOf(t, c, name).GetReplicas()) > 1 {
					return false
				}
			}
			return true
		})
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "cache", Mode: "ap", Replicas: 3, Durability: "memory"})
		if n := found(t, c, "a", 10); n != 0 {
			t.Errorf("%d keys of the one that was deleted are there", n)
		}
	})
}
