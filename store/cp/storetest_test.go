package cp_test

import (
	"testing"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
	"github.com/dialkv/dialkv/store/storetest"
)

func TestReplicasKeepTheLaw(t *testing.T) {
	for n, size := range map[int]string{1: "one replica", 3: "three replicas"} {
		t.Run(size, func(t *testing.T) {
			storetest.Run(t, storetest.Config{
				Mode: store.CP, In: linktest.Bubble,
				Depose: func(t *testing.T, leader store.Replica) {
					if err := leader.(*cp.Replica).Transfer(t.Context(), ""); err != nil {
						t.Fatal(err)
					}
				},
				Open: func(t *testing.T) []store.Replica {
					c := newCluster(t, n, nil)
					var replicas []store.Replica
					for _, name := range c.names {
						replicas = append(replicas, c.nodes[name].replica)
					}
					return replicas
				},
			})
		})
	}
}
