package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/dialkv/dialkv/store"
)

// errorJSON is an error in -o json.
type errorJSON struct {
	Code         store.Code `json:"code"`
	Message      string     `json:"message"`
	Retryable    bool       `json:"retryable"`
	MaybeApplied bool       `json:"maybe_applied"`
	Try          string     `json:"try"`
}

// report prints an error that a command ended with.
func (a *app) report(err error) {
	if a.output == "json" {
		a.json(struct {
			Outcome store.Outcome `json:"outcome"`
			Error   *errorJSON    `json:"error"`
		}{outcomeOf(err), describe(err)})
		return
	}
	fmt.Fprintf(a.err, "%s %s\n", a.red("error:"), sentence(err))
	fmt.Fprintf(a.err, "try: %s\n", advice(err))
}

// outcomeOf is OutcomeOf for errors that may not come from a cluster at all: those
// did nothing.
func outcomeOf(err error) store.Outcome {
	var e *store.Error
	if err != nil && !errors.As(err, &e) {
		return store.Failed
	}
	return store.OutcomeOf(err)
}

func describe(err error) *errorJSON {
	if err == nil {
		return nil
	}
	out := &errorJSON{Code: "Error", Message: sentence(err), Try: advice(err)}
	var e *store.Error
	if errors.As(err, &e) {
		out.Code, out.Retryable, out.MaybeApplied = e.Code, e.Retryable(), e.MaybeApplied()
	}
	return out
}

// sentence is the error on one line.
func sentence(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// advices say what to try where the error itself does not.
var advices = map[store.Code]string{
	store.NotLeader:          "again in a moment: a leader is being elected",
	store.Unavailable:        "kvctl cluster status; on the other side of a cut --at NODE, or a weaker --level",
	store.Unknown:            "a read of the key before you repeat the write",
	store.NotReplicated:      "nothing: the write is there and spreads by itself; --w local does not wait",
	store.LevelUnsupported:   "kvctl explain LEVEL",
	store.Unsupported:        "kvctl keyspace show NAME",
	store.SessionUnreachable: "again after the heal, another node with --at, or --level eventual",
	store.SessionExpired:     "a read of the key before you repeat the write",
	store.TokenMismatch:      "a new --session file: this one is of another cluster",
	store.WritesLost:         "a new --session file, and a read of what the session was about: what it had seen is gone",
	store.TooStale:           "a longer bound, or another node with --at",
	store.Conflict:           "kvctl get, and again with what it shows",
	store.TooManySiblings:    "kvctl get, then a put with its --context",
	store.NotFound:           "kvctl cluster list, kvctl keyspace list",
	store.NoSuchKeyspace:     "kvctl keyspace list",
	store.AlreadyExists:      "another name",
	store.TooLarge:           "a smaller key or value",
	store.Overloaded:         "again in a moment",
	store.Denied:             "a node that was started with --allow-faults",
	store.Invalid:            "the same with --help: it names what is allowed, and shows examples",
	store.Compacted:          "the same from its beginning",
	store.QuotaExceeded:      "fewer, or a revoke or a delete of what nobody needs",
	store.CircuitOpen:        "again in a moment, or another node with --at",
	store.Corrupt:            "kvctl cluster logs NODE",
}

func advice(err error) string {
	var own interface{ advice() string }
	if errors.As(err, &own) {
		return own.advice()
	}
	var e *store.Error
	if errors.As(err, &e) {
		if e.Try != "" {
			return e.Try
		}
		if known := advices[e.Code]; known != "" {
			return known
		}
	}
	return "kvctl help"
}

// json prints v on one line.
func (a *app) json(v any) {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		fmt.Fprintf(a.err, "error: %v\n", err)
	}
}

// show prints v with -o json, and otherwise calls table.
func (a *app) show(v any, table func()) error {
	if a.output == "json" {
		a.json(v)
	} else {
		table()
	}
	return nil
}

// table prints rows in columns; the first is the header.
func (a *app) table(rows [][]string) { tabulate(a.out, rows) }

func tabulate(out io.Writer, rows [][]string) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	_ = w.Flush() // nobody to tell
}

// progress says on stderr what takes long.
func (a *app) progress(format string, args ...any) {
	fmt.Fprintf(a.err, format+"\n", args...)
}

func (a *app) red(s string) string   { return a.colour("31", s) }
func (a *app) green(s string) string { return a.colour("32", s) }

// colour is for terminals of people who have not asked for none.
func (a *app) colour(code, s string) string {
	if code == "" || a.getenv("NO_COLOR") != "" || !terminal(a.out) || !terminal(a.err) {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// terminal reports whether f is one.
func terminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

// milliseconds of a duration, to the microsecond.
func milliseconds(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Microsecond)) / 1000
}

// rough is a duration for people.
func rough(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	default:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
