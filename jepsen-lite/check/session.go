package check

import (
	"errors"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// The four session guarantees of Terry et al. (PDIS 1994), each judged by itself
// from what a read lacks: one of two writes or reads, of its own session or of a
// session whose write it had seen.
//
//	            its own session      a session it read from
//	a write     read-your-writes     monotonic-writes
//	a read      monotonic-reads      writes-follow-reads
//
// Longer chains of causes are left to causal.
func readYourWrites(r *record) Result {
	return r.guaranteed(ownWrites, func(o *order) *violation {
		return o.guarantee(ownWrites, own, (*past).writesBefore, "its session had written %s")
	})
}

func monotonicReads(r *record) Result {
	return r.guaranteed(ownReads, func(o *order) *violation {
		return o.guarantee(ownReads, own, (*past).readsBefore, "its session had read %s already")
	})
}

func monotonicWrites(r *record) Result {
	return r.guaranteed(covers, func(o *order) *violation {
		return o.guarantee(covers, (*past).met, (*past).writesBefore, "it had seen a later write of the session that wrote %s")
	})
}

func writesFollowReads(r *record) Result {
	return r.guaranteed(covers, func(o *order) *violation {
		return o.guarantee(covers, (*past).met, (*past).readsBefore, "it had seen a write of a session that had read %s")
	})
}

// guaranteed is causally for the guarantees, which have no opinion on a history that
// has no causal order: causal has.
func (r *record) guaranteed(judged func(*history.Op) bool, judge func(*order) *violation) Result {
	o, err := r.causes()
	if err == nil && len(o.cyclic) > 0 {
		err = errors.New("operations wait for each other, so that nothing is before anything; see causal")
	}
	return o.conclude(err, judged, judge)
}

// Limits of how far back a guarantee looks: the last writes decide on a register,
// and what a session read long ago is covered by what it read since. causal looks at
// everything.
const (
	lastWrites  = 4
	lastSibling = 64
	lastReads   = 16
)

// past is what sessions did to keys, by time.
type past struct {
	o      *order
	writes map[sessionKey][]int // acknowledged writes
	reads  map[sessionKey][]seen
	all    map[string][]seen // by session, reads of any key, by End
}

type sessionKey struct {
	session string
	ref
}

// seen is that a session read write w in operation by.
type seen struct{ by, w int }

// moment is a session at a point of its life.
type moment struct {
	session string
	seq     int64
	by      []*history.Op // how r knows of it
}

func (o *order) past() *past {
	p := &past{o: o, writes: map[sessionKey][]int{}, reads: map[sessionKey][]seen{}, all: map[string][]seen{}}
	for i := range o.nodes {
		n := &o.nodes[i]
		s := n.op.Session
		if s == "" {
			continue
		}
		k := sessionKey{s, key(n.op)}
		if n.write && n.op.OK() {
			p.writes[k] = append(p.writes[k], i)
		}
		for _, v := range n.seen {
			if w, ok := o.writer(key(n.op), v); ok {
				p.reads[k] = append(p.reads[k], seen{i, w})
				p.all[s] = append(p.all[s], seen{i, w})
			}
		}
	}
	for _, list := range p.all {
		slices.SortFunc(list, func(a, b seen) int { return int(o.nodes[a.by].op.End - o.nodes[b.by].op.End) })
	}
	return p
}

// guarantee looks for a judged read that lacks what one of the moments it knows of
// had written or read on the same key.
func (o *order) guarantee(judged func(*history.Op) bool, moments func(*past, *cursor) []moment, of func(*past, moment, ref) []seen, why string) *violation {
	p := o.past()
	cursors := map[string]*cursor{}
	for r := range o.nodes {
		n := &o.nodes[r]
		s := n.op.Session
		if !n.told || s == "" || !judged(n.op) {
			continue
		}
		if cursors[s] == nil {
			cursors[s] = &cursor{met: map[int]int{}}
		}
		cursors[s].op = n.op
		for _, m := range moments(p, cursors[s]) {
			for _, past := range of(p, m, key(n.op)) {
				if o.hidden(past.w, r) {
					ops := append(slices.Clone(m.by), o.nodes[past.w].op, o.nodes[past.by].op, n.op)
					return broken(ops, "%s (session %s), but "+why, read(n.op), show(s), wrote(o.nodes[past.w].op))
				}
			}
		}
	}
	return nil
}

// cursor is how far a session's reads were followed: of each lane the last write met.
type cursor struct {
	op   *history.Op // the read that is judged
	next int
	met  map[int]int // lane → place in past.all of the read that met its last write
}

// own is the read's own session, just before the read.
func own(_ *past, c *cursor) []moment { return []moment{{session: c.op.Session, seq: c.op.Begin}} }

// met are the sessions from which the read's session had read before, each just
// before the last write of it that was met.
func (p *past) met(c *cursor) []moment {
	reads := p.all[c.op.Session]
	for ; c.next < len(reads) && p.o.nodes[reads[c.next].by].op.End < c.op.Begin; c.next++ {
		w := &p.o.nodes[reads[c.next].w]
		old, ok := c.met[w.lane]
		if !ok || p.o.nodes[reads[old].w].index < w.index {
			c.met[w.lane] = c.next
		}
	}
	out := make([]moment, 0, len(c.met))
	for _, i := range c.met {
		w := p.o.nodes[reads[i].w].op
		if w.Session != "" && w.Session != c.op.Session {
			out = append(out, moment{w.Session, w.Begin, []*history.Op{w, p.o.nodes[reads[i].by].op}})
		}
	}
	slices.SortFunc(out, func(a, b moment) int { return int(a.seq - b.seq) })
	return out
}

func (p *past) writesBefore(m moment, k ref) []seen {
	most := lastWrites
	if p.o.r.siblings(k.keyspace) {
		most = lastSibling
	}
	var out []seen
	list := p.writes[sessionKey{m.session, k}]
	for i := p.upTo(list, m.seq); i >= 0 && len(out) < most; i-- {
		if p.o.nodes[list[i]].op.End < m.seq {
			out = append(out, seen{list[i], list[i]})
		}
	}
	return out
}

func (p *past) readsBefore(m moment, k ref) []seen {
	var out []seen
	list := p.reads[sessionKey{m.session, k}]
	i, _ := slices.BinarySearchFunc(list, m.seq, func(s seen, seq int64) int { return int(p.o.nodes[s.by].op.Begin - seq) })
	for i--; i >= 0 && len(out) < lastReads; i-- {
		s := list[i]
		known := slices.ContainsFunc(out, func(t seen) bool { return t.w == s.w })
		if p.o.nodes[s.by].op.End < m.seq && !known {
			out = append(out, s)
		}
	}
	return out
}

// upTo is the place of the last write that began before seq, or -1.
func (p *past) upTo(list []int, seq int64) int {
	i, _ := slices.BinarySearchFunc(list, seq, func(w int, seq int64) int { return int(p.o.nodes[w].op.Begin - seq) })
	return i - 1
}
