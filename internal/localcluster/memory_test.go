package localcluster_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/localcluster"
)

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func memory(t *testing.T, nodes int) *localcluster.Memory {
	t.Helper()
	return memoryOf(t, localcluster.MemoryConfig{Nodes: nodes})
}

func memoryOf(t *testing.T, cfg localcluster.MemoryConfig) *localcluster.Memory {
	t.Helper()
	began := time.Now()
	cfg.Seed, cfg.Latency, cfg.Jitter = 1, 500*time.Microsecond, 200*time.Microsecond
	c, err := localcluster.NewMemory(within(t, 20*time.Second), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d nodes ready after %v", cfg.Nodes, time.Since(began))
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func create(t *testing.T, c localcluster.Cluster, r *kvpb.CreateKeyspaceRequest) {
	t.Helper()
	admin, err := c.Admin(c.Nodes()[0])
	if err == nil {
		_, err = admin.CreateKeyspace(within(t, 10*time.Second), r)
	}
	if err != nil {
		t.Fatal(kvpb.FromStatus(err))
	}
}

func TestClusterServesBothModes(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 5)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp"})
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap", Conflict: "siblings"})
		cl, err := c.Client(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		for _, name := range []string{"orders", "carts"} {
			ks := cl.Keyspace(name)
			if _, err := ks.Put(within(t, 5*time.Second), "k", []byte("v")); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			item, err := ks.Get(within(t, 5*time.Second), "k")
			if err != nil || string(item.Value) != "v" {
				t.Fatalf("%s: %+v, %v", name, item, err)
			}
		}
		for _, at := range c.Nodes() {
			pinned, err := c.Client(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			item, err := pinned.Keyspace("orders").Get(within(t, 5*time.Second), "k", client.At(client.Strong))
			if err != nil || string(item.Value) != "v" {
				t.Errorf("at %s: %+v, %v", at, item, err)
			}
			if err := pinned.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestAcknowledgedWritesSurviveCutsAndCrashes(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 5)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp"})
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap"})
		cl, err := c.Client(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		acked := map[string]bool{}
		put := func(keyspace, key string) {
			_, err := cl.Keyspace(keyspace).Put(within(t, 10*time.Second), key, []byte("v"))
			if err == nil {
				acked[keyspace+"/"+key] = true
			} else {
				t.Logf("put %s/%s: %v", keyspace, key, err)
			}
		}
		for round, cut := range []string{"n1,n2|n3,n4,n5", "n1,n3,n4|n2,n5", "n5|n1,n2,n3,n4"} {
			rules, err := link.ParsePartition(cut, c.Nodes())
			if err != nil {
				t.Fatal(err)
			}
			if err := c.SetFaults(t.Context(), rules); err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				put("orders", fmt.Sprintf("%d-%d", round, i))
				put("carts", fmt.Sprintf("%d-%d", round, i))
			}
			if err := c.SetFaults(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			victim := c.Nodes()[round]
			if err := c.Kill(t.Context(), victim); err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				put("orders", fmt.Sprintf("k%d-%d", round, i))
				put("carts", fmt.Sprintf("k%d-%d", round, i))
			}
			if err := c.Restart(within(t, 20*time.Second), victim); err != nil {
				t.Fatal(err)
			}
		}
		if len(acked) < 200 {
			t.Errorf("only %d of 240 writes were acknowledged", len(acked))
		}
		<-time.After(20 * time.Second)
		for _, at := range c.Nodes() {
			pinned, err := c.Client(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			for name := range acked {
				keyspace, key, _ := strings.Cut(name, "/")
				item, err := pinned.Keyspace(keyspace).Get(within(t, 5*time.Second), key)
				if err != nil || !item.Found {
					t.Errorf("at %s: %s: %+v, %v", at, name, item, err)
				}
			}
			if err := pinned.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
