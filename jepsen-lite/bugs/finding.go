package bugs

import (
	"fmt"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/scenario"
)

// Finding is what came of one run of a plan. It crosses from one process to another.
type Finding struct {
	Verdict  check.Verdict  `json:"verdict"`
	Checkers []check.Result `json:"checkers"`
}

// Find leaves out of an outcome what the plan's cluster does not promise: without fsync a
// node that is killed loses what was not synced, acknowledged or not.
func (p Plan) Find(outcome scenario.Outcome) Finding {
	f := Finding{outcome.Verdict, outcome.Checkers}
	if !p.Unsynced {
		return f
	}
	f.Checkers = slices.DeleteFunc(f.Checkers, func(c check.Result) bool { return c.Name == "durability" || c.Name == "staleness" })
	f.Verdict = check.Worst(f.Checkers)
	return f
}

// Caught returns what the first of the row's checkers says that sees the bug in a run, or
// nil.
func (r Row) Caught(f Finding) *check.Result {
	as := r.As
	if as == "" {
		as = check.Fail
	}
	for i, c := range f.Checkers {
		if c.Verdict == as && slices.Contains(r.CaughtBy, c.Name) {
			return &f.Checkers[i]
		}
	}
	return nil
}

// Others says of each checker that did not pass what it says.
func (f Finding) Others() (sentences []string) {
	for _, c := range f.Checkers {
		if c.Verdict != check.Pass {
			sentences = append(sentences, fmt.Sprintf("%s %s: %s", c.Name, c.Verdict, c.Sentence))
		}
	}
	return sentences
}

// more is how many seeds a row may take beyond those asked for, where those are few: a
// plan that catches its bug 19 times of 20 misses it once in every other run of all rows.
const more = 2

// Gate is how many of so many seeds must catch a row's bug: 19 of 20, or, of fewer, that
// part of them; and how many seeds may be tried for that.
func Gate(seeds int) (want, most int) {
	if want, most = max(1, seeds*19/20), seeds; seeds < 20 {
		most += more
	}
	return want, most
}
