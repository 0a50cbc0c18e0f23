package causal

import "slices"

// Merge returns the siblings, in dot order, that a key has after the writes of two
// replicas: ours holds local and has applied have, the other holds remote and has
// applied theirs. It needs no log: a sibling that one side has and the other has not
// was superseded there if the other's vector includes its write, and has not reached
// it yet if not. So no tombstone is kept, however long a replica was away (the rule
// of optimized OR-sets, Bieniusa et al., 2012, and of DottedDB, Gonçalves et al.,
// SRDS 2017).
//
// It is idempotent while have does not change, commutative, and does not change its
// arguments. A sibling that both hold is taken from local.
func Merge(local []Sibling, have Vector, remote []Sibling, theirs Vector) []Sibling {
	if counter(local) || counter(remote) {
		return mergeCounter(local, have, remote, theirs)
	}
	merged := make([]Sibling, 0, len(local)+len(remote))
	for _, s := range local {
		if holds(remote, s.Dot) || !theirs.Has(s.Dot) {
			merged = append(merged, s)
		}
	}
	for _, s := range remote {
		if !have.Has(s.Dot) && !holds(local, s.Dot) {
			merged = append(merged, s)
		}
	}
	slices.SortFunc(merged, func(a, b Sibling) int { return a.Dot.Compare(b.Dot) })
	return merged
}

func holds(siblings []Sibling, d Dot) bool {
	return slices.ContainsFunc(siblings, func(s Sibling) bool { return s.Dot == d })
}
