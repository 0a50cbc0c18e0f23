//go:build !mutants

package mutant

// Enabled says whether this build has planted bugs at all.
const Enabled = false

// The planted bugs.
const (
	M1  = false // cp: a strong read comes from the local state without any check
	M2  = false // cp: a strong read when raft believes to lead, and nobody is asked
	M3  = false // cp: a read index is proved, but not waited for
	M4  = false // a write is acknowledged before it is committed
	M5  = false // ap: a write that asks for a majority is acknowledged by one
	M6  = false // cp: a retried request is applied again
	M7  = false // cp: sessions are missing from snapshots
	M8  = false // cp: a condition is checked against a stale copy
	M9  = false // ap: a remote write is applied before what it depends on
	M10 = false // the session's token is ignored
	M11 = false // ap: a merge keeps what either side has
	M12 = false // ap: a replica goes on as the actor that is on its disk
	M13 = false // ap: of concurrent values the newest is kept
	M14 = false // ap: of stamps that tie the write that came last wins
	M15 = false // ap: the hybrid clock takes nothing from the disk at start
	M16 = false // ap: a merge leaves keys out and takes the whole vector
	M17 = false // ap: lww is pruned when a write is applied
	M18 = false // a scan reads a moving state
	M19 = false // harness: a call that timed out is recorded as failed
	M20 = false // harness: a cut of links does nothing
	M21 = false // harness: a checker that has found something says pass
	M22 = false // cp: a node cut off for a second makes itself a configuration of one
	M23 = false // cp: non-voters are counted in a read index
	M24 = false // cp: replies to earlier requests are counted in a read index
	M25 = false // cp: the log is not synced
	M26 = false // client: a watch that comes back begins behind the present
	M27 = false // membership: a node looks for its peers once and never again
	M28 = false // ap: a coordinator counts itself twice towards w
	M29 = false // ap: a value that comes late is written again under a new dot
	M30 = false // client: a strong read takes the answer of one that began before it
	M31 = false // cp: a new leader does not wait for an entry of its own term
	M32 = false // ap: the session's token is waited for by reads, not by writes
	M33 = false // ap: a bounded read counts what its members' present actors wrote, not what they hold
	M34 = false // cp: a request of an evicted session is executed
	M35 = false // ap: the context of an lww read covers the winner only
	M36 = false // ap: a counter's sum is folded at once, and a delete takes it whole or not
	M37 = false // what a group's writes depend on elsewhere is told with values only, not with deletes
	M38 = false // client: a write that may have arrived, and then found nobody, is reported as failed
	M39 = false // ap: a replica takes writes until it leaves, and leaves before the others hold them
	M40 = false // ap: the end of a TTL takes whatever the key holds by then
	M41 = false // ap: a value is hidden by the clock of who reads when its TTL is over, and not deleted
	M42 = false // ap: a watch that goes on elsewhere skips what is new before what it has seen
	M43 = false // ap: a remove takes away what its member or field is at each replica, not what it saw
	M44 = false // cp: a leader counts its own copy of an entry before its disk has it
	M45 = false // ap: an actor is closed at what one member holds, whatever others do
	M46 = false // harness: of a history the first ten operations are judged
	M47 = false // harness: one client is all the load
)

// Name is the bug that is switched on: in this build none, which is "".
func Name() string { return "" }

// Switch is nothing in this build, which cannot switch a bug on.
func Switch(string) string { return "" }
