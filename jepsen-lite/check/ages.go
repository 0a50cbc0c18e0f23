package check

import (
	"cmp"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// Ages is how far behind the reads of one level were (t-visibility): the time for
// which a newer write of the key had been acknowledged when the read began. A write is
// newer than what was read if it began after that had ended, so this is the least it
// can have been, and 0 also for reads that were not behind.
type Ages struct {
	Mode  string  `json:"mode"`
	Level string  `json:"level"`
	Reads int     `json:"reads"`
	Stale int     `json:"stale"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`

	Behind []time.Duration `json:"-"` // of every read, sorted
}

// ages looks at the reads of registers that found something. Where a value is written
// twice it names no write, and that key is left out. O(n log n).
func ages(r *record) []Ages {
	type kind struct{ mode, level string }
	behind := map[kind][]time.Duration{}
	for _, k := range r.order {
		if _, ambiguous := r.twice[k]; ambiguous {
			continue
		}
		newer := newerThan(r.keys[k])
		for _, op := range r.keys[k] {
			if op.Kind != history.Get || !op.OK() || op.Found == nil || !*op.Found {
				continue
			}
			if over, known := r.readEnd(k, op); known {
				id := kind{op.Mode, level(op)}
				behind[id] = append(behind[id], newer.since(over, op))
			}
		}
	}
	out := []Ages{}
	for _, id := range slices.SortedFunc(maps.Keys(behind), func(a, b kind) int {
		return cmp.Or(cmp.Compare(a.mode, b.mode), cmp.Compare(a.level, b.level))
	}) {
		all := behind[id]
		slices.Sort(all)
		fresh, _ := slices.BinarySearch(all, 1)
		out = append(out, Ages{
			Mode: id.mode, Level: id.level, Reads: len(all), Stale: len(all) - fresh,
			P50: ms(Percentile(all, 50)), P99: ms(Percentile(all, 99)), Max: ms(all[len(all)-1]), Behind: all,
		})
	}
	return out
}

// readEnd is the seq at which the last of the writes that a read returned had ended.
func (r *record) readEnd(k ref, op *history.Op) (end int64, known bool) {
	seen, _ := op.Seen()
	for _, v := range seen {
		w := r.writers[k][v]
		if w == nil {
			return 0, false
		}
		end = max(end, w.End)
	}
	return end, len(seen) > 0
}

// newerWrites are the acknowledged writes of a key by Begin, each with the one of it
// and those behind it that was acknowledged first.
type newerWrites struct {
	ops   []*history.Op
	first []*history.Op
}

func newerThan(ops []*history.Op) newerWrites {
	var n newerWrites
	for _, op := range ops {
		// On ap a delete takes away only what it had seen, so nothing is behind it.
		if op.OK() && op.Write() && (op.Kind != history.Delete || op.Mode == "cp") {
			n.ops = append(n.ops, op)
		}
	}
	n.first = slices.Clone(n.ops)
	for i := len(n.first) - 2; i >= 0; i-- {
		if n.first[i+1].End < n.first[i].End {
			n.first[i] = n.first[i+1]
		}
	}
	return n
}

// since is for how long something newer than what had ended at seq over had been
// acknowledged when the read began.
func (n newerWrites) since(over int64, read *history.Op) time.Duration {
	i := sort.Search(len(n.ops), func(i int) bool { return n.ops[i].Begin > over })
	if i == len(n.ops) || n.first[i].End > read.Begin {
		return 0
	}
	return max(1, read.Start-n.first[i].Stop)
}
