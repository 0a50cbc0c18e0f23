package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/bugs"
)

// bugRow is a row of the table and what came of it.
type bugRow struct {
	Bug      string        `json:"bug"`
	Breaks   string        `json:"breaks"`
	Plan     *bugPlan      `json:"plan"` // null where no plan catches it
	CaughtBy []string      `json:"caught_by"`
	As       string        `json:"verdict_asked,omitempty"`
	UnitTest *bugs.Unseen  `json:"unit_test"` // that fails with it, where no plan catches it
	Caught   *bool         `json:"caught"`    // null: it was not run
	Runs     []bugRun      `json:"runs"`
	row      *bugs.Row     // nil where no plan catches it
	index    int           // of row in the table
	took     time.Duration // of all runs
}

// bugPlan is what a row's runs are, in this world.
type bugPlan struct {
	bugs.Plan
	Needs    []string `json:"needs"` // without any of these nobody sees the bug
	LengthMS int64    `json:"length_ms"`
	Rate     float64  `json:"rate_per_s"`
}

// bugRun is one run of a row.
type bugRun struct {
	Seed     int64  `json:"seed"`
	Caught   bool   `json:"caught"`
	Verdict  string `json:"verdict"` // "" if the process ended without one
	Checker  string `json:"checker"` // that caught it
	Sentence string `json:"sentence"`
	TookMS   int64  `json:"took_ms"`
}

// rows are the rows that are asked for, nothing of which was run.
func (h hunt) rows() (rows []*bugRow) {
	for i := range bugs.Table {
		row := &bugs.Table[i]
		if !h.wants(row.Bug) {
			continue
		}
		pace := row.InRealTime()
		plan := &bugPlan{Plan: row.Plan, Needs: []string{}, LengthMS: pace.Length.Milliseconds(), Rate: pace.Rate}
		plan.Faults = append([]string{}, row.Plan.Faults...) // a list also where there are none
		for _, need := range row.Must {
			plan.Needs = append(plan.Needs, row.Plan.Tell(need))
		}
		rows = append(rows, &bugRow{Bug: row.Bug, Breaks: bugs.Breaks(row.Bug), Plan: plan, CaughtBy: row.CaughtBy, As: string(row.As), Runs: []bugRun{}, row: row, index: i})
	}
	for i := range bugs.Missed {
		if m := &bugs.Missed[i]; h.wants(m.Bug) {
			rows = append(rows, &bugRow{Bug: m.Bug, Breaks: bugs.Breaks(m.Bug), CaughtBy: []string{}, UnitTest: m, Runs: []bugRun{}})
		}
	}
	return rows
}

// showBugs prints the table.
func (a *app) showBugs(rows []*bugRow) error {
	caught, ran := 0, 0
	for _, r := range rows {
		if r.Caught != nil {
			ran++
			if *r.Caught {
				caught++
			}
		}
	}
	table := struct {
		World  string    `json:"world"`
		Ran    int       `json:"ran"`
		Caught int       `json:"caught"`
		Rows   []*bugRow `json:"rows"`
	}{"local", ran, caught, rows}
	return a.show(table, func() {
		lines := [][]string{{"BUG", "BREAKS", "PLAN", "NEEDS", "CAUGHT BY", "CAUGHT", "SEED", "TIME", "SENTENCE"}}
		for _, r := range rows {
			lines = append(lines, r.line())
		}
		a.table(lines)
		if ran > 0 {
			fmt.Fprintf(a.out, "%d of %d caught\n", caught, ran)
		}
	})
}

func (r *bugRow) line() []string {
	if r.row == nil {
		return []string{r.Bug, r.Breaks, "–", "–", r.UnitTest.Test + " of " + r.UnitTest.Package, "–", "–", "–", "no plan: " + r.UnitTest.Why}
	}
	needs, caught, seed, took, sentence := strings.Join(r.Plan.Needs, ", "), "–", "–", "–", ""
	if needs == "" {
		needs = "–"
	}
	if r.Caught != nil {
		hits := 0
		for _, run := range r.Runs {
			if run.Caught {
				hits++
			}
		}
		last := r.Runs[len(r.Runs)-1]
		seed, took, sentence = strconv.FormatInt(last.Seed, 10), rough(r.took), last.Sentence
		if caught = "no"; *r.Caught {
			caught = "yes"
		}
		if len(r.Runs) > 1 {
			caught += fmt.Sprintf(", %d of %d", hits, len(r.Runs))
		}
	}
	return []string{r.Bug, r.Breaks, r.row.Plan.String(), needs, strings.Join(r.CaughtBy, ", "), caught, seed, took, sentence}
}
