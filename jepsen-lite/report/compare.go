package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/store"
)

// maxResults is how long a results.json may be.
const maxResults = 64 << 20

// Load reads the results of a report: its directory, or the file itself.
func Load(path string) (check.Report, error) {
	invalid := func(why string, cause error) error {
		return &store.Error{Code: store.Invalid, Op: "report", Msg: fmt.Sprintf("%s %s", path, why), Cause: cause, Try: "a directory that kvctl check run --report wrote"}
	}
	file := path
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		file = filepath.Join(path, "results.json")
	}
	f, err := os.Open(file)
	if err != nil {
		return check.Report{}, invalid("holds no report that can be opened", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxResults+1))
	if err != nil || len(data) > maxResults {
		return check.Report{}, invalid(fmt.Sprintf("cannot be read, or is longer than %d bytes", maxResults), err)
	}
	var rep check.Report
	if err := json.Unmarshal(data, &rep); err != nil {
		return check.Report{}, invalid("is no results.json", err)
	}
	if !slices.Contains([]check.Verdict{check.Pass, check.Fail, check.Unknown, check.Invalid}, rep.Verdict) {
		return check.Report{}, invalid(fmt.Sprintf("is no results.json: its verdict is %q", rep.Verdict), nil)
	}
	return rep, nil
}

// Comparison is two reports side by side. A nil says that one of them has no such thing.
type Comparison struct {
	A            Side                `json:"a"`
	B            Side                `json:"b"`
	Checkers     []Pair[Claim]       `json:"checkers"`
	Latency      []Pair[Percentiles] `json:"latency"`
	Availability []Pair[Share]       `json:"availability"`
	Staleness    []Pair[Behind]      `json:"staleness"`
}

// Side is what a report is of.
type Side struct {
	Report     string         `json:"report"`
	Verdict    check.Verdict  `json:"verdict"`
	Seed       int64          `json:"seed"`
	Operations check.Outcomes `json:"operations"`
	RecoveryMS *int64         `json:"recovery_ms"`
}

// Pair is one thing in both reports.
type Pair[T any] struct {
	Name string `json:"name"`
	A    *T     `json:"a"`
	B    *T     `json:"b"`
}

// Claim is what a checker said.
type Claim struct {
	Verdict  check.Verdict `json:"verdict"`
	Ops      int           `json:"ops"`
	Sentence string        `json:"sentence"`
}

// Percentiles are of the calls that were served.
type Percentiles struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// Share is how many of the calls were served, all nodes and keyspaces together: those
// of two runs have different names.
type Share struct {
	Ops int `json:"ops"`
	OK  int `json:"ok"`
}

// Behind is how many reads lacked an acknowledged write, and how old the oldest of
// those was.
type Behind struct {
	Reads int     `json:"reads"`
	Stale int     `json:"stale"`
	Max   float64 `json:"max_ms"`
}

// Compare puts b beside a. nameA and nameB say where they come from.
func Compare(nameA string, a check.Report, nameB string, b check.Report) Comparison {
	return Comparison{
		A: side(nameA, a), B: side(nameB, b),
		Checkers: pairs(a, b, func(r check.Report, add func(string, Claim)) {
			for _, c := range r.Checkers {
				add(c.Name, Claim{c.Verdict, c.Compared.Ops, c.Sentence})
			}
		}),
		Latency: pairs(a, b, func(r check.Report, add func(string, Percentiles)) {
			for _, l := range r.Latency {
				add(spaced(l.Op, l.Level), Percentiles{l.N, l.P50, l.P99, l.Max})
			}
		}),
		Availability: pairs(a, b, shares),
		Staleness: pairs(a, b, func(r check.Report, add func(string, Behind)) {
			for _, s := range r.Staleness {
				add(spaced(s.Mode, s.Level), Behind{s.Reads, s.Stale, s.Max})
			}
		}),
	}
}

func side(name string, r check.Report) Side {
	return Side{name, r.Verdict, r.Seed, r.Operations, r.RecoveryMS}
}

// shares sums the rows of each kind of call in each phase.
func shares(r check.Report, add func(string, Share)) {
	sums := map[string]*Share{}
	var order []string
	for _, row := range r.Availability {
		name := spaced(row.Op, row.Level) + " " + row.Phase
		if sums[name] == nil {
			sums[name] = &Share{}
			order = append(order, name)
		}
		sums[name].Ops += row.Ops
		sums[name].OK += row.OK
	}
	for _, name := range order {
		add(name, *sums[name])
	}
}

// pairs matches what both reports have by name, in the order of a and then of b.
func pairs[T any](a, b check.Report, each func(check.Report, func(string, T))) []Pair[T] {
	out := []Pair[T]{}
	place := map[string]int{}
	at := func(name string) *Pair[T] {
		i, known := place[name]
		if !known {
			i = len(out)
			place[name] = i
			out = append(out, Pair[T]{Name: name})
		}
		return &out[i]
	}
	each(a, func(name string, v T) { at(name).A = &v })
	each(b, func(name string, v T) { at(name).B = &v })
	return out
}

func spaced(a, b string) string {
	if b == "" {
		return a
	}
	return a + " " + b
}
