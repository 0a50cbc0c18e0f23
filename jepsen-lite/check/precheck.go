package check

import (
	"cmp"
	"math"
	"slices"
	"sort"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// precheck finds what no order could explain and a person can see: a value nobody
// wrote, a value from the future, and a read that missed a write which was over
// before it began and began after the write it returned. O(n log n). acts are
// pruned, and each value has one writer.
func precheck(acts []act) *violation {
	writer := map[string]*act{}
	for i := range acts {
		if a := &acts[i]; a.writes && !a.deletes {
			writer[a.value] = a
		}
	}
	all := latestBy(acts, func(a *act) bool { return a.writes && a.sure })
	puts := latestBy(acts, func(a *act) bool { return a.writes && a.sure && !a.deletes })
	deletes := longestBy(acts)
	for i := range acts {
		r := &acts[i]
		if !r.reads {
			continue
		}
		var v *violation
		if r.absent {
			v = missing(r, puts.before(r.call), deletes)
		} else {
			v = stale(r, writer[r.seen], all.before(r.call))
		}
		if v != nil {
			return v
		}
	}
	return nil
}

// stale judges a read of a value; w wrote it, if anybody did, and last is the write
// that began last of those over before the read began.
func stale(r, w, last *act) *violation {
	switch {
	case w == nil:
		return broken([]*history.Op{r.op}, "%s, which nobody wrote", r.saw())
	case w.call > r.ret:
		return broken([]*history.Op{r.op, w.op}, "%s, which was written only %s later", r.saw(), (w.op.Start - r.op.Stop))
	case r.not != "" && r.seen == r.not:
		return broken([]*history.Op{r.op, w.op}, "%s, which is what it expected, and yet it failed", r.saw())
	case last != nil && last != w && last.call > w.ret:
		return broken([]*history.Op{w.op, last.op, r.op}, "%s; %s", r.saw(), over(last, r))
	}
	return nil
}

// missing judges a read of absence: some delete must be able to stand between the
// last put that was over and the read.
func missing(r, put *act, deletes longest) *violation {
	if put == nil || deletes.before(r.ret) >= put.call {
		return nil
	}
	return broken([]*history.Op{put.op, r.op}, "%s; %s and nobody deleted it", r.saw(), over(put, r))
}

// latest answers: of the acts over before a moment, which began last.
type latest struct {
	rets []int64
	best []*act // of rets[:i+1]
}

func latestBy(acts []act, want func(*act) bool) latest {
	var chosen []*act
	for i := range acts {
		if want(&acts[i]) {
			chosen = append(chosen, &acts[i])
		}
	}
	slices.SortFunc(chosen, func(a, b *act) int { return cmp.Compare(a.ret, b.ret) })
	l := latest{}
	for i, a := range chosen {
		best := a
		if i > 0 && l.best[i-1].call > a.call {
			best = l.best[i-1]
		}
		l.rets, l.best = append(l.rets, a.ret), append(l.best, best)
	}
	return l
}

func (l latest) before(seq int64) *act {
	i := sort.Search(len(l.rets), func(i int) bool { return l.rets[i] >= seq })
	if i == 0 {
		return nil
	}
	return l.best[i-1]
}

// longest answers: of the deletes called before a moment, how long the one that may
// take effect last may take.
type longest struct{ calls, rets []int64 }

func longestBy(acts []act) longest {
	var deletes []*act
	for i := range acts {
		if acts[i].deletes {
			deletes = append(deletes, &acts[i])
		}
	}
	slices.SortFunc(deletes, func(a, b *act) int { return cmp.Compare(a.call, b.call) })
	l := longest{}
	best := int64(math.MinInt64)
	for _, d := range deletes {
		best = max(best, d.ret)
		l.calls, l.rets = append(l.calls, d.call), append(l.rets, best)
	}
	return l
}

func (l longest) before(seq int64) int64 {
	i := sort.Search(len(l.calls), func(i int) bool { return l.calls[i] >= seq })
	if i == 0 {
		return math.MinInt64
	}
	return l.rets[i-1]
}

// over says since when a write was certainly over when r began.
func over(w, r *act) string {
	if !w.op.OK() {
		return wrote(w.op) + " had been read before"
	}
	return wrote(w.op) + " was acknowledged " + before(r.op.Start-w.op.Stop)
}
