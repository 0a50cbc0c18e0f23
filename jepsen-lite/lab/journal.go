package lab

import (
	"encoding/json"
	"runtime"
	"time"
)

// Status says whether a run came to its end, in the words of the Chaos Toolkit's journal.
type Status string

const (
	Completed   Status = "completed"
	Failed      Status = "failed"      // something did not hold
	Aborted     Status = "aborted"     // the run itself crashed
	Interrupted Status = "interrupted" // somebody stopped it
)

// Words of an activity's status.
const (
	succeeded = "succeeded"
	failed    = "failed"
)

// Journal is what came of a run, in the shape of the Chaos Toolkit's; predictions are
// ours.
type Journal struct {
	Experiment   any          `json:"experiment"`
	Status       Status       `json:"status"`
	Deviated     bool         `json:"deviated"` // what held before the method did not afterwards, or within
	Start        string       `json:"start"`
	End          string       `json:"end"`
	Duration     float64      `json:"duration"`
	Platform     string       `json:"platform"`
	SteadyStates SteadyStates `json:"steady_states"`
	Run          []Result     `json:"run"`
	Rollbacks    []Result     `json:"rollbacks"`
	Predictions  []Guess      `json:"predictions,omitempty"`
	Crash        string       `json:"crash,omitempty"`

	began   time.Time
	history *tape
}

// SteadyStates are the hypothesis before the method and after it.
type SteadyStates struct {
	Before *SteadyState `json:"before"`
	After  *SteadyState `json:"after"`
	During []any        `json:"during"`
}

// SteadyState is one look at the hypothesis. Probes behind the first that was not
// tolerated were not asked.
type SteadyState struct {
	Met    bool     `json:"steady_state_met"`
	Probes []Result `json:"probes"`
}

// Result is what came of one activity.
type Result struct {
	Activity  map[string]any `json:"activity"`
	Output    any            `json:"output"`
	Status    string         `json:"status"` // succeeded, or failed: there is no answer
	Start     string         `json:"start"`
	End       string         `json:"end"`
	Duration  float64        `json:"duration"` // seconds
	Tolerated *bool          `json:"tolerance_met,omitempty"`
	Exception string         `json:"exception,omitempty"` // why it failed

	Name, Type string `json:"-"`
	Wanted     any    `json:"-"` // by the tolerance
}

// Guess is a prediction with what was answered.
type Guess struct {
	Prediction
	Given string // "" if nobody was asked
}

// Right reports whether what was given is the answer.
func (g Guess) Right() bool { return g.Given == g.Answer }

// MarshalJSON writes right only where somebody was asked.
func (g Guess) MarshalJSON() ([]byte, error) {
	out := map[string]any{"ask": g.Ask, "choices": g.Choices, "answer": g.Answer}
	if g.Given != "" {
		out["given"], out["right"] = g.Given, g.Right()
	}
	return json.Marshal(out)
}

// Held reports whether the activity was done and its answer tolerated.
func (r Result) Held() bool { return r.Status == succeeded && (r.Tolerated == nil || *r.Tolerated) }

func (r *Result) fail(err error) { r.Status, r.Exception = failed, err.Error() }

func (r *Result) span(from, to time.Time) {
	r.Start, r.End, r.Duration = stamp(from), stamp(to), to.Sub(from).Seconds()
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000") }

func newJournal(e *Experiment) *Journal {
	now := time.Now()
	return &Journal{
		Experiment: e.document, Status: Completed, Start: stamp(now), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		SteadyStates: SteadyStates{During: []any{}}, Run: []Result{}, Rollbacks: []Result{}, began: now,
	}
}

func (j *Journal) end() {
	now := time.Now()
	j.End, j.Duration = stamp(now), now.Sub(j.began).Seconds()
}

// deviate notes that something did not hold. A run that is over for another reason keeps
// that.
func (j *Journal) deviate() {
	j.Deviated = true
	if j.Status == Completed {
		j.Status = Failed
	}
}

// Held reports whether every hypothesis held and every answer was tolerated.
func (j *Journal) Held() bool { return j.Status == Completed && !j.Deviated }

// NotRolledBack are the rollbacks that could not be done.
func (j *Journal) NotRolledBack() (failed []Result) {
	for _, r := range j.Rollbacks {
		if !r.Held() {
			failed = append(failed, r)
		}
	}
	return failed
}

// Unmet are the activities that did not hold, in their order.
func (j *Journal) Unmet() []Result {
	var all, out []Result
	for _, s := range []*SteadyState{j.SteadyStates.Before, j.SteadyStates.After} {
		if s != nil {
			all = append(all, s.Probes...)
		}
	}
	for _, r := range append(all, j.Run...) {
		if r.Activity != nil && !r.Held() {
			out = append(out, r)
		}
	}
	return out
}
