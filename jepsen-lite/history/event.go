package history

import (
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/dialkv/dialkv/store"
)

// Type says what a line records.
type Type string

const (
	Invoke   Type = "invoke"
	Complete Type = "complete"
	FaultAt  Type = "fault"
	DumpKey  Type = "dump"
	DumpEnd  Type = "dump-end"
	WatchAt  Type = "watch-event"
)

// Kind is what an operation does.
type Kind string

const (
	Get    Kind = "get"
	Put    Kind = "put"
	Delete Kind = "delete"
	CAS    Kind = "cas"
	Incr   Kind = "incr"
	Scan   Kind = "scan"
	Txn    Kind = "txn"
	Add    Kind = "add"    // a member to a set; it is the value
	Remove Kind = "remove" // a member from a set
	Lock   Kind = "lock"
	Unlock Kind = "unlock"
	Watch  Kind = "watch"

	Grant     Kind = "lease-grant"
	KeepAlive Kind = "lease-keepalive"
	Revoke    Kind = "lease-revoke"
)

var kinds = map[Kind]bool{
	Get: true, Put: true, Delete: true, CAS: true, Incr: true, Scan: true,
	Txn: true, Add: true, Remove: true, Lock: true, Unlock: true, Watch: true,
	Grant: true, KeepAlive: true, Revoke: true,
}

// keyed are the kinds that name one key.
var keyed = map[Kind]bool{Get: true, Put: true, Delete: true, CAS: true, Incr: true, Add: true, Remove: true, Lock: true, Unlock: true}

// Call is what an operation asked.
type Call struct {
	Process  int    `json:"process"`
	Session  string `json:"session,omitempty"`
	Node     string `json:"node,omitempty"` // the node the client went to
	Kind     Kind   `json:"op"`
	Keyspace string `json:"keyspace"`
	Mode     string `json:"mode"`               // cp or ap
	Conflict string `json:"conflict,omitempty"` // ap: the keyspace's policy: lww, siblings, counter, set or map
	Key      string `json:"key,omitempty"`
	Field    string `json:"field,omitempty"` // of a map: what is put or removed
	Expect   string `json:"expect,omitempty"`
	Value    string `json:"value,omitempty"` // written; a delete's is its id
	Level    string `json:"level,omitempty"` // bounded with its bound: bounded:2s
	W        string `json:"w,omitempty"`     // ap: how many replicas the write was to be held by, if it said so
	// Request names the call to the store. Two operations with one name are one call
	// and its repetition.
	Request string `json:"request_id,omitempty"`
	Delta   int64  `json:"delta,omitempty"` // of an incr
	Atomic
	Span
	Tenure
	// Covers lists the values that the context of an ap write covered. nil says
	// the write had no context, which is not the same as an empty one.
	Covers []string `json:"covers,omitzero"`
}

// Answer is what an operation was told.
type Answer struct {
	Outcome  store.Outcome `json:"outcome"`
	Code     store.Code    `json:"code,omitempty"`
	Found    *bool         `json:"found,omitempty"`
	Value    string        `json:"value,omitempty"`
	Values   []string      `json:"values,omitempty"` // ap: all siblings; of a set its members, of a map the values of Fields
	Fields   []string      `json:"fields,omitempty"` // of a map
	Revision *uint64       `json:"revision,omitempty"`
	Replaced *uint64       `json:"replaced,omitempty"`
	Context  string        `json:"context,omitempty"`
	Dot      string        `json:"dot,omitempty"` // ap: the name of the write
	Served   string        `json:"level_served,omitempty"`
	ServedBy string        `json:"served_by,omitempty"`
	Server

	Held  *bool      `json:"held,omitempty"` // of a txn: Then was done
	Steps []StepSeen `json:"steps,omitempty"`
	Items []Item     `json:"items,omitempty"` // of a scan, over all its pages
	Pages []uint64   `json:"pages,omitempty"` // of a scan: the revision of each page
	// Vectors are, on ap, what each page of a scan named as its view.
	Vectors []string `json:"vectors,omitempty"`
	Fence   uint64   `json:"fence,omitempty"` // of a lock
	Lease   uint64   `json:"granted,omitempty"`
}

// Fault is one end of a fault.
type Fault struct {
	Name   string `json:"fault"`
	Phase  string `json:"phase"` // begin or end
	Detail string `json:"detail,omitempty"`
}

// Phases of a fault.
const (
	Begin = "begin"
	End   = "end"
)

// Dump is what one replica holds of one key, or the end of a replica's dump. Group
// tells the groups of a keyspace apart; it may stay empty when there is only one.
type Dump struct {
	Node     string    `json:"node"`
	Keyspace string    `json:"keyspace"`
	Group    string    `json:"group,omitempty"`
	Key      string    `json:"key,omitempty"`
	Siblings []Sibling `json:"siblings,omitempty"`
	Value    *string   `json:"value,omitempty"` // served, if it is one value
	Revision *uint64   `json:"revision,omitempty"`
	Vector   string    `json:"vector,omitempty"` // of a dump-end
}

// Sibling is one value of a key with the name and the time of its write.
type Sibling struct {
	Dot   string `json:"dot"`
	Stamp string `json:"stamp,omitempty"`
	Field string `json:"field,omitempty"` // of a set its member, of a map the field
	Value string `json:"value"`
}

// Event is one line. Exactly one of Call, Answer, Change, Fault and Dump is set, as
// Type says. Line is the line as it was read, with the fields nobody knows.
type Event struct {
	Seq  int64
	T    time.Duration
	Type Type
	OpID int64

	Call   *Call
	Answer *Answer
	Change *Change
	Fault  *Fault
	Dump   *Dump

	Line []byte
}

// head is what every line begins with. Pointers tell a missing field from zero.
type head struct {
	Seq  *int64 `json:"seq"`
	T    int64  `json:"t_ns"`
	Type Type   `json:"type"`
	OpID *int64 `json:"op_id,omitempty"`
}

func (e Event) encode() ([]byte, error) {
	h := head{Seq: &e.Seq, T: e.T.Nanoseconds(), Type: e.Type}
	switch e.Type {
	case Invoke:
		h.OpID = &e.OpID
		return json.Marshal(struct {
			head
			*Call
		}{h, e.Call})
	case Complete:
		h.OpID = &e.OpID
		return json.Marshal(struct {
			head
			*Answer
		}{h, e.Answer})
	case WatchAt:
		h.OpID = &e.OpID
		return json.Marshal(struct {
			head
			*Change
		}{h, e.Change})
	case FaultAt:
		return json.Marshal(struct {
			head
			*Fault
		}{h, e.Fault})
	default:
		return json.Marshal(struct {
			head
			*Dump
		}{h, e.Dump})
	}
}

// Open is the End of an operation that has no second line.
const Open = math.MaxInt64

// Op is one operation: its call and, if it came, its answer.
type Op struct {
	ID          int64
	Call        `json:"-"`
	Answer      `json:"-"`
	Begin, End  int64         // seq of the two lines; End is Open without an answer
	Start, Stop time.Duration // the same for drawing; Stop is the history's end without an answer
	Changes     []Change      // what a watch was told, in the order it was told
}

// OK reports whether the operation certainly happened.
func (o *Op) OK() bool { return o.Outcome == store.OK }

// Failed reports whether the operation certainly did not happen.
func (o *Op) Failed() bool { return o.Outcome == store.Failed }

// Unclear reports whether nobody can say.
func (o *Op) Unclear() bool { return !o.OK() && !o.Failed() }

// Write reports whether the operation changes state if it happens.
func (o *Op) Write() bool {
	switch o.Kind {
	case Get, Scan, Watch:
		return false
	case Txn:
		return slices.ContainsFunc(slices.Concat(o.Then, o.Else), func(s Step) bool { return s.Kind != Get })
	}
	return true
}

// Seen reports what the operation was told of its key: the values there, none if
// the key was absent. ok is false if it was told nothing: a read that did not
// answer, a write, or a condition that failed without saying what it saw.
func (o *Op) Seen() (values []string, ok bool) {
	read := o.Kind == Get && o.OK()
	refused := o.Kind == CAS && o.Failed() && o.Code == store.Conflict
	if !read && !refused || o.Found == nil {
		return nil, false
	}
	switch {
	case !*o.Found:
		return nil, true
	case len(o.Values) > 0:
		return o.Values, true
	default:
		return []string{o.Answer.Value}, true
	}
}

// Window is the time in which a fault was in force; End is Open if it was never
// healed.
type Window struct {
	Fault, Detail string
	Begin, End    int64
	Start, Stop   time.Duration
}

// Replica is the last whole dump of one node's copy of a keyspace or group.
type Replica struct {
	Node, Keyspace, Group string
	Vector                string
	Revision              *uint64
	Keys                  []Dump
	Seq                   int64 // of the first line of the dump
	Whole                 bool  // its dump-end was written
}
