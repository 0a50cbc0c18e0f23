package check

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// ref names a key of a keyspace.
type ref struct{ keyspace, key string }

func (r ref) String() string { return show(r.keyspace) + "/" + show(r.key) }

// record is a history sorted for the checkers. They share it and do not change it,
// but for rulings, which two of them ask for.
type record struct {
	h      *history.History
	wiped  bool          // see Options
	ops    []*history.Op // as they were called: repetitions joined
	search searcher

	keys    map[ref][]*history.Op          // get, put, delete, cas, by Begin
	order   []ref                          // the keys, sorted
	writers map[ref]map[string]*history.Op // who wrote a value; of two the one that did not fail
	twice   map[ref][2]*history.Op         // two writes of one value: the value names neither
	others  map[string][]*history.Op       // by keyspace, writes no checker here understands
	lww     map[string]bool                // ap keyspaces of registers, by policy: lww, else siblings
	types   map[ref]*typed                 // keys of counters, sets and maps

	// Of cp keyspaces with more than single keys: what each operation did to each key,
	// and the group's own order of it all.
	rich     map[string]bool
	several  map[string]bool          // keyspaces with operations of several keys
	locks    map[string]bool          // keyspaces with locks
	leases   map[string][]*history.Op // by keyspace: calls of leases
	acts     map[ref][]act
	touched  []ref // the keys of acts, sorted
	repeated map[*history.Op]bool
	ledgers  map[string][]*ledger

	rulings map[ref]ruling
	skews   []skew // when wall clocks were wrong

	// What is built once, when somebody asks.
	causes func() (*order, error)       // orderOf
	groups func() ([]group, *violation) // sortDumps
}

func newRecord(h *history.History, o Options) *record {
	timeout := o.PorcupineTimeout
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	r := &record{
		h: h, wiped: o.Wiped, search: searcher{timeout: timeout, check: porcupineCheck},
		keys: map[ref][]*history.Op{}, writers: map[ref]map[string]*history.Op{},
		twice: map[ref][2]*history.Op{}, others: map[string][]*history.Op{},
		lww: policies(h), types: map[ref]*typed{}, rulings: map[ref]ruling{},
		rich: richSpaces(h), several: map[string]bool{}, locks: map[string]bool{}, leases: map[string][]*history.Op{},
		acts: map[ref][]act{}, repeated: repeats(h), ledgers: map[string][]*ledger{}, skews: skews(h),
	}
	r.causes = sync.OnceValues(func() (*order, error) { return orderOf(r) })
	r.groups = sync.OnceValues(r.sortDumps)
	r.ops = r.calls()
	for _, op := range r.ops {
		switch op.Kind {
		case history.Txn, history.Scan:
			r.several[op.Keyspace] = true
		case history.Lock:
			r.locks[op.Keyspace] = true
		case history.KeepAlive, history.Revoke:
			r.leases[op.Keyspace] = append(r.leases[op.Keyspace], op)
		}
		switch {
		case isTyped(op):
			r.addTyped(op)
		case r.rich[op.Keyspace]:
			r.project(op)
		default:
			r.add(op)
		}
	}
	r.projectScans()
	r.order = sorted(r.keys)
	r.touched = sorted(r.acts)
	return r
}

func sorted[V any](m map[ref]V) []ref {
	return slices.SortedFunc(maps.Keys(m), func(a, b ref) int {
		return cmp.Or(strings.Compare(a.keyspace, b.keyspace), strings.Compare(a.key, b.key))
	})
}

func (r *record) add(op *history.Op) {
	switch op.Kind {
	case history.Get, history.Put, history.Delete, history.CAS:
	default:
		if op.Write() && !op.Failed() {
			r.others[op.Keyspace] = append(r.others[op.Keyspace], op)
		}
		return
	}
	k := key(op)
	r.keys[k] = append(r.keys[k], op)
	if op.Write() {
		r.wrote(k, op.Call.Value, op)
	}
}

// wrote notes who wrote a value to a key.
func (r *record) wrote(k ref, v string, op *history.Op) {
	if r.writers[k] == nil {
		r.writers[k] = map[string]*history.Op{}
	}
	switch first := r.writers[k][v]; {
	case first == nil || first.Failed():
		r.writers[k][v] = op
	case !op.Failed() && first != op:
		r.twice[k] = [2]*history.Op{first, op}
	}
}

func key(op *history.Op) ref { return ref{op.Keyspace, op.Key} }

// policies says which ap keyspaces are lww. The record says so, or a read that
// returned several values gives a siblings keyspace away.
func policies(h *history.History) map[string]bool {
	lww := map[string]bool{}
	for i := range h.Ops {
		op := &h.Ops[i]
		if op.Mode != "ap" || isTyped(op) {
			continue
		}
		if _, known := lww[op.Keyspace]; !known {
			lww[op.Keyspace] = true
		}
		if op.Conflict == "siblings" || op.Conflict == "" && op.OK() && len(op.Values) > 1 {
			lww[op.Keyspace] = false
		}
	}
	return lww
}

func (r *record) siblings(keyspace string) bool {
	lww, ap := r.lww[keyspace]
	return ap && !lww
}

// level is what a read was served: what the answer says, else what was asked, else
// the default of the mode. A weaker answer than asked counts against availability.
func level(op *history.Op) string {
	name := plain(cmp.Or(op.Served, op.Level))
	switch {
	case name != "" && name != "default":
		return name
	case op.Mode == "cp":
		return "strong"
	default:
		return "causal"
	}
}

// plain is a level without its bound.
func plain(name string) string {
	if i := strings.IndexAny(name, "(:"); i >= 0 {
		return name[:i]
	}
	return name
}

// strong reports whether the operation must be linearizable: every conditional write
// on cp is, whatever level it names, and quorum is strong there.
func strong(op *history.Op) bool {
	if op.Mode != "cp" {
		return false
	}
	return op.Write() || level(op) == "strong" || level(op) == "quorum"
}

// covers reports whether reads of that level see all that the session has seen.
func covers(op *history.Op) bool {
	switch level(op) {
	case "causal", "strong", "quorum", "bounded":
		return true
	}
	return op.Kind == history.CAS
}

func (r *record) any(f func(*history.Op) bool) bool {
	for i := range r.h.Ops {
		if f(&r.h.Ops[i]) {
			return true
		}
	}
	return false
}

func (r *record) promisesStrong() bool { return r.any(strong) }

// inSession are the reads that a session's promises speak of.
func inSession(op *history.Op) bool {
	return op.Session != "" && op.Kind == history.Get && !isTyped(op)
}

func (r *record) promisesCausal() bool {
	return r.any(func(op *history.Op) bool { return inSession(op) && covers(op) })
}

func (r *record) promisesOwn() bool {
	return r.any(func(op *history.Op) bool { return inSession(op) && ownWrites(op) })
}

func (r *record) promisesMonotonic() bool {
	return r.any(func(op *history.Op) bool { return inSession(op) && ownReads(op) })
}

func ownWrites(op *history.Op) bool { return covers(op) || level(op) == "read-your-writes" }
func ownReads(op *history.Op) bool  { return covers(op) || level(op) == "monotonic" }

func (r *record) hasLWW() bool {
	return r.any(func(op *history.Op) bool { return inSession(op) && covers(op) && r.lww[op.Keyspace] })
}

func (r *record) hasDump() bool { return len(r.h.Replicas) > 0 }
