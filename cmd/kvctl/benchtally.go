package main

import (
	"math"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/dialkv/dialkv/store"
)

// opKind is what a latency is of.
type opKind int

const (
	aRead opKind = iota
	aWrite
	opKinds
)

// tallyParts are counted in at the same time by different clients.
const tallyParts = 8

// tally is what a run has counted so far.
type tally struct {
	from, until time.Time // only what began, or was due, in between counts
	parts       [tallyParts]part
	seconds     []second
}

type part struct {
	mu    sync.Mutex
	kinds [opKinds]counts
	now   counts // of this second
}

// counts are latencies, in microseconds, and what had none.
type counts struct {
	done   *hdrhistogram.Histogram
	codes  map[store.Code]int
	behind int
}

// second is what ended in one second of a run.
type second struct {
	At     float64 `json:"at_s"` // its end, since counting began
	Ops    float64 `json:"ops_per_s"`
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	Errors int     `json:"errors"`
}

// quantile is a point of a latency curve.
type quantile struct {
	Percentile float64 `json:"percentile"`
	MS         float64 `json:"ms"`
}

func newCounts() counts {
	return counts{hdrhistogram.New(1, (maxTime + 2*benchTimeout).Microseconds(), 3), make(map[store.Code]int), 0}
}

func newTally(from, until time.Time) *tally {
	t := &tally{from: from, until: until, seconds: []second{}}
	for i := range t.parts {
		s := &t.parts[i]
		s.now = newCounts()
		for k := range s.kinds {
			s.kinds[k] = newCounts()
		}
	}
	return t
}

// count counts an operation that began, or was due, then and has ended now. It reports
// false for one of the warm-up.
func (t *tally) count(client int, then time.Time, kind opKind, err error) bool {
	if then.Before(t.from) {
		return false
	}
	took := time.Since(then).Microseconds()
	s := &t.parts[client%tallyParts]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kinds[kind].add(took, err)
	s.now.add(took, err)
	return true
}

// leave counts an operation that was due and is not begun any more.
func (t *tally) leave(client int, due time.Time) {
	if due.Before(t.from) {
		return
	}
	s := &t.parts[client%tallyParts]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kinds[aRead].behind++
}

// watch keeps what each second was like, until the run is over.
func (t *tally) watch(over <-chan struct{}, progress func(second)) {
	last := t.from
	for goOn := true; goOn; {
		next := time.NewTimer(time.Until(last.Add(time.Second)))
		select {
		case <-next.C:
		case <-over:
			next.Stop()
			goOn = false
		}
		now := time.Now()
		if now.Sub(last) < time.Second/2 {
			continue // too little to tell
		}
		s := t.turn(last, now)
		last = now
		t.seconds = append(t.seconds, s)
		progress(s)
	}
}

// turn ends a second and begins the next.
func (t *tally) turn(last, now time.Time) second {
	sum := newCounts()
	for i := range t.parts {
		s := &t.parts[i]
		s.mu.Lock()
		sum.join(s.now)
		s.now.done.Reset()
		clear(s.now.codes)
		s.mu.Unlock()
	}
	of := sum.latencies()
	return second{
		At: math.Round(now.Sub(t.from).Seconds()*10) / 10, P50: of.P50, P99: of.P99, Errors: sum.failed(),
		Ops: math.Round(float64(of.Ops)/now.Sub(last).Seconds()*10) / 10,
	}
}

// sum is of the whole run, which is over.
func (t *tally) sum() (all counts, kinds [opKinds]counts) {
	all = newCounts()
	for k := range kinds {
		kinds[k] = newCounts()
		for i := range t.parts {
			kinds[k].join(t.parts[i].kinds[k])
		}
		all.join(kinds[k])
	}
	return all, kinds
}

func (c *counts) add(microseconds int64, err error) {
	if err != nil {
		c.codes[store.AsError(err).Code]++
		return
	}
	_ = c.done.RecordValue(min(microseconds, c.done.HighestTrackableValue())) // it is in range
}

func (c *counts) join(other counts) {
	c.done.Merge(other.done)
	for code, n := range other.codes {
		c.codes[code] += n
	}
	c.behind += other.behind
}

func (c *counts) ops() int { return int(c.done.TotalCount()) }

func (c *counts) failed() (n int) {
	for _, of := range c.codes {
		n += of
	}
	return n
}

func (c *counts) ms(percentile float64) float64 {
	return float64(c.done.ValueAtQuantile(percentile)) / 1000
}

func (c *counts) latencies() latencies {
	return latencies{Ops: c.ops(), P50: c.ms(50), P99: c.ms(99), P999: c.ms(99.9), Max: float64(c.done.Max()) / 1000}
}

// curve goes to the last percentile that stands on an operation, eight points from one
// nine to the next.
func (c *counts) curve() []quantile {
	points := []quantile{}
	for i := 0; ; i++ {
		left := math.Pow(10, -float64(i)/8)
		if left*float64(c.ops()) < 1 {
			return points
		}
		percentile := math.Round((1-left)*1e8) / 1e6
		points = append(points, quantile{percentile, c.ms(percentile)})
	}
}
