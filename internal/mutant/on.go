//go:build mutants

package mutant

import (
	"os"
	"slices"
	"strings"
)

// Enabled says whether this build has planted bugs at all.
const Enabled = true

// The planted bugs: what each breaks, and the checker that must catch it. They are
// set once, when the process starts.
var (
	name = pick(os.Getenv("KV_MUTANT"))

	M1  = name == "M1"  // cp: a strong read comes from the local state without any check → linearizable
	M2  = name == "M2"  // cp: a strong read when raft believes to lead, and nobody is asked → linearizable
	M3  = name == "M3"  // cp: a read index is proved, but not waited for → linearizable
	M4  = name == "M4"  // a write is acknowledged before it is committed → durability, linearizable
	M5  = name == "M5"  // ap: a write that asks for a majority is acknowledged by one → staleness
	M6  = name == "M6"  // cp: a retried request is applied again → linearizable
	M7  = name == "M7"  // cp: sessions are missing from snapshots → exactly-once, linearizable
	M8  = name == "M8"  // cp: a condition is checked against a stale copy → linearizable
	M9  = name == "M9"  // ap: a remote write is applied before what it depends on → causal
	M10 = name == "M10" // the session's token is ignored → read-your-writes, monotonic-reads
	M11 = name == "M11" // ap: a merge keeps what either side has → resurrection
	M12 = name == "M12" // ap: a replica goes on as the actor that is on its disk → versions, convergence
	M13 = name == "M13" // ap: of concurrent values the newest is kept → durability
	M14 = name == "M14" // ap: of stamps that tie the write that came last wins → convergence, causal-convergence
	M15 = name == "M15" // ap: the hybrid clock takes nothing from the disk at start → TestStampsDoNotFallAcrossARestart
	M16 = name == "M16" // ap: a merge leaves keys out and takes the whole vector → convergence
	M17 = name == "M17" // ap: lww is pruned when a write is applied → convergence, causal
	M18 = name == "M18" // a scan reads a moving state → scan
	M22 = name == "M22" // cp: a node cut off for a second makes itself a configuration of one → linearizable, raft
	M23 = name == "M23" // cp: non-voters are counted in a read index → linearizable
	M24 = name == "M24" // cp: replies to earlier requests are counted in a read index → linearizable
	M25 = name == "M25" // cp: the log is not synced → durability
	M26 = name == "M26" // client: a watch that comes back begins behind the present → watch
	M27 = name == "M27" // membership: a node looks for its peers once and never again → TestCutHealsByItself
	M28 = name == "M28" // ap: a coordinator counts itself twice towards w → staleness
	M29 = name == "M29" // ap: a value that comes late is written again under a new dot → versions, causal
	M30 = name == "M30" // client: a strong read takes the answer of one that began before it → TestStrongReadJoinsNothing
	M31 = name == "M31" // cp: a new leader does not wait for an entry of its own term → linearizable
	M32 = name == "M32" // ap: the session's token is waited for by reads, not by writes → monotonic-writes, writes-follow-reads
	M33 = name == "M33" // ap: a bounded read counts what its members' present actors wrote, not what they hold → staleness
	M34 = name == "M34" // cp: a request of an evicted session is executed → exactly-once
	M35 = name == "M35" // ap: the context of an lww read covers the winner only → causal
	M36 = name == "M36" // ap: a counter's sum is folded at once, and a delete takes it whole or not → counter
	M37 = name == "M37" // what a group's writes depend on elsewhere is told with values only, not with deletes → causal
	M38 = name == "M38" // client: a write that may have arrived, and then found nobody, is reported as failed → outcomes, linearizable
	M39 = name == "M39" // ap: a replica takes writes until it leaves, and leaves before the others hold them → durability
	M40 = name == "M40" // ap: the end of a TTL takes whatever the key holds by then → ttl
	M41 = name == "M41" // ap: a value is hidden by the clock of who reads when its TTL is over, and not deleted → ttl
	M42 = name == "M42" // ap: a watch that goes on elsewhere skips what is new before what it has seen → watch
	M43 = name == "M43" // ap: a remove takes away what its member or field is at each replica, not what it saw → map, set
	M44 = name == "M44" // cp: a leader counts its own copy of an entry before its disk has it → durability
	M45 = name == "M45" // ap: an actor is closed at what one member holds, whatever others do → TestActorIsNotClosedWhileAMemberLacksSomethingOfIt
)

// Name is the bug that is switched on, or "".
func Name() string { return name }

// pick accepts a bug's name or nothing. A misspelt name would otherwise run the
// healthy program and report that the checkers saw no bug.
func pick(name string) string {
	if name != "" && !slices.Contains(Names, name) {
		panic("KV_MUTANT=" + name + " is not a planted bug; one of " + strings.Join(Names, ", "))
	}
	return name
}
