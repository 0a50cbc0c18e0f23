package bugs

import (
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/nemesis"
)

// quick is for bugs that are seen within a second or two.
var quick = Pace{Length: 10 * time.Second}

// Table has a row for each planted bug that a plan catches.
//
// The reads of a leader that does not know better are few, and the key that is read was
// not always written meanwhile. Then only versions can tell: the read stands at an older
// revision than a write of another key that was over before.
var Table = []Row{
	{Bug: "M1", Plan: Plan{Workload: "register", Faults: faults{nemesis.Partition}}, Real: quick, CaughtBy: by{"linearizable"}},
	{Bug: "M2", Plan: Plan{Workload: "register", Faults: faults{nemesis.Stall}}, Must: []Need{Faults}, Virtual: Pace{Length: 2 * time.Minute}, Real: Pace{Length: 40 * time.Second}, CaughtBy: by{"linearizable", "versions"}},
	{Bug: "M3", Plan: Plan{Workload: "register"}, Real: quick, CaughtBy: by{"linearizable"}},
	{Bug: "M4", Plan: Plan{Workload: "register", Faults: faults{nemesis.Partition}}, Virtual: Pace{Length: 4 * time.Minute}, Real: Pace{Length: 40 * time.Second}, CaughtBy: by{"linearizable", "durability"}},
	{Bug: "M5", Plan: Plan{Workload: "bounded", Faults: faults{nemesis.Partition}}, Virtual: Pace{Length: 2 * time.Minute, Rate: 200}, Real: Pace{Length: 40 * time.Second}, CaughtBy: by{"staleness"}},
	{Bug: "M6", Plan: Plan{Workload: "exactly-once"}, Real: quick, CaughtBy: by{"exactly-once"}},
	{Bug: "M7", Plan: Plan{Workload: "exactly-once", Faults: faults{nemesis.Partition}, Short: true}, Must: []Need{Faults, Short}, CaughtBy: by{"exactly-once"}},
	// Two conditional writes must fall into one log entry: late links make entries larger.
	{Bug: "M8", Plan: Plan{Workload: "register", Latency: 10 * time.Millisecond}, Virtual: Pace{Rate: 200}, CaughtBy: by{"linearizable"}},
	{Bug: "M9", Plan: Plan{Workload: "causal", Faults: faults{nemesis.Bridge}}, Real: quick, CaughtBy: by{"causal"}},
	{Bug: "M10", Plan: Plan{Workload: "roaming", Faults: faults{nemesis.Partition, nemesis.Bridge}}, Real: quick, CaughtBy: by{"read-your-writes", "monotonic-reads"}},
	{Bug: "M11", Plan: Plan{Workload: "roaming", Faults: faults{nemesis.Away}, Short: true}, Must: []Need{Faults, Short}, Virtual: Pace{Length: 2 * time.Minute}, Real: Pace{Length: 40 * time.Second}, CaughtBy: by{"causal", "convergence"}},
	// A crash takes what peers have: the dots are given to other writes.
	{Bug: "M12", Plan: Plan{Workload: "roaming", Faults: faults{nemesis.Kill}, Unsynced: true}, Must: []Need{Faults, Unsynced}, Virtual: Pace{Length: 2 * time.Minute}, Real: Pace{Length: 30 * time.Second}, CaughtBy: by{"versions", "convergence"}},
	{Bug: "M13", Plan: Plan{Workload: "roaming", Faults: faults{nemesis.Partition}}, Virtual: Pace{Length: 2 * time.Minute}, CaughtBy: by{"durability", "causal"}},
	// Two nodes must write a key in the same millisecond.
	{Bug: "M14", Plan: Plan{Workload: "roaming", Faults: faults{nemesis.Partition}}, Virtual: Pace{Length: 4 * time.Minute, Rate: 400}, Real: Pace{Length: time.Minute, Rate: 1500}, CaughtBy: by{"convergence", "causal-convergence"}},
	{Bug: "M16", Plan: Plan{Workload: "roaming", Faults: faults{nemesis.Away}, Short: true}, Must: []Need{Faults, Short}, Virtual: Pace{Length: 2 * time.Minute}, Real: Pace{Length: 40 * time.Second}, CaughtBy: by{"convergence"}},
	// One side must prune a value that the other deletes before it has heard of the winner.
	{Bug: "M17", Plan: Plan{Workload: "delete", Faults: faults{nemesis.Partition}}, Virtual: Pace{Length: 4 * time.Minute, Rate: 200}, Real: Pace{Length: 90 * time.Second, Rate: 1000}, CaughtBy: by{"causal", "convergence", "durability"}},
	{Bug: "M18", Plan: Plan{Workload: "scan"}, Real: quick, CaughtBy: by{"scan"}},
	// A write must come between two pages: late links leave it the time.
	{Bug: "M18", Plan: Plan{Workload: "ap-scan", Latency: 10 * time.Millisecond}, Virtual: Pace{Rate: 200}, Real: quick, CaughtBy: by{"scan"}},
	// As for M38: the leader must die with a write that happens all the same.
	{Bug: "M19", Plan: Plan{Workload: "register", Faults: faults{nemesis.Kill}, Latency: 20 * time.Millisecond}, Must: []Need{Faults}, Virtual: Pace{Length: 2 * time.Minute, Rate: 200}, Real: Pace{Length: 40 * time.Second}, CaughtBy: by{"outcomes"}},
	{Bug: "M20", Plan: Plan{Workload: "register", Faults: faults{nemesis.Partition}}, Must: []Need{Faults}, CaughtBy: by{"nemesis"}, As: check.Invalid},
	{Bug: "M22", Plan: Plan{Workload: "register", Faults: faults{nemesis.Partition}}, Must: []Need{Faults}, CaughtBy: by{"linearizable", "raft"}},
	{Bug: "M24", Plan: Plan{Workload: "register", Faults: faults{nemesis.Stall}}, Must: []Need{Faults}, Virtual: Pace{Length: 6 * time.Minute, Rate: 200}, Real: Pace{Length: 2 * time.Minute}, CaughtBy: by{"linearizable", "versions"}},
	{Bug: "M25", Plan: Plan{Workload: "register", Faults: faults{nemesis.Power}}, Must: []Need{Faults}, CaughtBy: by{"durability"}},
	{Bug: "M26", Plan: Plan{Workload: "watch", Faults: faults{nemesis.Kill}}, Must: []Need{Faults}, Real: Pace{Length: 40 * time.Second}, CaughtBy: by{"watch"}},
	{Bug: "M26", Plan: Plan{Workload: "ap-watch", Faults: faults{nemesis.Kill, nemesis.Partition}}, Virtual: Pace{Length: 3 * time.Minute}, Real: Pace{Length: 40 * time.Second}, CaughtBy: by{"watch"}},
	// In a cut of five two count as three, and acknowledge what a quorum of the others lacks.
	{Bug: "M28", Plan: Plan{Workload: "bounded", Faults: faults{nemesis.Partition}}, Virtual: Pace{Length: 2 * time.Minute, Rate: 200}, Real: Pace{Length: time.Minute}, CaughtBy: by{"staleness"}},
	// What both sides wrote during the cut comes late to the other.
	{Bug: "M29", Plan: Plan{Workload: "roaming", Faults: faults{nemesis.Partition}}, Must: []Need{Faults}, Virtual: Pace{Length: 2 * time.Minute}, CaughtBy: by{"versions", "causal"}},
	{Bug: "M31", Plan: Plan{Workload: "register", Faults: faults{nemesis.Succession}}, Must: []Need{Faults}, Virtual: Pace{Length: 4 * time.Minute, Rate: 200}, Real: Pace{Length: 2 * time.Minute}, CaughtBy: by{"linearizable", "versions"}},
	// A session must write on one side of a cut, then on the other, where somebody reads who
	// has not been on the first: half of the clients stay at their node.
	{Bug: "M32", Plan: Plan{Workload: "bounded", Faults: faults{nemesis.Partition}}, Virtual: Pace{Rate: 200}, CaughtBy: by{"monotonic-writes", "writes-follow-reads"}},
	// Its proof is wrong from the first sign of a new life until any member is caught up.
	{Bug: "M33", Plan: Plan{Workload: "bounded", Faults: faults{nemesis.Revive}}, Must: []Need{Faults}, Virtual: Pace{Rate: 200}, Real: Pace{Length: 30 * time.Second}, CaughtBy: by{"staleness"}},
	{Bug: "M34", Plan: Plan{Workload: "exactly-once"}, Real: quick, CaughtBy: by{"exactly-once"}},
	// A loser must be hidden by a winner, which somebody who has read it deletes.
	{Bug: "M35", Plan: Plan{Workload: "delete", Faults: faults{nemesis.Partition}}, Virtual: Pace{Length: 4 * time.Minute, Rate: 200}, Real: Pace{Length: 40 * time.Second, Rate: 1000}, CaughtBy: by{"causal"}},
	// A delete must meet an increment on its way, of an actor of whom all know an older one.
	{Bug: "M36", Plan: Plan{Workload: "counter", Faults: faults{nemesis.Partition}}, Virtual: Pace{Length: 4 * time.Minute, Rate: 200}, Real: Pace{Length: 40 * time.Second, Rate: 1000}, CaughtBy: by{"counter", "convergence"}},
	// Who has seen a task, and that it is gone, must not miss the post that came before.
	{Bug: "M37", Plan: Plan{Workload: "across", Faults: faults{nemesis.Partition}}, Virtual: Pace{Length: 4 * time.Minute, Rate: 200}, Real: Pace{Length: 40 * time.Second, Rate: 1000}, CaughtBy: by{"causal"}},
	// A leader must die with a write that others hold, and nobody follow it in time: late
	// links leave it the time.
	{Bug: "M38", Plan: Plan{Workload: "register", Faults: faults{nemesis.Kill, nemesis.Power}, Latency: 20 * time.Millisecond}, Must: []Need{Faults}, Virtual: Pace{Length: 2 * time.Minute, Rate: 200}, Real: Pace{Length: 40 * time.Second}, CaughtBy: by{"outcomes", "linearizable"}},
	{Bug: "M40", Plan: Plan{Workload: "ap-ttl"}, Real: quick, CaughtBy: by{"ttl"}},
	// A clock must be set back over the end of a value that somebody has seen to be gone.
	{Bug: "M41", Plan: Plan{Workload: "ap-ttl", Faults: faults{nemesis.Skew}}, Must: []Need{Faults}, Virtual: Pace{Length: 2 * time.Minute, Rate: 200}, Real: Pace{Length: 40 * time.Second}, CaughtBy: by{"ttl"}},
	// The watcher must go to a node that has applied writes of its own before those that
	// were seen elsewhere: late links leave it the time.
	{Bug: "M42", Plan: Plan{Workload: "ap-watch", Latency: 50 * time.Millisecond}, Virtual: Pace{Length: 2 * time.Minute, Rate: 200}, Real: Pace{Length: 30 * time.Second}, CaughtBy: by{"watch"}},
	{Bug: "M43", Plan: Plan{Workload: "map", Faults: faults{nemesis.Partition}}, Virtual: Pace{Length: 2 * time.Minute}, CaughtBy: by{"map", "convergence"}},
	{Bug: "M43", Plan: Plan{Workload: "set", Faults: faults{nemesis.Partition}}, Virtual: Pace{Length: 2 * time.Minute}, CaughtBy: by{"set", "convergence"}},
	{Bug: "M46", Plan: Plan{Workload: "register"}, Real: quick, CaughtBy: by{"linearizable"}, As: check.Invalid},
	{Bug: "M47", Plan: Plan{Workload: "register"}, Real: quick, CaughtBy: by{"linearizable"}, As: check.Invalid},
}

// Two words that the table is easier to read with.
type (
	by     = []string
	faults = []string
)

// Missed are the others.
var Missed = []Unseen{
	{
		"M15", "a node must start alone with its clock set back, and what it writes before it hears of others must be the last of its key, or nobody sees the stamp: of some thirty such writes in two minutes of jumps none was left in the end",
		"store/ap", "TestStampsDoNotFallAcrossARestart",
	},
	{
		"M21", "all histories of honest checkers look alike: only one that is known to be broken tells",
		"jepsen-lite/check", "TestFixtures",
	},
	{
		"M23", "a non-voter is one for a moment only, while a node enters: too short to stand by a leader that was cut off",
		"store/cp", "TestNonVoterIsNotCountedInAReadIndex",
	},
	{
		"M27", "replicas find each other by the catalog and dial by name: gossip moves no data, so a cluster that lost sight of itself converges all the same",
		"membership", "TestCutHealsByItself",
	},
	{
		"M30", "each process of a workload has a client of its own and makes one call at a time, so that no two reads of one client are in progress",
		"client", "TestStrongReadJoinsNothing",
	},
	{
		"M39", "the write must be taken by a node in the milliseconds in which it leaves and reach nobody, and a node that is cut off cannot leave: caught in 1 of 8 long runs",
		"store/ap", "TestNothingIsLostOrStaleWhileMembersComeAndGo",
	},
	{
		"M44", "a power cut must come in the milliseconds in which all of a majority but the leader has an entry on disk, and those who lack it must then elect one of them: caught in 0 of 3 long runs",
		"store/cp", "TestNothingIsToldOfAnEntryBeforeTheLeadersDiskHasIt",
	},
	{
		"M45", "an actor is closed every few seconds and long after its last write is everywhere, unless it ended in the very second in which that was under way",
		"store/ap", "TestActorIsNotClosedWhileAMemberLacksSomethingOfIt",
	},
}
