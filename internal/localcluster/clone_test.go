package localcluster_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// noticed is how long two processes of one node may both live once both can reach a
// common member.
const noticed = 5 * time.Second

// expectRefused waits for a clone to end as one that was refused.
func expectRefused(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		var e *store.Error
		if !errors.As(err, &e) || e.Code != store.AlreadyExists || e.Try == "" {
			t.Errorf("the clone ended with %v", err)
		}
	case <-time.After(noticed):
		t.Errorf("the clone still runs after %v", noticed)
	}
}

// expectAtHome waits until every node and the catalog know the nodes under the addresses
// they have, and checks that all of them serve.
func expectAtHome(t *testing.T, c localcluster.Cluster) {
	t.Helper()
	eventually(t, "the nodes are known under their own addresses", func() bool {
		for _, at := range c.Nodes() {
			s := statusOf(t, c, at)
			if !s.GetReady() || len(s.GetMembers()) != len(c.Nodes()) ||
				slices.ContainsFunc(s.GetMembers(), func(m *kvpb.Member) bool { return m.GetName() != m.GetAddr() }) {
				return false
			}
		}
		cl, err := c.Client(t.Context(), "")
		if err != nil {
			return false
		}
		defer cl.Close()
		topology, err := cl.Topology(within(t, time.Second))
		return err == nil && !slices.ContainsFunc(topology.Nodes, func(n shard.Node) bool { return n.Name != n.Addr })
	})
}

func TestCloneOfARunningNodeIsRefused(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 3)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp", Groups: 3})
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap"})
		orders, carts := write(t, c, "orders"), write(t, c, "carts")
		for _, name := range c.Nodes() { // one of them leads the catalog
			<-time.After(time.Second)
			ended, err := c.Clone(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			expectRefused(t, ended)
		}
		orders.check(t, c, "orders")
		carts.checkRead(t, c, "carts", store.Causal)
		expectAtHome(t, c)
	})
}

// For a while no other node hears the first process where it is, and all take the clone
// for a restart. Once both can be reached, it is the clone that goes, and what it had
// itself recorded as goes with it.
func TestCloneThatWasTakenForARestartIsRefusedLater(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 3)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp", Groups: 3})
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap"})
		var deaf []link.Rule
		for _, from := range []string{"n1", "n2"} {
			deaf = append(deaf, link.Rule{From: from, To: "n3", Kind: link.Asking, Action: link.Hole})
		}
		if err := c.SetFaults(t.Context(), deaf); err != nil {
			t.Fatal(err)
		}
		ended, err := c.Clone(t.Context(), "n3")
		if err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			t.Fatalf("the clone ended while nobody could know: %v", err)
		case <-time.After(20 * time.Second):
		}
		if err := c.SetFaults(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		expectRefused(t, ended)
		expectAtHome(t, c)
		orders, carts := write(t, c, "orders"), write(t, c, "carts")
		<-time.After(2 * time.Second)
		orders.check(t, c, "orders")
		carts.checkRead(t, c, "carts", store.Causal)
	})
}
