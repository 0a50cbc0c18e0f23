package localcluster_test

import (
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/localcluster"
)

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
				says := strings.Contains(r.GetDetail(), "clock is 1h0m0s ahead of the group's")
				if says != (name == "n2" && r.GetKeyspace() == "carts") || !s.GetReady() {
					t.Errorf("%s, %s: ready %v, %q", name, r.GetKeyspace(), s.GetReady(), r.GetDetail())
				}
			}
		}
	})
}
