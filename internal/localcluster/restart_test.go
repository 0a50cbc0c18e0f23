package localcluster_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
)

// A node that runs ends in an orderly way and is a later process then.
func TestRestartOfANodeThatRuns(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 3)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp"})
		w := write(t, c, "orders")
		before := statusOf(t, c, "n1").GetStart()
		if err := c.Restart(within(t, 20*time.Second), "n1"); err != nil {
			t.Fatal(err)
		}
		if after := statusOf(t, c, "n1").GetStart(); before == 0 || after <= before {
			t.Errorf("it started at %d, and then at %d", before, after)
		}
		w.check(t, c, "orders")
	})
}

// A node whose disk fails ends, and comes back with all it had once the disk is well.
func TestNodeEndsByAFailedDiskAndComesBack(t *testing.T) {
	for _, failure := range []engine.Failure{engine.Full, engine.Broken} {
		t.Run(string(failure), func(t *testing.T) {
			linktest.Bubble(t, func(t *testing.T) {
				c := memory(t, 3)
				create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp"})
				if err := c.FailDisk(t.Context(), "n2", failure); err != nil {
					t.Fatal(err)
				}
				w := write(t, c, "orders") // the others are a majority
				time.Sleep(3 * time.Second)
				if c.FailedWrites(t.Context(), "n2") == 0 {
					t.Error("no write failed")
				}
				if err := c.FailDisk(t.Context(), "n2", ""); err != nil {
					t.Fatal(err)
				}
				if err := c.Kill(t.Context(), "n2"); err != nil {
					t.Fatal(err)
				}
				if err := c.Restart(within(t, 20*time.Second), "n2"); err != nil {
					t.Fatal(err)
				}
				w.check(t, c, "orders")
			})
		})
	}
	linktest.Bubble(t, func(t *testing.T) {
		if err := memory(t, 1).FailDisk(t.Context(), "n1", "tired"); !errors.Is(err, store.Invalid) {
			t.Errorf("a failure that is not known: %v", err)
		}
	})
}
