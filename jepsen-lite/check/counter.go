package check

import (
	"fmt"
	"math/big"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

func (r *record) hasCounters() bool { return len(r.ofPolicy("counter")) > 0 }

// counters judges ap counters: what is seen, and what every replica holds after the
// heal, lies between what the acknowledged increments come to and that plus those
// without outcome, each counted at most once. An increment that a delete may have seen
// may be gone; one that a delete certainly had seen is.
func counters(r *record) Result {
	var c Compared
	keys, looked := r.ofPolicy("counter"), 0
	for _, k := range keys {
		t := r.types[k]
		for _, op := range t.seen {
			looked++
			if v := t.counted(k, sighting{op, op.End}, sumSeen(op), "answered "+showSum(sumSeen(op))); v != nil {
				return withCompared(v.result("answers"), c)
			}
		}
		v := r.dumped(k, func(rep history.Replica, d *history.Dump) *violation {
			looked++
			sum := new(big.Int)
			if d != nil && d.Value != nil {
				if _, ok := sum.SetString(*d.Value, 10); !ok {
					return broken(nil, "after the heal %s holds %s for the counter %s, which is no number", show(rep.Node), show(*d.Value), k)
				}
			}
			return t.counted(k, afterHeal(rep), sum, fmt.Sprintf("after the heal %s holds %s", show(rep.Node), sum))
		})
		if v != nil {
			return withCompared(v.result("dumps"), c)
		}
		r.comparedTypes(&c, t)
	}
	return Result{
		Verdict: Pass, Compared: c, Stage: "answers and dumps",
		Sentence: fmt.Sprintf("%d times one of %d counters was what its increments and deletes can come to", looked, len(keys)),
	}
}

// sumSeen is the sum that an operation was told, nil if it was no number.
func sumSeen(op *history.Op) *big.Int {
	text := op.Answer.Value
	if op.Kind == history.Get {
		values, _ := op.Seen()
		if len(values) == 0 {
			return new(big.Int) // an absent counter is 0
		}
		text = values[0]
	}
	sum, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return nil
	}
	return sum
}

func showSum(sum *big.Int) string {
	if sum == nil {
		return "what is no number"
	}
	return sum.String()
}

// counted judges one sight of a counter.
func (t *typed) counted(k ref, m sighting, sum *big.Int, saw string) *violation {
	least, most := new(big.Int), new(big.Int)
	for _, w := range t.effects {
		f, delta := t.fateOf(w, m, func(*history.Op) bool { return true }), big.NewInt(w.Delta)
		if f.there && (!f.absent || w.Delta < 0) {
			least.Add(least, delta)
		}
		if f.there && (!f.absent || w.Delta > 0) {
			most.Add(most, delta)
		}
	}
	if sum != nil && least.Cmp(sum) <= 0 && sum.Cmp(most) <= 0 {
		return nil
	}
	who := saw
	if m.op != nil {
		who = fmt.Sprintf("%s of %s at %s %s", m.op.Kind, k, at(m.op.Start), saw)
	}
	return broken(t.culprits(m), "%s for the counter %s; its increments and deletes come to %s at least and %s at most", who, k, least, most)
}
