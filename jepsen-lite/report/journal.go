package report

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// maxActions is how many faults a journal holds; history.jsonl has them all.
const maxActions = 1000

// The shape of the Chaos Toolkit's journal, so that what reads those reads these. A
// fault is an action, a checker a probe of the hypothesis, which is looked at once,
// after the faults.
type (
	journal struct {
		Experiment   experiment  `json:"experiment"`
		Status       Status      `json:"status"`
		Deviated     bool        `json:"deviated"`
		Start        string      `json:"start"`
		End          string      `json:"end"`
		Duration     float64     `json:"duration"`
		Platform     string      `json:"platform"`
		SteadyStates steadyState `json:"steady_states"`
		Run          []activity  `json:"run"`
		Rollbacks    []activity  `json:"rollbacks"`
	}
	experiment struct {
		Version     string     `json:"version"`
		Title       string     `json:"title"`
		Description string     `json:"description"`
		Tags        []string   `json:"tags"`
		Hypothesis  hypothesis `json:"steady-state-hypothesis"`
		Method      []step     `json:"method"`
		Rollbacks   []step     `json:"rollbacks"`
		Runtime     any        `json:"runtime"`
	}
	hypothesis struct {
		Title  string `json:"title"`
		Probes []step `json:"probes"`
	}
	step struct {
		Type      string   `json:"type"` // action or probe
		Name      string   `json:"name"`
		Tolerance string   `json:"tolerance,omitempty"`
		Provider  provider `json:"provider"`
	}
	provider struct {
		Type      string   `json:"type"`
		Path      string   `json:"path"`
		Arguments []string `json:"arguments"`
	}
	steadyState struct {
		Before *outcome `json:"before"` // never looked at
		After  *outcome `json:"after"`
	}
	outcome struct {
		Met    bool       `json:"steady_state_met"`
		Probes []activity `json:"probes"`
	}
	activity struct {
		Activity     step    `json:"activity"`
		Output       string  `json:"output"`
		Status       string  `json:"status"`
		Start        string  `json:"start"`
		End          string  `json:"end"`
		Duration     float64 `json:"duration"`
		ToleranceMet *bool   `json:"tolerance_met,omitempty"`
	}
)

func newJournal(h *history.History, rep check.Report, run Run) journal {
	length := h.Length()
	j := journal{
		Experiment: experiment{
			Version: "1.0.0", Title: cmp.Or(run.Title, "a judged history"), Tags: []string{"jepsen-lite"},
			Description: fmt.Sprintf("%d operations, seed %d, verdict %s", len(h.Ops), rep.Seed, rep.Verdict),
			Hypothesis:  hypothesis{Title: "every promise that was claimed is kept", Probes: []step{}},
			Method:      []step{}, Rollbacks: []step{},
			Runtime: map[string]any{"hypothesis": map[string]string{"strategy": "after-method-only"}},
		},
		Status: cmp.Or(run.Status, Completed), Deviated: rep.Verdict != check.Pass,
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Run: []activity{}, Rollbacks: []activity{},
	}
	j.Start, j.End, j.Duration = run.span(0, length)
	if over := len(h.Faults) - maxActions; over > 0 {
		j.Experiment.Description += fmt.Sprintf("; %d more faults are in history.jsonl only", over)
	}
	for _, w := range h.Faults[:min(len(h.Faults), maxActions)] {
		j.fault(w, run)
	}
	after := &outcome{Met: rep.Verdict == check.Pass, Probes: []activity{}}
	for _, c := range rep.Checkers {
		j.probe(after, c, run, length)
	}
	j.SteadyStates.After = after
	return j
}

func (j *journal) fault(w history.Window, run Run) {
	s := step{Type: "action", Name: w.Fault, Provider: kvctl(run.Command)}
	a := activity{Activity: s, Output: cut(w.Detail, 400), Status: "succeeded"}
	if w.End == history.Open {
		a.Status, a.Output = "failed", a.Output+" (it was never healed)"
	}
	a.Start, a.End, a.Duration = run.span(w.Start, w.Stop)
	j.Experiment.Method = append(j.Experiment.Method, s)
	j.Run = append(j.Run, a)
}

func (j *journal) probe(after *outcome, c check.Result, run Run, at time.Duration) {
	s := step{Type: "probe", Name: c.Name, Tolerance: string(check.Pass), Provider: kvctl(run.Command)}
	if slices.Contains(check.Names(), c.Name) {
		s.Provider = kvctl([]string{"check", "replay", "history.jsonl", "--claim", c.Name})
	}
	met := c.Verdict == check.Pass
	a := activity{Activity: s, Output: string(c.Verdict) + ": " + c.Sentence, Status: "succeeded", ToleranceMet: &met}
	a.Start, a.End, a.Duration = run.span(at, at)
	j.Experiment.Hypothesis.Probes = append(j.Experiment.Hypothesis.Probes, s)
	after.Probes = append(after.Probes, a)
}

// kvctl is how an activity was carried out: all actions of a run by the one command.
func kvctl(arguments []string) provider {
	if arguments == nil {
		arguments = []string{}
	}
	return provider{Type: "process", Path: "kvctl", Arguments: arguments}
}

// span gives moments of the run as the journal wants them. Where nobody knows when a
// run was, its time counts from 1970.
func (r Run) span(from, to time.Duration) (start, end string, seconds float64) {
	base := r.Began
	if base.IsZero() {
		base = time.Unix(0, 0)
	}
	stamp := func(d time.Duration) string { return base.Add(d).UTC().Format(time.RFC3339Nano) }
	return stamp(from), stamp(to), (to - from).Seconds()
}
