package telemetry_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/dialkv/dialkv/internal/telemetry"
)

func TestRaftSpeaksThroughSlog(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	raft := telemetry.Raft(log, "group", "7/0")
	raft.Info("entering follower state")
	raft.Warn("heartbeat timeout reached", "last-leader", hclog.Fmt("%s!", "n1"))
	raft.Error("failed to heartbeat to", "peer", "n2")
	raft.Named("snapshots").Error("failed to take snapshot", "error", "disk")
	got := out.String()
	for _, want := range []string{`level=INFO msg="raft: heartbeat timeout reached" group=7/0 last-leader=n1!`, `level=WARN msg="raft.snapshots: failed to take snapshot"`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
	for _, unwanted := range []string{"entering follower", "failed to heartbeat"} {
		if strings.Contains(got, unwanted) {
			t.Errorf("%s is in\n%s", unwanted, got)
		}
	}
}
