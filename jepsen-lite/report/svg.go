package report

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// drawing is a picture in units of its own. The template "drawing" makes SVG of it and
// escapes every word.
type drawing struct {
	Name          string // for who cannot see it
	Class         string
	Width, Height float64
	Bands         []band
	Rules         []rule
	Labels        []label
	Marks         []mark
	Legend        []swatch
}

type label struct {
	X, Y   float64
	Anchor string // start, middle or end
	Text   string
}

// band is the time of a fault.
type band struct {
	X, Y, W, H float64
	Title      string
}

type rule struct{ X1, Y1, X2, Y2 float64 }

// mark is a shape: its class gives the colour, its title is what the pointer shows.
type mark struct{ Class, Path, Title string }

// swatch explains a class of marks.
type swatch struct{ Class, Text string }

// scale turns values into places.
type scale struct {
	from, to  float64 // values
	low, high float64 // places
	log       bool
}

func (s scale) at(v float64) float64 {
	v = min(max(v, s.from), s.to)
	from, to := s.from, s.to
	if s.log {
		v, from, to = math.Log(v), math.Log(from), math.Log(to)
	}
	if to <= from {
		return s.low
	}
	return s.low + (s.high-s.low)*(v-from)/(to-from)
}

func (s scale) time(t time.Duration) float64 { return s.at(t.Seconds()) }

// ticks are round values on the scale, some n of them; on a logarithmic one powers of
// ten.
func (s scale) ticks(n int) (at []float64) {
	if s.log {
		for p := math.Ceil(math.Log10(s.from) - 1e-9); p <= math.Log10(s.to)+1e-9; p++ {
			at = append(at, math.Pow(10, p))
		}
		return at
	}
	if s.to <= s.from {
		return []float64{s.from}
	}
	step := roundUp((s.to - s.from) / float64(n))
	for i := math.Ceil(s.from/step - 1e-9); i*step <= s.to+step*1e-9; i++ {
		at = append(at, i*step)
	}
	return at
}

// roundUp is the next of 1, 2, 5, 10, 20 and so on.
func roundUp(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*unit >= v {
			return m * unit
		}
	}
	return 10 * unit
}

// number prints a value without digits that nobody needs.
func number(v float64) string { return fmt.Sprintf("%.6g", v+0) } // + 0: no "-0"

// maxBands is how many faults a picture is shaded by.
const maxBands = 300

// shade draws the time of every fault that falls on the scale.
func (d *drawing) shade(h *history.History, x scale, top, height float64) {
	for _, w := range h.Faults {
		if w.Stop.Seconds() < x.from || w.Start.Seconds() > x.to {
			continue
		}
		if len(d.Bands) == maxBands {
			return
		}
		at := x.time(w.Start)
		d.Bands = append(d.Bands, band{X: at, Y: top, W: max(1, x.time(w.Stop)-at), H: height, Title: window(w)})
	}
}

// window names a fault and its time.
func window(w history.Window) string {
	name := strings.TrimSpace(w.Fault + " " + cut(w.Detail, 120))
	if w.End == history.Open {
		return fmt.Sprintf("%s, from %s and never healed", name, at(w.Start))
	}
	return fmt.Sprintf("%s, %s to %s", name, at(w.Start), at(w.Stop))
}

// at prints a moment of the run.
func at(t time.Duration) string { return fmt.Sprintf("%.3f s", t.Seconds()) }

// arrow is a path from one place to another, bent, with a head.
func arrow(x1, y1, x2, y2 float64) string {
	mx, my := (x1+x2)/2, (y1+y2)/2
	if math.Abs(y2-y1) < 1 {
		my -= 26
	} else {
		mx += 12
	}
	angle := math.Atan2(y2-my, x2-mx)
	head := func(turn float64) (x, y float64) {
		return x2 - 8*math.Cos(angle+turn), y2 - 8*math.Sin(angle+turn)
	}
	ax, ay := head(0.45)
	bx, by := head(-0.45)
	return fmt.Sprintf("M%.1f %.1fQ%.1f %.1f %.1f %.1fM%.1f %.1fL%.1f %.1fL%.1f %.1f", x1, y1, mx, my, x2, y2, ax, ay, x2, y2, bx, by)
}

// dot is a small disc.
func dot(x, y, r float64) string {
	return fmt.Sprintf("M%.1f %.1fa%.1f %.1f 0 1 0 %.1f 0a%.1f %.1f 0 1 0 %.1f 0", x-r, y, r, r, 2*r, r, r, -2*r)
}
