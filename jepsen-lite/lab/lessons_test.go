package lab_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/node"
	"github.com/dialkv/dialkv/jepsen-lite/lab"
)

// virtual plays an experiment on nodes in memory, in virtual time.
func virtual(t *testing.T, e *lab.Experiment) (j *lab.Journal) {
	t.Helper()
	linktest.Bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		timing := node.Classroom
		if e.Needs.Timing == lab.Production {
			timing = node.Timing{Membership: node.Classroom.Membership}
		}
		c, err := localcluster.NewMemory(ctx, localcluster.MemoryConfig{
			Nodes: e.Needs.Nodes, Seed: 1, Timing: timing, Latency: 500 * time.Microsecond, Jitter: 200 * time.Microsecond,
			Storage: node.Storage{SyncFirst: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}()
		if j, err = e.Run(ctx, lab.Options{Cluster: c, Watcher: told(t)}); err != nil {
			t.Error(err)
		}
	})
	if j == nil {
		t.FailNow()
	}
	return j
}

// told logs what a run does.
func told(t *testing.T) lab.Watcher {
	return lab.Watcher{
		Phase: func(name string) { t.Log(name) },
		Done: func(r lab.Result) {
			output, err := json.Marshal(r.Output)
			if err != nil {
				t.Error(err)
			}
			t.Logf("%-5v %6.3fs %s: %s %s", r.Held(), r.Duration, r.Name, output, r.Exception)
		},
	}
}

func lesson(t *testing.T, name string) *lab.Experiment {
	t.Helper()
	file, data, err := lab.Lesson(name)
	if err != nil {
		t.Fatal(err)
	}
	e, err := lab.Parse(file, data)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Every lesson holds, asks for a prediction, asserts its point, and is over within a
// minute.
func TestLessonsHold(t *testing.T) {
	for _, name := range lab.Lessons() {
		t.Run(name, func(t *testing.T) {
			e := lesson(t, name)
			j := virtual(t, e)
			if !j.Held() {
				t.Errorf("%s, deviated %v", j.Status, j.Deviated)
			}
			for _, r := range j.Unmet() {
				t.Errorf("%s: wanted %v, got %v %s", r.Name, r.Wanted, r.Output, r.Exception)
			}
			if len(j.Predictions) == 0 || e.Hypothesis == nil || len(e.Rollbacks) == 0 {
				t.Errorf("%d predictions, hypothesis %v, %d rollbacks", len(j.Predictions), e.Hypothesis, len(e.Rollbacks))
			}
			if j.Duration > 60 {
				t.Errorf("it takes %.0f s", j.Duration)
			}
		})
	}
}
