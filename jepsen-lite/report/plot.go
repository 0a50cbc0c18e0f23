package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// A plot's rectangle.
const (
	plotWidth, plotHeight = 720.0, 220.0
	plotLeft, plotRight   = 60.0, 704.0
	plotTop, plotBottom   = 10.0, 196.0
	buckets               = 90 // of time
)

// line is a series of a plot, one value a bucket; a NaN is a gap.
type line struct {
	class, name string
	values      []float64
}

// bucket is what was called in one part of the time.
type bucket struct {
	outcomes      check.Outcomes
	served, asked [2]int // reads, writes
	took          []time.Duration
}

// plots are latency, rate and availability over time, shaded by the faults.
func plots(h *history.History) []drawing {
	if len(h.Ops) == 0 {
		return nil
	}
	end := max(h.Length(), time.Microsecond)
	x := scale{to: end.Seconds(), low: plotLeft, high: plotRight}
	all := fill(h, end)
	width := end.Seconds() / buckets
	per := func(of func(bucket) float64) []float64 {
		values := make([]float64, len(all))
		for i, b := range all {
			values[i] = of(b)
		}
		return values
	}
	rate := func(of func(check.Outcomes) int) []float64 {
		return per(func(b bucket) float64 { return float64(of(b.outcomes)) / width })
	}
	latency := func(p float64) []float64 {
		return per(func(b bucket) float64 {
			if len(b.took) == 0 {
				return math.NaN()
			}
			return float64(check.Percentile(b.took, p).Microseconds()+1) / 1000
		})
	}
	share := func(kind int) []float64 {
		return per(func(b bucket) float64 { return 100 * float64(b.served[kind]) / float64(b.asked[kind]) })
	}
	return []drawing{
		plot("Latency of what was served, ms", h, x, logarithmic, []line{
			{"c0", "half", latency(50)}, {"c1", "99 of 100", latency(99)}, {"c2", "slowest", latency(100)},
		}),
		plot("Calls a second", h, x, fromZero, []line{
			{"c0", "ok", rate(func(o check.Outcomes) int { return o.OK })},
			{"c1", "fail", rate(func(o check.Outcomes) int { return o.Fail })},
			{"c2", "unknown", rate(func(o check.Outcomes) int { return o.Unknown })},
		}),
		plot("Available, %", h, x, percents, []line{{"c0", "reads", share(0)}, {"c1", "writes", share(1)}}),
	}
}

// fill puts every call into the bucket of its beginning.
func fill(h *history.History, end time.Duration) []bucket {
	all := make([]bucket, buckets)
	for i := range h.Ops {
		op := &h.Ops[i]
		b := &all[min(int(float64(op.Start)/float64(end)*buckets), buckets-1)]
		kind := 0
		if op.Write() {
			kind = 1
		}
		b.asked[kind]++
		switch {
		case op.OK():
			b.outcomes.OK++
		case op.Failed():
			b.outcomes.Fail++
		default:
			b.outcomes.Unknown++
		}
		if check.Served(op) {
			b.served[kind]++
			if op.Kind != history.Watch {
				b.took = append(b.took, max(0, op.Stop-op.Start))
			}
		}
	}
	for i := range all {
		slices.Sort(all[i].took)
	}
	return all
}

// The vertical scales of plots.
func logarithmic(lines []line) scale {
	low, high := extent(lines)
	return scale{from: math.Pow(10, math.Floor(math.Log10(low))), to: math.Pow(10, math.Ceil(math.Log10(high*1.0001))), log: true}
}

func fromZero(lines []line) scale {
	_, high := extent(lines)
	return scale{to: roundUp(high)}
}

func percents([]line) scale { return scale{to: 100} }

// extent is the least and the most of all values that are above 0; 1 to 1 of none.
func extent(lines []line) (low, high float64) {
	for _, l := range lines {
		for _, v := range l.values {
			if v > 0 && (low == 0 || v < low) {
				low = v
			}
			if v > high {
				high = v
			}
		}
	}
	if low == 0 {
		return 1, 1
	}
	return low, high
}

// plot draws lines over time.
func plot(name string, h *history.History, x scale, vertical func([]line) scale, lines []line) drawing {
	y := vertical(lines)
	y.low, y.high = plotBottom, plotTop
	d := frame(name, x, y, "s")
	d.shade(h, x, plotTop, plotBottom-plotTop)
	for _, l := range lines {
		d.Marks = append(d.Marks, mark{"line " + l.class, through(l.values, x, y), l.name})
		d.Legend = append(d.Legend, swatch{"line " + l.class, l.name})
	}
	return d
}

// frame is a plot without its lines.
func frame(name string, x, y scale, unit string) drawing {
	d := drawing{Name: name, Class: "plot", Width: plotWidth, Height: plotHeight}
	for _, v := range x.ticks(6) {
		d.Labels = append(d.Labels, label{X: x.at(v), Y: plotHeight - 6, Anchor: "middle", Text: number(v) + " " + unit})
	}
	for _, v := range y.ticks(4) {
		d.Rules = append(d.Rules, rule{plotLeft, y.at(v), plotRight, y.at(v)})
		d.Labels = append(d.Labels, label{X: plotLeft - 8, Y: y.at(v) + 4, Anchor: "end", Text: number(v)})
	}
	return d
}

// through is a path along the middles of the buckets, broken at gaps. A value with gaps
// on both sides is a short line.
func through(values []float64, x, y scale) string {
	var path strings.Builder
	half := (x.high - x.low) / float64(len(values)) / 2
	open := false
	for i, v := range values {
		if math.IsNaN(v) {
			open = false
			continue
		}
		at := x.low + half*float64(2*i+1)
		if open {
			fmt.Fprintf(&path, "L%.1f %.1f", at, y.at(v))
		} else {
			fmt.Fprintf(&path, "M%.1f %.1fh%.1f", at-half/2, y.at(v), half)
		}
		open = true
	}
	return path.String()
}

// staleness is how many of a hundred reads of each level were behind by no more than so
// long (t-visibility). It is drawn where somebody asked for less than the newest.
func staleness(all []check.Ages) *drawing {
	weak := func(a check.Ages) bool { return a.Level == "bounded" || a.Level == "eventual" }
	if !slices.ContainsFunc(all, weak) {
		return nil
	}
	most := 10 * time.Millisecond
	for _, a := range all {
		most = max(most, a.Behind[len(a.Behind)-1])
	}
	x := scale{from: 0.1, to: math.Pow(10, math.Ceil(math.Log10(float64(most.Microseconds())/1000))), low: plotLeft, high: plotRight, log: true}
	y := scale{to: 100, low: plotBottom, high: plotTop}
	d := frame("Reads that were behind by no more than so long, %", x, y, "ms")
	for i, a := range all[:min(len(all), 12)] {
		class := fmt.Sprintf("line c%d", i%6)
		d.Marks = append(d.Marks, mark{class, steps(a.Behind, x, y), a.Mode + " " + a.Level})
		d.Legend = append(d.Legend, swatch{class, a.Mode + " " + a.Level})
	}
	return &d
}

// steps is a cumulative distribution at 200 places of the scale.
func steps(behind []time.Duration, x, y scale) string {
	var path strings.Builder
	const n = 200
	for i := range n + 1 {
		v := x.from * math.Pow(x.to/x.from, float64(i)/n)
		count, _ := slices.BinarySearch(behind, time.Duration(v*float64(time.Millisecond))+1)
		verb := "L"
		if i == 0 {
			verb = "M"
		}
		fmt.Fprintf(&path, "%s%.1f %.1f", verb, x.at(v), y.at(100*float64(count)/float64(len(behind))))
	}
	return path.String()
}
