package check

import (
	"fmt"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// outcomes finds writes that were reported failed and yet happened: a client or a
// server that says "certainly not" when it does not know. It also finds a failure
// recorded with a code that itself says the write may have been applied, and a read
// that says itself that it was served below the level it asked for.
func outcomes(r *record) Result {
	var res Result
	for _, k := range r.order {
		for _, op := range r.keys[k] {
			res.Compared.Ops++
			v := misnamed(op)
			if v == nil {
				v = weakened(op)
			}
			if v == nil {
				v = r.liedTo(op)
			}
			if v != nil {
				return withCompared(v.result("outcome audit"), res.Compared)
			}
		}
	}
	if v := r.auditRich(&res.Compared); v != nil {
		return withCompared(v.result("outcome audit"), res.Compared)
	}
	for _, rep := range r.h.Replicas {
		for _, d := range rep.Keys {
			for _, value := range held(&d) {
				if w := r.writers[ref{d.Keyspace, d.Key}][value]; w != nil && w.Failed() {
					v := broken([]*history.Op{w}, "%s holds %s of %s, whose write was recorded fail (%s)", rep.Node, show(value), key(w), code(w))
					return withCompared(v.result("outcome audit"), res.Compared)
				}
			}
		}
	}
	res.Verdict = Pass
	res.Sentence = fmt.Sprintf("no value of a failed write was seen by any of %d operations", res.Compared.Ops)
	return res
}

// auditRich is the same for keyspaces on which operations have several keys.
func (r *record) auditRich(c *Compared) *violation {
	for i := range r.h.Ops {
		op := &r.h.Ops[i]
		if !r.rich[op.Keyspace] {
			continue
		}
		c.Ops++
		if v := misnamed(op); v != nil {
			return v
		}
		if v := weakened(op); v != nil {
			return v
		}
	}
	for _, k := range r.touched {
		for i := range r.acts[k] {
			if v := r.lied(&r.acts[k][i]); v != nil {
				return v
			}
		}
	}
	return nil
}

// misnamed reports a failure whose own code says it is none.
func misnamed(op *history.Op) *violation {
	if !op.Write() || !op.Failed() || !op.Code.MaybeApplied() {
		return nil
	}
	return broken([]*history.Op{op}, "%s of %s at %s is recorded fail with code %s, which says that it may have been applied",
		op.Kind, key(op), at(op.Start), code(op))
}

// weakened reports a read that was answered below its level. No fallback was written
// down: the format has none.
func weakened(op *history.Op) *violation {
	if op.Write() || !op.OK() || op.Served == "" || !weaker(op) {
		return nil
	}
	return broken([]*history.Op{op}, "%s asked for %s at %s and was served %s", op.Kind, asked(op), at(op.Start), show(op.Served))
}

// lied reports that an act saw the value of a write that was called failed.
func (r *record) lied(a *act) *violation {
	if !a.reads || a.absent {
		return nil
	}
	if w := r.writers[a.name()][a.seen]; w != nil && w.Failed() {
		return broken([]*history.Op{w, a.op}, "%s, whose write was recorded fail (%s)", a.saw(), code(w))
	}
	return nil
}

// liedTo is lied for every value that an operation of one key saw.
func (r *record) liedTo(op *history.Op) *violation {
	seen, _ := readBy(op)
	for _, value := range seen {
		if v := r.lied(&act{op: op, reads: true, seen: value}); v != nil {
			return v
		}
	}
	return nil
}

func code(op *history.Op) string {
	if op.Code == "" {
		return "no code"
	}
	return show(string(op.Code))
}

func withCompared(res Result, c Compared) Result {
	res.Compared = c
	return res
}
