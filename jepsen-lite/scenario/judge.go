package scenario

import (
	"slices"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/nemesis"
	"github.com/dialkv/dialkv/jepsen-lite/report"
	"github.com/dialkv/dialkv/jepsen-lite/workload"
	"github.com/dialkv/dialkv/store"
)

// Judge judges what was recorded and writes the report. An error says that the
// report could not be written; the outcome holds nevertheless.
func (r *Recording) Judge() (Outcome, error) {
	r.o.Progress("judging")
	h, err := r.tape.read()
	if mutant.M46 && err == nil {
		h.Ops = h.Ops[:min(10, len(h.Ops))]
	}
	var rep check.Report
	if err != nil {
		rep = check.Reject(err)
	} else {
		rep = check.Run(h, check.Options{Claims: r.o.claims(), Wiped: r.o.wipes()})
	}
	rep.Seed = r.o.Load.Seed
	for _, own := range r.own() {
		rep.Checkers = append([]check.Result{own}, rep.Checkers...)
		rep.Verdict = worse(rep.Verdict, own.Verdict)
	}
	if r.o.Dir != "" {
		rep.Path, err = report.Write(r.o.Dir, h, rep, r.about)
	} else {
		err = nil
	}
	return Outcome{
		Report: rep, Load: r.notes.load, Faults: r.notes.faults.Done,
		Settled: r.notes.settled, Converged: r.notes.converged, Equal: r.notes.equal,
	}, err
}

// claims are what the run's keyspaces promise of its workload. What one node of an ap
// keyspace acknowledged alone goes with its memory, or its disk.
func (o Options) claims() []string {
	claims := workload.Claims(o.Load.Workload)
	lossless := []string{"durability", "staleness", "counter", "set"}
	switch {
	case o.Durability == store.Memory:
	case o.wipes() && slices.ContainsFunc(workload.Keyspaces(o.Load.Workload, ""), func(k shard.Keyspace) bool { return k.Mode == store.AP }):
		lossless = lossless[1:] // durability knows what may be gone
	default:
		return claims
	}
	return slices.DeleteFunc(claims, func(name string) bool { return slices.Contains(lossless, name) })
}

// wipes reports whether disks are lost for good.
func (o Options) wipes() bool { return slices.ContainsFunc(o.Faults, nemesis.Wipes) }

// own are the results of the run itself: whether it came to its end, and whether its
// faults were faults.
func (r *Recording) own() []check.Result {
	var own []check.Result
	if f := r.notes.faults; len(f.Done) > 0 || f.Wrong != "" {
		own = append(own, result("nemesis", "every fault had an effect, and was healed", f.String(), f.Wrong))
	}
	if r.notes.wrong != "" {
		own = append(own, result("run", "the run came to its end", "", r.notes.wrong))
	}
	return own
}

func result(name, claim, well, wrong string) check.Result {
	if wrong != "" {
		return check.Result{Name: name, Claim: claim, Verdict: check.Invalid, Sentence: wrong, Witness: []int64{}}
	}
	return check.Result{Name: name, Claim: claim, Verdict: check.Pass, Sentence: well, Witness: []int64{}}
}

// worse is the one that counts when both are said of one run.
func worse(a, b check.Verdict) check.Verdict {
	order := []check.Verdict{check.Fail, check.Invalid, check.Unknown, check.Pass}
	return order[min(slices.Index(order, a), slices.Index(order, b))]
}
