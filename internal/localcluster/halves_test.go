package localcluster_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
)

// However long a cut has lasted: ten seconds after the heal every node sees every other
// and all replicas are equal, and nobody has helped.
func TestSidesOfACutAreOneAgainTenSecondsAfterTheHeal(t *testing.T) {
	for _, cut := range []struct {
		nodes  int
		how    string
		length time.Duration
	}{
		{4, "n1,n2|n3,n4", 15 * time.Second}, {4, "n1,n2|n3,n4", time.Minute}, {4, "n1,n2|n3,n4", 10 * time.Minute},
		{5, "n1|n2,n3,n4,n5", 15 * time.Second}, {5, "n1|n2,n3,n4,n5", time.Minute}, {5, "n1|n2,n3,n4,n5", 10 * time.Minute},
		{5, "n1,n2|n3,n4,n5", 15 * time.Second}, {5, "n1,n2|n3,n4,n5", time.Minute}, {5, "n1,n2|n3,n4,n5", 10 * time.Minute},
	} {
		t.Run(fmt.Sprint(cut.how, " for ", cut.length), func(t *testing.T) {
			linktest.Bubble(t, func(t *testing.T) {
				c := memory(t, cut.nodes)
				create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap", Replicas: uint32(cut.nodes)})
				desks := make(map[string]*desk)
				for _, name := range c.Nodes() {
					desks[name] = deskAt(t, c, name)
					desks[name].put("carts", "before")
				}
				partition(t, c, cut.how)
				var group store.GroupID
				for i := range 50 {
					for name, d := range desks {
						r, err := d.c.Keyspace("carts").Put(within(t, 5*time.Second), fmt.Sprint(name, "-", i), []byte("v"), client.In(d.session))
						if err != nil {
							t.Fatalf("at %s in the cut: %v", name, err)
						}
						group = r.Proof.Group
					}
					time.Sleep(cut.length / 50)
				}
				heal(t, c)
				time.Sleep(10 * time.Second)
				want := heldAt(t, c, "n1", group)
				if len(want) != 1+cut.nodes*50 {
					t.Errorf("n1 holds %d keys", len(want))
				}
				for _, name := range c.Nodes() {
					if got := heldAt(t, c, name, group); !maps.Equal(got, want) {
						t.Errorf("%s holds %d keys, n1 %d", name, len(got), len(want))
					}
					if seen := statusOf(t, c, name).GetMembers(); len(seen) != cut.nodes {
						t.Errorf("%s sees %d members", name, len(seen))
					}
				}
			})
		})
	}
}
