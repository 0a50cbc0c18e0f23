package report

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/store"
)

func TestCompareMatchesByName(t *testing.T) {
	a := check.Report{
		Verdict: check.Pass, Operations: check.Outcomes{OK: 3},
		Checkers: []check.Result{{Name: "causal", Verdict: check.Pass}, {Name: "set", Verdict: check.Pass}},
		Latency:  []check.Latency{{Op: "get", Level: "strong", N: 3, P99: 2}},
		Availability: []check.Row{
			{Node: "n1", Keyspace: "k-1", Op: "put", Phase: "during", Ops: 4, OK: 1},
			{Node: "n2", Keyspace: "k-1", Op: "put", Phase: "during", Ops: 6, OK: 6},
		},
	}
	b := check.Report{
		Verdict: check.Fail, Checkers: []check.Result{{Name: "causal", Verdict: check.Fail}, {Name: "map", Verdict: check.Pass}},
		Availability: []check.Row{{Node: "n1", Keyspace: "k-2", Op: "put", Phase: "during", Ops: 2, OK: 2}},
		Staleness:    []check.Ages{{Mode: "ap", Level: "eventual", Reads: 9, Stale: 2, Max: 7}},
	}
	c := Compare("one", a, "two", b)
	if c.A.Report != "one" || c.A.Operations.OK != 3 || c.B.Verdict != check.Fail {
		t.Errorf("%+v %+v", c.A, c.B)
	}
	if len(c.Checkers) != 3 || c.Checkers[0].A.Verdict != check.Pass || c.Checkers[0].B.Verdict != check.Fail || c.Checkers[1].B != nil || c.Checkers[2].A != nil {
		t.Errorf("%+v", c.Checkers)
	}
	if len(c.Availability) != 1 || *c.Availability[0].A != (Share{10, 7}) || *c.Availability[0].B != (Share{2, 2}) {
		t.Errorf("%+v", c.Availability)
	}
	if len(c.Latency) != 1 || c.Latency[0].Name != "get strong" || c.Latency[0].B != nil || len(c.Staleness) != 1 || c.Staleness[0].B.Stale != 2 {
		t.Errorf("%+v %+v", c.Latency, c.Staleness)
	}
}

func TestWrittenReportsCanBeLoaded(t *testing.T) {
	_, rep, dir := write(t, fixture(t, "good"))
	for _, path := range []string{dir, filepath.Join(dir, "results.json")} {
		got, err := Load(path)
		if err != nil || got.Verdict != rep.Verdict || len(got.Checkers) != len(rep.Checkers) || len(got.Latency) == 0 || got.Operations.OK == 0 {
			t.Errorf("%v %+v", err, got)
		}
	}
}

func TestWhatIsNoReportIsInvalid(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "", "list": "[]", "nothing": "{}", "verdict": `{"verdict":"splendid"}`, "torn": `{"verdict":"pass"`} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Load(dir); !errors.Is(err, store.Invalid) {
		t.Errorf("a directory without report: %v", err)
	}
}
