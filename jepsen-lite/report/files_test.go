package report

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// read returns a file of the report.
func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestJUnitHasOneCaseForEachChecker(t *testing.T) {
	_, rep, dir := write(t, fixture(t, "stale-read"))
	var got suites
	if err := xml.Unmarshal(read(t, dir, "junit.xml"), &got); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for i, c := range rep.Checkers {
		tc := got.Suite.Cases[i]
		if tc.Name != c.Name || (tc.Failure != nil) != (c.Verdict == check.Fail) || tc.Error != nil {
			t.Errorf("%s is %s, and the case is %+v", c.Name, c.Verdict, tc)
		}
		if tc.Failure != nil {
			failed++
			if tc.Failure.Message != c.Sentence || !strings.Contains(tc.Failure.Text, "op 5: get ks/x; saw v1") {
				t.Errorf("%+v", tc.Failure)
			}
		}
	}
	if got.Suite.Tests != len(rep.Checkers) || got.Suite.Failures != failed || failed == 0 {
		t.Errorf("%d tests, %d failures", got.Suite.Tests, got.Suite.Failures)
	}
}

func TestJUnitTakesInvalidForAnError(t *testing.T) {
	_, _, dir := write(t, "no history\nat all\n")
	var got suites
	if err := xml.Unmarshal(read(t, dir, "junit.xml"), &got); err != nil || got.Suite.Errors != 1 || got.Suite.Cases[0].Error == nil {
		t.Errorf("%v %+v", err, got)
	}
}

func TestJournalHasWhatItsSpecificationAsksFor(t *testing.T) {
	_, rep, dir := write(t, strings.Join([]string{
		`{"seq":1,"t_ns":0,"type":"invoke","op_id":1,"process":1,"op":"put","keyspace":"k","mode":"cp","key":"x","value":"a"}`,
		`{"seq":2,"t_ns":1000000000,"type":"complete","op_id":1,"outcome":"ok"}`,
		`{"seq":3,"t_ns":2000000000,"type":"fault","fault":"partition","phase":"begin","detail":"n1|n2"}`,
		`{"seq":4,"t_ns":5000000000,"type":"fault","fault":"partition","phase":"end","detail":"n1|n2"}`,
		`{"seq":5,"t_ns":6000000000,"type":"fault","fault":"kill","phase":"begin","detail":"n3"}`,
		`{"seq":6,"t_ns":7000000000,"type":"dump-end","node":"n1","keyspace":"k"}`,
	}, "\n")+"\n")
	var got map[string]any
	if err := json.Unmarshal(read(t, dir, "journal.json"), &got); err != nil {
		t.Fatal(err)
	}
	for _, property := range []string{"experiment", "status", "start", "end", "duration", "steady_states", "run", "rollbacks"} {
		if _, there := got[property]; !there {
			t.Errorf("%s is missing", property)
		}
	}
	run := got["run"].([]any)
	cut, kill := run[0].(map[string]any), run[1].(map[string]any)
	if len(run) != 2 || cut["duration"] != 3.0 || cut["status"] != "succeeded" || cut["start"] != "1970-01-01T00:00:02Z" || kill["status"] != "failed" {
		t.Errorf("run: %v", run)
	}
	experiment := got["experiment"].(map[string]any)
	if method := experiment["method"].([]any); len(method) != 2 || experiment["title"] == "" {
		t.Errorf("experiment: %v", experiment)
	}
	after := got["steady_states"].(map[string]any)["after"].(map[string]any)
	if len(after["probes"].([]any)) != len(rep.Checkers) || after["steady_state_met"] != (rep.Verdict == check.Pass) || got["deviated"] != (rep.Verdict != check.Pass) {
		t.Errorf("steady state: %v, deviated %v", after, got["deviated"])
	}
}

func TestJournalBoundsItsFaults(t *testing.T) {
	h := &history.History{Faults: slices.Repeat([]history.Window{{Fault: "kill", Stop: time.Second}}, maxActions+7)}
	j := newJournal(h, check.Reject(history.ErrEmpty), Run{Began: time.Unix(1e9, 0)})
	if len(j.Run) != maxActions || len(j.Experiment.Method) != maxActions || !strings.Contains(j.Experiment.Description, "7 more faults") {
		t.Errorf("%d actions: %s", len(j.Run), j.Experiment.Description)
	}
	if j.Run[0].End != "2001-09-09T01:46:41Z" {
		t.Errorf("it ended at %s", j.Run[0].End)
	}
}

func TestBegunReportIsNoPass(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "history.jsonl"), []byte("recorded"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Begin(dir, Run{Title: "register under partition"}); err != nil {
		t.Fatal(err)
	}
	var rep check.Report
	if err := json.Unmarshal(read(t, dir, "results.json"), &rep); err != nil || rep.Verdict != check.Invalid {
		t.Errorf("%v %+v", err, rep)
	}
	if page := string(read(t, dir, "index.html")); !strings.Contains(page, "the run has not ended") || !strings.Contains(page, "register under partition") {
		t.Error("the page does not say that the run has not ended")
	}
	if string(read(t, dir, "history.jsonl")) != "recorded" {
		t.Error("the history is gone")
	}
}

// What cannot be made leaves the rest of the report as it is.
func TestOneFileThatCrashesKeepsNoOther(t *testing.T) {
	dir := t.TempDir()
	rep := check.Reject(history.ErrEmpty)
	if err := file(dir, "index.html", func() ([]byte, error) { panic("a planted crash") }); err == nil || !strings.Contains(err.Error(), "a planted crash") {
		t.Errorf("got %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "junit.xml"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(dir, nil, rep, Run{}); err == nil || !strings.Contains(err.Error(), "junit.xml") {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"results.json", "journal.json", "history.jsonl"} {
		read(t, dir, name)
	}
}
