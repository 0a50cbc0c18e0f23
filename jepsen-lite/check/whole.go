package check

import (
	"cmp"
	"math"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// whole proves a keyspace linearizable, operations of several keys included, by showing
// the order of each of its groups.
func (r *record) whole(keyspace string) exhibit {
	all := exhibit{proved: true}
	for _, l := range r.ledgersOf(keyspace) {
		shown := l.whole()
		if shown.wrong != nil {
			return shown
		}
		all.proved = all.proved && shown.proved
	}
	return all
}

// whole shows the order of a group: that of its revisions. Each write stands at its
// revision, each view at the revision it names, and a read of one key anywhere between
// the write it saw and the next of that key, as early as the operations that were over
// before it allow. Then no operation may stand before one that was over when it was
// called. An order that passes is a proof, whoever proposed it. O(n log n).
func (l *ledger) whole() exhibit {
	if v := l.sound(); v != nil {
		return exhibit{wrong: v}
	}
	places, enough := l.places()
	for _, p := range places {
		if v := l.view(p.op); v != nil {
			return exhibit{wrong: v}
		}
	}
	if v := inTime(places); v != nil {
		return exhibit{wrong: v}
	}
	return exhibit{proved: enough}
}

// placed is an operation with the revisions at which it may stand.
type placed struct {
	op     *history.Op
	lo, hi uint64 // at lo up to before hi; of a write hi is 0
	end    int64
}

// places gives every operation its place. enough is false if one names no revision.
func (l *ledger) places() (places []placed, enough bool) {
	enough = true
	for _, op := range l.r.ops {
		if op.Keyspace != l.keyspace || l.r.opaque(key(op)) || !l.of(op) && op.Group != "" {
			continue
		}
		p, ok := l.place(op)
		switch {
		case ok && !l.of(op) && !l.sources[op]:
			enough = false
		case ok && p.lo == 0 && p.hi == 0:
			enough = false
		case ok:
			places = append(places, p)
		}
	}
	return places, enough
}

// place is where an operation stands; ok is false if it stands nowhere: it did not
// happen, or said nothing, or promises less.
func (l *ledger) place(op *history.Op) (p placed, ok bool) {
	p = placed{op: op, end: op.End, lo: revision(op)}
	seen, told := op.Seen()
	exactly := func() (placed, bool) {
		if op.Revision == nil {
			return placed{op: op}, true
		}
		p.hi = p.lo + 1
		return p, true
	}
	switch {
	case !strong(op):
		return p, false
	case told && len(seen) == 0:
		return exactly()
	case told:
		p.hi = math.MaxUint64
		if next, ok := l.next(op.Key, p.lo); ok {
			p.hi = next.rev
		}
		return p, true
	case op.Kind == history.Scan && op.OK():
		return exactly()
	case op.Kind == history.Txn && op.OK():
		if l.writers[p.lo] != op {
			return exactly()
		}
		return p, true
	case op.Write() && op.OK() && l.writers[p.lo] == op:
		return p, true
	case op.Write() && op.OK() && (op.Kind == history.Put || op.Kind == history.Delete || op.Kind == history.CAS || op.Kind == history.Incr):
		return placed{op: op}, true
	case l.sources[op]:
		return l.source(op)
	}
	return p, false
}

// source places a write without outcome that was seen at the revision it was seen at,
// if there is only one.
func (l *ledger) source(op *history.Op) (placed, bool) {
	var at uint64
	for key, ops := range l.open {
		if !slices.Contains(ops, op) {
			continue
		}
		for _, v := range l.keys[key] {
			if v.by == nil && !v.gone && op.Kind != history.Incr && explains(op, key, v) {
				at = v.rev
			}
		}
	}
	return placed{op: op, lo: at, end: history.Open}, at != 0
}

// inTime puts each operation as early as what was over before it allows, and finds one
// for which that is too late.
func inTime(places []placed) *violation {
	type edge struct {
		seq   int64
		end   bool
		which int
	}
	var edges []edge
	for i, p := range places {
		edges = append(edges, edge{p.op.Begin, false, i})
		if p.end != history.Open {
			edges = append(edges, edge{p.end, true, i})
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Compare(a.seq, b.seq) })
	at := make([]uint64, len(places))
	var over uint64 // the last place of those that are over
	last := -1
	for _, e := range edges {
		p := places[e.which]
		if e.end {
			if at[e.which] >= over {
				over, last = at[e.which], e.which
			}
			continue
		}
		at[e.which] = max(p.lo, over)
		late := p.hi != 0 && at[e.which] >= p.hi
		if p.hi == 0 {
			late, at[e.which] = over >= p.lo, p.lo
		}
		if late {
			before := places[last].op
			return broken([]*history.Op{before, p.op}, "%s at %s stands at revision %d; %s at %s, which was over before, stands at %d",
				p.op.Kind, atKey(p.op), p.lo, before.Kind, atKey(before), over)
		}
	}
	return nil
}

func atKey(op *history.Op) string {
	if op.Key == "" {
		return at(op.Start)
	}
	return at(op.Start) + " of " + show(op.Key)
}

// view judges what an operation of several keys saw by the versions at its revision.
func (l *ledger) view(op *history.Op) *violation {
	switch op.Kind {
	case history.Scan:
		return l.scanned(op)
	case history.Txn:
		return l.transacted(op)
	}
	if seen, told := op.Seen(); told && len(seen) == 0 && op.Revision != nil {
		v, ok := l.at(op.Key, revision(op))
		if ok && !v.gone {
			return broken([]*history.Op{v.op(), op}, "%s at %s found nothing at revision %d of %s, but %s was there (revision %d)",
				op.Kind, at(op.Start), revision(op), key(op), v.holds(), v.rev)
		}
	}
	return nil
}

// scanned compares a scan with the state at its revision.
func (l *ledger) scanned(op *history.Op) *violation {
	rev := revision(op)
	for _, page := range op.Pages {
		if page != rev {
			return broken([]*history.Op{op}, "the scan at %s has a page of revision %d and one of %d", at(op.Start), rev, page)
		}
	}
	items := map[string]history.Item{}
	for i, item := range op.Items {
		items[item.Key] = item
		v, ok := l.at(item.Key, rev)
		switch {
		case i > 0 && item.Key <= op.Items[i-1].Key:
			return broken([]*history.Op{op}, "the scan at %s shows %s behind %s", at(op.Start), show(item.Key), show(op.Items[i-1].Key))
		case item.Revision > rev:
			return broken([]*history.Op{op}, "the scan at %s is of revision %d and shows revision %d of %s", at(op.Start), rev, item.Revision, show(item.Key))
		case !inScan(op, item.Key):
			return broken([]*history.Op{op}, "the scan of %s at %s shows %s", show(op.Prefix), at(op.Start), show(item.Key))
		case ok && item.Revision != 0 && v.rev != item.Revision:
			return broken([]*history.Op{v.op(), op}, "the scan at %s is of revision %d and shows %s for %s (revision %d), but revision %d (%s) was there",
				at(op.Start), rev, show(item.Value), show(item.Key), item.Revision, v.rev, v.holds())
		}
	}
	for key := range l.keys {
		v, ok := l.at(key, rev)
		if _, shown := items[key]; shown || !ok || v.gone || !inScan(op, key) {
			continue
		}
		return broken([]*history.Op{v.op(), op}, "the scan at %s is of revision %d and does not show %s, which held %s (revision %d)",
			at(op.Start), rev, show(key), v.holds(), v.rev)
	}
	return nil
}

// transacted compares what a txn saw and decided with the state before it.
func (l *ledger) transacted(op *history.Op) *violation {
	branch, seen, ok := op.Branch()
	if !ok {
		return nil
	}
	rev := revision(op)
	if l.writers[rev] == op {
		rev--
	}
	all := true
	for _, c := range op.If {
		holds, known := l.compare(c, rev, op.End)
		all = all && holds && known
		if *op.Held && known && !holds {
			v, _ := l.at(c.Key, rev)
			ops := []*history.Op{op}
			if v.rev != 0 {
				ops = append(ops, v.op())
			}
			return broken(ops, "the txn at %s (revision %d) held, but its comparison of the %s of %s does not: revision %d (%s) was there",
				at(op.Start), revision(op), c.Target, show(c.Key), v.rev, v.holds())
		}
	}
	if !*op.Held && all {
		return broken([]*history.Op{op}, "the txn at %s (revision %d) did not hold, but all its comparisons do", at(op.Start), revision(op))
	}
	wrote := map[string]bool{}
	for i, s := range branch {
		if s.Kind != history.Get {
			wrote[s.Key] = true
			continue
		}
		if v := l.stepSaw(op, s, seen[i], rev, wrote[s.Key]); v != nil {
			return v
		}
	}
	return nil
}

func (l *ledger) stepSaw(op *history.Op, s history.Step, saw history.StepSeen, rev uint64, own bool) *violation {
	v, there := l.at(s.Key, rev)
	there = there && !v.gone
	switch {
	case own:
		return nil // of its own writes the projection keeps the last
	case saw.Found && saw.Revision != v.rev, !saw.Found && there:
		ops := []*history.Op{op}
		if v.rev != 0 {
			ops = append(ops, v.op())
		}
		return broken(ops, "the txn at %s (revision %d) found %s for %s (revision %d), but revision %d (%s) was there",
			at(op.Start), revision(op), show(saw.Value), show(s.Key), saw.Revision, v.rev, v.holds())
	}
	return nil
}

// compare says whether a comparison holds at a revision; known is false if a write
// that nobody saw may have made it so, or not.
func (l *ledger) compare(c history.Compare, rev uint64, end int64) (holds, known bool) {
	v, ok := l.at(c.Key, rev)
	there := ok && !v.gone
	if l.leased[c.Key] || l.r.opaque(ref{l.keyspace, c.Key}) {
		return false, false
	}
	var have int
	switch {
	case c.Target == "value" && !there:
		return false, !l.mayHide(c.Key, end)
	case c.Target == "value":
		have = cmp.Compare(v.value, c.Value)
	case !there:
		have = cmp.Compare(0, c.Number)
	case c.Target == "changed":
		have = cmp.Compare(v.rev, c.Number)
	case c.Number == 0 && c.Target != "lease":
		have = 1
	default:
		return false, false
	}
	holds = map[string]bool{"=": have == 0, "!=": have != 0, "<": have < 0, ">": have > 0}[c.Relation]
	return holds, !l.mayHide(c.Key, end) || c.Relation == "=" && l.past(c, v, there)
}

// past reports whether a comparison asks for what was overwritten: whatever was written
// unseen since, it does not come back.
func (l *ledger) past(c history.Compare, v version, there bool) bool {
	switch {
	case !there:
		return false
	case c.Target == "changed":
		return c.Number > 0 && c.Number < v.rev
	case c.Target == "value" && c.Value != v.value:
		return !slices.ContainsFunc(l.open[c.Key], func(op *history.Op) bool { return explains(op, c.Key, version{value: c.Value}) })
	}
	return false
}
