package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dialkv/dialkv/store"
)

// styled is a line for a terminal: the colour, as SGR has it, is of all of it.
type styled struct{ text, colour string }

const (
	plain  = ""
	bold   = "1"
	red    = "31"
	yellow = "33"
)

// lines is the frame for people.
func (f frame) lines() []styled {
	out := []styled{{f.heading(), bold}}
	out = append(out, f.nodeLines()...)
	if len(f.Groups) > 0 {
		out = append(out, styled{})
		out = append(out, f.groupLines()...)
	}
	if len(f.rules) > 0 {
		out = append(out, styled{})
		out = append(out, f.linkLines()...)
	}
	if len(f.Findings) > 0 || len(f.Unseen) > 0 {
		out = append(out, styled{})
	}
	for _, x := range f.Findings {
		if x.Severity == fault {
			out = append(out, styled{"✗ " + x.What, red})
		} else {
			out = append(out, styled{"! " + x.What, yellow})
		}
	}
	if len(f.Unseen) > 0 {
		out = append(out, styled{"the metrics of " + list(f.Unseen) + " could not be looked at", plain})
	}
	for i := range out {
		out[i].text = printable(out[i].text)
	}
	return out
}

func (f frame) heading() string {
	d := diagnosis{Findings: f.Findings}
	s := fmt.Sprintf("cluster %s  %s  %s, %s", f.Name, f.At.Local().Format(time.TimeOnly), count(len(f.Nodes), "node"), count(len(f.Groups), "group"))
	if n := d.count(fault); n > 0 {
		s += ", " + count(n, "fault")
	}
	if n := d.count(warning); n > 0 {
		s += ", " + count(n, "warning")
	}
	return s
}

func (f frame) nodeLines() []styled {
	rows := [][]string{{"NODE", "STATE", "READ/S", "P99", "WRITE/S", "P99", "SHED/S", "FAILED/S", "IN FLIGHT", "CPU", "LEADS", "GROUPS"}}
	colours := []string{bold}
	for _, n := range f.Nodes {
		state, colour := n.State, plain
		if n.Drained {
			state, colour = state+" (drained)", yellow
		}
		if n.State != "ready" {
			colour = red
		}
		row := append([]string{n.ID, state}, n.Work.cells()...)
		rows = append(rows, append(row, strconv.Itoa(n.Leads), strconv.Itoa(n.Groups)))
		colours = append(colours, colour)
	}
	return paint(rows, colours)
}

// cells are a node's rates, or dashes where nobody knows them.
func (w *work) cells() []string {
	if w == nil {
		return []string{"-", "-", "-", "-", "-", "-", "-", "-"}
	}
	return []string{
		rateText(w.ReadsPerS), atMost(w.ReadP99MS), rateText(w.WritesPerS), atMost(w.WriteP99MS),
		rateText(w.ShedPerS), rateText(w.FailedPerS), strconv.Itoa(w.InFlight), fmt.Sprintf("%.0f%%", w.CPUPercent),
	}
}

func rateText(n float64) string {
	if n < 10 && n > 0 {
		return strconv.FormatFloat(n, 'f', 1, 64)
	}
	return strconv.FormatFloat(n, 'f', 0, 64)
}

// atMost is a time, or a dash if nothing took any.
func atMost(ms float64) string {
	if ms == 0 {
		return "-"
	}
	return rough(time.Duration(ms * float64(time.Millisecond)))
}

func (f frame) groupLines() []styled {
	rows := [][]string{{"KEYSPACE", "GROUP", "MODE", "LEADER", "TERM", "COMMIT", "CHANGES/S", "LAG"}}
	colours := []string{bold}
	for _, g := range f.Groups {
		colour := plain
		var lags []string
		for _, r := range g.Replicas {
			lags = append(lags, r.describe())
			if r.Lags {
				colour = yellow
			}
		}
		if g.Mode == store.CP.String() && g.Leader == "" {
			colour = red
		}
		rows = append(rows, []string{
			g.Keyspace, g.ID, g.Mode, dash(g.Leader), orDash(g.Term), orDash(g.Commit), rateText(g.ChangesPerS), cmp.Or(strings.Join(lags, ", "), "-"),
		})
		colours = append(colours, colour)
	}
	return paint(rows, colours)
}

func orDash(n uint64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatUint(n, 10)
}

// describe says how far a replica is behind, and what it is if that is not well.
func (r replicaLoad) describe() string {
	s := r.Node + " "
	if r.Lag != nil {
		s += strconv.FormatUint(*r.Lag, 10)
	} else {
		s += "?"
	}
	switch {
	case r.Role == silent:
		return s + " (" + silent + ")"
	case !r.Ready:
		return s + " (starting)"
	case r.HeardMS != nil && *r.HeardMS > milliseconds(deaf):
		return s + " (heard " + atMost(*r.HeardMS) + " ago)"
	}
	return s
}

func (f frame) linkLines() []styled {
	rows := [][]string{{"FROM", "TO", "LINK"}}
	colours := []string{bold}
	for _, r := range f.rules {
		rows, colours = append(rows, []string{r.From, r.To, effect(r)}), append(colours, yellow)
	}
	return paint(rows, colours)
}

// paint puts rows in columns, each with its colour.
func paint(rows [][]string, colours []string) (out []styled) {
	for i, row := range rows {
		for j, cell := range row {
			rows[i][j] = printable(cell) // a tab or a new line would end the cell
		}
		rows[i] = row
	}
	var b strings.Builder
	tabulate(&b, rows)
	for line := range strings.Lines(b.String()) {
		out = append(out, styled{strings.TrimRight(line, " \n"), colours[len(out)]})
	}
	return out
}

// printable takes away what a terminal would take for a command: names and reasons are
// what nodes say.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}
