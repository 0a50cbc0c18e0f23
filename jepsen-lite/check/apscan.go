package check

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// scanAP judges the scans of ap keyspaces: all pages are of one vector, it is a causal
// cut, it covers what the session had seen where the level says so, and the items are
// what the writes of the vector leave, each key once.
func (r *record) scanAP(c *Compared) (scans int, v *violation, err error) {
	if !r.hasAP(history.Scan) {
		return 0, nil, nil
	}
	k, err := cutsOf(r)
	if err != nil {
		return 0, nil, err
	}
	past := &saying{k: k, seen: map[sessionGroup]vector{}, ops: slices.Clone(r.ops)}
	slices.SortFunc(past.ops, func(a, b *history.Op) int { return cmp.Compare(a.End, b.End) })
	keys := map[string][]string{}
	for _, at := range r.order {
		keys[at.keyspace] = append(keys[at.keyspace], at.key)
	}
	for _, op := range r.ops {
		if !isAP(op, history.Scan) || !op.OK() {
			continue
		}
		scans++
		v, err := k.scanned(op, keys[op.Keyspace], past.before(op))
		if v != nil || err != nil {
			return scans, v.by(op, fmt.Sprintf("the scan of %s at %s", show(op.Prefix), at(op.Start))), err
		}
		c.Ops++
		if r.h.InFault(op.Begin) {
			c.ReadsInFault++
		}
		for _, item := range op.Items {
			for _, s := range item.Siblings {
				if w := r.writers[ref{op.Keyspace, item.Key}][s.Value]; w != nil && w.Session != op.Session {
					c.ReadsOfOthers++
				}
			}
		}
	}
	return scans, nil, nil
}

// sessionGroup is a session as far as one group is concerned.
type sessionGroup struct {
	session string
	groupID
}

// saying is what sessions had written, and seen by scans, up to a moment.
type saying struct {
	k    *cuts
	ops  []*history.Op // by End
	next int
	seen map[sessionGroup]vector
}

// before is what the session of op had seen when that began. Calls come by Begin.
func (s *saying) before(op *history.Op) vector {
	for ; s.next < len(s.ops) && s.ops[s.next].End < op.Begin; s.next++ {
		was := s.ops[s.next]
		at := sessionGroup{was.Session, groupIDOf(was)}
		v := vector{}
		switch d := s.k.dots[was]; {
		case d.n > 0:
			v[d.actor] = d.n
		case isAP(was, history.Scan) && len(was.Vectors) > 0:
			v, _ = parseVector(was.Vectors[0]) // it was read before
		}
		if s.seen[at] == nil {
			s.seen[at] = vector{}
		}
		s.seen[at].join(v)
	}
	if op.Session == "" {
		return nil
	}
	return s.seen[sessionGroup{op.Session, groupIDOf(op)}]
}

func (c *cuts) scanned(op *history.Op, keys []string, seen vector) (*violation, error) {
	if len(op.Vectors) == 0 {
		return nil, fmt.Errorf("the scan at %s names no vector", at(op.Start))
	}
	v, err := parseVector(op.Vectors[0])
	if err != nil {
		return nil, err
	}
	for i, page := range op.Vectors {
		if page != op.Vectors[0] {
			return broken(nil, "has a page of %s, and page %d is of %s", op.Vectors[0], i+1, page), nil
		}
	}
	if d := v.beyond(seen); d.n > 0 && covers(op) {
		return broken([]*history.Op{c.names[op.Keyspace][d]}, "(session %s) is of a vector without %s, which its session had written or seen", show(op.Session), d), nil
	}
	if v := c.closed(groupIDOf(op), v, op.End); v != nil {
		return v, nil
	}
	return c.items(op, v, keys)
}

// items judges what the scan shows of every key of its range.
func (c *cuts) items(op *history.Op, v vector, keys []string) (*violation, error) {
	shown := map[string][]string{}
	for i, item := range op.Items {
		switch {
		case i > 0 && item.Key <= op.Items[i-1].Key:
			return broken(nil, "shows %s behind %s", show(item.Key), show(op.Items[i-1].Key)), nil
		case !inScan(op, item.Key):
			return broken(nil, "shows %s", show(item.Key)), nil
		}
		values, wrong, err := c.named(ref{op.Keyspace, item.Key}, item)
		if wrong != nil || err != nil {
			return wrong, err
		}
		shown[item.Key] = values
		if wrong := c.shows(ref{op.Keyspace, item.Key}, v, op.End, values, len(item.Siblings) > 0 || c.o.r.siblings(op.Keyspace)); wrong != nil {
			return wrong, nil
		}
	}
	for _, k := range keys {
		if _, there := shown[k]; there || !inScan(op, k) {
			continue
		}
		if wrong := c.shows(ref{op.Keyspace, k}, v, op.End, nil, true); wrong != nil {
			return wrong, nil
		}
	}
	return nil, nil
}

// named reads the values of an item, and judges their names.
func (c *cuts) named(k ref, item history.Item) (values []string, wrong *violation, err error) {
	if len(item.Siblings) == 0 {
		return []string{item.Value}, nil, nil
	}
	for _, s := range item.Siblings {
		d, err := parseDot(s.Dot)
		if err != nil {
			return nil, nil, err
		}
		values = append(values, s.Value)
		if w := c.o.r.writers[k][s.Value]; w != nil && c.dots[w].n > 0 && c.dots[w] != d {
			return nil, broken([]*history.Op{w}, "shows %s of %s as %s, and its write is %s", show(s.Value), k, d, c.dots[w]), nil
		}
	}
	if c.o.r.lww[k.keyspace] && !slices.Contains(values, item.Value) {
		return nil, broken(nil, "serves %s for %s, which is none of what it holds: %s", show(item.Value), k, showAll(values)), nil
	}
	return values, nil, nil
}
