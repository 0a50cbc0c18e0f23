package report

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"strings"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
)

//go:embed page.html
var pageText string

//go:embed drawing.html
var drawingText string

//go:embed page.css
var pageStyle string

var pageTemplate = func() *template.Template {
	t := template.New("page").Funcs(template.FuncMap{"mark": marked, "percent": percent})
	template.Must(t.New("drawing").Parse(drawingText))
	return template.Must(t.Parse(pageText))
}()

// maxRows is how many lines a table of the page has; results.json has them all.
const maxRows = 200

// view is all the page shows.
type view struct {
	Policy       string // content security policy
	Style        template.CSS
	Title        string
	Began        string
	Report       check.Report
	Ops          int
	Events       int
	Length       string
	Torn         bool
	Faults       int
	Wrong        []failure // what is not pass, the worst first
	Timeline     timeline
	Diagram      diagram
	Plots        []drawing
	Staleness    *drawing
	Latency      []check.Latency
	Ages         []check.Ages
	Availability []check.Row
	LeftOut      int // rows
	Recovery     string
	Order        *check.Order
	Key          string // of the order
	Picture      string // porcupine's page
	NoPicture    string // why there is none
}

// failure is a checker that did not pass, with the operations that show why.
type failure struct {
	check.Result
	When    string
	Witness []seen
}

// seen is an operation in words.
type seen struct {
	ID                              int64
	Client, Asked, Told, Ended, For string
}

func newView(h *history.History, rep check.Report, run Run) view {
	v := view{
		Style: template.CSS(pageStyle), Title: cmp.Or(run.Title, "a judged history"),
		Report: rep, Ops: len(h.Ops), Events: len(h.Events), Torn: h.Torn, Faults: len(h.Faults),
		Length: fmt.Sprintf("%.1f s", h.Length().Seconds()), Wrong: failures(h, rep),
		Plots: plots(h), Staleness: staleness(rep.Staleness),
		Recovery: "not measured: no fault ended, or something was never ok again",
	}
	if !run.Began.IsZero() {
		v.Began = run.Began.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	if rep.RecoveryMS != nil {
		v.Recovery = fmt.Sprintf("%d ms from the last heal until all that a fault had stopped was ok again", *rep.RecoveryMS)
	}
	v.Latency, v.Ages, v.Availability = atMost(rep.Latency), atMost(rep.Staleness), atMost(rep.Availability)
	v.LeftOut = len(rep.Latency) - len(v.Latency) + len(rep.Staleness) - len(v.Ages) + len(rep.Availability) - len(v.Availability)
	around := witness(rep)
	v.search(h, around)
	v.Timeline, v.Diagram = newTimeline(h, around, v.Order), newDiagram(h, around)
	v.Policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; script-src " + scripts(v.Picture)
	return v
}

func atMost[T any](rows []T) []T { return rows[:min(len(rows), maxRows)] }

// failures are the checkers that did not pass, in the order of how bad that is.
func failures(h *history.History, rep check.Report) (all []failure) {
	for _, verdict := range []check.Verdict{check.Fail, check.Invalid, check.Unknown} {
		for _, c := range rep.Checkers {
			if c.Verdict != verdict {
				continue
			}
			f := failure{Result: c}
			ops := found(h, c.Witness)
			for _, op := range ops {
				f.Witness = append(f.Witness, seen{op.ID, client(op).String(), asked(op), told(op), ended(op), lasted(op)})
			}
			f.When = when(h, ops)
			all = append(all, f)
		}
	}
	return all
}

// when says at which time, and under which fault, the last of the operations was called.
func when(h *history.History, ops []*history.Op) string {
	if len(ops) == 0 {
		return ""
	}
	last := ops[len(ops)-1]
	var healed *history.Window
	for i, w := range h.Faults {
		if w.Begin < last.Begin && last.Begin < w.End {
			return fmt.Sprintf("at %s, inside the fault %s", at(last.Start), window(w))
		}
		if w.End < last.Begin && (healed == nil || healed.End < w.End) {
			healed = &h.Faults[i]
		}
	}
	switch {
	case healed != nil:
		return fmt.Sprintf("at %s, %d ms after the heal of %s", at(last.Start), (last.Start - healed.Stop).Milliseconds(), window(*healed))
	case len(h.Faults) > 0:
		return fmt.Sprintf("at %s, before the first fault", at(last.Start))
	}
	return fmt.Sprintf("at %s; there was no fault", at(last.Start))
}

// search looks for an order of one key and embeds porcupine's page of it. If that cannot
// be made, the rest of the report stands.
func (v *view) search(h *history.History, around []int64) {
	defer func() {
		if p := recover(); p != nil {
			v.Picture, v.Order, v.NoPicture = "", nil, fmt.Sprintf("the search crashed: %v", p)
		}
	}()
	keyspace, key, ok := check.Focus(h, v.Report)
	if !ok {
		v.NoPicture = "the history has no strong operation on a cp keyspace"
		return
	}
	v.Key = cut(keyspace+"/"+key, 80)
	order := check.OrderOf(h, keyspace, key, around)
	v.Order = &order
	var out bytes.Buffer
	if err := order.WritePage(&out); err != nil {
		v.NoPicture = err.Error()
		return
	}
	v.Picture = out.String()
}

// witness are the operations of the first failure, or of the first checker that
// shows any.
func witness(rep check.Report) []int64 {
	for _, c := range rep.Checkers {
		if c.Verdict == check.Fail && len(c.Witness) > 0 {
			return c.Witness
		}
	}
	for _, c := range rep.Checkers {
		if len(c.Witness) > 0 {
			return c.Witness
		}
	}
	return nil
}

// scripts allows exactly the inline scripts of a page, by their hashes.
func scripts(html string) string {
	var hashes []string
	for rest := html; ; {
		_, after, found := strings.Cut(rest, "<script>")
		if !found {
			break
		}
		text, end, _ := strings.Cut(after, "</script>")
		sum := sha256.Sum256([]byte(text))
		hashes = append(hashes, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
		rest = end
	}
	if len(hashes) == 0 {
		return "'none'"
	}
	return strings.Join(hashes, " ")
}

// marked is a verdict that is told apart without colour.
func marked(v check.Verdict) string {
	switch v {
	case check.Pass:
		return "✓ pass"
	case check.Fail:
		return "✗ fail"
	case check.Unknown:
		return "? unknown"
	default:
		return "∅ invalid"
	}
}

func percent(ok, ops int) string {
	if ops == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(ok)/float64(ops))
}
