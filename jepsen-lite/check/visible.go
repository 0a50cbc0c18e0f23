package check

import (
	"slices"
	"sort"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// hidden reports whether read r shows that it does not have write w: it returned
// neither w nor anything that can stand in w's place.
//
// On a register (cp, and lww on ap) the place of w is taken by a write that does not
// come before w, so r lacks w if it returned something that does. On siblings a
// write stands beside all that its context did not cover, so r lacks w unless w is
// among its values, or covered by a write that is itself there. A value whose TTL may be
// over stands in the place of what it superseded, and need not be there itself.
func (o *order) hidden(w, r int) bool {
	n := &o.nodes[r]
	register := !n.siblings && len(n.seen) > 0 // the one value decides, and mostly at once
	if w == r || register && (n.got < 0 || n.got == w || !o.before(n.got, w)) {
		return false
	}
	gone := o.nodes[w].delete
	switch {
	case o.nodes[w].ends && o.r.ended(o.nodes[w].op, n.op):
		return false
	case n.siblings:
		return !gone && !o.there(w, r, map[int]bool{})
	case len(n.seen) == 0:
		return !gone && !o.deletable(w, r) && !o.lapsed(w, r)
	}
	return !gone || o.kills(o.nodes[w].op, n.got)
}

// deletable reports whether some delete can have removed w before r was answered. It
// looks from the newest back: there it is found soon, if there is one.
func (o *order) deletable(w, r int) bool {
	n := &o.nodes[r]
	deletes := o.deletes[key(n.op)]
	late := sort.Search(len(deletes), func(i int) bool { return deletes[i].Begin >= n.op.End })
	for _, d := range slices.Backward(deletes[:late]) {
		if o.nodes[w].op.Begin < ends(d) && !o.follows(w, d) && o.mayKill(d, w) {
			return true
		}
	}
	return false
}

// follows reports whether w knew of d, so that d cannot have removed it.
func (o *order) follows(w int, d *history.Op) bool {
	i, known := o.of[d]
	return known && o.before(i, w)
}

// kills reports whether delete d, which comes after w, certainly removed w. Without a
// context it removes what its coordinator had; with one, what the context covered and
// what that came after.
func (o *order) kills(d *history.Op, w int) bool {
	if d.Covers == nil {
		return true
	}
	return slices.ContainsFunc(d.Covers, func(v string) bool {
		c, ok := o.writer(key(d), v)
		return ok && (c == w || o.before(w, c))
	})
}

// mayKill reports whether delete d can have removed w. The context of an lww read
// covers more than the value it returned: also the losers beside it, which nobody saw.
func (o *order) mayKill(d *history.Op, w int) bool {
	losers := len(d.Covers) > 0 && !o.r.siblings(d.Keyspace) && o.nodes[w].op.Begin < d.Begin
	return losers || o.kills(d, w)
}

// there reports whether w is among the siblings that r read, or was covered by a
// write that was there. asked guards against contexts that cover each other.
func (o *order) there(w, r int, asked map[int]bool) bool {
	value, n := o.nodes[w].op.Call.Value, &o.nodes[r]
	if slices.Contains(n.seen, value) {
		return true
	}
	if asked[w] {
		return false
	}
	asked[w] = true
	k := key(n.op)
	return slices.ContainsFunc(o.coverers[k][value], func(c *history.Op) bool {
		if c.Begin > n.op.End {
			return false
		}
		i, known := o.of[c]
		return c.Kind == history.Delete || o.r.ended(c, n.op) || known && o.there(i, r, asked)
	})
}
