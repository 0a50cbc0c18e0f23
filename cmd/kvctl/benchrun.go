package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// benchRun is one line of the result. Latencies of an open loop are counted from when
// the operation was due.
type benchRun struct {
	Level   string  `json:"level"`
	Mix     string  `json:"mix"`
	Clients int     `json:"clients"`
	Ops     float64 `json:"ops_per_s"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	P999    float64 `json:"p999_ms"`
	Max     float64 `json:"max_ms"`
	Errors  int     `json:"errors"`

	Rate   float64            `json:"rate_per_s,omitempty"` // that was due; 0: a closed loop
	Behind int                `json:"behind"`               // operations that were due and never begun
	Codes  map[store.Code]int `json:"errors_by_code,omitempty"`

	Reads  *latencies `json:"reads,omitempty"` // where a run has both
	Writes *latencies `json:"writes,omitempty"`

	Curve   []quantile `json:"percentiles"`
	Seconds []second   `json:"seconds"`
}

// latencies are those of one kind of operation.
type latencies struct {
	Ops  int     `json:"ops"`
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p999_ms"`
	Max  float64 `json:"max_ms"`
}

// paced is how the clients go on, for people.
func (b *bench) paced() string {
	if b.rate == 0 {
		return ""
	}
	return fmt.Sprintf(", %s operations a second due", strconv.FormatFloat(b.rate, 'f', -1, 64))
}

// run loads the keyspace, first without counting, and calls progress after each second
// that counts.
func (b *bench) run(ctx context.Context, progress func(second)) (benchRun, error) {
	start := time.Now()
	t := newTally(start.Add(warmUp), start.Add(warmUp+b.time))
	over := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { t.watch(over, progress) })
	err := b.each(func(i int, k *client.Keyspace, s *client.Session) error {
		w := &worker{load: b.load, k: k, session: s, own: fmt.Sprintf("watched-%04d", i)}
		if err := w.begin(ctx); err != nil {
			return err
		}
		defer w.end()
		if b.rate > 0 {
			b.onTime(ctx, i, start, w.operate, t)
		} else {
			b.inTurn(ctx, i, w.operate, t)
		}
		return context.Cause(ctx)
	})
	took := time.Since(t.from)
	close(over)
	watching.Wait()
	return b.result(t, took), err
}

// inTurn is one client of a closed loop. It counts one operation at least, however long
// that takes.
func (b *bench) inTurn(ctx context.Context, client int, operate func(context.Context) (opKind, error), t *tally) {
	for counted := 0; ctx.Err() == nil; {
		began := time.Now()
		if began.After(t.until) && counted > 0 {
			return
		}
		kind, err := operate(ctx)
		if ctx.Err() == nil && t.count(client, began, kind, err) {
			counted++
		}
	}
}

// onTime is one client of an open loop: of all operations that are due, one every so
// many. One that is late begins at once, and its latency is from when it was due.
func (b *bench) onTime(ctx context.Context, client int, start time.Time, operate func(context.Context) (opKind, error), t *tally) {
	for n := client; ctx.Err() == nil; n += b.clients {
		due := start.Add(time.Duration(float64(n) / b.rate * float64(time.Second)))
		if !due.Before(t.until) {
			return
		}
		if late := time.Now(); due.Before(t.from) && late.After(t.from) || late.After(t.until) {
			t.leave(client, due) // what the warm-up left is no debt
			continue
		}
		if wait := time.Until(due); wait > 0 && !pause(ctx, wait) {
			return
		}
		kind, err := operate(ctx)
		if ctx.Err() == nil {
			t.count(client, due, kind, err)
		}
	}
}

func (b *bench) result(t *tally, took time.Duration) benchRun {
	all, kinds := t.sum()
	of := all.latencies()
	run := benchRun{
		Level: b.level, Mix: b.load.String(), Clients: b.clients, Rate: b.rate,
		Ops: math.Round(float64(of.Ops)/took.Seconds()*10) / 10,
		P50: of.P50, P99: of.P99, P999: of.P999, Max: of.Max,
		Errors: all.failed(), Codes: all.codes, Behind: all.behind, Curve: all.curve(), Seconds: t.seconds,
	}
	if kinds[aRead].ops() > 0 && kinds[aWrite].ops() > 0 {
		reads, writes := kinds[aRead].latencies(), kinds[aWrite].latencies()
		run.Reads, run.Writes = &reads, &writes
	}
	return run
}

// eachSecond shows how a run goes on: at a terminal every second on one line, and
// otherwise now and then.
func (a *app) eachSecond(whole time.Duration) func(second) {
	live := terminal(a.err)
	return func(s second) {
		line := fmt.Sprintf("%4.0f of %.0f s  %7.0f operations/s  p99 %.1f ms  %d errors", s.At, math.Ceil(whole.Seconds()), s.Ops, s.P99, s.Errors)
		switch last := s.At >= whole.Seconds(); {
		case live && !last:
			fmt.Fprintf(a.err, "\r%s\x1b[K", line)
		case live:
			fmt.Fprint(a.err, "\r\x1b[K")
		case int(s.At)%10 == 0 && !last:
			a.progress("%s", line)
		}
	}
}

func (a *app) benchTable(runs []benchRun) {
	rows := [][]string{{"LEVEL", "MIX", "CLIENTS", "OPS/S", "P50 MS", "P99 MS", "P99.9 MS", "MAX MS", "ERRORS", "BEHIND"}}
	ms := func(v float64) string { return fmt.Sprintf("%.3f", v) }
	for _, r := range runs {
		rows = append(rows, []string{
			r.Level, r.Mix, strconv.Itoa(r.Clients), fmt.Sprintf("%.0f", r.Ops),
			ms(r.P50), ms(r.P99), ms(r.P999), ms(r.Max), strconv.Itoa(r.Errors), strconv.Itoa(r.Behind),
		})
		if r.Reads != nil {
			for _, part := range []struct {
				name string
				of   *latencies
			}{{"reads", r.Reads}, {"writes", r.Writes}} {
				rows = append(rows, []string{"", part.name, "", "", ms(part.of.P50), ms(part.of.P99), ms(part.of.P999), ms(part.of.Max)})
			}
		}
	}
	a.table(rows)
	for _, r := range runs {
		for _, code := range slices.Sorted(maps.Keys(r.Codes)) {
			a.progress("%s, %s: %d × %s", r.Level, r.Mix, r.Codes[code], code)
		}
	}
}
