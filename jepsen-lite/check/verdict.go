package check

import (
	"fmt"
	"slices"
	"time"
)

// Verdict is what a checker says. Only Pass is green.
type Verdict string

const (
	Pass    Verdict = "pass"
	Fail    Verdict = "fail"    // the witness shows what was broken
	Unknown Verdict = "unknown" // the checker could not decide, or crashed
	Invalid Verdict = "invalid" // there was too little to judge, or our own stages disagree
)

// Worst is the verdict of a whole run. A run in which nothing was judged is Invalid.
func Worst(results []Result) Verdict {
	for _, v := range []Verdict{Fail, Invalid, Unknown, Pass} {
		if slices.ContainsFunc(results, func(r Result) bool { return r.Verdict == v }) {
			return v
		}
	}
	return Invalid
}

// Compared is how much a checker had to judge by. A pass without it is worth nothing.
type Compared struct {
	Ops             int `json:"ops"`
	ConcurrentPairs int `json:"concurrent_pairs"` // of operations on one key that overlap, a write among them
	ReadsOfOthers   int `json:"reads_of_others"`  // that returned another session's write
	ReadsInFault    int `json:"reads_in_fault"`   // answered, called while a fault was in force

	sessions int
	repeats  int  // requests that were sent again and answered again
	faulty   bool // there was a fault, so that reads in it are asked for
}

// Result is what one checker says of a history.
type Result struct {
	Name     string   `json:"name"`
	Claim    string   `json:"claim"` // what was promised
	Verdict  Verdict  `json:"verdict"`
	Compared Compared `json:"compared"`
	Sentence string   `json:"sentence"` // what was found, for people
	Witness  []int64  `json:"witness"`  // op ids that show it, at most 8
	Stage    string   `json:"-"`        // which part of the checker decided
}

// Report is the judgement of a history. Seed and Path are the caller's to fill in.
type Report struct {
	Verdict      Verdict  `json:"verdict"`
	Seed         int64    `json:"seed"`
	Checkers     []Result `json:"checkers"`
	Availability []Row    `json:"availability"`

	Operations Outcomes  `json:"operations"`
	Latency    []Latency `json:"latency"`
	Staleness  []Ages    `json:"staleness"`

	RecoveryMS *int64 `json:"recovery_ms"` // from the last heal until every kind of operation that a fault stopped was ok again; null if there is none or it never was
	Path       string `json:"report"`
}

// maxWitness is how many operations a person can hold in mind at once.
const maxWitness = 8

// floor is the least a checker must have compared for its pass to count.
type floor struct {
	ops, pairs, sessions, others, inFault int
}

var (
	floorRegister = floor{ops: 100, pairs: 30, others: 30, inFault: 20}
	floorSessions = floor{ops: 100, sessions: 2, others: 30, inFault: 20}
	floorFew      = floor{ops: 20}
	floorTypes    = floor{ops: 100, inFault: 20}
)

// all puts n in place of every number of f that is not zero already.
func (f floor) all(n int) floor {
	put := func(have int) int {
		if have == 0 {
			return 0
		}
		return n
	}
	return floor{put(f.ops), put(f.pairs), min(put(f.sessions), f.sessions), put(f.others), put(f.inFault)}
}

// missed says what c lacks, or nothing.
func (f floor) missed(c Compared) string {
	in := f.inFault
	if !c.faulty {
		in = 0
	}
	for _, m := range []struct {
		have, want int
		what       string
	}{
		{c.Ops, f.ops, "completed operations"},
		{c.sessions, f.sessions, "sessions"},
		{c.ConcurrentPairs, f.pairs, "overlapping pairs with a write"},
		{c.ReadsOfOthers, f.others, "reads of another session's write"},
		{c.ReadsInFault, in, "reads inside a fault"},
	} {
		if m.have < m.want {
			return fmt.Sprintf("%d %s, and a pass needs %d", m.have, m.what, m.want)
		}
	}
	return ""
}

// Options say how to judge. The zero Options infer the claims from the history and
// use the floors that each checker has.
type Options struct {
	Claims []string // names of checkers; none: those that the history's modes and levels promise
	// Floor stands in for every floor: 0 judges hand-made histories, however small.
	// nil: each checker's own.
	Floor *int
	// Wiped says that disks were lost for good, and with them what one replica of an ap
	// keyspace had acknowledged alone: durability asks of such a keyspace only for keys all of
	// whose writes were held by a majority.
	Wiped bool
	// PorcupineTimeout limits the search on one key; 0: 10 s. A search that runs out
	// of time decides nothing.
	PorcupineTimeout time.Duration
}
