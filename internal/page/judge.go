package page

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

const (
	window     = time.Minute            // what the live verdict is of
	judgeEvery = 2 * time.Second        // at most
	searchTime = 500 * time.Millisecond // for the order of one key
)

// verdict is what the checkers say of what was done lately.
type verdict struct {
	Verdict  check.Verdict  `json:"verdict"`
	Ops      int            `json:"ops"`
	OK       int            `json:"ok"`
	Failed   int            `json:"failed"`
	Unknown  int            `json:"unknown"`
	Checkers []checkerState `json:"checkers"`
	// Not are keys that are not judged, and why.
	Not []string `json:"not,omitempty"`
}

type checkerState struct {
	Name     string        `json:"name"`
	Claim    string        `json:"claim"`
	Verdict  check.Verdict `json:"verdict"`
	Sentence string        `json:"sentence"`
	Witness  []int64       `json:"witness"`
}

// judge has the checkers judge the last minute, again and again, while somebody watches
// and something is done.
func (p *Page) judge(ctx context.Context) {
	tick := time.NewTicker(judgeEvery)
	defer tick.Stop()
	var seen uint64
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if changes := p.tape.changed(); changes != seen && p.feed.watched() {
			seen = changes
			p.feed.show("verdict", p.tape.verdict(time.Now().Add(-window)))
		}
	}
}

// verdict judges all keys that something was done with since then, from the first that
// was done with them.
func (t *tape) verdict(then time.Time) verdict {
	v := verdict{Verdict: check.Invalid, Checkers: []checkerState{}}
	e, err := t.since(then, func(place) bool { return true })
	for _, key := range e.partly {
		v.Not = append(v.Not, key+": what was done with it first is not kept any more")
	}
	switch {
	case errors.Is(err, history.ErrEmpty):
		return v
	case err != nil:
		v.Not = append(v.Not, "the record cannot be read: "+err.Error())
		return v
	}
	v.Not = append(v.Not, dropUnclear(e.history)...)
	report := check.Run(e.history, check.Options{PorcupineTimeout: searchTime})
	v.Verdict = report.Verdict
	v.OK, v.Failed, v.Unknown = report.Operations.OK, report.Operations.Fail, report.Operations.Unknown
	v.Ops = v.OK + v.Failed + v.Unknown
	for _, c := range report.Checkers {
		v.Checkers = append(v.Checkers, checkerState{c.Name, c.Claim, c.Verdict, c.Sentence, c.Witness})
	}
	return v
}

// dropUnclear takes the keys out of a history that cannot be judged by it, and says why:
// a checker knows a write by its value, so it can do nothing with one that was written
// twice, or that somebody else wrote.
func dropUnclear(h *history.History) (why []string) {
	unclear := make(map[place]string)
	writers := make(map[place]map[string]bool)
	for i := range h.Ops {
		op := &h.Ops[i]
		at := place{op.Keyspace, op.Key}
		if !op.Write() {
			continue
		}
		if writers[at] == nil {
			writers[at] = make(map[string]bool)
		}
		if op.Kind == history.Put && writers[at][op.Call.Value] {
			unclear[at] = fmt.Sprintf("%q was put twice", shorten(op.Call.Value))
		}
		writers[at][op.Call.Value] = true
	}
	for i := range h.Ops {
		op := &h.Ops[i]
		at := place{op.Keyspace, op.Key}
		seen, _ := op.Seen()
		for _, v := range seen {
			if op.Kind == history.Get && !writers[at][v] {
				unclear[at] = fmt.Sprintf("%q was not put by this page", shorten(v))
			}
		}
	}
	h.Ops = slices.DeleteFunc(h.Ops, func(op history.Op) bool { return unclear[place{op.Keyspace, op.Key}] != "" })
	for _, at := range slices.SortedFunc(maps.Keys(unclear), func(a, b place) int { return slices.Compare([]string{a.keyspace, a.key}, []string{b.keyspace, b.key}) }) {
		why = append(why, shorten(at.keyspace+"/"+at.key)+": "+unclear[at])
	}
	if len(why) > 5 {
		why = append(why[:5], fmt.Sprintf("and %d more", len(why)-5))
	}
	return why
}

// chart is what the levels of a keyspace cost, and how old what they showed was: PACELC,
// measured here and now.
type chart struct {
	Keyspace string     `json:"keyspace"`
	Mode     string     `json:"mode"`
	Net      string     `json:"net"` // what was wrong with the links
	Seconds  float64    `json:"seconds"`
	Rows     []levelRow `json:"rows"`
}

// levelRow is one level. Times are in milliseconds.
type levelRow struct {
	Level  string  `json:"level"` // put for writes
	PACELC string  `json:"pacelc,omitempty"`
	Reads  int     `json:"reads"`
	Failed int     `json:"failed"`
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	Stale  int     `json:"stale"`
	OldP99 float64 `json:"old_p99_ms"`
}

// rowsOf are the levels of one mode in a report, cheapest first.
func rowsOf(h *history.History, mode store.Mode) []levelRow {
	report := check.Run(h, check.Options{Claims: []string{"outcomes"}})
	rows := []levelRow{}
	for _, l := range report.Latency {
		row := levelRow{Level: l.Level, Reads: l.N, P50: l.P50, P99: l.P99}
		if l.Op == string(history.Put) {
			row.Level = "put"
		} else if level, _, err := store.ParseLevelBound(l.Level); err == nil {
			row.PACELC = level.PACELC(mode)
		}
		for _, a := range report.Staleness {
			if a.Level == l.Level && l.Op == string(history.Get) {
				row.Stale, row.OldP99 = a.Stale, a.P99
			}
		}
		rows = append(rows, row)
	}
	for i := range h.Ops {
		op := &h.Ops[i]
		name := op.Level
		if op.Write() {
			name = "put"
		}
		if at := slices.IndexFunc(rows, func(r levelRow) bool { return r.Level == name }); at >= 0 && !op.OK() {
			rows[at].Failed++
		} else if at < 0 {
			rows = append(rows, levelRow{Level: name, Failed: 1})
		}
	}
	return rows
}
