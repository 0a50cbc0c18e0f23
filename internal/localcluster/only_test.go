package localcluster_test

import (
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link/linktest"
)

func TestOnlyReplicaOfACausalGroupMoves(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 3)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap", Replicas: 1})
		held, _ := replicas(t, c, "carts")
		var holder string
		for _, nodes := range held {
			holder = nodes[0]
		}
		other := "n1"
		if holder == "n1" {
			other = "n2"
		}
		cl, err := c.Client(t.Context(), other)
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if _, err := cl.Keyspace("carts").Put(within(t, 5*time.Second), "k", []byte("v")); err != nil {
			t.Fatal(err)
		}
		mustRemove(t, c, holder, false)
		<-time.After(10 * time.Second)
		if item, err := cl.Keyspace("carts").Get(within(t, 5*time.Second), "k"); err != nil || string(item.Value) != "v" {
			t.Errorf("%q, %v", item.Value, err)
		}
	})
}
