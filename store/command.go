package store

import (
	"fmt"
	"strings"
	"time"
)

// Op is what a command does.
type Op uint8

const (
	// Put sets Key to Value. On a set keyspace it adds Field to the set, and has no
	// value; on a map keyspace it sets Field of the map.
	Put Op = iota + 1
	// Delete removes Key or, with a Field, that member or field. No tombstone
	// stays, but of a counter, until all members know of it (ADR 0009).
	Delete
	// OpenSession begins an exactly-once session in a cp group. Its id is the
	// revision of its log entry, returned as Result.Revision.
	OpenSession
	// Increment adds Delta to the decimal integer that Key holds; an absent key
	// counts as 0. Result.Value is the sum. A value that is no integer, or a sum
	// beyond 64 bits, is Invalid and changes nothing. On cp and on counter keyspaces.
	Increment
	// Transact does what Txn says, at one revision. cp only.
	Transact
	// Grant makes a lease that lives for TTL. Its id, the revision of its log
	// entry, is Result.Lease. cp only.
	Grant
	// KeepAlive gives Lease another TTL from now on. One that has ended is
	// NotFound: the keys that were attached to it are gone. cp only.
	KeepAlive
	// Revoke ends Lease and deletes the keys attached to it, at one revision. cp only.
	Revoke
	// Get reads Key as a step of a Txn, and is no command by itself.
	Get
	// CloseSession ends Request.Session, which its client uses no more; one that is
	// not there is ended already. cp only.
	CloseSession
)

var opNames = map[Op]string{
	Put: "put", Delete: "delete", OpenSession: "open-session", Increment: "incr", Transact: "txn",
	Grant: "lease-grant", KeepAlive: "lease-keepalive", Revoke: "lease-revoke", Get: "get",
	CloseSession: "close-session",
}

func (o Op) String() string {
	if name, ok := opNames[o]; ok {
		return name
	}
	return fmt.Sprintf("op(%d)", uint8(o))
}

// Command is one write to one group.
type Command struct {
	Op    Op
	Key   string
	Field string // ap, set and map: the member or field of Key that is meant
	Value []byte
	If    Condition // cp only
	After Entry     // the session's entry: the write is ordered after it, wherever it is read
	Deps  Deps      // what the session has seen of other groups: whoever reads this one is told

	// Context is what the writer has read of this key (ap): the write supersedes
	// exactly that. nil means the writer read nothing and the policy decides.
	Context Entry
	Blind   bool // ap, siblings: supersede nothing, stand beside what is there
	W       W    // ap: how many replicas must hold it; the zero W is the keyspace's

	Delta int64 // of Increment
	// TTL is how long the lease of a Grant lives, or the key of a Put; 0 is for ever.
	// Parts of a millisecond are rounded up. A Put with a TTL makes a lease, which
	// others may join; it ends with the write that leaves no key attached to it. On ap
	// it is the value that ends, not those beside it: by a delete that the node logs
	// which took the put, or ten seconds later any member. Early by no more than that
	// node's clock is ahead.
	TTL   time.Duration
	Lease uint64 // Put: the lease the key is attached to, 0 none. KeepAlive, Revoke: which
	Txn   *Txn   // of Transact

	Request Request
}

// Name is what errors call the command: that of its Op, or "cas" for a Put that
// compares the value.
func (c Command) Name() string {
	if c.Op == Put && c.If.Kind == IfValue {
		return "cas"
	}
	return c.Op.String()
}

// Txn is an atomic step on one group: if every comparison holds, all of Then is done,
// else all of Else, at one revision. A step sees what the steps before it did. If a
// step is refused (an Increment of what is no integer), nothing is done.
type Txn struct {
	If         []Compare
	Then, Else []Step
}

// Compare compares a part of what a key holds with a value or a number. Of an absent
// key every number is 0, and no comparison of its value holds, not even NotEqual.
type Compare struct {
	Key      string
	Target   Target
	Relation Relation
	Value    []byte // with TargetValue, compared byte by byte: "10" is less than "9"; must be nil else
	Number   uint64 // with all other targets; must be 0 with TargetValue
}

// Target is what a Compare looks at.
type Target uint8

const (
	TargetValue   Target = iota + 1 // the value, as bytes
	TargetVersion                   // writes since the key was created; 0 if it is absent
	TargetCreated                   // revision that created the key
	TargetChanged                   // revision that wrote it last
	TargetLease                     // the lease it is attached to
)

var targetNames = map[Target]string{
	TargetValue: "value", TargetVersion: "version", TargetCreated: "created", TargetChanged: "changed", TargetLease: "lease",
}

func (t Target) String() string {
	if name, ok := targetNames[t]; ok {
		return name
	}
	return fmt.Sprintf("target(%d)", uint8(t))
}

// Relation is how a Compare compares.
type Relation uint8

const (
	Equal Relation = iota + 1
	NotEqual
	Less
	Greater
)

var relationNames = map[Relation]string{Equal: "=", NotEqual: "!=", Less: "<", Greater: ">"}

func (r Relation) String() string {
	if name, ok := relationNames[r]; ok {
		return name
	}
	return fmt.Sprintf("relation(%d)", uint8(r))
}

// Step is one operation of a Txn: Get, Put, Delete or Increment.
type Step struct {
	Op    Op
	Key   string
	Value []byte
	Delta int64
	Lease uint64
}

// StepResult is what a Step did or, of a Get, found.
type StepResult struct {
	Found    bool   // the key was there before the step
	Value    []byte // of a Get; of an Increment, the sum
	Revision uint64 // of a Get: that wrote the key last; of a write: the Txn's
	Replaced uint64 // of a write: the revision it replaced, 0 if there was none
}

// Condition must hold for a command to be applied; else it fails with Conflict and
// tells what it saw. The zero Condition always holds.
type Condition struct {
	Kind     ConditionKind
	Value    []byte // of IfValue
	Revision uint64 // of IfRevision
}

// ConditionKind says what a condition compares.
type ConditionKind uint8

const (
	Always     ConditionKind = iota
	IfValue                  // the key is there with this value (compare and set)
	IfRevision               // the key was last written at this revision
	IfAbsent                 // the key is not there (create)
)

// Request names a call so that its repetition is recognised. On cp, Session is the
// id that OpenSession gave; on ap it is any number the client drew at random. The
// zero Request has no name: such a call is never repeated once it may have arrived.
type Request struct {
	Session uint64
	Number  uint64 // from 1, one for each call of the session
	// Lowest is the lowest number the client still has open. Answers below it
	// are forgotten, and a straggler below it is refused.
	Lowest uint64
	// Retry says that an earlier attempt may have arrived. An ap replica that
	// does not know the number then answers Unknown instead of writing again.
	Retry bool
}

// Named reports whether the request can be recognised when it is repeated.
func (r Request) Named() bool { return r.Number != 0 }

// W is how many replicas must hold an ap write, at the keyspace's durability,
// before it is acknowledged.
type W uint8

const (
	WDefault  W = iota // the keyspace's
	WLocal             // the replica that took it
	WMajority          // a majority of the placement
	WAll               // every replica of the placement
)

func (w W) String() string {
	switch w {
	case WDefault:
		return "default"
	case WLocal:
		return "local"
	case WMajority:
		return "majority"
	case WAll:
		return "all"
	}
	return fmt.Sprintf("w(%d)", uint8(w))
}

// ParseW reads "local", "majority", "all", or "" for the keyspace's own.
func ParseW(name string) (W, error) {
	for _, w := range []W{WLocal, WMajority, WAll} {
		if w.String() == name {
			return w, nil
		}
	}
	if name == "" {
		return WDefault, nil
	}
	return 0, &Error{Code: Invalid, Msg: fmt.Sprintf("w %q is not known", name), Try: "local, majority or all"}
}

// Of is the number of replicas that w asks for in a placement of n.
func (w W) Of(n int) int {
	switch w {
	case WMajority:
		return n/2 + 1
	case WAll:
		return n
	default:
		return 1
	}
}

// Conflict policies of an ap keyspace.
type Policy uint8

const (
	// LWW shows one value: causality first, and only between concurrent writes
	// the later hybrid time. It is a view when reading; nothing is dropped.
	LWW Policy = iota + 1
	// Siblings shows every concurrent value and lets the writer merge.
	Siblings
	// Counter shows one decimal integer: the sum of all increments but those that
	// were applied where a delete was taken. Concurrent increments all count.
	Counter
	// Set shows the members that were added and not removed since. A remove takes
	// away the adds that its replica had applied: of an add and a remove that are
	// concurrent, the add wins.
	Set
	// Map is a Set of fields, each with a value: of concurrent puts of a field the
	// one that LWW would show, and a put wins over a concurrent remove.
	Map
)

var policyNames = map[Policy]string{LWW: "lww", Siblings: "siblings", Counter: "counter", Set: "set", Map: "map"}

// PolicyNames lists the names ParsePolicy accepts.
var PolicyNames = []string{"lww", "siblings", "counter", "set", "map"}

// Fields reports whether writes of the keyspace are of a Field.
func (p Policy) Fields() bool { return p == Set || p == Map }

func (p Policy) String() string {
	if name, ok := policyNames[p]; ok {
		return name
	}
	return fmt.Sprintf("policy(%d)", uint8(p))
}

// ParsePolicy reads a policy's name, or "" for lww.
func ParsePolicy(name string) (Policy, error) {
	if name == "" {
		return LWW, nil
	}
	for p, known := range policyNames {
		if known == name {
			return p, nil
		}
	}
	return 0, &Error{Code: Invalid, Msg: fmt.Sprintf("conflict policy %q is not known", name), Try: "--conflict with one of " + strings.Join(PolicyNames, ", ")}
}

// Durability is what an ap replica has done with a write before it says it holds it.
type Durability uint8

const (
	// Fsync: the write is on disk and survives a power cut. Writes that wait
	// together share one fsync.
	Fsync Durability = iota + 1
	// OS: the write is with the operating system; a crash of the machine may
	// lose the last moments, which are counted and reported.
	OS
	// Memory: the replica has applied the write, and nothing of it is on disk. The end
	// of the process empties the replica, which is filled again by the others before it
	// serves; what none of them had is lost, counted and reported.
	Memory
)

func (d Durability) String() string {
	switch d {
	case Fsync:
		return "fsync"
	case OS:
		return "os"
	case Memory:
		return "memory"
	}
	return fmt.Sprintf("durability(%d)", uint8(d))
}

// DurabilityNames are what ParseDurability reads.
var DurabilityNames = []string{"fsync", "os", "memory"}

// ParseDurability reads "fsync", "os", "memory", or "" for fsync.
func ParseDurability(name string) (Durability, error) {
	switch name {
	case "fsync", "":
		return Fsync, nil
	case "os":
		return OS, nil
	case "memory":
		return Memory, nil
	}
	return 0, &Error{Code: Invalid, Msg: fmt.Sprintf("durability %q is not known", name), Try: "--durability with one of " + strings.Join(DurabilityNames, ", ")}
}

// Result is the answer to a command.
type Result struct {
	Revision uint64 // cp: of this write; on Conflict, of what the condition saw
	Replaced uint64 // cp: the revision this write replaced, 0 if there was none
	Found    bool   // the key, or its field, was there before; on Conflict, when the condition looked
	Value    []byte // on Conflict: the value the condition saw; of an Increment, the sum
	Context  Entry  // ap: covers this write and what it superseded
	Acked    int    // ap: replicas known to hold it, this one included
	Wanted   int    // ap: replicas that w asked for
	Entry    Entry  // what a session must remember of having written this
	Deps     Deps   // and of other groups, as the answer may show what depends on them
	Proof    Proof

	Lease uint64        // of a Grant, or of the lease made for a Put with a TTL
	TTL   time.Duration // of a Grant and a KeepAlive: how long from when the call was made
	Held  bool          // of a Txn: the comparisons held, and Then was done
	Steps []StepResult  // of a Txn: one for each step that was done
}
