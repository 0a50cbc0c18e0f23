package main

import (
	"context"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/nemesis"
	"github.com/dialkv/dialkv/jepsen-lite/scenario"
	"github.com/dialkv/dialkv/jepsen-lite/workload"
)

// The load of the tour: enough for every checker to have something to judge by, also
// inside the cuts, where a client that waits for the other side asks nothing else.
// Sessions that roam wait the most.
const (
	loadTime    = 5 * time.Second // for each workload
	roamingTime = 8 * time.Second
	loadClients = 30
	loadRate    = 600
	loadTimeout = 250 * time.Millisecond
)

// tourRun is one workload of the tour, judged.
type tourRun struct {
	Workload string         `json:"workload"`
	Verdict  check.Verdict  `json:"verdict"`
	Ops      int            `json:"ops"`
	Report   string         `json:"report"`
	Checkers []check.Result `json:"checkers"`
}

// tourLoads are the workloads of the tour: what its last line speaks of, and no more,
// for it is to be over within a minute.
var tourLoads = []string{"register", "roaming", "causal"}

// check loads the cluster with each workload while it is cut again and again, and
// says what the checkers say.
func (t *tour) check(ctx context.Context) error {
	var runs []tourRun
	for i, name := range tourLoads {
		o := t.load(name, int64(i))
		out, err := t.judge(ctx, o)
		if err == nil && out.Verdict == check.Invalid {
			// A busy machine has not done enough for a verdict: more time for all, and for each.
			o.Load.Duration *= 2
			o.Load.Timeout *= 4
			out, err = t.judge(ctx, o)
		}
		if err != nil {
			return err
		}
		runs = append(runs, tourRun{
			Workload: name, Verdict: out.Verdict, Ops: out.Load.OK + out.Load.Failed + out.Load.Unknown,
			Report: out.Path, Checkers: out.Checkers,
		})
	}
	t.conclude(runs)
	page := filepath.Join(t.report, "index.html")
	if err := t.write(page, runs); err != nil {
		return err
	}
	t.say("report: ./%s", page)
	if t.app.output == "json" {
		t.app.json(map[string]any{"held": len(t.broken) == 0, "broken": append([]string{}, t.broken...), "runs": runs, "seed": t.seed, "report": page})
	}
	return nil
}

func (t *tour) judge(ctx context.Context, o scenario.Options) (scenario.Outcome, error) {
	t.app.progress("checking: %s for %v, with partitions", o.Load.Workload, o.Load.Duration)
	return scenario.Run(ctx, t.cluster, o)
}

// load is the plan of one workload.
func (t *tour) load(name string, number int64) scenario.Options {
	o := scenario.Options{
		Load: workload.Config{
			Workload: name, Duration: loadTime, Clients: loadClients, Rate: loadRate, Timeout: loadTimeout, Seed: t.seed + number,
		},
		Faults: []string{nemesis.Partition},
		Dir:    filepath.Join(t.report, name),
	}
	if name == "roaming" {
		o.Load.Duration = roamingTime
	}
	return o
}

// conclude says in one line what all runs together have shown.
func (t *tour) conclude(runs []tourRun) {
	ops := 0
	for _, r := range runs {
		ops += r.Ops
		if r.Verdict != check.Pass {
			t.holds(r.Workload+" is judged "+string(r.Verdict)+unmet(r.Checkers), false)
		}
	}
	verdict := func(name string) string { return t.app.mark(passed(runs, name)) }
	lost := "0"
	if !passed(runs, "durability") {
		lost = t.app.red("✗")
	}
	t.say("checked %s operations:  linearizable %s (porcupine)   causal %s   read-your-writes %s   converged %s   lost writes %s",
		spaced(ops), verdict("linearizable"), verdict("causal"), verdict("read-your-writes"), verdict("convergence"), lost)
}

// unmet names the checkers that did not pass, with their sentences.
func unmet(results []check.Result) string {
	s := ""
	for _, r := range results {
		if r.Verdict != check.Pass {
			s += fmt.Sprintf(": %s %s: %s", r.Name, r.Verdict, r.Sentence)
		}
	}
	return s
}

// passed reports whether the checker judged some run, and none badly.
func passed(runs []tourRun, name string) bool {
	seen := false
	for _, r := range runs {
		i := slices.IndexFunc(r.Checkers, func(c check.Result) bool { return c.Name == name })
		if i >= 0 && r.Checkers[i].Verdict != check.Pass {
			return false
		}
		seen = seen || i >= 0
	}
	return seen
}

// spaced writes 4812 as "4 812".
func spaced(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

var tourPage = template.Must(template.New("tour").Funcs(template.FuncMap{"mark": markOf}).Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>dialkv demo</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
pre { overflow-x: auto; font: 13px/1.5 ui-monospace, monospace }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid #8884 }
td:not(:last-child) { white-space: nowrap }
.pass { color: #1a7f4b } .fail { color: #c0392b } .invalid, .unknown { color: #b7791f }
</style></head>
<body><h1>A partition, and the verdict</h1><pre>{{.Said}}</pre>
{{range .Runs}}<h2 class="{{.Verdict}}">{{mark .Verdict}} {{.Workload}}: {{.Verdict}}</h2>
<p>{{.Ops}} operations. <a href="{{.Workload}}/index.html">Timeline and witness</a></p>
<table><tr><th>checker</th><th>verdict</th><th>what was found</th></tr>
{{range .Checkers}}<tr><td>{{.Name}}</td><td class="{{.Verdict}}">{{mark .Verdict}} {{.Verdict}}</td><td>{{.Sentence}}{{if .Witness}} (operations {{range .Witness}}{{.}} {{end}}){{end}}</td></tr>
{{end}}</table>
{{end}}<p>seed {{.Seed}}</p></body></html>
`))

// markOf says a verdict by shape, beside its colour and its name.
func markOf(v check.Verdict) string {
	switch v {
	case check.Pass:
		return "✓"
	case check.Fail:
		return "✗"
	}
	return "?"
}

// escapes are those of colours, which a page does not need.
var escapes = regexp.MustCompile("\x1b\\[[0-9]*m")

func (t *tour) write(path string, runs []tourRun) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	defer f.Close()
	said := escapes.ReplaceAllString(t.said.String(), "")
	if err := tourPage.Execute(f, map[string]any{"Said": said, "Runs": runs, "Seed": t.seed}); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return f.Sync()
}
