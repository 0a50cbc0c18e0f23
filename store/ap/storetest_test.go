package ap

import (
	"testing"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/storetest"
)

func TestReplicasKeepTheContract(t *testing.T) {
	for _, policy := range []store.Policy{store.LWW, store.Siblings, store.Counter, store.Set, store.Map} {
		for n, size := range map[int]string{1: "one replica", 3: "three replicas"} {
			t.Run(policy.String()+" with "+size, func(t *testing.T) { keepsTheContract(t, n, Config{Policy: policy}) })
		}
		t.Run(policy.String()+" in memory", func(t *testing.T) {
			keepsTheContract(t, 3, Config{Policy: policy, Durability: store.Memory})
		})
	}
}

func keepsTheContract(t *testing.T, n int, cfg Config) {
	storetest.Run(t, storetest.Config{
		Mode: store.AP, Policy: cfg.Policy, In: linktest.Bubble,
		Open: func(t *testing.T) []store.Replica {
			w := newWorld(t, n, cfg)
			t.Cleanup(w.stopAll)
			var replicas []store.Replica
			for _, name := range w.names {
				replicas = append(replicas, w.at(name))
			}
			return replicas
		},
	})
}
