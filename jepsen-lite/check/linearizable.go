package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// ruling is what the stages together say of one cp key.
type ruling struct {
	verdict Verdict
	stage   string     // those that decided
	found   *violation // of the values, with Fail; of ourselves, with Invalid
	lies    *violation // the revisions are wrong, whatever the values are
}

// decision is one stage's opinion; a stage that cannot decide has none.
type decision struct {
	stage string
	legal bool
	found *violation
}

// rule judges a key by all stages that are cheap enough. Those that decide must
// agree: if they do not, one of them is wrong, and neither is believed.
func (r *record) rule(k ref) ruling {
	if known, ok := r.rulings[k]; ok {
		return known
	}
	out := r.stages(k)
	r.rulings[k] = out
	return out
}

func (r *record) stages(k ref) ruling {
	acts := r.actsOf(k)
	for i := range acts {
		if v := r.lied(&acts[i]); v != nil {
			return ruling{verdict: Fail, stage: "outcome audit", found: v}
		}
	}
	if slices.ContainsFunc(acts, func(a act) bool { return a.adds }) {
		return r.summedUp(acts)
	}
	if two, ambiguous := r.twice[k]; ambiguous {
		return r.unnamed(acts, two)
	}
	kept := prune(acts)
	shown := witness(kept)
	ds := r.search.porcupine(acts, kept, shown.proved)
	if v := precheck(kept); v != nil {
		ds = append([]decision{{"pre-check", false, v}}, ds...)
	}
	if shown.proved {
		ds = append([]decision{{"witness", true, nil}}, ds...)
	}
	out := agree(ds, shown.wrong)
	if out.verdict != Fail {
		out.lies = shown.wrong
	}
	return out
}

// actsOf is what happened to a key that must be linearizable.
func (r *record) actsOf(k ref) []act {
	if r.rich[k.keyspace] {
		return r.acts[k]
	}
	return registerOf(r.keys[k])
}

// summedUp judges a key that is incremented: a sum does not name its write, so the
// search alone knows.
func (r *record) summedUp(acts []act) ruling {
	if len(acts) > searchOps {
		return ruling{verdict: Unknown, stage: "none"}
	}
	return agree(r.search.decide("porcupine", acts, r.search.quick(acts)), nil)
}

// unnamed judges a key on which a value was written twice: only the search does not
// need to know which write a value names.
func (r *record) unnamed(acts []act, two [2]*history.Op) ruling {
	if len(acts) > searchOps {
		v := broken(two[:], "%s is written twice to %s, so that it names no write, and %d operations are too many to search", show(two[0].Call.Value), key(two[0]), len(acts))
		return ruling{verdict: Unknown, stage: "porcupine", found: v}
	}
	return agree(r.search.unpruned(acts), nil)
}

// porcupine asks for the pruned history, and for the history as it is where that is
// small. proved says that the answer is known and only to be confirmed.
func (s searcher) porcupine(acts, kept []act, proved bool) []decision {
	var ds []decision
	switch {
	case proved && len(kept) <= searchOps && openOps(kept) <= confirmOpen:
		ds = s.decide("porcupine", kept, s.quick(kept))
	case !proved:
		ds = s.long(kept)
	}
	if len(acts) <= unprunedOps && (!proved || openOps(acts) <= confirmOpen) {
		ds = append(ds, s.unpruned(acts)...)
	}
	return ds
}

// confirmOpen is how many operations without an end a search that only confirms has
// patience for: each doubles what it may have to look at.
const confirmOpen = 12

func openOps(acts []act) int {
	n := 0
	for _, a := range acts {
		if !a.sure {
			n++
		}
	}
	return n
}

// long searches a key of any length: whole, then in windows.
func (s searcher) long(kept []act) []decision {
	var ds []decision
	switch {
	case len(kept) <= searchOps:
		return s.decide("porcupine", kept, s.run(kept))
	case len(kept) <= patientOps:
		ds = s.decide("porcupine", kept, s.quick(kept))
	}
	if ds != nil {
		return ds
	}
	if part := s.windows(kept); part != nil {
		ds = s.decide("porcupine on a window", part, porcupine.Illegal)
	}
	return ds
}

func (s searcher) unpruned(acts []act) []decision {
	return s.decide("porcupine, unpruned", acts, s.quick(acts))
}

func (s searcher) decide(stage string, acts []act, res porcupine.CheckResult) []decision {
	switch res {
	case porcupine.Ok:
		return []decision{{stage, true, nil}}
	case porcupine.Illegal:
		return []decision{{stage, false, s.explain(acts)}}
	}
	return nil
}

// explain finds few operations that no order explains.
func (s searcher) explain(acts []act) *violation {
	acts = s.shrink(acts)
	if v := precheck(prune(acts)); v != nil && !slices.ContainsFunc(acts, func(a act) bool { return a.adds }) {
		return v
	}
	slices.SortFunc(acts, func(a, b act) int { return int(a.call - b.call) })
	var ops []*history.Op
	var says []string
	for i := range acts {
		ops = append(ops, acts[i].op)
		if len(says) < maxWitness {
			says = append(says, acts[i].describe())
		}
	}
	return broken(ops, "no single order explains %d operations on %s: %s", len(acts), acts[0].name(), strings.Join(says, "; "))
}

func (a *act) describe() string {
	switch {
	case a.adds && a.sure:
		return fmt.Sprintf("incr by %d to %s", a.delta, show(a.value))
	case a.adds:
		return fmt.Sprintf("incr by %d", a.delta)
	case a.writes && a.reads && a.absent:
		return "create " + show(a.value)
	case a.writes && a.reads:
		return fmt.Sprintf("cas from %s to %s", show(a.seen), show(a.value))
	case a.deletes:
		return "delete"
	case a.writes:
		return "put " + show(a.value)
	case a.absent:
		return fmt.Sprintf("%s → nothing", a.op.Kind)
	}
	return fmt.Sprintf("%s → %s", a.op.Kind, show(a.seen))
}

// agree joins the stages' opinions.
func agree(ds []decision, wrong *violation) ruling {
	if len(ds) == 0 {
		return ruling{verdict: Unknown, stage: "none", found: wrong}
	}
	out := ruling{verdict: Pass}
	var names []string
	for _, d := range ds {
		names = append(names, d.stage)
		if d.legal != ds[0].legal {
			v := broken(nil, "our own stages disagree: %s says linearizable %t, %s says %t", ds[0].stage, ds[0].legal, d.stage, d.legal)
			for _, e := range ds {
				if e.found != nil {
					v.ops = e.found.ops
				}
			}
			return ruling{verdict: Invalid, stage: ds[0].stage + " against " + d.stage, found: v}
		}
		if !d.legal {
			out.verdict = Fail
			if out.found == nil {
				out.found = d.found
			}
		}
	}
	out.stage = strings.Join(names, " and ")
	return out
}

// linearizable judges every cp key by itself, which is enough where an operation is
// of one key (Herlihy & Wing 1990). Where there are txns and scans, the keys can only
// refute; what proves is the order of the whole group.
func linearizable(r *record) Result {
	var c Compared
	rulings := map[Verdict][]ref{}
	stages := map[string]int{}
	spaces := map[string]exhibit{}
	for _, k := range append(slices.Clone(r.order), r.touched...) {
		if !r.rich[k.keyspace] && !slices.ContainsFunc(r.keys[k], strong) {
			continue
		}
		if foreign := r.others[k.keyspace]; len(foreign) > 0 {
			v := broken(foreign[:1], "%s holds a %s, which this checker does not understand", show(k.keyspace), foreign[0].Kind)
			return Result{Verdict: Unknown, Sentence: v.sentence, Witness: v.ids()}
		}
		if r.rich[k.keyspace] && r.opaque(k) {
			continue
		}
		out := r.rule(k)
		if r.rich[k.keyspace] {
			if _, known := spaces[k.keyspace]; !known {
				spaces[k.keyspace] = r.whole(k.keyspace)
			}
			out = out.within(spaces[k.keyspace], r.several[k.keyspace])
			r.rulings[k] = out
			r.compareActs(&c, r.acts[k])
		} else {
			r.compare(&c, r.keys[k], strong)
		}
		rulings[out.verdict] = append(rulings[out.verdict], k)
		stages[out.stage]++
	}
	c.sessions = r.sessions(strong)
	return withCompared(r.sum(rulings, stages), c)
}

// within is a key's ruling in a group of which the whole order was shown, or not.
// several says that the key's own ruling does not prove it.
func (out ruling) within(shown exhibit, several bool) ruling {
	switch {
	case shown.proved && out.verdict == Fail:
		out.verdict = Invalid
		out.found = broken(out.found.ops, "our own stages disagree: the ledger shows an order, and %s says there is none: %s", out.stage, out.found.sentence)
	case shown.proved && out.verdict != Invalid:
		out.verdict, out.stage, out.found = Pass, strings.TrimSuffix("ledger and "+out.stage, " and none"), nil
	case out.verdict == Pass && several:
		out.verdict, out.stage, out.found = Unknown, "ledger", shown.wrong
	}
	out.lies = shown.wrong
	return out
}

func (r *record) sum(rulings map[Verdict][]ref, stages map[string]int) Result {
	for _, v := range []Verdict{Fail, Invalid, Unknown} {
		if len(rulings[v]) == 0 {
			continue
		}
		out := r.rule(rulings[v][0])
		res := Result{Verdict: v, Stage: out.stage, Sentence: fmt.Sprintf("%s: the search ran out of time or room", rulings[v][0])}
		if out.found != nil {
			res.Sentence, res.Witness = out.found.says(), out.found.ids()
		}
		if n := len(rulings[v]); n > 1 {
			res.Sentence += fmt.Sprintf(" (and %d more keys)", n-1)
		}
		res.Sentence += " [" + out.stage + "]"
		return res
	}
	var how []string
	for _, s := range slices.Sorted(maps.Keys(stages)) {
		how = append(how, fmt.Sprintf("%d by %s", stages[s], s))
	}
	return Result{Verdict: Pass, Sentence: fmt.Sprintf("%d keys: %s", len(rulings[Pass]), strings.Join(how, ", ")), Stage: strings.Join(slices.Sorted(maps.Keys(stages)), ", ")}
}
