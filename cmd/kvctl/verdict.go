package main

import (
	"fmt"
	"strings"

	"github.com/dialkv/dialkv/jepsen-lite/check"
)

// judged prints the judgement of a history and returns what the exit status is to
// say: only pass is green.
func (a *app) judged(rep check.Report) error {
	if a.output == "json" {
		if rep.Checkers == nil {
			rep.Checkers = []check.Result{}
		}
		if rep.Availability == nil {
			rep.Availability = []check.Row{}
		}
		a.json(rep)
	} else {
		a.verdictTable(rep)
	}
	if rep.Verdict != check.Pass {
		return errFailed
	}
	return nil
}

func (a *app) verdictTable(rep check.Report) {
	for _, r := range rep.Checkers {
		line := fmt.Sprintf("%s %-20s %-7s", a.mark(r.Verdict == check.Pass), r.Name, r.Verdict)
		if r.Compared.Ops > 0 {
			line += fmt.Sprintf("  %d operations", r.Compared.Ops)
		}
		if r.Sentence != "" {
			line += "  " + r.Sentence
		}
		if len(r.Witness) > 0 && r.Verdict != check.Pass {
			line += "  (operations " + strings.Trim(fmt.Sprint(r.Witness), "[]") + ")"
		}
		fmt.Fprintln(a.out, line)
	}
	if rep.RecoveryMS != nil {
		fmt.Fprintf(a.out, "  served again %d ms after the last heal\n", *rep.RecoveryMS)
	}
	fmt.Fprintf(a.out, "verdict: %s", rep.Verdict)
	if rep.Seed != 0 {
		fmt.Fprintf(a.out, "   seed %d", rep.Seed)
	}
	if rep.Path != "" {
		fmt.Fprintf(a.out, "   report: %s", rep.Path)
	}
	fmt.Fprintln(a.out)
}

func (a *app) mark(good bool) string {
	if good {
		return a.green("✓")
	}
	return a.red("✗")
}
