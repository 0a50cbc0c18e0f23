package client_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

func TestBoundedAndQuorumReadsOfAnAPKeyspace(t *testing.T) {
	whole(t, 1, func(t *testing.T, m *localcluster.Memory, _ *client.Keyspace) {
		ctx := t.Context()
		ap := join(t, m, "n1").Keyspace("ap")
		_, err := ap.Put(ctx, "k", value, client.WithW(store.WMajority))
		must(t, err)
		for _, node := range m.Nodes() {
			there := join(t, m, node).Keyspace("ap")
			item, err := there.Get(ctx, "k", client.At(client.Quorum))
			must(t, err)
			if !item.Found || item.Proof.Served != store.Quorum {
				t.Errorf("%s: %+v", node, item)
			}
		}
		time.Sleep(2 * time.Second)
		item, err := ap.Get(ctx, "k", client.Bounded(2*time.Second))
		must(t, err)
		if !item.Found || item.Proof.Served != store.Bounded || !item.Proof.Fresh || item.Proof.Staleness > 2*time.Second {
			t.Errorf("item is %+v", item)
		}

		isolate(t, m, "n3")
		time.Sleep(5 * time.Second)
		alone := join(t, m, "n3").Keyspace("ap")
		for _, ks := range []*client.Keyspace{ap, alone} {
			if _, err := ks.Get(within(t, time.Second), "k", client.Bounded(2*time.Second)); !errors.Is(err, store.TooStale) {
				t.Errorf("a member is cut off for longer than the bound: %v", err)
			}
		}
		if _, err := ap.Get(within(t, time.Second), "k", client.At(client.Quorum)); err != nil {
			t.Errorf("the majority: %v", err)
		}
		if _, err := alone.Get(within(t, time.Second), "k", client.At(client.Quorum)); !errors.Is(err, store.Unavailable) {
			t.Errorf("the minority: %v", err)
		}
		must(t, m.SetFaults(ctx, nil))
		_, err = alone.Get(within(t, 3*time.Second), "k", client.Bounded(2*time.Second))
		must(t, err)
	})
}
