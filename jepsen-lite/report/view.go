package report

import (
	"bytes"
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

var page = template.Must(template.New("page").Funcs(template.FuncMap{"mark": mark, "percent": percent}).Parse(pageText))

// view is all the page shows.
type view struct {
	Policy    string // content security policy
	Report    check.Report
	Ops       int
	Events    int
	Length    string
	Torn      bool
	Faults    []history.Window
	Timeline  timeline
	Recovery  string
	Key       string // of the picture
	Picture   string // porcupine's page
	NoPicture string // why there is none
}

func newView(h *history.History, rep check.Report) view {
	v := view{
		Report: rep, Ops: len(h.Ops), Events: len(h.Events), Torn: h.Torn, Faults: h.Faults,
		Length: fmt.Sprintf("%.1f s", h.Length().Seconds()), Timeline: newTimeline(h, rep),
		Recovery: "not measured: no fault ended, or something was never ok again",
	}
	if rep.RecoveryMS != nil {
		v.Recovery = fmt.Sprintf("%d ms from the last heal until all that a fault had stopped was ok again", *rep.RecoveryMS)
	}
	v.draw(h, rep)
	v.Policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; script-src " + scripts(v.Picture)
	return v
}

// draw embeds porcupine's page. If it cannot be made, the rest of the report stands.
func (v *view) draw(h *history.History, rep check.Report) {
	defer func() {
		if p := recover(); p != nil {
			v.Picture, v.NoPicture = "", fmt.Sprintf("drawing it crashed: %v", p)
		}
	}()
	keyspace, key, ok := check.Focus(h, rep)
	if !ok {
		v.NoPicture = "the history has no strong operation on a cp keyspace"
		return
	}
	v.Key = keyspace + "/" + key
	var out bytes.Buffer
	if err := check.Picture(&out, h, keyspace, key, witness(rep)); err != nil {
		v.NoPicture = err.Error()
		return
	}
	v.Picture = out.String()
}

// witness are the operations of the first failure, or of the first checker that
// shows any.
func witness(rep check.Report) []int64 {
	for _, c := range rep.Checkers {
		if c.Verdict == check.Fail {
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

// mark is a verdict that is told apart without colour.
func mark(v check.Verdict) string {
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
