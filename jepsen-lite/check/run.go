package check

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// checker is one claim and the way to judge it.
type checker struct {
	name, claim string
	floor       floor
	applies     func(*record) bool // without claims: does the history promise it
	judge       func(*record) Result
}

var checkers = []checker{
	{"outcomes", "what was called failed was never seen", floor{}, always, outcomes},
	{"versions", "a revision or dot names one write, and revisions are the order of a key", floor{}, always, versions},
	{"linearizable", "on cp, every operation takes effect at one instant between call and answer", floorRegister, (*record).promisesStrong, linearizable},
	{"causal", "every write a session made or read, and what it depended on, is visible to it", floorSessions, (*record).promisesCausal, causal},
	{"causal-convergence", "on lww, all sessions agree on one order of concurrent writes", floorSessions, (*record).hasLWW, convergent},
	{"read-your-writes", "a session sees its own acknowledged writes", floorSessions, (*record).promisesOwn, readYourWrites},
	{"monotonic-reads", "a session never reads older than it has read", floorSessions, (*record).promisesMonotonic, monotonicReads},
	{"monotonic-writes", "who sees a session's write sees the session's earlier ones", floorSessions, (*record).promisesCausal, monotonicWrites},
	{"writes-follow-reads", "who sees a session's write sees what the session had read before", floorSessions, (*record).promisesCausal, writesFollowReads},
	{"exactly-once", "a write happens once, however often it is sent, and a counter is the sum of its incrs", floorFew, (*record).counts, exactlyOnce},
	{"bank", "every view of the accounts has the same total, and none is overdrawn", floorFew, (*record).banks, bank},
	{"scan", "a scan, all its pages, is the state at one revision, on ap at one vector", floorFew, (*record).scans, scan},
	{"watch", "a watch is told every change of its keys, once, in order, on ap behind its causes, and all of a revision together", floorFew, (*record).watches, watch},
	{"lock", "fences grow from holder to holder, and an old one opens nothing any more", floorFew, (*record).holds, lock},
	{"ttl", "a key lives for its TTL, then goes, and stays away", floorFew, (*record).expires, ttl},
	{"staleness", "a bounded read shows what was acknowledged before its bound, a quorum read what a majority held", floorFew, (*record).bounds, staleness},
	{"levels", "no read is served below the level it asked for, and every answer says which it was", floorFew, (*record).saysLevels, levels},
	{"counter", "a counter is the sum of its increments, each counted once, less those that a delete had seen", floorTypes, (*record).hasCounters, counters},
	{"set", "a set has every member that was added and not removed, and no other", floorTypes, (*record).hasSets, sets},
	{"map", "a map has every field that was put and not removed, and no other", floorTypes, (*record).hasMaps, maplike},
	{"raft", "one node leads a group in a term", floorFew, (*record).leads, raft},
	{"convergence", "after the heal all replicas hold and serve the same", floorFew, (*record).hasDump, convergence},
	{"durability", "no acknowledged write is gone after the heal", floorFew, (*record).hasDump, durability},
}

// Names lists the checkers, in the order they are reported.
func Names() []string {
	names := make([]string, 0, len(checkers))
	for _, c := range checkers {
		names = append(names, c.name)
	}
	return names
}

// Run judges a history. It never fails: what goes wrong is a verdict. The checkers
// outcomes and versions run whatever was claimed. Searches are limited by real time,
// so Run does not belong in a synctest bubble.
func Run(h *history.History, o Options) Report {
	if h == nil || len(h.Ops) == 0 && len(h.Replicas) == 0 {
		return Reject(history.ErrEmpty)
	}
	return guarded(func() Report { return run(h, o) })
}

// guarded turns a crash outside of the checkers into a verdict.
func guarded(judge func() Report) (rep Report) {
	defer func() {
		if p := recover(); p != nil {
			rep = Reject(fmt.Errorf("judging it crashed: %v at %s", p, where(debug.Stack())))
			rep.Verdict, rep.Checkers[0].Verdict = Unknown, Unknown
		}
	}()
	return judge()
}

func run(h *history.History, o Options) Report {
	table := Availability(h)
	rec := newRecord(h, o)
	rep := Report{
		Availability: table.Rows, RecoveryMS: table.recoveryMS(),
		Operations: outcomesOf(h), Latency: latencies(h), Staleness: ages(rec),
	}
	for _, c := range checkers {
		if c.wanted(rec, o.Claims) {
			rep.Checkers = append(rep.Checkers, c.run(rec, o))
		}
	}
	for _, name := range o.Claims {
		if !slices.Contains(Names(), name) {
			rep.Checkers = append(rep.Checkers, nobody(name))
		}
	}
	rep.Verdict = Worst(rep.Checkers)
	return rep
}

// Reject is the report of a history that could not be read.
func Reject(err error) Report {
	return Report{
		Verdict: Invalid,
		Checkers: []Result{{
			Name: "history", Claim: "the history can be read", Verdict: Invalid,
			Sentence: clip(err.Error()), Witness: []int64{},
		}},
		Availability: []Row{}, Latency: []Latency{}, Staleness: []Ages{},
	}
}

// clip bounds a sentence: what it quotes may be as long as a line of the history.
func clip(s string) string {
	const most = 2000
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func nobody(name string) Result {
	return Result{
		Name: name, Verdict: Invalid, Witness: []int64{},
		Sentence: fmt.Sprintf("there is no checker %q; there are %s", name, strings.Join(Names(), ", ")),
	}
}

func (c checker) wanted(rec *record, claims []string) bool {
	if c.name == "outcomes" || c.name == "versions" || slices.Contains(claims, c.name) {
		return true
	}
	return len(claims) == 0 && c.applies(rec)
}

// run guards the checker: a panic is unknown, and a pass below the floor is invalid.
func (c checker) run(rec *record, o Options) (res Result) {
	defer func() {
		if p := recover(); p != nil {
			res = Result{Verdict: Unknown, Sentence: fmt.Sprintf("the checker crashed: %v at %s", p, where(debug.Stack()))}
		}
		res.Name, res.Claim, res.Sentence = c.name, c.claim, clip(res.Sentence)
		if res.Witness == nil {
			res.Witness = []int64{}
		}
	}()
	res = c.judge(rec)
	if mutant.M21 && res.Verdict == Fail {
		res.Verdict = Pass
	}
	res.Compared.faulty = len(rec.h.Faults) > 0
	f := c.floor
	if o.Floor != nil {
		f = f.all(*o.Floor)
	}
	if miss := f.missed(res.Compared); miss != "" && res.Verdict == Pass {
		res.Verdict = Invalid
		res.Sentence = "too little to judge by: " + miss
	}
	return res
}

// where finds the line of the panic in a stack: the first frame of this package
// after the runtime's.
func where(stack []byte) string {
	for line := range strings.Lines(string(stack)) {
		if strings.Contains(line, "jepsen-lite/check/") && !strings.Contains(line, "/run.go") {
			return strings.TrimSpace(line)
		}
	}
	return "an unknown place"
}

func always(*record) bool { return true }
