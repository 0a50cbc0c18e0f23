package history

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/dialkv/dialkv/store"
)

// Recorder writes a history as it happens, one line in one Write. It is safe for
// concurrent use: one recorder gives every event of a run its seq, which makes the
// order of events a fact and not a comparison of clocks.
type Recorder struct {
	base time.Time // its monotonic reading is the zero of t_ns

	mu  sync.Mutex // held over the Write, so w must not wait for virtual time
	w   io.Writer
	seq int64
	ops int64
	err error
}

// NewRecorder returns a recorder that writes to w and counts time from now.
func NewRecorder(w io.Writer) *Recorder { return &Recorder{base: time.Now(), w: w} }

// Invoke records that an operation is about to be sent and names it. Call it before
// the first byte can leave.
func (r *Recorder) Invoke(c Call) (opID int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops++
	r.write(Event{Type: Invoke, OpID: r.ops, Call: &c})
	return r.ops
}

// Complete records the answer of an operation. Call it after the last byte of the
// answer was read, once. An outcome that nobody classified is unknown.
func (r *Recorder) Complete(opID int64, a Answer) {
	if a.check() != nil {
		a.Outcome = store.Unclear
	}
	r.add(Event{Type: Complete, OpID: opID, Answer: &a})
}

// Change records what a watch was told at one revision. Call it after the last byte
// was read, and before Complete.
func (r *Recorder) Change(opID int64, c Change) {
	r.add(Event{Type: WatchAt, OpID: opID, Change: &c})
}

// Fault records one end of a fault: call it with Begin before the fault is put in
// force, and with End after its heal is proved.
func (r *Recorder) Fault(name, phase, detail string) {
	r.add(Event{Type: FaultAt, Fault: &Fault{Name: name, Phase: phase, Detail: detail}})
}

// Dump records what one replica holds of one key.
func (r *Recorder) Dump(d Dump) { r.add(Event{Type: DumpKey, Dump: &d}) }

// DumpEnd closes the dump of a replica. Its Key, Siblings and Value stay empty.
func (r *Recorder) DumpEnd(d Dump) { r.add(Event{Type: DumpEnd, Dump: &d}) }

// Err returns the first error of writing. A run whose record has a hole must not be
// judged.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *Recorder) add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.write(e)
}

func (r *Recorder) write(e Event) {
	r.seq++
	e.Seq, e.T = r.seq, time.Since(r.base)
	if r.err != nil {
		return
	}
	line, err := e.encode()
	if err == nil {
		_, err = r.w.Write(append(line, '\n'))
	}
	if err != nil {
		r.err = fmt.Errorf("history: record: %w", err)
	}
}
