package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dialkv/dialkv/store"
)

//go:embed benchpage.html
var benchPageText string

var benchPageTemplate = template.Must(template.New("bench").Parse(benchPageText))

// benchView is all the page shows.
type benchView struct {
	Keyspace string
	Made     string
	Length   string
	Rate     string
	Runs     []benchRow
	Charts   []chart
}

// benchRow is one run, with the place of its colour.
type benchRow struct {
	benchRun
	Name   string
	Colour int
}

// chart is a picture of lines, one for each run.
type chart struct {
	Title, About string
	X, Y         []tick
	Lines        []chartLine
}

// tick is a value at an axis, and where it stands.
type tick struct {
	At   float64
	Text string
}

// chartLine is drawn through its points.
type chartLine struct {
	Name   string
	Colour int
	Points string
}

// The plot's rectangle within a view of 720 by 280.
const (
	plotLeft, plotRight = 64.0, 696.0
	plotTop, plotBottom = 12.0, 240.0
	benchColours        = 6
)

// write writes the page, whole or not at all, if one was asked for.
func (b *bench) write(runs []benchRun) error {
	if b.page == "" {
		return nil
	}
	var out bytes.Buffer
	if err := benchPageTemplate.Execute(&out, b.view(runs, time.Now())); err != nil {
		return fmt.Errorf("the page of the bench: %w", err)
	}
	if err := replaceFile(b.page, out.Bytes()); err != nil {
		return unwritten(err)
	}
	return nil
}

// pageable refuses a page that could not be written, before the runs.
func (b *bench) pageable() error {
	if b.page == "" {
		return nil
	}
	if err := writable(b.page); err != nil {
		return unwritten(err)
	}
	return nil
}

func unwritten(err error) error {
	return &store.Error{Code: store.Invalid, Msg: "the page cannot be written", Cause: err, Try: "--html with a file in a directory that you may write to"}
}

func (b *bench) view(runs []benchRun, now time.Time) benchView {
	v := benchView{
		Keyspace: b.keyspace, Made: now.UTC().Format("2006-01-02 15:04 UTC"), Length: b.time.String(),
		Rate: strings.TrimPrefix(b.paced(), ", "),
	}
	for i, r := range runs {
		v.Runs = append(v.Runs, benchRow{r, r.Level + " " + r.Mix, i % benchColours})
	}
	v.Charts = []chart{
		v.latencyChart(),
		v.overTime("Operations a second", "How many ended in each second.", func(s second) float64 { return s.Ops }),
		v.overTime("99th percentile over time, ms", "Of what ended in each second: a pause shows here.", func(s second) float64 { return s.P99 }),
	}
	return v
}

// latencyChart has the slowest in a thousand as far from the slowest in a hundred as
// those from the slowest in ten, and as many decades of time as there are.
func (v *benchView) latencyChart() chart {
	c := chart{Title: "Latency by percentile, ms", About: "Each step to the right is a tenth of what is left; both axes are logarithmic."}
	nines, least, most := 1.0, math.Inf(1), 0.0
	for _, r := range v.Runs {
		for _, q := range r.Curve {
			nines = max(nines, leftOver(q.Percentile))
			least, most = min(least, q.MS), max(most, q.MS)
		}
	}
	low, high := math.Floor(math.Log10(max(min(least, most), 0.001))), math.Ceil(math.Log10(max(most, 0.01)))
	x := scale{0, math.Ceil(nines), plotLeft, plotRight}
	y := scale{low, max(high, low+1), plotBottom, plotTop}
	for n := 0.0; n <= x.to; n++ {
		c.X = append(c.X, tick{x.at(n), percentileName(int(n))})
	}
	for n := low; n <= y.to; n++ {
		c.Y = append(c.Y, tick{y.at(n), number(math.Pow(10, n))})
	}
	for _, r := range v.Runs {
		var points []string
		for _, q := range r.Curve {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x.at(leftOver(q.Percentile)), y.at(math.Log10(max(q.MS, 0.001)))))
		}
		c.Lines = append(c.Lines, chartLine{r.Name, r.Colour, strings.Join(points, " ")})
	}
	return c
}

// leftOver counts the nines of a percentile: 90 has one, 99 two.
func leftOver(percentile float64) float64 {
	return -math.Log10(max(1-percentile/100, 1e-8))
}

func percentileName(nines int) string {
	if nines == 0 {
		return "0"
	}
	return strconv.FormatFloat(100-math.Pow(10, 2-float64(nines)), 'f', max(nines-2, 0), 64)
}

func (v *benchView) overTime(title, about string, value func(second) float64) chart {
	c := chart{Title: title, About: about}
	end, most := 1.0, 0.0
	for _, r := range v.Runs {
		for _, s := range r.Seconds {
			end, most = max(end, s.At), max(most, value(s))
		}
	}
	step := niceStep(most)
	x := scale{0, end, plotLeft, plotRight}
	y := scale{0, step * max(math.Ceil(most/step), 1), plotBottom, plotTop}
	for at, by := 0.0, math.Max(1, math.Ceil(end/10)); at <= end; at += by {
		c.X = append(c.X, tick{x.at(at), number(at) + " s"})
	}
	for at := 0.0; at <= y.to+step/2; at += step {
		c.Y = append(c.Y, tick{y.at(at), number(at)})
	}
	for _, r := range v.Runs {
		var points []string
		for _, s := range r.Seconds {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x.at(s.At), y.at(value(s))))
		}
		c.Lines = append(c.Lines, chartLine{r.Name, r.Colour, strings.Join(points, " ")})
	}
	return c
}

// scale maps values onto a side of the plot.
type scale struct{ from, to, begin, end float64 }

func (s scale) at(v float64) float64 {
	return math.Round((s.begin+(v-s.from)/(s.to-s.from)*(s.end-s.begin))*10) / 10
}

// niceStep divides most into four parts or some more, of 1, 2 or 5 times a power of ten.
func niceStep(most float64) float64 {
	if most <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(most/4)))
	for _, m := range []float64{1, 2, 5} {
		if most/(m*power) <= 6 {
			return m * power
		}
	}
	return 10 * power
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
