package check

import (
	"fmt"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

func (r *record) scans() bool {
	return r.any(func(op *history.Op) bool { return op.Kind == history.Scan && (op.Mode == "cp" || len(op.Vectors) > 0) })
}

// scan judges that each scan of a cp keyspace is the state at the revision it names:
// all of that, and nothing else. It compares it with what every other operation says
// of the revisions of each key.
func scan(r *record) Result {
	var c Compared
	for _, op := range r.ops {
		if op.Kind != history.Scan || !op.OK() || op.Mode != "cp" {
			continue
		}
		l := r.ledger(op)
		if l == nil || op.Revision == nil {
			return Result{Verdict: Unknown, Compared: c, Sentence: fmt.Sprintf("the scan at %s names no revision, or not its group of %s", at(op.Start), show(op.Keyspace)), Witness: []int64{op.ID}}
		}
		c.Ops++
		if r.h.InFault(op.Begin) {
			c.ReadsInFault++
		}
		for _, item := range op.Items {
			if w := l.writers[item.Revision]; w != nil && w.Session != op.Session {
				c.ReadsOfOthers++
			}
		}
		if v := l.scanned(op); v != nil {
			return withCompared(v.result("revisions"), c)
		}
	}
	ap, v, err := r.scanAP(&c)
	switch {
	case err != nil:
		return Result{Verdict: Unknown, Compared: c, Sentence: err.Error()}
	case v != nil:
		return withCompared(v.result("vectors"), c)
	case ap > 0 && ap == c.Ops:
		return Result{Verdict: Pass, Compared: c, Stage: "vectors", Sentence: fmt.Sprintf("%d scans, each a causal cut, and what the writes of its vector leave; %d items of others' writes", ap, c.ReadsOfOthers)}
	}
	return Result{Verdict: Pass, Compared: c, Stage: "revisions", Sentence: fmt.Sprintf("%d scans, each the state at one revision or vector; %d items of others' writes", c.Ops, c.ReadsOfOthers)}
}

func (r *record) watches() bool {
	return r.any(func(op *history.Op) bool {
		return op.Kind == history.Watch && (op.Mode == "cp" || op.Since != "" || slices.ContainsFunc(op.Changes, func(ch history.Change) bool { return ch.Vector != "" }))
	})
}

// watch judges each watch by the order of revisions: what it was told is in order, once,
// and true, and up to the last revision that it was told of, nothing is missing. A
// change counts as told to it from the revision it asked for on or, if it asked for
// none, from the first it was told of.
func watch(r *record) Result {
	var c Compared
	sessions := 0
	for _, op := range r.ops {
		if op.Kind != history.Watch || op.Mode != "cp" {
			continue
		}
		l := r.ledger(op)
		if l == nil {
			return Result{Verdict: Unknown, Compared: c, Sentence: fmt.Sprintf("the watch of %s at %s does not name its group", show(op.Keyspace), at(op.Start)), Witness: []int64{op.ID}}
		}
		if l.clash != nil {
			return withCompared(l.clash.result("revisions"), c)
		}
		sessions++
		c.Ops += len(op.Changes)
		for i := range op.Changes {
			if r.h.InFault(op.Changes[i].Seq) {
				c.ReadsInFault++
			}
		}
		if v := l.watched(op); v != nil {
			return withCompared(v.result("revisions"), c)
		}
	}
	ap, v, err := r.watchAP(&c)
	switch {
	case err != nil:
		return Result{Verdict: Unknown, Compared: c, Sentence: err.Error()}
	case v != nil:
		return withCompared(v.result("vectors"), c)
	}
	return Result{Verdict: Pass, Compared: c, Stage: "revisions", Sentence: fmt.Sprintf("%d changes told to %d watches, in order, once, and none left out", c.Ops, sessions+ap)}
}

func (l *ledger) watched(op *history.Op) *violation {
	told := map[uint64]map[string]bool{}
	first, last := op.From, uint64(0)
	for i, ch := range op.Changes {
		progress := len(ch.Events) == 0
		switch {
		case ch.Revision < last || ch.Revision == last && !progress && i > 0:
			return broken([]*history.Op{op}, "the watch begun at %s was told of revision %d at %s, behind revision %d", at(op.Start), ch.Revision, at(ch.T), last)
		case op.From > 0 && ch.Revision < op.From && !progress:
			return broken([]*history.Op{op}, "the watch begun at %s from revision %d was told of revision %d", at(op.Start), op.From, ch.Revision)
		case first == 0 && i == 0:
			first = ch.Revision
			if progress {
				first++
			}
		}
		last = ch.Revision
		keys := told[ch.Revision]
		if keys == nil {
			keys = map[string]bool{}
			told[ch.Revision] = keys
		}
		for _, e := range ch.Events {
			if v := l.event(op, ch, e, keys); v != nil {
				return v
			}
		}
	}
	return l.complete(op, told, first, last)
}

// event judges one event: it is of the keys asked for, once, and somebody wrote it.
func (l *ledger) event(op *history.Op, ch history.Change, e history.Changed, keys map[string]bool) *violation {
	k := ref{l.keyspace, e.Key}
	switch {
	case !watching(op, e.Key):
		return broken([]*history.Op{op}, "the watch of %s was told of %s", show(op.Key+op.Prefix), k)
	case keys[e.Key]:
		return broken([]*history.Op{op}, "the watch begun at %s was told twice of revision %d of %s", at(op.Start), ch.Revision, k)
	}
	keys[e.Key] = true
	v, ok := l.at(e.Key, ch.Revision)
	if !ok || v.rev != ch.Revision {
		return nil // an opaque key
	}
	return l.born(e.Key, &v)
}

func watching(op *history.Op, key string) bool {
	if op.Key != "" {
		return key == op.Key
	}
	return len(key) >= len(op.Prefix) && key[:len(op.Prefix)] == op.Prefix
}

// complete finds a change within what the watch was told of that it was not told.
func (l *ledger) complete(op *history.Op, told map[uint64]map[string]bool, first, last uint64) *violation {
	for key, vs := range l.keys {
		if !watching(op, key) {
			continue
		}
		for _, v := range vs {
			if v.assumed || v.void() || v.rev < first || v.rev > last || told[v.rev][key] {
				continue
			}
			how := "was not told of"
			if len(told[v.rev]) > 0 {
				how = "was told of a part of revision " + fmt.Sprint(v.rev) + ", and not of"
			}
			return broken([]*history.Op{v.op(), op}, "the watch begun at %s %s %s of %s (revision %d), and was told of revision %d",
				at(op.Start), how, v.holds(), ref{l.keyspace, key}, v.rev, last)
		}
	}
	return nil
}
