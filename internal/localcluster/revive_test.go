package localcluster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/localcluster"
)

// A node that is restarted hears from its leaders while it is still opening their
// groups, and is told nothing more as long as they lead.
func TestRestartedNodeIsReadyThoughItsLeadersStay(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memoryOf(t, localcluster.MemoryConfig{Nodes: 3})
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp", Groups: 4})
		for i := range 40 {
			node := c.Nodes()[i%3]
			if err := c.Kill(t.Context(), node); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Duration(i%4) * 700 * time.Millisecond)
			if err := c.Restart(within(t, 15*time.Second), node); err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
		}
	})
}

// A node whose last replica to serve is of an ap keyspace is ready then: no leader
// tells it so. It once was ready at the next change of the catalog only.
func TestNodeIsReadyWhenItsLastAPReplicaServes(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memoryOf(t, localcluster.MemoryConfig{Nodes: 3})
		for i := range 4 {
			create(t, c, &kvpb.CreateKeyspaceRequest{Name: fmt.Sprintf("carts%d", i), Mode: "ap", Groups: 2})
		}
		for i := range 20 {
			node := c.Nodes()[i%3]
			for _, err := range []error{
				c.SetFaults(t.Context(), link.Isolate(node, c.Nodes())),
				c.Kill(t.Context(), node),
				c.SetFaults(t.Context(), nil),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Restart(within(t, 15*time.Second), node); err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
		}
	})
}
