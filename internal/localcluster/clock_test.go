package localcluster_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

func TestClockIsSetWrongAndRight(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 3)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap"})
		ahead := func() (ahead time.Duration) {
			t.Helper()
			admin, err := c.Admin("n2")
			if err != nil {
				t.Fatal(err)
			}
			s, err := admin.Status(within(t, time.Second), &kvpb.StatusRequest{})
			if err != nil {
				t.Fatal(kvpb.FromStatus(err))
			}
			for _, r := range s.GetReplicas() {
				ahead = max(ahead, aheadIn(t, r.GetDetail()))
			}
			return ahead
		}
		for _, want := range []time.Duration{8 * time.Second, 0} {
			if err := c.Skew(t.Context(), "n2", want); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			if got := ahead(); (got - want).Abs() > time.Second {
				t.Errorf("set %v ahead, it says %v", want, got)
			}
		}
		if err := c.Skew(t.Context(), "n2", 48*time.Hour); !errors.Is(err, store.Invalid) {
			t.Errorf("two days: %v", err)
		}
	})
}

// aheadIn returns how far ahead of its group a replica says that its node's clock is,
// which is an estimate from the messages of its peers; 0 if it says nothing of it.
func aheadIn(t *testing.T, detail string) time.Duration {
	t.Helper()
	_, says, found := strings.Cut(detail, "clock is ")
	if !found {
		return 0
	}
	amount, _, _ := strings.Cut(says, " ahead of the group's")
	ahead, err := time.ParseDuration(amount)
	if err != nil {
		t.Fatalf("%q: %v", detail, err)
	}
	return ahead
}

func TestNodeWithAWrongClockSaysSo(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memoryOf(t, localcluster.MemoryConfig{Nodes: 3, Clock: func(name string) func() time.Time {
			ahead := map[string]time.Duration{"n2": time.Hour}[name]
			return func() time.Time { return time.Now().Add(ahead) }
		}})
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap"})
		time.Sleep(2 * time.Second)
		for _, name := range c.Nodes() {
			admin, err := c.Admin(name)
			if err != nil {
				t.Fatal(err)
			}
			s, err := admin.Status(within(t, time.Second), &kvpb.StatusRequest{})
			if err != nil {
				t.Fatal(kvpb.FromStatus(err))
			}
			for _, r := range s.GetReplicas() {
				ahead := aheadIn(t, r.GetDetail())
				wrong := name == "n2" && r.GetKeyspace() == "carts"
				if (ahead != 0) != wrong || wrong && (ahead-time.Hour).Abs() > time.Second || !s.GetReady() {
					t.Errorf("%s, %s: ready %v, %q", name, r.GetKeyspace(), s.GetReady(), r.GetDetail())
				}
			}
		}
	})
}
