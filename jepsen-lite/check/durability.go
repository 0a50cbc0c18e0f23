package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// durability judges that every acknowledged write is, after the heal, on every
// replica of its group, or was superseded there by what came after it.
func durability(r *record) Result {
	groups, unfit := r.groups()
	if unfit != nil || len(groups) == 0 {
		return unfitDump(unfit)
	}
	var c Compared
	for _, k := range r.order {
		if _, ambiguous := r.twice[k]; ambiguous || len(r.others[k.keyspace]) > 0 || r.mayBeGone(k) {
			continue
		}
		for _, rep := range replicasOf(groups, k) {
			n, v := r.kept(k, rep)
			c.Ops += n
			if v != nil {
				return withCompared(v.result("dumps"), c)
			}
		}
	}
	for _, k := range r.touched {
		l := r.ledgerAt(k)
		if l == nil || r.opaque(k) {
			continue
		}
		for _, rep := range replicasOf(groups, k) {
			c.Ops += l.acknowledged(k.key)
			if v := l.kept(k, rep); v != nil {
				return withCompared(v.result("dumps"), c)
			}
		}
	}
	return Result{Verdict: Pass, Compared: c, Stage: "dumps", Sentence: fmt.Sprintf("%d times an acknowledged write was looked for, and was there or superseded", c.Ops)}
}

// mayBeGone reports whether a write of the key may have been on one disk alone, and that
// disk be lost.
func (r *record) mayBeGone(k ref) bool {
	return r.wiped && slices.ContainsFunc(r.keys[k], func(op *history.Op) bool {
		return op.Mode == "ap" && op.Write() && op.W != "majority" && op.W != "all"
	})
}

// replicasOf are the replicas that must hold k: those of the group in which any has
// it, or every replica of the keyspace when none has.
func replicasOf(groups []group, k ref) []dumped {
	var all []dumped
	for _, g := range groups {
		if g.keyspace != k.keyspace {
			continue
		}
		for _, rep := range g.replicas {
			if rep.at[k.key] != nil {
				return g.replicas
			}
		}
		all = append(all, g.replicas...)
	}
	return all
}

func (r *record) kept(k ref, rep dumped) (looked int, v *violation) {
	ops := r.keys[k]
	have := held(rep.at[k.key])
	for _, op := range ops {
		if op.Write() && op.OK() {
			looked++
		}
	}
	if ops[0].Mode == "cp" {
		return looked, r.keptCP(k, rep.Replica, have)
	}
	return looked, r.keptAP(k, rep.Replica, have)
}

// keptCP compares what the replica holds with the last acknowledged write in the
// order of revisions. Only that write, or one without outcome, may be there.
func (r *record) keptCP(k ref, rep history.Replica, have []string) *violation {
	last := r.lastAcknowledged(k)
	if last == nil {
		return nil
	}
	var now *history.Op
	if len(have) > 0 {
		if now = r.writers[k][have[0]]; now == nil {
			return broken(nil, "after the heal %s holds %s for %s, which nobody wrote", show(rep.Node), show(have[0]), k)
		}
	}
	seen := firstSeen(registerOf(r.keys[k]))
	for _, op := range r.keys[k] {
		by, known := seen[op.Call.Value]
		candidate := op == last || op.Write() && op.Unclear() && !(known && op.Kind != history.Delete && by < last.Begin)
		if candidate && (now == op || now == nil && op.Kind == history.Delete) {
			return nil
		}
	}
	return broken([]*history.Op{last}, "%s of %s was acknowledged at %s, and after the heal %s holds %s",
		wrote(last), k, at(last.Stop), show(rep.Node), showAll(have))
}

// lastAcknowledged is the last write that certainly happened: acknowledged, or
// without outcome and read by somebody. The revisions say which; without them it is
// the one that began after all others were over, if there is one.
func (r *record) lastAcknowledged(k ref) *history.Op {
	acts := prune(registerOf(r.keys[k]))
	ranks, _, enough := ranksOf(acts)
	acts = slices.DeleteFunc(acts, func(a act) bool { return !a.writes || !a.sure })
	if len(acts) == 0 {
		return nil
	}
	if enough {
		line, _, _ := lineUp(acts, ranks)
		return line[len(line)-1].op
	}
	last := slices.MaxFunc(acts, func(a, b act) int { return cmp.Compare(a.call, b.call) })
	for _, a := range acts {
		if a.op != last.op && a.ret > last.call {
			return nil
		}
	}
	return last.op
}

// keptAP walks from what the replica holds to what that superseded, and asks whether
// every acknowledged write is met. On siblings a write supersedes exactly what its
// context covered. On lww it also supersedes what nobody saw: without a context what
// its coordinator had, with one the losers beside the value that was read. That can
// be anything that did not begin after it was over. A delete may have removed what it
// covered even if nobody knows its outcome.
func (r *record) keptAP(k ref, rep history.Replica, have []string) *violation {
	met := map[*history.Op]bool{}
	var queue []*history.Op
	meet := func(op *history.Op) {
		if op != nil && !met[op] {
			met[op] = true
			queue = append(queue, op)
		}
	}
	for _, v := range have {
		meet(r.writers[k][v])
	}
	for _, op := range r.keys[k] {
		if (op.Kind == history.Delete || op.TTL > 0) && !op.Failed() {
			meet(op) // it is gone, or was, with what it covered
		}
	}
	if !r.siblings(k.keyspace) {
		reach := int64(-1) // of what is there, or of a delete: what began later it cannot have superseded
		for _, by := range queue {
			switch {
			case by.Covers == nil:
				reach = max(reach, ends(by))
			case len(by.Covers) > 0:
				reach = max(reach, by.Begin)
			}
		}
		for _, op := range r.keys[k] {
			if op.Write() && op.Begin < reach {
				meet(op)
			}
		}
	}
	for ; len(queue) > 0; queue = queue[1:] {
		for _, v := range queue[0].Covers {
			meet(r.writers[k][v])
		}
	}
	for _, op := range r.keys[k] {
		if op.Write() && op.OK() && op.Kind != history.Delete && !met[op] {
			return broken(append(r.writersNow(k, have), op), "%s of %s was acknowledged at %s, and after the heal %s holds %s and nothing that superseded it",
				wrote(op), k, at(op.Stop), show(rep.Node), showAll(have))
		}
	}
	return nil
}

// ends is when a write has certainly taken effect, if it ever does.
func ends(op *history.Op) int64 {
	if op.Unclear() {
		return history.Open
	}
	return op.End
}

func (r *record) writersNow(k ref, have []string) []*history.Op {
	now := map[*history.Op]bool{}
	for _, v := range have {
		if w := r.writers[k][v]; w != nil {
			now[w] = true
		}
	}
	return slices.Collect(maps.Keys(now))
}
