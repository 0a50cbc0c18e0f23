package check

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// violation is what a checker found: a sentence for people and the operations that
// show it.
type violation struct {
	sentence string
	ops      []*history.Op
}

func broken(ops []*history.Op, format string, args ...any) *violation {
	return &violation{sentence: fmt.Sprintf(format, args...), ops: ops}
}

// distinct are the operations in the order they were called, each once.
func (v *violation) distinct() []*history.Op {
	ops := slices.Clone(v.ops)
	slices.SortFunc(ops, func(a, b *history.Op) int { return cmp.Compare(a.Begin, b.Begin) })
	return slices.Compact(ops)
}

// ids names the operations in the order they were called, at most maxWitness: the
// first, and the last ones, where it shows.
func (v *violation) ids() []int64 {
	ops := v.distinct()
	if over := len(ops) - maxWitness; over > 0 {
		ops = slices.Delete(ops, 1, 1+over)
	}
	ids := make([]int64, 0, len(ops))
	for _, op := range ops {
		ids = append(ids, op.ID)
	}
	return ids
}

func (v *violation) result(stage string) Result {
	return Result{Verdict: Fail, Stage: stage, Sentence: v.says(), Witness: v.ids()}
}

// says is the sentence, and how many operations ids leaves out.
func (v *violation) says() string {
	if n := len(v.distinct()); n > maxWitness {
		return fmt.Sprintf("%s (of %d operations the first and the last %d are named)", v.sentence, n, maxWitness-1)
	}
	return v.sentence
}

// show prints a key or value on one line, cut where it gets long.
func show(s string) string {
	const most = 40
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

func showAll(values []string) string {
	if len(values) == 0 {
		return "nothing"
	}
	out := make([]string, 0, len(values))
	for _, v := range values {
		out = append(out, show(v))
	}
	return strings.Join(out, ", ")
}

// at prints a moment of the run.
func at(t time.Duration) string { return fmt.Sprintf("%.3f s", t.Seconds()) }

// before prints how long ago, to a precision that people read.
func before(d time.Duration) string {
	switch {
	case d <= 0:
		return "before"
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs before", d.Microseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%d ms before", d.Milliseconds())
	default:
		return fmt.Sprintf("%.1f s before", d.Seconds())
	}
}

// read prints what a read returned.
func read(op *history.Op) string {
	seen, _ := op.Seen()
	if op.Kind == history.CAS && op.OK() {
		return fmt.Sprintf("cas of %s at %s found %s", key(op), at(op.Start), show(op.Expect))
	}
	verb := "returned"
	if op.Kind == history.CAS {
		verb = "saw"
	}
	return fmt.Sprintf("%s of %s at %s %s %s", op.Kind, key(op), at(op.Start), verb, showAll(seen))
}

// saw prints what the act read of its key.
func (a *act) saw() string {
	if a.op.Kind != history.Scan && a.op.Kind != history.Txn && !a.adds {
		return read(a.op)
	}
	what := show(a.seen)
	if a.absent {
		what = "nothing"
	}
	return fmt.Sprintf("%s at %s read %s of %s", a.op.Kind, at(a.op.Start), what, a.name())
}

// wrote prints which write is meant.
func wrote(op *history.Op) string {
	switch op.Kind {
	case history.Delete:
		return "delete " + show(op.Call.Value)
	case history.Txn, history.Incr:
		return fmt.Sprintf("the %s of operation %d", op.Kind, op.ID)
	}
	return show(op.Call.Value)
}
