// Package store is the vocabulary of dialkv and the contract that every engine
// keeps. It holds words and laws, no machinery, and imports only the standard
// library.
//
// A keyspace is a named set of keys with one [Mode]: CP (Raft, linearizable) or
// AP (always writable, causal). Its keys are spread over groups; a [Replica] is
// one node's copy of one group. What a read is worth is its [Level]; what a
// client has seen and written is its session, of which a replica knows only one
// opaque [Entry]; how a call ended is its [Outcome].
//
// The rule above all others: a level is never weakened silently, and a call that
// may have been applied is never called failed.
package store
