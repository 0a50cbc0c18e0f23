package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
)

// benched runs a bench whose operations are made up.
func benched(t *testing.T, b *bench, operate func(context.Context) (opKind, error)) benchRun {
	t.Helper()
	start := time.Now()
	tally := newTally(start.Add(warmUp), start.Add(warmUp+b.time))
	over := make(chan struct{})
	var clients, watching sync.WaitGroup
	watching.Go(func() { tally.watch(over, func(second) {}) })
	for i := range b.clients {
		clients.Go(func() {
			if b.rate > 0 {
				b.onTime(t.Context(), i, start, operate, tally)
			} else {
				b.inTurn(t.Context(), i, operate, tally)
			}
		})
	}
	clients.Wait()
	took := time.Since(tally.from)
	close(over)
	watching.Wait()
	return b.result(tally, took)
}

// stalled takes a millisecond, but for two seconds in which nothing is answered.
func stalled() func(context.Context) (opKind, error) {
	began := time.Now()
	return func(context.Context) (opKind, error) {
		<-time.After(time.Millisecond)
		if at := time.Since(began); at > 5*time.Second && at < 7*time.Second {
			<-time.After(7*time.Second - at)
		}
		return aRead, nil
	}
}

func TestOpenLoopCountsThoseWhoWaitedForTheirTurn(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		shut := benched(t, &bench{clients: 10, time: 10 * time.Second}, stalled())
		if shut.P99 > 2 || shut.Max < 1900 || shut.Behind != 0 {
			t.Errorf("a closed loop asks ten times while the cluster stands still for two seconds of ten: p99 %v, most %v, behind %d", shut.P99, shut.Max, shut.Behind)
		}
		open := benched(t, &bench{clients: 10, rate: 100, time: 10 * time.Second}, stalled())
		if open.P99 < 1500 || open.P50 > 2 || open.Errors != 0 {
			t.Errorf("a fifth of what was due waited: p50 %v, p99 %v", open.P50, open.P99)
		}
		if n := len(open.Seconds); open.Ops < 99 || open.Ops > 101 || n < 9 || n > 11 {
			t.Errorf("%v operations a second, %d seconds", open.Ops, n)
		}
	})
}

func TestRateThatIsTooMuchIsToldAsBehind(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		slow := func(context.Context) (opKind, error) {
			<-time.After(100 * time.Millisecond)
			return aWrite, nil
		}
		run := benched(t, &bench{clients: 10, rate: 1000, time: 10 * time.Second}, slow)
		if run.Behind < 8900 || run.Behind > 9100 || run.Ops < 95 || run.Ops > 105 {
			t.Errorf("ten clients do a hundred a second of a thousand: %v a second, %d behind", run.Ops, run.Behind)
		}
	})
}

func TestErrorsOfABenchAreCountedByTheirCodes(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		n := 0
		run := benched(t, &bench{clients: 1, time: time.Second}, func(context.Context) (opKind, error) {
			<-time.After(10 * time.Millisecond)
			switch n++; n % 4 {
			case 0:
				return aRead, &store.Error{Code: store.Unavailable}
			case 1:
				return aWrite, nil
			}
			return aRead, nil
		})
		if run.Errors < 20 || run.Codes[store.Unavailable] != run.Errors || run.Writes == nil || run.Reads.Ops < 2*run.Writes.Ops-2 {
			t.Errorf("%+v", run)
		}
	})
}

func TestPageOfABench(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		b := &bench{keyspace: "<orders>", clients: 10, rate: 100, time: 5 * time.Second, page: filepath.Join(t.TempDir(), "bench.html")}
		run := benched(t, b, stalled())
		run.Level, run.Codes = "strong", map[store.Code]int{store.Unavailable: 3}
		if err := b.write([]benchRun{run, {Level: "eventual", Mix: "r100"}}); err != nil {
			t.Fatal(err)
		}
		page, err := os.ReadFile(b.page)
		if err != nil {
			t.Fatal(err)
		}
		text := string(page)
		for _, want := range []string{"&lt;orders&gt;", "100 operations a second due", "3 × Unavailable", "99.9", "Latency by percentile", `class="c1"`} {
			if !strings.Contains(text, want) {
				t.Errorf("%s is not on the page", want)
			}
		}
		if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
			t.Error("a point of a picture is nowhere")
		}
		for pictures := text; strings.Contains(pictures, "<svg viewBox=\"0 0 720"); {
			_, after, _ := strings.Cut(pictures, "<svg viewBox=\"0 0 720")
			picture, rest, _ := strings.Cut(after, "</svg>")
			pictures = rest
			d := xml.NewDecoder(strings.NewReader("<svg viewBox=\"0 0 720" + picture + "</svg>"))
			for {
				_, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%v in %s", err, picture)
				}
			}
		}
		b.page = filepath.Join(t.TempDir(), "no", "such", "bench.html")
		if err := b.write([]benchRun{run}); !errors.Is(err, store.Invalid) {
			t.Errorf("a page that cannot be written: %v", err)
		}
	})
}

// An attempt that was under way when a breaker changed belongs to what was before.
func TestAttemptsAreCountedInTheStateInWhichTheyBegan(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		var told []string
		b := newBreakers(func(c breakerChange) { told = append(told, c.String()) })
		o := b.observe(2)
		attempt := func(node string, took time.Duration, failure client.FailureKind) {
			o.Attempt(client.AttemptEvent{Node: node, Took: took, Failure: failure})
		}
		change := func(from, to client.CircuitState) { o.Breaker(client.BreakerEvent{Node: "n1", From: from, To: to}) }
		<-time.After(time.Second)
		attempt("n1", time.Millisecond, "")
		attempt("n1", time.Millisecond, client.Definite)
		attempt("n1", time.Second, client.Transient)
		attempt("n2", time.Millisecond, "")
		change(client.CircuitClosed, client.CircuitOpen)
		<-time.After(100 * time.Millisecond)
		attempt("n1", 700*time.Millisecond, client.Transient)
		attempt("n2", time.Millisecond, "")
		attempt("n3", time.Millisecond, "")
		change(client.CircuitOpen, client.CircuitHalfOpen)
		change(client.CircuitHalfOpen, client.CircuitClosed)
		want := []string{
			"  1.0 s  connection 2, breaker of n1: closed to open, 1 of 3 attempts failed",
			"  1.1 s  connection 2, breaker of n1: open to half-open, it was asked 0 times and others 2 times",
			"  1.1 s  connection 2, breaker of n1: half-open to closed, as probes decided",
		}
		if !slices.Equal(told, want) || len(b.kept()) != 3 || b.kept()[1].Elsewhere != 2 {
			t.Errorf("%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestTableOfABench(t *testing.T) {
	var out, told bytes.Buffer
	a := &app{out: &out, err: &told}
	a.benchTable([]benchRun{{Level: "strong", Mix: "r90w10", Clients: 8, Ops: 1000, Reads: &latencies{P50: 1}, Writes: &latencies{P50: 2}, Codes: map[store.Code]int{store.Unavailable: 3}}})
	for _, want := range []string{"BEHIND", "reads", "writes", "2.000"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is not in\n%s", want, &out)
		}
	}
	if !strings.Contains(told.String(), "3 × Unavailable") {
		t.Errorf("%q", &told)
	}
}
