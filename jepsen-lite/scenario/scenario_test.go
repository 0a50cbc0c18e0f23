package scenario_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/jepsen-lite/nemesis"
	"github.com/dialkv/dialkv/jepsen-lite/scenario"
	"github.com/dialkv/dialkv/jepsen-lite/workload"
	"github.com/dialkv/dialkv/store"
)

// onCluster gives f so many nodes in memory, in virtual time.
func onCluster(t *testing.T, nodes int, f func(t *testing.T, c *localcluster.Memory)) {
	t.Helper()
	linktest.Bubble(t, func(t *testing.T) {
		c, err := localcluster.NewMemory(t.Context(), localcluster.MemoryConfig{
			Nodes: nodes, Seed: 1, Latency: 2 * time.Millisecond, Jitter: time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		f(t, c)
	})
}

// recorded runs a plan to its end and judges it outside of the bubble.
func recorded(t *testing.T, o scenario.Options, on func(*localcluster.Memory) scenario.Cluster) scenario.Outcome {
	t.Helper()
	var r *scenario.Recording
	o.Progress = func(line string) { t.Log(line) }
	onCluster(t, 5, func(t *testing.T, c *localcluster.Memory) {
		var err error
		if r, err = scenario.Record(t.Context(), on(c), o); err != nil {
			t.Error(err)
		}
	})
	if r == nil {
		t.FailNow()
	}
	out, err := r.Judge()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range out.Checkers {
		t.Logf("%-20s %-8s %s", c.Name, c.Verdict, c.Sentence)
	}
	return out
}

func asItIs(c *localcluster.Memory) scenario.Cluster { return c }

func TestHonestClusterPassesUnderFaults(t *testing.T) {
	for _, name := range workload.Names {
		t.Run(name, func(t *testing.T) {
			out := recorded(t, scenario.Options{
				Load:   workload.Config{Workload: name, Duration: 20 * time.Second, Rate: 150, Seed: 7},
				Faults: []string{nemesis.Partition, nemesis.Kill},
			}, asItIs)
			if out.Verdict != check.Pass {
				t.Errorf("verdict %s", out.Verdict)
			}
			if !out.Settled || !out.Equal || out.Seed != 7 || len(out.Faults) < 2 {
				t.Errorf("settled %v, replicas equal %v, seed %d, faults %v", out.Settled, out.Equal, out.Seed, out.Faults)
			}
		})
	}
}

func TestHonestClusterPassesInRealTime(t *testing.T) {
	c, err := localcluster.NewMemory(t.Context(), localcluster.MemoryConfig{Seed: 1, Latency: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dir := t.TempDir()
	out, err := scenario.Run(t.Context(), c, scenario.Options{
		Load:   workload.Config{Workload: "register", Duration: 5 * time.Second, Rate: 200, Seed: 2},
		Faults: []string{nemesis.Partition, nemesis.Kill}, Dir: dir,
	})
	if err != nil || out.Verdict != check.Pass {
		t.Errorf("verdict %s, %v: %+v", out.Verdict, err, out.Checkers)
	}
	reported(t, dir)
}

// short is the shortest run that has a partition.
func short(dir string) scenario.Options {
	return scenario.Options{
		Load:   workload.Config{Workload: "register", Duration: 3 * time.Second, Rate: 100, Seed: 1},
		Faults: []string{nemesis.Partition}, Dir: dir,
	}
}

// deaf is a cluster on which nothing can be cut (mutant M20).
type deaf struct{ *localcluster.Memory }

func (deaf) SetFaults(context.Context, []link.Rule) error { return nil }

func TestARunWhoseFaultsDoNothingIsInvalid(t *testing.T) {
	out := recorded(t, short(""), func(c *localcluster.Memory) scenario.Cluster { return deaf{c} })
	if out.Verdict != check.Invalid || !says(out, "nemesis", "no effect") {
		t.Errorf("verdict %s", out.Verdict)
	}
}

func says(out scenario.Outcome, checker, sentence string) bool {
	for _, c := range out.Checkers {
		if c.Name == checker && c.Verdict == check.Invalid && strings.Contains(c.Sentence, sentence) {
			return true
		}
	}
	return false
}

// crashing is a cluster whose clients crash.
type crashing struct{ *localcluster.Memory }

func (crashing) Client(context.Context, string) (*client.Client, error) { panic("a planted crash") }

func TestACrashStillReports(t *testing.T) {
	dir := t.TempDir()
	out := recorded(t, short(dir), func(c *localcluster.Memory) scenario.Cluster { return crashing{c} })
	if out.Verdict != check.Invalid || !says(out, "run", "a planted crash") {
		t.Errorf("verdict %s", out.Verdict)
	}
	reported(t, dir)
}

func reported(t *testing.T, dir string) {
	t.Helper()
	for _, file := range []string{"index.html", "results.json", "junit.xml", "journal.json", "history.jsonl"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Error(err)
		}
	}
}

// stuck is a cluster whose faults never come back from where no context reaches.
type stuck struct {
	*localcluster.Memory
	free chan struct{}
}

func (s stuck) SetFaults(_ context.Context, rules []link.Rule) error {
	if rules != nil {
		<-s.free
	}
	return nil
}

func TestAStuckRunStillReports(t *testing.T) {
	dir := t.TempDir()
	var out *scenario.Recording
	onCluster(t, 2, func(t *testing.T, c *localcluster.Memory) {
		s := stuck{c, make(chan struct{})}
		defer close(s.free)
		var err error
		if out, err = scenario.Record(t.Context(), s, short(dir)); err != nil {
			t.Error(err)
		}
	})
	judged, err := out.Judge()
	if err != nil || judged.Verdict != check.Invalid || !says(judged, "run", "did not end") {
		t.Errorf("%v, %v", judged.Verdict, err)
	}
	reported(t, dir)
	if j := journalOf(t, dir); j.Status != "failed" {
		t.Errorf("the journal says %+v", j)
	}
}

func TestARunThatHasNotEndedSaysSo(t *testing.T) {
	dir := t.TempDir()
	results := filepath.Join(dir, "results.json")
	if err := os.WriteFile(results, []byte(`{"verdict":"pass"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var meanwhile string
	o := short(dir)
	onCluster(t, 3, func(t *testing.T, c *localcluster.Memory) {
		o.Progress = func(line string) {
			if strings.HasPrefix(line, "partition") && meanwhile == "" {
				b, err := os.ReadFile(results)
				meanwhile = fmt.Sprint(string(b), err)
			}
		}
		if _, err := scenario.Record(t.Context(), c, o); err != nil {
			t.Error(err)
		}
	})
	if !strings.Contains(meanwhile, `"verdict": "invalid"`) || !strings.Contains(meanwhile, "the run has not ended") {
		t.Errorf("while it ran, the report said %s", meanwhile)
	}
	reported(t, dir)
}

func journalOf(t *testing.T, dir string) (j struct{ Status, Start string }) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "journal.json"))
	if err != nil || json.Unmarshal(b, &j) != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return j
}

func TestAnInterruptedRunIsInvalidAndHealed(t *testing.T) {
	dir := t.TempDir()
	var r *scenario.Recording
	onCluster(t, 5, func(t *testing.T, c *localcluster.Memory) {
		ctx, cancel := context.WithCancel(t.Context())
		o := short(dir)
		o.Load.Duration = time.Minute
		o.Progress = func(line string) {
			if strings.HasPrefix(line, "partition") {
				time.AfterFunc(100*time.Millisecond, cancel)
			}
		}
		var err error
		if r, err = scenario.Record(ctx, c, o); err != nil {
			t.Error(err)
		}
		if h := faultsIn(t, dir); len(h) != 1 || h[0].End == history.Open {
			t.Errorf("faults %+v", h)
		}
	})
	out, err := r.Judge()
	if err != nil || out.Verdict != check.Invalid || !says(out, "run", "interrupted") {
		t.Errorf("verdict %s, %v", out.Verdict, err)
	}
	reported(t, dir)
	if j := journalOf(t, dir); j.Status != "aborted" {
		t.Errorf("the journal says %+v", j)
	}
}

func faultsIn(t *testing.T, dir string) []history.Window {
	t.Helper()
	file, err := os.Open(filepath.Join(dir, "history.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	h, err := history.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return h.Faults
}

func TestWhatCannotRunIsRefusedBeforeItBegins(t *testing.T) {
	onCluster(t, 5, func(t *testing.T, c *localcluster.Memory) {
		for code, change := range map[store.Code]func(*scenario.Options){
			store.Unsupported: func(o *scenario.Options) { o.Faults = []string{nemesis.Pause} },
			store.Invalid:     func(o *scenario.Options) { o.Load.Workload = "casino" },
		} {
			o := short(filepath.Join(t.TempDir(), "report"))
			change(&o)
			if _, err := scenario.Run(t.Context(), c, o); !errors.Is(err, code) {
				t.Errorf("want %s, got %v", code, err)
			}
			if _, err := os.Stat(o.Dir); err == nil {
				t.Errorf("%s: something was written", code)
			}
		}
	})
}
