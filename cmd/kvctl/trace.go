package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/internal/telemetry"
)

// traceFlag adds --trace: the call's spans, and those of the nodes that it came to, which
// send them back with their answers.
func (d *door) traceFlag(cmd *cobra.Command) {
	trace := cmd.Flags().Bool("trace", false, "show where the time went: the spans of the call, at the nodes too")
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if !*trace {
			return nil
		}
		if cmd.Name() == "get" && len(args) > 1 {
			return unclear("a trace is of one call", "kvctl get KEYSPACE/KEY --trace")
		}
		ctx := spans.WithProvider(cmd.Context(), telemetry.NewTracing("", nil).Provider())
		ctx, d.echo = spans.WithEcho(ctx)
		cmd.SetContext(ctx)
		return nil
	}
}

// traceJSON is a trace in -o json, its spans in the order in which they began.
type traceJSON struct {
	ID    string      `json:"id"`
	Spans []*spanJSON `json:"spans"`
}

type spanJSON struct {
	ID         string            `json:"id"`
	Parent     string            `json:"parent,omitempty"`
	Name       string            `json:"name"`
	Node       string            `json:"node,omitempty"` // none: this client
	AfterMS    float64           `json:"after_ms"`       // since the trace began, by the node's clock
	TookMS     float64           `json:"took_ms"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Events     []eventJSON       `json:"events,omitempty"`

	words string // attributes, for people
}

type eventJSON struct {
	Name       string            `json:"name"`
	AfterMS    float64           `json:"after_ms"` // since the trace began
	Attributes map[string]string `json:"attributes,omitempty"`

	words string
}

// traceOf is what was gathered: nil if nobody asked for it.
func traceOf(e *spans.Echo) *traceJSON {
	records := slices.Clone(e.Records())
	if len(records) == 0 {
		return nil
	}
	slices.SortStableFunc(records, func(a, b spans.Record) int { return a.Began.Compare(b.Began) })
	known := make(map[string]bool)
	for _, r := range records {
		known[r.ID.String()] = true
	}
	t := new(traceJSON)
	var began time.Time
	for _, r := range records {
		if t.ID == "" && !known[r.Parent.String()] {
			t.ID, began = r.Trace.String(), r.Began
		}
	}
	for _, r := range records {
		parent := r.Parent.String()
		if !known[parent] {
			parent = ""
		}
		t.Spans = append(t.Spans, spanOf(r, parent, began))
	}
	return t
}

func spanOf(r spans.Record, parent string, began time.Time) *spanJSON {
	s := &spanJSON{
		ID: r.ID.String(), Parent: parent, Name: r.Name, Node: r.Node,
		AfterMS: milliseconds(r.Began.Sub(began)), TookMS: milliseconds(r.Took),
	}
	s.Attributes, s.words = attributesOf(r.Attributes, r.Node)
	for _, n := range r.Notes {
		e := eventJSON{Name: n.Name, AfterMS: milliseconds(r.Began.Add(n.After).Sub(began))}
		e.Attributes, e.words = attributesOf(n.Attributes, "")
		s.Events = append(s.Events, e)
	}
	slices.SortStableFunc(s.Events, func(a, b eventJSON) int { return cmp.Compare(a.AfterMS, b.AfterMS) })
	return s
}

// attributesOf leaves out of the words for people what they have read already.
func attributesOf(list []spans.Attribute, node string) (m map[string]string, words string) {
	var said []string
	for _, a := range list {
		if m == nil {
			m = make(map[string]string)
		}
		m[a.Key] = a.Value
		if key := strings.TrimPrefix(a.Key, "kv."); key != "address" && key != "keyspace" && (key != "node" || a.Value != node) {
			said = append(said, key+"="+a.Value)
		}
	}
	return m, strings.Join(said, " ")
}

// print shows the tree: what is below a span is moved in, and events have a dot.
func (t *traceJSON) print(out io.Writer) {
	fmt.Fprintf(out, "trace %s\n", t.ID)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "AFTER MS\tTOOK MS\tAT\tWHAT")
	t.below(w, "", "")
	_ = w.Flush() // out is the terminal
}

// below prints what is below a span, by its id, in the order in which it happened.
func (t *traceJSON) below(w io.Writer, parent, indent string) {
	type row struct {
		at    float64
		print func()
	}
	var rows []row
	for _, s := range t.Spans {
		if s.Parent == parent {
			rows = append(rows, row{s.AfterMS, func() {
				fmt.Fprintf(w, "%.3f\t%.3f\t%s\t%s%s\n", s.AfterMS, s.TookMS, cmp.Or(s.Node, "client"), indent, strings.TrimSpace(s.Name+"  "+s.words))
				t.below(w, s.ID, indent+"  ")
			}})
		}
		if s.ID != parent {
			continue
		}
		for _, e := range s.Events {
			rows = append(rows, row{e.AfterMS, func() {
				fmt.Fprintf(w, "%.3f\t\t\t%s· %s\n", e.AfterMS, indent, strings.TrimSpace(e.Name+"  "+e.words))
			}})
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.at, b.at) })
	for _, r := range rows {
		r.print()
	}
}
