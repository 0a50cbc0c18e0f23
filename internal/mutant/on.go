//go:build mutants

package mutant

import (
	"os"
	"slices"
	"strings"
)

// Enabled says whether this build has planted bugs at all.
const Enabled = true

// The planted bugs. They are set once, when the process starts.
var (
	name = pick(os.Getenv(variable))

	M1  = name == "M1"  // cp: a strong read comes from the local state without any check
	M2  = name == "M2"  // cp: a strong read when raft believes to lead, and nobody is asked
	M3  = name == "M3"  // cp: a read index is proved, but not waited for
	M4  = name == "M4"  // a write is acknowledged before it is committed
	M5  = name == "M5"  // ap: a write that asks for a majority is acknowledged by one
	M6  = name == "M6"  // cp: a retried request is applied again
	M7  = name == "M7"  // cp: sessions are missing from snapshots
	M8  = name == "M8"  // cp: a condition is checked against a stale copy
	M9  = name == "M9"  // ap: a remote write is applied before what it depends on
	M10 = name == "M10" // the session's token is ignored
	M11 = name == "M11" // ap: a merge keeps what either side has
	M12 = name == "M12" // ap: a replica goes on as the actor that is on its disk
	M13 = name == "M13" // ap: of concurrent values the newest is kept
	M14 = name == "M14" // ap: of stamps that tie the write that came last wins
	M15 = name == "M15" // ap: the hybrid clock takes nothing from the disk at start
	M16 = name == "M16" // ap: a merge leaves keys out and takes the whole vector
	M17 = name == "M17" // ap: lww is pruned when a write is applied
	M18 = name == "M18" // a scan reads a moving state
	M19 = name == "M19" // harness: a call that timed out is recorded as failed
	M20 = name == "M20" // harness: a cut of links does nothing
	M21 = name == "M21" // harness: a checker that has found something says pass
	M22 = name == "M22" // cp: a node cut off for a second makes itself a configuration of one
	M23 = name == "M23" // cp: non-voters are counted in a read index
	M24 = name == "M24" // cp: replies to earlier requests are counted in a read index
	M25 = name == "M25" // cp: the log is not synced
	M26 = name == "M26" // client: a watch that comes back begins behind the present
	M27 = name == "M27" // membership: a node looks for its peers once and never again
	M28 = name == "M28" // ap: a coordinator counts itself twice towards w
	M29 = name == "M29" // ap: a value that comes late is written again under a new dot
	M30 = name == "M30" // client: a strong read takes the answer of one that began before it
	M31 = name == "M31" // cp: a new leader does not wait for an entry of its own term
	M32 = name == "M32" // ap: the session's token is waited for by reads, not by writes
	M33 = name == "M33" // ap: a bounded read counts what its members' present actors wrote, not what they hold
	M34 = name == "M34" // cp: a request of an evicted session is executed
	M35 = name == "M35" // ap: the context of an lww read covers the winner only
	M36 = name == "M36" // ap: a counter's sum is folded at once, and a delete takes it whole or not
	M37 = name == "M37" // what a group's writes depend on elsewhere is told with values only, not with deletes
	M38 = name == "M38" // client: a write that may have arrived, and then found nobody, is reported as failed
	M39 = name == "M39" // ap: a replica takes writes until it leaves, and leaves before the others hold them
	M40 = name == "M40" // ap: the end of a TTL takes whatever the key holds by then
	M41 = name == "M41" // ap: a value is hidden by the clock of who reads when its TTL is over, and not deleted
	M42 = name == "M42" // ap: a watch that goes on elsewhere skips what is new before what it has seen
	M43 = name == "M43" // ap: a remove takes away what its member or field is at each replica, not what it saw
	M44 = name == "M44" // cp: a leader counts its own copy of an entry before its disk has it
	M45 = name == "M45" // ap: an actor is closed at what one member holds, whatever others do
	M46 = name == "M46" // harness: of a history the first ten operations are judged
	M47 = name == "M47" // harness: one client is all the load
)

// variable names the bug of a process.
const variable = "KV_MUTANT"

// Name is the bug that is switched on, or "".
func Name() string { return name }

// Switch is the entry in the environment of a child that switches a bug on there.
func Switch(name string) string { return variable + "=" + name }

// pick accepts a bug's name or nothing. A misspelt name would otherwise run the
// healthy program and report that the checkers saw no bug.
func pick(name string) string {
	if name != "" && !slices.Contains(Names(), name) {
		panic(variable + "=" + name + " is not a planted bug; one of " + strings.Join(Names(), ", "))
	}
	return name
}
