package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/jepsen-lite/report"
)

func (a *app) compareCommand() *cobra.Command {
	return &cobra.Command{
		Use: "compare A B", Short: "two reports side by side", Args: takes(2, 2),
		Long: "Two reports side by side: verdicts, outcomes, latency, availability and staleness.\nA and B are directories of reports, or their results.json. It judges nothing and exits with 0.",
		Example: `  kvctl check compare report-before report-after
  kvctl check compare report-before report-after -o json`,
		RunE: func(_ *cobra.Command, args []string) error {
			before, err := report.Load(args[0])
			if err != nil {
				return err
			}
			after, err := report.Load(args[1])
			if err != nil {
				return err
			}
			c := report.Compare(args[0], before, args[1], after)
			return a.show(c, func() { a.comparison(c) })
		},
	}
}

func (a *app) comparison(c report.Comparison) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	defer func() { _ = w.Flush() }()
	row := func(name, a, b string) { fmt.Fprintf(w, "%s\t%s\t%s\n", name, a, b) }
	row("", c.A.Report, c.B.Report)
	row("verdict", string(c.A.Verdict), string(c.B.Verdict))
	row("seed", fmt.Sprint(c.A.Seed), fmt.Sprint(c.B.Seed))
	outcomes := func(s report.Side) string {
		return fmt.Sprintf("%d ok, %d fail, %d unknown", s.Operations.OK, s.Operations.Fail, s.Operations.Unknown)
	}
	row("operations", outcomes(c.A), outcomes(c.B))
	recovery := func(s report.Side) string {
		if s.RecoveryMS == nil {
			return "–"
		}
		return fmt.Sprintf("%d ms", *s.RecoveryMS)
	}
	row("recovery", recovery(c.A), recovery(c.B))
	both(row, "", c.Checkers, func(v report.Claim) string { return fmt.Sprintf("%s, %d operations", v.Verdict, v.Ops) })
	both(row, "latency of ", c.Latency, func(v report.Percentiles) string {
		return fmt.Sprintf("half %.1f, 99 %% %.1f, all %.1f ms of %d", v.P50, v.P99, v.Max, v.N)
	})
	both(row, "available: ", c.Availability, func(v report.Share) string {
		return fmt.Sprintf("%.1f %% of %d", 100*float64(v.OK)/float64(max(1, v.Ops)), v.Ops)
	})
	both(row, "behind: ", c.Staleness, func(v report.Behind) string {
		return fmt.Sprintf("%d of %d reads, %.1f ms at most", v.Stale, v.Reads, v.Max)
	})
}

func both[T any](row func(name, a, b string), what string, pairs []report.Pair[T], say func(T) string) {
	cell := func(v *T) string {
		if v == nil {
			return "–"
		}
		return say(*v)
	}
	for _, p := range pairs {
		row(what+p.Name, cell(p.A), cell(p.B))
	}
}
