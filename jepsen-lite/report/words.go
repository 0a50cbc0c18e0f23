package report

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// title says all of an operation on one line.
func title(op *history.Op) string {
	parts := []string{fmt.Sprintf("op %d: %s", op.ID, asked(op))}
	if told := told(op); told != "" {
		parts = append(parts, told)
	}
	parts = append(parts, ended(op))
	if op.Session != "" {
		parts = append(parts, "session "+cut(op.Session, 40))
	}
	if op.Level != "" {
		parts = append(parts, "level "+cut(op.Level, 40))
	}
	return strings.Join(parts, "; ") + "; " + lasted(op)
}

// asked is what an operation was to do.
func asked(op *history.Op) string {
	where := cut(op.Keyspace, 40) + "/" + cut(cmp.Or(op.Key, op.Prefix), 60)
	what := fmt.Sprintf("%s %s", op.Kind, where)
	switch op.Kind {
	case history.CAS:
		return fmt.Sprintf("%s from %s to %s", what, word(op.Expect), word(op.Call.Value))
	case history.Put, history.Add, history.Remove:
		if op.Field != "" {
			what += "[" + cut(op.Field, 40) + "]"
		}
		return what + " = " + word(op.Call.Value)
	case history.Incr:
		return fmt.Sprintf("%s by %d", what, op.Delta)
	case history.Txn:
		return fmt.Sprintf("%s: if %d hold, then %d steps, else %d", op.Kind, len(op.If), len(op.Then), len(op.Else))
	}
	return what
}

// told is what the answer said of the data.
func told(op *history.Op) string {
	if seen, ok := op.Seen(); ok {
		if len(seen) == 0 {
			return "saw nothing"
		}
		words := make([]string, 0, 4)
		for _, v := range seen[:min(len(seen), 4)] {
			words = append(words, word(v))
		}
		if len(seen) > 4 {
			words = append(words, fmt.Sprintf("and %d more", len(seen)-4))
		}
		return "saw " + strings.Join(words, ", ")
	}
	switch {
	case op.Kind == history.Scan && op.OK():
		return fmt.Sprintf("%d items", len(op.Items))
	case op.Kind == history.Watch:
		return fmt.Sprintf("told %d times", len(op.Changes))
	case op.Kind == history.Txn && op.OK():
		return fmt.Sprintf("%d steps done", len(op.Steps))
	case op.Kind == history.Incr && op.OK() && op.Answer.Value != "":
		return "gave " + word(op.Answer.Value)
	}
	return ""
}

// ended is the outcome, with the code of a failure and who answered.
func ended(op *history.Op) string {
	out := strings.TrimSpace(string(op.Outcome) + " " + cut(string(op.Code), 40))
	if op.Revision != nil {
		out += fmt.Sprintf(", revision %d", *op.Revision)
	}
	if op.ServedBy != "" {
		out += ", by " + cut(op.ServedBy, 30)
	}
	return out
}

func word(s string) string { return cmp.Or(cut(s, 60), "nothing") }
