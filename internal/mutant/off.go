//go:build !mutants

package mutant

// Enabled says whether this build has planted bugs at all.
const Enabled = false

// The planted bugs: what each breaks, and the checker that must catch it.
const (
	M1  = false // cp: a strong read comes from the local state without any check → linearizable
	M2  = false // cp: a strong read when raft believes to lead, and nobody is asked → linearizable
	M3  = false // cp: a read index is proved, but not waited for → linearizable
	M4  = false // a write is acknowledged before it is committed → durability, linearizable
	M5  = false // ap: a write that asks for a majority is acknowledged by one → staleness
	M6  = false // cp: a retried request is applied again → linearizable
	M7  = false // cp: sessions are missing from snapshots → exactly-once, linearizable
	M8  = false // cp: a condition is checked against a stale copy → linearizable
	M9  = false // ap: a remote write is applied before what it depends on → causal
	M10 = false // the session's token is ignored → read-your-writes, monotonic-reads
	M11 = false // ap: a merge keeps what either side has → resurrection
	M12 = false // ap: a replica goes on as the actor that is on its disk → versions, convergence
	M13 = false // ap: of concurrent values the newest is kept → durability
	M14 = false // ap: of stamps that tie the write that came last wins → convergence, causal-convergence
	M15 = false // ap: the hybrid clock takes nothing from the disk at start → TestStampsDoNotFallAcrossARestart
	M16 = false // ap: a merge leaves keys out and takes the whole vector → convergence
	M17 = false // ap: lww is pruned when a write is applied → convergence, causal
	M18 = false // a scan reads a moving state → scan
	M22 = false // cp: a node cut off for a second makes itself a configuration of one → linearizable, raft
	M23 = false // cp: non-voters are counted in a read index → linearizable
	M24 = false // cp: replies to earlier requests are counted in a read index → linearizable
	M25 = false // cp: the log is not synced → durability
	M26 = false // client: a watch that comes back begins behind the present → watch
	M27 = false // membership: a node looks for its peers once and never again → TestCutHealsByItself
	M28 = false // ap: a coordinator counts itself twice towards w → staleness
	M29 = false // ap: a value that comes late is written again under a new dot → versions, causal
	M30 = false // client: a strong read takes the answer of one that began before it → TestStrongReadJoinsNothing
	M31 = false // cp: a new leader does not wait for an entry of its own term → linearizable
	M32 = false // ap: the session's token is waited for by reads, not by writes → monotonic-writes, writes-follow-reads
	M33 = false // ap: a bounded read counts what its members' present actors wrote, not what they hold → staleness
	M34 = false // cp: a request of an evicted session is executed → exactly-once
	M35 = false // ap: the context of an lww read covers the winner only → causal
	M36 = false // ap: a counter's sum is folded at once, and a delete takes it whole or not → counter
	M37 = false // what a group's writes depend on elsewhere is told with values only, not with deletes → causal
	M38 = false // client: a write that may have arrived, and then found nobody, is reported as failed → outcomes, linearizable
	M39 = false // ap: a replica takes writes until it leaves, and leaves before the others hold them → durability
	M40 = false // ap: the end of a TTL takes whatever the key holds by then → ttl
	M41 = false // ap: a value is hidden by the clock of who reads when its TTL is over, and not deleted → ttl
	M42 = false // ap: a watch that goes on elsewhere skips what is new before what it has seen → watch
	M43 = false // ap: a remove takes away what its member or field is at each replica, not what it saw → map, set
	M44 = false // cp: a leader counts its own copy of an entry before its disk has it → durability
	M45 = false // ap: an actor is closed at what one member holds, whatever others do → TestActorIsNotClosedWhileAMemberLacksSomethingOfIt
)

// Name is the bug that is switched on: in this build none, which is "".
func Name() string { return "" }
