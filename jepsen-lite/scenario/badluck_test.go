package scenario_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/nemesis"
	"github.com/dialkv/dialkv/jepsen-lite/scenario"
	"github.com/dialkv/dialkv/store"
)

// unhealing is a cluster whose rules can be set, and not taken away again.
type unhealing struct {
	*localcluster.Memory
	cut bool
}

func (u *unhealing) SetFaults(ctx context.Context, rules []link.Rule) error {
	if rules == nil && u.cut {
		return &store.Error{Code: store.Unavailable, Msg: "a planted failure to heal"}
	}
	u.cut = len(rules) > 0
	return u.Memory.SetFaults(ctx, rules)
}

func TestAScenarioThatCannotHealIsInvalidAndSaysWhy(t *testing.T) {
	dir := t.TempDir()
	out := recorded(t, short(dir), func(c *localcluster.Memory) scenario.Cluster { return &unhealing{Memory: c} })
	if out.Verdict != check.Invalid || !says(out, "nemesis", "was not healed") || !says(out, "nemesis", "a planted failure to heal") {
		t.Errorf("verdict %s", out.Verdict)
	}
	if out.Settled || out.Equal {
		t.Errorf("a cluster in pieces has settled (%v), or its replicas are equal (%v)", out.Settled, out.Equal)
	}
	reported(t, dir)
}

// powerless is a cluster whose processes are somebody else's.
type powerless struct{ *localcluster.Memory }

func (powerless) Kill(_ context.Context, name string) error {
	return &store.Error{Code: store.Denied, Node: name, Msg: "a planted lack of permission"}
}

func (powerless) Resume(_ context.Context, name string) error { return nil }

func (powerless) Pause(_ context.Context, name string) error {
	return &store.Error{Code: store.Denied, Node: name, Msg: "a planted lack of permission"}
}

func TestARunWithoutPermissionForSignalsIsInvalidAndSaysWhy(t *testing.T) {
	for _, fault := range []string{nemesis.Kill, nemesis.Pause} {
		t.Run(fault, func(t *testing.T) {
			o := short("")
			o.Faults, o.Load.Duration = []string{fault}, 10*time.Second
			out := recorded(t, o, func(c *localcluster.Memory) scenario.Cluster { return powerless{c} })
			if out.Verdict != check.Invalid || !says(out, "nemesis", "did not begin") || !says(out, "nemesis", "a planted lack of permission") {
				t.Errorf("verdict %s", out.Verdict)
			}
		})
	}
}

func TestARunThatMayNotPauseIsRefusedBeforeItBegins(t *testing.T) {
	onCluster(t, 5, func(t *testing.T, c *localcluster.Memory) {
		o := short("")
		o.Faults = []string{nemesis.Pause}
		_, err := scenario.Run(t.Context(), refusing{powerless{c}}, o)
		if store.AsError(err).Code != store.Denied || !strings.Contains(err.Error(), "permission") {
			t.Errorf("it ended with %v", err)
		}
	})
}

type refusing struct{ powerless }

func (r refusing) Resume(ctx context.Context, name string) error { return r.Pause(ctx, name) }
