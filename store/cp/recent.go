package cp

import (
	"github.com/dialkv/dialkv/internal/logpb"
)

const (
	recentBytes = 4 << 20 // of one of the two halves of recent, about
	recentMost  = 4 << 10 // a larger record is not kept
	recordCost  = 256     // what a record takes beside its key and value, about
)

// recent holds what the state has under keys that were written last: a write must know
// what it replaces, and those keys are the likeliest to be written again. It is filled
// until it is half full; then the half before is forgotten.
type recent struct {
	young, old map[string]*logpb.Record
	bytes      int // of young
}

func newRecent() *recent { return &recent{young: make(map[string]*logpb.Record)} }

// get returns what is under the key, nil for nothing, and whether that is known here.
func (r *recent) get(key string) (rec *logpb.Record, ok bool) {
	if rec, ok = r.young[key]; !ok {
		rec, ok = r.old[key]
	}
	return rec, ok
}

// put notes what is under the key from now on. Nobody may change the record.
func (r *recent) put(key string, rec *logpb.Record) {
	size := recordCost + len(key) + len(rec.GetValue())
	if size > recentMost {
		delete(r.young, key)
		delete(r.old, key)
		return
	}
	r.young[key] = rec
	if r.bytes += size; r.bytes > recentBytes {
		r.young, r.old, r.bytes = make(map[string]*logpb.Record), r.young, 0
	}
}
