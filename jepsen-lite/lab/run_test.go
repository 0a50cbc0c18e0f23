package lab_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/jepsen-lite/lab"
	"github.com/dialkv/dialkv/store"
)

// played runs a file that needs no cluster.
func played(t *testing.T, ctx context.Context, text string, env map[string]string) *lab.Journal {
	t.Helper()
	e, err := lab.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	j, err := e.Run(ctx, lab.Options{Getenv: func(name string) string { return env[name] }, Watcher: told(t)})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func names(results []lab.Result) (out []string) {
	for _, r := range results {
		out = append(out, r.Name)
	}
	return out
}

// shell is a provider that runs a line of sh.
func shell(line string) string {
	return fmt.Sprintf("{type: process, path: sh, arguments: [-c, %q]}", line)
}

const failsBefore = head + `
steady-state-hypothesis:
  title: h
  probes:
    - {type: probe, name: holds, provider: {type: process, path: "true"}, tolerance: 0}
    - {type: probe, name: does not, provider: {type: process, path: "false"}, tolerance: 0}
    - {type: probe, name: never asked, provider: {type: process, path: "true"}, tolerance: 0}
method:
  - {type: action, name: never done, provider: {type: process, path: "true"}}
rollbacks:
  - {type: action, name: fails, provider: {type: process, path: "/no/such/program"}}
  - {type: action, name: is done all the same, provider: {type: process, path: "true"}}
`

// What does not hold before the method keeps it from being done; rollbacks are done, each.
func TestAHypothesisThatDoesNotHoldEndsTheRun(t *testing.T) {
	j := played(t, t.Context(), failsBefore, nil)
	if j.Status != lab.Failed || j.Deviated || j.Held() || len(j.Run) != 0 || j.SteadyStates.Before.Met || j.SteadyStates.After != nil {
		t.Errorf("%+v", j)
	}
	if got := names(j.SteadyStates.Before.Probes); !slices.Equal(got, []string{"holds", "does not"}) {
		t.Errorf("asked %v", got)
	}
	if got := names(j.Rollbacks); !slices.Equal(got, []string{"fails", "is done all the same"}) || j.Rollbacks[0].Status != "failed" || !j.Rollbacks[1].Held() {
		t.Errorf("rolled back %v: %+v", got, j.Rollbacks)
	}
	if got := names(j.NotRolledBack()); !slices.Equal(got, []string{"fails"}) {
		t.Errorf("not rolled back are %v", got)
	}
}

// What no longer holds after the method is a deviation.
func TestAHypothesisThatHoldsNoLongerDeviates(t *testing.T) {
	file := t.TempDir() + "/state"
	j := played(t, t.Context(), head+`
configuration: {file: `+file+`}
steady-state-hypothesis:
  title: no file
  probes: [{type: probe, name: absent, provider: {type: process, path: test, arguments: ["!", -e, "${file}"]}, tolerance: 0}]
method: [{type: action, name: make it, provider: {type: process, path: touch, arguments: "${file}"}}]
rollbacks: [{type: action, name: remove it, provider: {type: process, path: rm, arguments: {"${file}": null}}}]
`, nil)
	if j.Status != lab.Failed || !j.Deviated || !j.SteadyStates.Before.Met || j.SteadyStates.After.Met {
		t.Errorf("%+v", j)
	}
	if len(j.Unmet()) != 1 || j.Unmet()[0].Name != "absent" {
		t.Errorf("unmet: %v", names(j.Unmet()))
	}
}

// A tolerance within the method is looked at, the method goes on, and the run has not held.
func TestAToleranceWithinTheMethodCounts(t *testing.T) {
	j := played(t, t.Context(), head+`
method:
  - {type: probe, name: says no, provider: `+shell("echo no; exit 3")+`, tolerance: {status: 3, stdout: "yes\n"}}
  - {type: probe, name: says it, provider: `+shell("echo no; exit 3")+`, tolerance: {status: 3, stdout: "no\n"}}
`, nil)
	if j.Held() || !j.Deviated || !slices.Equal(names(j.Unmet()), []string{"says no"}) || len(j.Run) != 2 {
		t.Errorf("%+v", j)
	}
}

// An experiment of the Chaos Toolkit's own, with http and process, runs as it is.
func TestExperimentsOfTheChaosToolkitRun(t *testing.T) {
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Method+" "+r.URL.String()+" "+r.Header.Get("Authorization"))
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"items": [{"n": 1}, {"n": 2}], "load": "0.5"}`)
	}))
	defer server.Close()
	text := `{"version": "1.0.0", "title": "t", "description": "d", "tags": [],
	"configuration": {"base": {"type": "env", "key": "BASE"}, "limit": {"type": "env", "key": "LIMIT", "default": 7, "env_var_type": "int"}},
	"secrets": {"api": {"token": {"type": "env", "key": "TOKEN"}}},
	"steady-state-hypothesis": {"title": "it serves", "probes": [
		{"type": "probe", "name": "serves", "tolerance": 200, "provider": {"type": "http", "url": "${base}/health", "timeout": 5}},
		{"type": "probe", "name": "in a list", "tolerance": [200, 201, 204], "provider": {"type": "http", "url": "${base}/health"}},
		{"type": "probe", "name": "by path", "tolerance": {"type": "jsonpath", "target": "body", "path": "$.items[*].n", "expect": [1, 2]}, "provider": {"type": "http", "url": "${base}/items"}},
		{"type": "probe", "name": "how many", "tolerance": {"type": "jsonpath", "target": "body", "path": "$.items[*]", "count": 2}, "provider": {"type": "http", "url": "${base}/items"}},
		{"type": "probe", "name": "a range", "tolerance": {"type": "range", "range": [0.1, 1], "target": "stdout"}, "provider": {"type": "process", "path": "echo", "arguments": "0.5"}},
		{"type": "probe", "name": "a pattern", "tolerance": {"type": "regex", "pattern": "^limit 7", "target": "stdout"}, "provider": {"type": "process", "path": "echo", "arguments": ["limit", "${limit}"]}},
		{"type": "probe", "name": "asked about", "tolerance": {"type": "probe", "name": "is it", "provider": {"type": "process", "path": "test", "arguments": ["${value}", "=", "x"]}}, "provider": {"type": "process", "path": "true"}}
	]},
	"method": [
		{"type": "action", "name": "in the background", "background": true, "provider": {"type": "http", "method": "POST", "url": "${base}/go", "headers": {"Authorization": "${token}"}, "arguments": {"a": 1}, "secrets": ["api"]}},
		{"ref": "serves"},
		{"type": "probe", "name": "with a query", "provider": {"type": "http", "url": "${base}/find", "arguments": {"q": "a b"}}}
	],
	"rollbacks": []}`
	// The last probe of the hypothesis says no: a process that is asked about it must agree.
	j := played(t, t.Context(), text, map[string]string{"BASE": server.URL, "TOKEN": "hidden"})
	if j.Held() || !slices.Equal(names(j.Unmet()), []string{"asked about"}) {
		t.Errorf("unmet %v: %+v", names(j.Unmet()), j.Unmet())
	}
	text = strings.Replace(text, `"=", "x"`, `"!=", "x"`, 1)
	j = played(t, t.Context(), text, map[string]string{"BASE": server.URL, "TOKEN": "hidden"})
	if !j.Held() || !slices.Equal(names(j.Run), []string{"in the background", "serves", "with a query"}) {
		t.Errorf("%v: %v", j.Status, names(j.Unmet()))
	}
	for _, want := range []string{"POST /go hidden", "GET /find?q=a+b "} {
		if !slices.Contains(seen, want) {
			t.Errorf("no %q in %q", want, seen)
		}
	}
	if text, err := json.Marshal(j); err != nil || strings.Contains(string(text), "hidden") {
		t.Errorf("the journal tells the secret: %v", err)
	}
}

// A variable that is not there is an error before anything is done.
func TestAMissingVariableIsRefused(t *testing.T) {
	e, err := lab.Parse("f.yaml", []byte(head+"configuration: {a: {type: env, key: NO_SUCH}}\nmethod: []\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Run(t.Context(), lab.Options{}); !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), "NO_SUCH") {
		t.Errorf("%v", err)
	}
}

// Who interrupts a run gets its rollbacks.
func TestAnInterruptedRunIsRolledBack(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e, err := lab.Parse("f.yaml", []byte(head+`
method:
  - {type: action, name: first, provider: {type: process, path: "true"}}
  - {type: action, name: second, provider: {type: process, path: "true"}}
rollbacks:
  - {type: action, name: undo, provider: {type: process, path: "true"}}
`))
	if err != nil {
		t.Fatal(err)
	}
	j, err := e.Run(ctx, lab.Options{Watcher: lab.Watcher{Done: func(lab.Result) { cancel() }}})
	if err != nil || j.Status != lab.Interrupted || j.Held() || len(j.Run) != 1 || len(j.Rollbacks) != 1 || !j.Rollbacks[0].Held() {
		t.Errorf("%v: %+v", err, j)
	}
}

// Answers of predictions are told once something was shown, and kept with what was given.
func TestPredictionsAreRevealedBehindWhatShowsThem(t *testing.T) {
	e, err := lab.Parse("f.yaml", []byte(head+`
method:
  - predict: {ask: is it, choices: [a, b], answer: b, why: because}
  - {type: action, name: does, provider: {type: process, path: "true"}}
  - {type: probe, name: shows, provider: {type: process, path: "true"}, tolerance: 0}
`))
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	j, err := e.Run(t.Context(), lab.Options{Watcher: lab.Watcher{
		Predict: func(context.Context, lab.Prediction) string { order = append(order, "asked"); return "a" },
		Done:    func(r lab.Result) { order = append(order, r.Name) },
		Reveal:  func(g lab.Guess) { order = append(order, g.Answer) },
	}})
	if err != nil || !slices.Equal(order, []string{"asked", "does", "shows", "b"}) {
		t.Errorf("%v: %v", err, order)
	}
	if len(j.Predictions) != 1 || j.Predictions[0].Given != "a" || j.Predictions[0].Right() || !j.Held() {
		t.Errorf("%+v", j.Predictions)
	}
}

// The journal has the shape that the Chaos Toolkit's readers know.
func TestJournalHasTheChaosToolkitsShape(t *testing.T) {
	text, err := json.Marshal(played(t, t.Context(), failsBefore, nil))
	if err != nil {
		t.Fatal(err)
	}
	var j map[string]any
	if err := json.Unmarshal(text, &j); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"experiment", "status", "deviated", "start", "end", "duration", "platform", "steady_states", "run", "rollbacks"} {
		if _, ok := j[word]; !ok {
			t.Errorf("no %s in %s", word, text)
		}
	}
	probe := j["steady_states"].(map[string]any)["before"].(map[string]any)["probes"].([]any)[1].(map[string]any)
	if probe["status"] != "succeeded" || probe["tolerance_met"] != false || probe["activity"].(map[string]any)["name"] != "does not" {
		t.Errorf("%v", probe)
	}
}
