// Package cp keeps one group linearizable with Raft.
//
// A write becomes a command; the proposer gathers the commands that wait into one
// log entry, Raft replicates it, and when a majority of voters has it on disk the
// state machine applies it: keys with their revisions, and the table of
// exactly-once sessions, in one engine batch. State is not synced by itself: the
// log has it, and what a crash takes is applied again.
//
// A strong read asks a majority of voters for their term after the read began
// (the read index, Ongaro, "Consensus: Bridging Theory and Practice", 6.4), then
// waits for its own state machine. Any replica serves it. Weaker reads wait for
// less; see Replica.Read.
//
// What may be lost: nothing that Write acknowledged. What may be unknown: a Write
// whose leader lost its seat, or whose context ended, after it was proposed.
package cp
