package check

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// cuts judges what shows an ap keyspace at a vector: a page of a scan, or a change that a
// watch was told. The vector says which writes are in the view. They must be a causal cut,
// no effect without its cause; and what is shown must be what they leave: no more, and no
// less.
//
// All of it is by names: an acknowledged write tells its dot. A write without outcome has
// none, so it is never asked for, and may always be there, or have superseded something.
type cuts struct {
	o     *order
	dots  map[*history.Op]dot
	names map[string]map[dot]*history.Op // by keyspace
	over  map[*history.Op][]*history.Op  // who may have superseded a put
	lanes map[groupID][]rise             // of the writes to one group of a keyspace
}

// rise is how far the writes of a lane are.
type rise struct {
	lane int
	heights
}

// groupID is a group of a keyspace: vectors of different ones do not compare.
type groupID struct{ keyspace, group string }

func groupIDOf(op *history.Op) groupID { return groupID{op.Keyspace, op.Group} }

// cutsOf reads the names. The error says that the history is unfit.
func cutsOf(r *record) (*cuts, error) {
	o, err := r.causes()
	if err == nil && len(o.cyclic) > 0 {
		err = fmt.Errorf("%d operations wait for each other, so that nothing is before anything; see causal", len(o.cyclic))
	}
	if err != nil {
		return nil, err
	}
	c := &cuts{
		o: o, dots: map[*history.Op]dot{}, names: map[string]map[dot]*history.Op{},
		over: map[*history.Op][]*history.Op{}, lanes: map[groupID][]rise{},
	}
	for _, k := range r.order {
		if err := c.read(k); err != nil {
			return nil, err
		}
	}
	for i := range o.nodes {
		c.raise(&o.nodes[i])
	}
	return c, nil
}

// read notes the names of the writes to a key, and who may have superseded whom.
func (c *cuts) read(k ref) error {
	var writes []*history.Op
	for _, op := range c.o.r.keys[k] {
		if op.Mode != "ap" || !op.Write() || op.Failed() {
			continue
		}
		writes = append(writes, op)
		if op.Dot == "" || !op.OK() {
			continue
		}
		d, err := parseDot(op.Dot)
		if err != nil {
			return err
		}
		if c.names[k.keyspace] == nil {
			c.names[k.keyspace] = map[dot]*history.Op{}
		}
		if first := c.names[k.keyspace][d]; first != nil {
			return fmt.Errorf("the writes %d and %d of %s have one name, %s", first.ID, op.ID, show(k.keyspace), d)
		}
		c.dots[op], c.names[k.keyspace][d] = d, op
	}
	for _, w := range writes {
		for _, by := range writes {
			if w.Kind != history.Delete && c.maySupersede(by, w) {
				c.over[w] = append(c.over[w], by)
			}
		}
	}
	return nil
}

// maySupersede reports whether by may have taken the place of w. A context takes what it
// covered and, on lww, perhaps losers beside it; a write without one takes all that its
// coordinator had.
func (c *cuts) maySupersede(by, w *history.Op) bool {
	switch {
	case by == w:
		return false
	case slices.Contains(by.Covers, w.Call.Value):
		return true
	case by.Covers == nil:
		return w.Begin < ends(by) && !c.before(by, w)
	}
	return len(by.Covers) > 0 && !c.o.r.siblings(w.Keyspace) && w.Begin < by.Begin
}

// supersedes reports whether by certainly took the place of w, where by is.
func (c *cuts) supersedes(by, w *history.Op) bool {
	if slices.Contains(by.Covers, w.Call.Value) {
		return true
	}
	a, b := c.dots[w], c.dots[by]
	return by.Covers == nil && (c.before(w, by) || a.n > 0 && a.actor == b.actor && a.n < b.n)
}

func (c *cuts) before(a, b *history.Op) bool {
	i, known := c.o.of[a]
	j, too := c.o.of[b]
	return known && too && c.o.before(i, j)
}

// raise notes how far the writes of a lane are with this one.
func (c *cuts) raise(n *node) {
	d, named := c.dots[n.op]
	if !named {
		return
	}
	p := groupIDOf(n.op)
	i := slices.IndexFunc(c.lanes[p], func(r rise) bool { return r.lane == n.lane })
	if i < 0 {
		i = len(c.lanes[p])
		c.lanes[p] = append(c.lanes[p], rise{n.lane, heights{}})
	}
	c.lanes[p][i].add(n.index, d)
}

// closed finds a write in the view that lacks one of its causes there. seq is when the
// view was shown.
func (c *cuts) closed(p groupID, v vector, seq int64) *violation {
	for _, to := range c.lanes[p] {
		effect := c.last(p, to.lane, v, seq)
		if effect < 0 {
			continue
		}
		for _, from := range c.lanes[p] {
			if d := from.beyond(v, c.o.at(effect)[c.o.lanes[from.lane].column]); d.n > 0 {
				cause, op := c.names[p.keyspace][d], c.o.nodes[effect].op
				ops := []*history.Op{cause, op}
				if i, known := c.o.of[cause]; known {
					ops = c.o.path(i, effect)
				}
				return broken(ops, "includes %s of %s (%s) and not its cause, %s of %s (%s)", wrote(op), key(op), c.dots[op], wrote(cause), key(cause), d)
			}
		}
	}
	return nil
}

// last is the last write of a lane to the group that v includes, -1 if there is none.
func (c *cuts) last(p groupID, l int, v vector, seq int64) int {
	nodes := c.o.lanes[l].nodes
	for i := sort.Search(len(nodes), func(i int) bool { return c.o.nodes[nodes[i]].op.Begin > seq }) - 1; i >= 0; i-- {
		if op := c.o.nodes[nodes[i]].op; groupIDOf(op) == p && v.has(c.dots[op]) {
			return nodes[i]
		}
	}
	return -1
}

// shows judges what was shown of a key in a view, at seq. If that was not all of its
// values, but the one that lww serves, one is enough.
func (c *cuts) shows(k ref, v vector, seq int64, values []string, all bool) *violation {
	for _, value := range values {
		w := c.o.r.writers[k][value]
		if w == nil {
			return broken(nil, "shows %s of %s, which nobody wrote", show(value), k)
		}
		if d := c.dots[w]; d.n > 0 && !v.has(d) && !v.unsure(d) || w.Failed() || w.Begin > seq {
			return broken([]*history.Op{w}, "shows %s of %s, whose write (%s) is not in its view", show(value), k, cmp.Or(w.Dot, "without a name"))
		}
		for _, by := range c.over[w] {
			if v.has(c.dots[by]) && c.supersedes(by, w) {
				return broken([]*history.Op{w, by}, "shows %s of %s, which %s (%s) had superseded in its view", show(value), k, wrote(by), c.dots[by])
			}
		}
	}
	if !all && len(values) > 0 {
		return nil
	}
	for _, w := range c.o.r.keys[k] {
		if w.Kind == history.Put && w.TTL == 0 && v.has(c.dots[w]) && !slices.Contains(values, w.Call.Value) && !c.mayBeGone(w, v, seq) {
			return broken([]*history.Op{w}, "does not show %s of %s (%s), which is in its view and nothing had superseded", show(w.Call.Value), k, c.dots[w])
		}
	}
	return nil
}

// mayBeGone reports whether something in the view may have superseded w.
func (c *cuts) mayBeGone(w *history.Op, v vector, seq int64) bool {
	return slices.ContainsFunc(c.over[w], func(by *history.Op) bool {
		d, named := c.dots[by]
		return v.has(d) || v.unsure(d) || !named && by.Begin < seq
	})
}

// by puts who it was, and when, before what is wrong.
func (v *violation) by(op *history.Op, who string) *violation {
	if v == nil {
		return nil
	}
	ops := slices.DeleteFunc(slices.Clone(v.ops), func(op *history.Op) bool { return op == nil })
	return &violation{sentence: who + " " + v.sentence, ops: append(ops, op)}
}
