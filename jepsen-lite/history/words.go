package history

import (
	"fmt"
	"time"

	"github.com/dialkv/dialkv/store"
)

// Atomic is what a txn asks: if every comparison holds, Then is done, else Else, at
// one revision.
type Atomic struct {
	If   []Compare `json:"if,omitempty"`
	Then []Step    `json:"then,omitempty"`
	Else []Step    `json:"else,omitempty"`
}

// Compare compares a part of what a key holds. Of an absent key every number is 0,
// and no comparison of its value holds.
type Compare struct {
	Key      string `json:"key"`
	Target   string `json:"target"`           // value, version, created, changed or lease
	Relation string `json:"rel"`              // =, !=, < or >
	Value    string `json:"value,omitempty"`  // with target value
	Number   uint64 `json:"number,omitempty"` // with all others
}

// Step is one operation of a txn: get, put, delete or incr.
type Step struct {
	Kind  Kind   `json:"op"`
	Key   string `json:"key"`
	Value string `json:"value,omitempty"`
	Delta int64  `json:"delta,omitempty"`
}

// StepSeen is what a step did or, of a get, found.
type StepSeen struct {
	Found    bool   `json:"found"`
	Value    string `json:"value,omitempty"`    // of a get; of an incr, the sum
	Revision uint64 `json:"revision,omitempty"` // of a get: that wrote the key last
	Replaced uint64 `json:"replaced,omitempty"` // of a write; 0 if there was none
}

// Span is the keys that a scan or a watch asks for.
type Span struct {
	Prefix string `json:"prefix,omitempty"` // "" is every key, unless a watch has a key
	Limit  int    `json:"limit,omitempty"`  // of a scan: most items; 0 is all
	From   uint64 `json:"from,omitempty"`   // of a watch: the first revision; 0 is behind the present, or behind Since
	Since  string `json:"since,omitempty"`  // of a watch on ap: the vector that it goes on behind
}

// Tenure is how long a key lives, and by whose leave it is written.
type Tenure struct {
	TTL   int64  `json:"ttl_ms,omitempty"`
	Lease uint64 `json:"lease,omitempty"`
	// Lock names the lock whose fence guards the write; Guard is that fence. The
	// write promises to fail once a newer fence was used.
	Lock  string `json:"lock,omitempty"`
	Guard uint64 `json:"fence,omitempty"`
}

// Item is one key of a scan.
type Item struct {
	Key      string    `json:"key"`
	Value    string    `json:"value"`
	Revision uint64    `json:"revision,omitempty"`
	Siblings []Sibling `json:"siblings,omitempty"` // ap: all that is there, with names
}

// Server is who answered, for the laws that hold within a group.
type Server struct {
	Group string `json:"group,omitempty"`
	Role  string `json:"role,omitempty"`
	Term  uint64 `json:"term,omitempty"`
}

// Change is what a watch was told at one revision: all events of it, or none, which
// is a notice of progress: all up to Revision were told. On ap it is one write, and all
// that Vector includes were told or passed over.
type Change struct {
	Revision uint64        `json:"revision"`
	Vector   string        `json:"vector,omitempty"` // ap
	Events   []Changed     `json:"events,omitempty"`
	Seq      int64         `json:"-"`
	T        time.Duration `json:"-"`
}

// Changed is the change of one key.
type Changed struct {
	Key      string `json:"key"`
	Value    string `json:"value,omitempty"`
	Deleted  bool   `json:"deleted,omitempty"`
	Expired  bool   `json:"expired,omitempty"`
	Replaced uint64 `json:"replaced,omitempty"`

	Dot    string   `json:"dot,omitempty"`    // ap: the name of the write
	Values []string `json:"values,omitempty"` // ap: all that a read showed after it
}

var targets = map[string]bool{"value": true, "version": true, "created": true, "changed": true, "lease": true}
var relations = map[string]bool{"=": true, "!=": true, "<": true, ">": true}
var steps = map[Kind]bool{Get: true, Put: true, Delete: true, Incr: true}

func (a *Atomic) check() error {
	if len(a.If)+len(a.Then)+len(a.Else) == 0 {
		return fmt.Errorf("a txn without if, then and else")
	}
	for _, c := range a.If {
		if c.Key == "" || !targets[c.Target] || !relations[c.Relation] {
			return fmt.Errorf("comparison %q %q of key %q is not known", c.Target, c.Relation, c.Key)
		}
	}
	for _, branch := range [][]Step{a.Then, a.Else} {
		for _, s := range branch {
			if s.Key == "" || !steps[s.Kind] {
				return fmt.Errorf("a txn step %q of key %q is not known", s.Kind, s.Key)
			}
		}
	}
	return nil
}

// Branch is the steps that were done, with what each did. ok is false if the txn did
// not answer, or its answer is not of this txn.
func (o *Op) Branch() (branch []Step, seen []StepSeen, ok bool) {
	if o.Kind != Txn || o.Outcome != store.OK || o.Held == nil {
		return nil, nil, false
	}
	branch = o.Else
	if *o.Held {
		branch = o.Then
	}
	return branch, o.Steps, len(branch) == len(o.Steps)
}
