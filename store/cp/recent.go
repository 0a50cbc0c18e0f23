package cp

import "github.com/dialkv/dialkv/internal/logpb"

const (
	recentBytes = 4 << 20 // of one of the two halves of recent, about
	markCost    = 100     // what a mark takes beside its key, about
)

// mark is what a write must know of the key it writes to: which value it replaces. Zero
// is that there is none.
type mark struct{ created, modified, version, lease uint64 }

func markOf(rec *logpb.Record) mark {
	return mark{rec.GetCreateRevision(), rec.GetModifyRevision(), rec.GetVersion(), rec.GetLease()}
}

func (m mark) found() bool { return m.version > 0 }

// recent holds the marks of the keys that were written last: they are the likeliest to be
// written again, and in the engine a mark costs more to find than a value to write. It is
// filled until it is half full; then the half before is forgotten.
type recent struct {
	young, old map[string]mark
	bytes      int // of young
}

func newRecent() *recent { return &recent{young: make(map[string]mark)} }

// get returns the mark of a key, and whether it is known here.
func (r *recent) get(key string) (m mark, ok bool) {
	if m, ok = r.young[key]; !ok {
		m, ok = r.old[key]
	}
	return m, ok
}

// put notes the mark of a key.
func (r *recent) put(key string, m mark) {
	if _, ok := r.young[key]; !ok {
		r.bytes += markCost + len(key)
	}
	r.young[key] = m
	if r.bytes > recentBytes {
		r.turn()
	}
}

func (r *recent) turn() { r.young, r.old, r.bytes = make(map[string]mark), r.young, 0 }
