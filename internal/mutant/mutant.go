// Package mutant holds the switches of the planted bugs, by which the harness earns
// trust: a checker that has never caught anything proves nothing.
//
// Code reads if mutant.M9 { … }. Without the build tag "mutants" every switch is
// the constant false, so the compiler drops what stands under it and a release
// holds no bug to switch on. With the tag, the environment variable KV_MUTANT
// names the one bug of the process, and this package is its only reader.
package mutant

// Bug is a planted bug: its name, and what it breaks.
type Bug struct{ Name, Breaks string }

// Bugs lists the planted bugs. Who must catch each is told by jepsen-lite/bugs.
var Bugs = []Bug{
	{"M1", "cp: a strong read comes from the local state without any check"},
	{"M2", "cp: a strong read when raft believes to lead, and nobody is asked"},
	{"M3", "cp: a read index is proved, but not waited for"},
	{"M4", "a write is acknowledged before it is committed"},
	{"M5", "ap: a write that asks for a majority is acknowledged by one"},
	{"M6", "cp: a retried request is applied again"},
	{"M7", "cp: sessions are missing from snapshots"},
	{"M8", "cp: a condition is checked against a stale copy"},
	{"M9", "ap: a remote write is applied before what it depends on"},
	{"M10", "the session's token is ignored"},
	{"M11", "ap: a merge keeps what either side has"},
	{"M12", "ap: a replica goes on as the actor that is on its disk"},
	{"M13", "ap: of concurrent values the newest is kept"},
	{"M14", "ap: of stamps that tie the write that came last wins"},
	{"M15", "ap: the hybrid clock takes nothing from the disk at start"},
	{"M16", "ap: a merge leaves keys out and takes the whole vector"},
	{"M17", "ap: lww is pruned when a write is applied"},
	{"M18", "a scan reads a moving state"},
	{"M19", "harness: a call that timed out is recorded as failed"},
	{"M20", "harness: a cut of links does nothing"},
	{"M21", "harness: a checker that has found something says pass"},
	{"M22", "cp: a node cut off for a second makes itself a configuration of one"},
	{"M23", "cp: non-voters are counted in a read index"},
	{"M24", "cp: replies to earlier requests are counted in a read index"},
	{"M25", "cp: the log is not synced"},
	{"M26", "client: a watch that comes back begins behind the present"},
	{"M27", "membership: a node looks for its peers once and never again"},
	{"M28", "ap: a coordinator counts itself twice towards w"},
	{"M29", "ap: a value that comes late is written again under a new dot"},
	{"M30", "client: a strong read takes the answer of one that began before it"},
	{"M31", "cp: a new leader does not wait for an entry of its own term"},
	{"M32", "ap: the session's token is waited for by reads, not by writes"},
	{"M33", "ap: a bounded read counts what its members' present actors wrote, not what they hold"},
	{"M34", "cp: a request of an evicted session is executed"},
	{"M35", "ap: the context of an lww read covers the winner only"},
	{"M36", "ap: a counter's sum is folded at once, and a delete takes it whole or not"},
	{"M37", "what a group's writes depend on elsewhere is told with values only, not with deletes"},
	{"M38", "client: a write that may have arrived, and then found nobody, is reported as failed"},
	{"M39", "ap: a replica takes writes until it leaves, and leaves before the others hold them"},
	{"M40", "ap: the end of a TTL takes whatever the key holds by then"},
	{"M41", "ap: a value is hidden by the clock of who reads when its TTL is over, and not deleted"},
	{"M42", "ap: a watch that goes on elsewhere skips what is new before what it has seen"},
	{"M43", "ap: a remove takes away what its member or field is at each replica, not what it saw"},
	{"M44", "cp: a leader counts its own copy of an entry before its disk has it"},
	{"M45", "ap: an actor is closed at what one member holds, whatever others do"},
	{"M46", "harness: of a history the first ten operations are judged"},
	{"M47", "harness: one client is all the load"},
}

// Names lists the names of the planted bugs.
func Names() []string {
	names := make([]string, len(Bugs))
	for i, b := range Bugs {
		names[i] = b.Name
	}
	return names
}
