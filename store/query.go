package store

import (
	"context"
	"time"
)

// Query is a read of one group: a get of Key or, with a Limit, a scan.
type Query struct {
	Key   string
	Level Level
	Bound time.Duration // of Bounded: how old at most
	After Entry         // the session's entry; every level but eventual covers it

	// Limit above zero makes the query a scan: at most Limit items that begin
	// with Prefix, in key order, from Key on (Key included) and below To (empty:
	// no end).
	Limit   int
	Prefix  string
	To      string
	Reverse bool // from the last key down
	// KeysOnly leaves the values away. Count leaves the items away, too, and counts
	// all that the range holds, whatever the limit.
	KeysOnly, Count bool
	// Page is the Next of an earlier page of the same query: this page continues
	// it on the very view of that page, at the node that served it. A view that the
	// node no longer keeps is Compacted; a page of another query is Invalid.
	Page string
	// Leases asks for the group's leases in place of keys, in the order of their
	// ids, as many as Limit says. cp only.
	Leases bool
	// Siblings asks an ap replica for every sibling with its dot, whatever the
	// conflict policy shows; it is how a checker compares replicas.
	Siblings bool
}

// Page is one consistent view. A get finds nothing by returning no items; the
// revision or context at which it saw nothing is the page's.
type Page struct {
	Items    []Item
	Leases   []Lease // only if the query asked for them
	Count    uint64  // only if the query asked for it
	Next     string  // the Page of the query for what follows, opaque; "" at the end
	Revision uint64  // cp: the group's revision at the view
	Context  Entry   // ap: the causal context of everything in the view
	Entry    Entry   // what a session must remember of having read this
	Deps     Deps    // and of other groups: what is shown may depend on it
	Proof    Proof
}

// Item is one key and what it holds: one value on cp and lww keyspaces, every
// concurrent one on a siblings keyspace, in the same order on every replica; the sum,
// in decimal, of a counter; the members of a set, in byte order; the values of a map.
type Item struct {
	Key      string
	Values   [][]byte
	Fields   []string  // of a map: what each of Values is the value of, in byte order
	Revision uint64    // cp: revision of the write that put it there
	Created  uint64    // cp: revision of the write that created the key
	Version  uint64    // cp: writes since it was created, that one included
	Lease    uint64    // cp: the lease it is attached to, 0 if none
	Siblings []Sibling // only if the query asked for them
	// Remaining is, on ap, how long each of Values has left, by the clock of the node
	// that answers: 0 if it stays, never below a millisecond if not; nil if all stay.
	Remaining []time.Duration
}

// Sibling is one of several values that were written concurrently.
type Sibling struct {
	Dot   string // the write's name: actor and number
	Stamp uint64 // hybrid logical clock: 48 bits of milliseconds, 16 of counter
	Field string // of a set its member, of a map the field
	Value []byte // of a counter what is left of its actor's increments, in decimal
}

// Lease is a promise of the group to delete the attached keys, together, once nobody
// has kept it alive for its TTL: never earlier; after a change of leader up to one
// TTL later.
type Lease struct {
	ID        uint64 // the revision that granted it
	TTL       time.Duration
	Remaining time.Duration // as the leader sees it; 0 elsewhere
	Keys      uint64        // attached to it
}

// WatchQuery asks for every change of a key or a range, in order.
type WatchQuery struct {
	// Key alone is one key. With Prefix or All it must be empty.
	Key    string
	Prefix string
	All    bool
	// From is the first revision wanted, for one who has seen all before it. Zero
	// begins behind the state of the replica, once that covers After. A revision
	// of which the group no longer keeps the changes is Compacted, and the error
	// names the oldest it has; one that the group has not reached is Invalid. An ap
	// group has no revisions: there 1 is all that the log holds, and any other Invalid.
	From uint64
	// Since is the entry of a change, or of a read, that the watch goes on behind, in
	// the place of From. A member that does not cover it is waited for, and then
	// SessionUnreachable; one that does not keep all that comes behind it any more is
	// Compacted. ap only.
	Since Entry
	After Entry
}

// Changes is a watch in progress. It belongs to one goroutine.
type Changes interface {
	// Next returns the next change, every one exactly once and in the order of
	// revisions, all events of a revision together; on ap, in the order in which this
	// replica applied the writes, each alone. Or, when for a while there was none, a
	// notice of progress, which has no events and says that all up to its Revision, or
	// its Entry on ap, were returned. An error ends the watch: Unavailable, if this
	// replica cannot prove any more that it hears of changes (ap: if it hears of no
	// other replica); Compacted, if the watcher fell too far behind, or the group was
	// restored, or the replica was sent a snapshot.
	Next(ctx context.Context) (Change, error)
	Close()
}

// Change is what one revision changed, or one write on ap, as far as the watch asked for
// it.
type Change struct {
	Revision uint64  // ap: how many writes the watch has come past; it grows
	Events   []Event // none: a notice of progress
	// Entry is what a session must remember of having seen this. On ap it is also all
	// that the watch has seen: the Since of one that goes on behind it.
	Entry Entry
	Deps  Deps // what a session must remember of other groups; nil also if nothing is new
}

// Event is the change of one key.
type Event struct {
	Key      string
	Deleted  bool
	Expired  bool   // deleted because its lease ended; ap: a value was, as its TTL was over
	Value    []byte // unless it was deleted; ap: if there is exactly one
	Replaced uint64 // the revision this one replaced, 0 if the key was created
	Version  uint64 // as in Item; 0 if it was deleted
	Lease    uint64

	Values [][]byte // ap: all that a read showed after the write, in the same order
	Fields []string // of a map: what each of Values is the value of, as in Item
	Dot    string   // ap: the write's name
}
