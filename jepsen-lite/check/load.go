package check

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// Outcomes counts calls by how they ended. A condition that did not hold is a fail.
type Outcomes struct {
	OK      int `json:"ok"`
	Fail    int `json:"fail"`
	Unknown int `json:"unknown"`
}

// Latency is how long the calls of one kind took that were served, in milliseconds.
type Latency struct {
	Op    string  `json:"op"`
	Level string  `json:"level"` // asked for; empty for writes
	N     int     `json:"n"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

func outcomesOf(h *history.History) (o Outcomes) {
	for i := range h.Ops {
		switch op := &h.Ops[i]; {
		case op.OK():
			o.OK++
		case op.Failed():
			o.Fail++
		default:
			o.Unknown++
		}
	}
	return o
}

// Served reports whether a call got what it asked for, at the level it asked for. A
// condition that did not hold is an answer.
func Served(op *history.Op) bool { return served(op) }

// latencies are sorted by kind and level. Watches wait for others, so their time says
// nothing.
func latencies(h *history.History) []Latency {
	type kind struct{ op, level string }
	took := map[kind][]time.Duration{}
	for i := range h.Ops {
		op := &h.Ops[i]
		if !served(op) || op.Kind == history.Watch {
			continue
		}
		k := kind{op: string(op.Kind)}
		if !op.Write() {
			k.level = asked(op)
		}
		took[k] = append(took[k], max(0, op.Stop-op.Start))
	}
	kinds := slices.SortedFunc(maps.Keys(took), func(a, b kind) int {
		return cmp.Or(cmp.Compare(a.op, b.op), cmp.Compare(a.level, b.level))
	})
	out := make([]Latency, 0, len(kinds))
	for _, k := range kinds {
		all := took[k]
		slices.Sort(all)
		out = append(out, Latency{
			Op: k.op, Level: k.level, N: len(all),
			P50: ms(Percentile(all, 50)), P90: ms(Percentile(all, 90)), P99: ms(Percentile(all, 99)), Max: ms(all[len(all)-1]),
		})
	}
	return out
}

// Percentile is the least of the sorted values that p of a hundred do not exceed; zero
// of none.
func Percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	at := int(math.Ceil(float64(len(sorted))*p/100)) - 1
	return sorted[min(max(at, 0), len(sorted)-1)]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
