package check

import (
	"fmt"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

func isAP(op *history.Op, kind history.Kind) bool { return op.Kind == kind && op.Mode == "ap" }

func (r *record) hasAP(kind history.Kind) bool {
	return r.any(func(op *history.Op) bool { return isAP(op, kind) })
}

// watchAP judges the watches of ap keyspaces. Each change names a write and a vector: all
// that it includes was told, or passed over as not asked for. So every write in the last
// vector that was not in the one it began behind was told, once, behind its causes, and
// with it the key as the writes up to then leave it.
func (r *record) watchAP(c *Compared) (watches int, v *violation, err error) {
	if !r.hasAP(history.Watch) {
		return 0, nil, nil
	}
	k, err := cutsOf(r)
	if err != nil {
		return 0, nil, err
	}
	for _, op := range r.ops {
		if !isAP(op, history.Watch) {
			continue
		}
		watches++
		t, v, err := k.watched(op)
		if v != nil || err != nil {
			return watches, v.by(op, fmt.Sprintf("the watch begun at %s", at(op.Start))), err
		}
		c.Ops += len(t.told)
		for i := range op.Changes {
			if len(op.Changes[i].Events) > 0 && r.h.InFault(op.Changes[i].Seq) {
				c.ReadsInFault++
			}
		}
		for d := range t.told {
			if w := k.names[op.Keyspace][d]; w != nil && w.Session != op.Session {
				c.ReadsOfOthers++
			}
		}
	}
	return watches, nil, nil
}

// tale is one watch, as far as it was told.
type tale struct {
	op    *history.Op
	since vector // what it began behind
	seen  vector // all that was told or passed over
	told  map[dot]bool
}

func (c *cuts) watched(op *history.Op) (*tale, *violation, error) {
	t := &tale{op: op, told: map[dot]bool{}}
	for i := range op.Changes {
		ch := &op.Changes[i]
		v, err := parseVector(ch.Vector)
		if err != nil {
			return t, nil, err
		}
		if i == 0 {
			if err := t.begin(ch, v); err != nil {
				return t, nil, err
			}
		}
		if d := v.beyond(t.seen); d.n > 0 {
			return t, broken(nil, "goes back at %s: it had told of %s, and its vector does not include that any more", at(ch.T), d), nil
		}
		for _, e := range ch.Events {
			if v, err := c.told(t, ch, e, v); v != nil || err != nil {
				return t, v, err
			}
		}
		t.seen = v
		if v := c.closed(groupIDOf(op), v, ch.Seq); v != nil {
			return t, v.by(op, "then, at "+at(ch.T)+","), nil
		}
	}
	return t, c.leftOut(t), nil
}

// begin finds what a watch is behind when its first change comes: where it does not say
// so, that is all of the first vector but the write that comes with it.
func (t *tale) begin(ch *history.Change, v vector) (err error) {
	if t.since, err = parseVector(t.op.Since); err != nil {
		return err
	}
	if t.op.Since == "" && t.op.From == 0 {
		t.since.join(v)
		for _, e := range ch.Events {
			d, err := parseDot(e.Dot)
			if err != nil {
				return err
			}
			t.since[d.actor] = d.n - 1
		}
	}
	t.seen = t.since
	return nil
}

// told judges one event, whose change has this vector.
func (c *cuts) told(t *tale, ch *history.Change, e history.Changed, v vector) (*violation, error) {
	d, err := parseDot(e.Dot)
	if err != nil {
		return nil, err
	}
	k := ref{t.op.Keyspace, e.Key}
	w := c.names[k.keyspace][d]
	switch {
	case !watching(t.op, e.Key):
		return broken(nil, "was told of %s", k), nil
	case t.told[d]:
		return broken([]*history.Op{w}, "was told twice of %s of %s, the second time at %s", d, k, at(ch.T)), nil
	case t.seen.has(d):
		return broken([]*history.Op{w}, "was told of %s of %s at %s, although all it was told of or began behind included that", d, k, at(ch.T)), nil
	case !v.has(d) && !v.unsure(d):
		return broken([]*history.Op{w}, "was told of %s of %s at %s with a vector that does not include it", d, k, at(ch.T)), nil
	case w != nil && w.Key != e.Key:
		return broken([]*history.Op{w}, "was told that %s changed %s at %s, and it is a write of %s", d, k, at(ch.T), key(w)), nil
	}
	t.told[d] = true
	values := e.Values
	if len(values) == 0 && !e.Deleted {
		values = []string{e.Value}
	}
	if e.Deleted {
		values = nil
	}
	return c.shows(k, v, ch.Seq, values, c.o.r.siblings(k.keyspace)).by(t.op, "then, at "+at(ch.T)+","), nil
}

// leftOut finds a write that the watch has come past without being told of it. A delete
// may have found nothing to delete, and then it is no change.
func (c *cuts) leftOut(t *tale) *violation {
	for _, w := range c.o.r.ops {
		d, named := c.dots[w]
		void := w.Kind == history.Delete && (w.Covers != nil || w.Found == nil || !*w.Found)
		if !named || void || groupIDOf(w) != groupIDOf(t.op) || !watching(t.op, w.Key) || !t.seen.has(d) || t.since.has(d) || t.since.unsure(d) || t.told[d] {
			continue
		}
		return broken([]*history.Op{w}, "was not told of %s of %s (%s), and has come past it", wrote(w), key(w), d)
	}
	return nil
}
