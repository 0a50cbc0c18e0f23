package page

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
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
	dropBygone(e.history)
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

// dropBygone takes the faults out of a history that ended before its operations began: a
// checker would ask for reads in them.
func dropBygone(h *history.History) {
	if len(h.Ops) > 0 {
		h.Faults = slices.DeleteFunc(h.Faults, func(f history.Window) bool { return f.End < h.Ops[0].Begin })
	}
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
	Level    string  `json:"level"` // put for writes
	PACELC   string  `json:"pacelc,omitempty"`
	Answered int     `json:"answered"`
	Failed   int     `json:"failed"` // or unknown
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	Stale    int     `json:"stale"` // reads that were behind
	OldP99   float64 `json:"old_p99_ms"`
}

// rowsOf are the levels of one mode in a history, the cheapest first, and the puts.
func rowsOf(h *history.History, mode store.Mode) []levelRow {
	report := check.Run(h, check.Options{Claims: []string{"outcomes"}})
	puts := levelRow{Level: "put"}
	reads := make(map[string]*levelRow)
	for i := range h.Ops {
		op := &h.Ops[i]
		row := &puts
		if !op.Write() {
			name, _, _ := strings.Cut(op.Level, ":")
			if reads[name] == nil {
				reads[name] = &levelRow{Level: name}
			}
			row = reads[name]
		}
		if op.OK() {
			row.Answered++
		} else {
			row.Failed++
		}
	}
	for _, l := range report.Latency {
		row := &puts
		if l.Op == string(history.Get) {
			row = reads[l.Level]
		}
		if row != nil {
			row.P50, row.P99 = l.P50, l.P99
		}
	}
	for _, a := range report.Staleness {
		if row := reads[a.Level]; row != nil {
			row.Stale, row.OldP99 = a.Stale, a.P99
		}
	}
	rows := []levelRow{}
	for _, name := range store.LevelNames {
		if row := reads[name]; row != nil {
			level, _ := store.ParseLevel(name) // it is a name of the list
			row.PACELC = level.PACELC(mode)
			rows = append(rows, *row)
		}
	}
	return append(rows, puts)
}
