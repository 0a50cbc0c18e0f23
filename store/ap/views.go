package ap

import (
	"fmt"
	"sync"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// view is the state as of one commit. It never changes.
type view struct {
	snap     *engine.View
	vector   causal.Vector
	position uint64       // of the last entry in the log
	base     cut          // where the log begins
	remote   uint64       // how many of its writes came from peers since Run began
	recent   []logged     // the end of its log: what the last commit added, for those who keep up
	deps     token.Deps   // what its writes depend on in other groups
	stamp    causal.Stamp // above those of all writes in it
	closures *causal.Closures
	covered  uint64 // all that was closed up to this number is in vector

	// The vector in the forms that answers carry; made once, shared, not to be changed.
	entry   func() store.Entry // for sessions
	others  func() store.Deps  // the same of other groups: what its writes depend on
	context func() store.Entry // of who has read the view
	text    func() string      // for people

	holders int // guarded by views.mu
}

func newView(snap *engine.View, s *state) *view {
	s.covered = s.closures.Covered(s.vector, s.covered)
	v := &view{
		snap: snap, vector: s.vector.Clone(), position: s.position, base: s.base, remote: s.remote, recent: s.memorable(),
		deps: s.deps, stamp: s.clock.Last(), closures: s.closures, covered: s.covered, holders: 1,
	}
	seen := sync.OnceValue(func() need { return short(v.vector, v.closures, v.covered) })
	v.entry = sync.OnceValue(func() store.Entry { return encodeDots(seen().dots(v.closures)) })
	v.context = sync.OnceValue(func() store.Entry { return encodeContext(seen(), v.closures) })
	v.others = sync.OnceValue(v.deps.Encode)
	v.text = sync.OnceValue(func() string { return seen().text() })
	return v
}

// siblings returns what the key holds, in dot order.
func (v *view) siblings(key string) ([]causal.Sibling, error) {
	row, found, err := v.snap.Get(keyRow(key))
	if err != nil || !found {
		return nil, err
	}
	siblings, err := decodeSiblings(row)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", key, err)
	}
	return siblings, nil
}

// views holds the current view, and closes each view when its last holder lets
// go. The mutex guards counters and pointers; nothing waits under it.
type views struct {
	mu      sync.Mutex
	current *view         // nil before the first publish and after close
	changed chan struct{} // closed at the next publish, or at close
	open    int           // views not closed yet
	closed  bool
	drained chan struct{} // closed when closed is set and open is zero
}

func newViews() *views {
	return &views{changed: make(chan struct{}), drained: make(chan struct{})}
}

var errStopped = &store.Error{Code: store.Unavailable, Msg: "the replica has stopped", Try: "another replica"}

// peek returns the current vector, which must not be changed, and a channel that
// is closed when there is a newer one. Before the first publish it is nil.
func (vs *views) peek() (causal.Vector, <-chan struct{}, error) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if vs.closed {
		return nil, nil, errStopped
	}
	if vs.current == nil {
		return nil, vs.changed, nil
	}
	return vs.current.vector, vs.changed, nil
}

// seen is peek, and which closures there are.
func (vs *views) seen() (causal.Vector, *causal.Closures, <-chan struct{}, error) {
	v, changed, err := vs.latest()
	if v == nil {
		return nil, nil, changed, err
	}
	return v.vector, v.closures, changed, nil
}

// latest is the current view of one who looks at its vector only, and so need not hold
// it; nil before the first publish.
func (vs *views) latest() (*view, <-chan struct{}, error) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if vs.closed {
		return nil, nil, errStopped
	}
	return vs.current, vs.changed, nil
}

// acquire returns the current view, which the caller must release, and a channel
// that is closed when there is a newer one. It must not be called before the
// first publish.
func (vs *views) acquire() (*view, <-chan struct{}, error) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if vs.closed {
		return nil, nil, errStopped
	}
	vs.current.holders++
	return vs.current, vs.changed, nil
}

func (vs *views) publish(v *view) {
	vs.mu.Lock()
	old := vs.current
	vs.current = v
	vs.open++
	close(vs.changed)
	vs.changed = make(chan struct{})
	vs.mu.Unlock()
	if old != nil {
		vs.release(old)
	}
}

// retain adds a holder to a view. It reports false if the view has ended already.
func (vs *views) retain(v *view) bool {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if v.holders == 0 {
		return false
	}
	v.holders++
	return true
}

func (vs *views) release(v *view) {
	vs.mu.Lock()
	v.holders--
	last := v.holders == 0
	vs.mu.Unlock()
	if !last {
		return
	}
	v.snap.Close()
	vs.mu.Lock()
	defer vs.mu.Unlock()
	vs.open--
	if vs.closed && vs.open == 0 {
		close(vs.drained)
	}
}

// close gives no view any more, wakes all who wait for one, and returns when the
// last holder has let go.
func (vs *views) close() {
	vs.mu.Lock()
	last := vs.current
	vs.current, vs.closed = nil, true
	close(vs.changed)
	vs.mu.Unlock()
	vs.release(last)
	<-vs.drained
}
