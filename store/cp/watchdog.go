package cp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/mutant"
)

// ErrStuck ends a replica whose disk does not answer, or whose Raft takes nothing any
// more. What hangs cannot be called back, so Run then returns without having ended
// all it started, and the engine may not close: the process should exit.
var ErrStuck = errors.New("cp: stuck")

const (
	// diskLimit is how long one write to the log may take of the time that the process
	// ran. A leader sends heartbeats whether or not its disk answers, so without a
	// limit it would keep its seat and commit nothing (hashicorp/raft#503).
	diskLimit = 10 * time.Second
	// tick is what one beat of the watchdog's clock counts.
	tick = 250 * time.Millisecond
)

// watchdog has a clock of the time that the process ran, and tells when something it
// watches takes too much of it. Beats that a stopped process or a suspended machine
// missed come back as one at most: a ticker holds one. A paused leader is no leader
// with a dead disk.
type watchdog struct {
	fail func(error)
	now  atomic.Int64 // beats

	mu   sync.Mutex
	busy map[*task]struct{}
}

// task is a call that is watched.
type task struct {
	what  string
	since int64
}

// run beats until ctx ends.
func (w *watchdog) run(ctx context.Context) {
	beat := time.NewTicker(tick)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			w.beat()
		case <-ctx.Done():
			return
		}
	}
}

func (w *watchdog) beat() {
	now := w.now.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	for t := range w.busy {
		if took := time.Duration(now-t.since) * tick; took > diskLimit {
			delete(w.busy, t)
			w.fail(fmt.Errorf("%w: %s has not returned for %v: the disk does not answer", ErrStuck, t.what, diskLimit))
		}
	}
}

// ran is the time that the process ran since the watchdog began.
func (w *watchdog) ran() time.Duration { return time.Duration(w.now.Load()) * tick }

// watch begins to watch a call; the function it returns ends that.
func (w *watchdog) watch(what string) func() {
	t := &task{what: what, since: w.now.Load()}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy == nil {
		w.busy = make(map[*task]struct{})
	}
	w.busy[t] = struct{}{}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.busy, t)
	}
}

// watched is a log whose first failed or endless write ends the replica. Raft steps
// down and tries the same file again; after a failed fsync nobody can say what it
// holds. It also tells the replica which configurations enter the log.
type watched struct {
	Log
	dog    *watchdog
	confs  *configurations
	fail   func(error)
	late   lateLog      // the same log, if it can store late; or nil
	leads  func() bool  // asked by the goroutine that changes it
	raftUp *atomic.Bool // reads come from Raft's own goroutines
}

var _ raft.MonotonicLogStore = watched{}

// IsMonotonic makes Raft empty the log when it installs a snapshot. Otherwise a head
// stays behind a hole, perhaps with entries that never were committed; this replica,
// leading one day, would send them to a member that is late enough.
func (watched) IsMonotonic() bool { return true }

// GetLog reads an entry. One that cannot be read ends the replica: Raft would end the
// process, and with it the node's other groups. So the goroutine of Raft's that needs
// the entry ends here, with what it deferred; Raft then does nothing more.
func (w watched) GetLog(index uint64, log *raft.Log) error {
	err := w.Log.GetLog(index, log)
	if err == nil || errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	err = w.noted(err)
	if w.raftUp.Load() {
		runtime.Goexit()
	}
	return err
}

func (w watched) noted(err error) error {
	if err != nil {
		w.fail(fmt.Errorf("cp: raft log: %w", err))
	}
	return err
}

func (w watched) StoreLog(log *raft.Log) error { return w.StoreLogs([]*raft.Log{log}) }

func (w watched) StoreLogs(logs []*raft.Log) error {
	defer w.dog.watch("a write to the raft log")()
	store := w.Log.StoreLogs
	if w.late != nil && w.leads() && onlyCommands(logs) {
		store = w.late.StoreLate
	}
	err := w.noted(store(logs))
	if err == nil {
		w.confs.stored(logs)
	}
	return err
}

func (w watched) DeleteRange(lo, hi uint64) error {
	defer w.dog.watch("a cut of the raft log")()
	last, err := w.Log.LastIndex()
	if err == nil {
		err = w.Log.DeleteRange(lo, hi)
	}
	if err == nil && hi >= last { // a cut at the head takes nothing that a snapshot has not
		w.confs.cut(lo)
	}
	return w.noted(err)
}

func (w watched) Set(key, val []byte) error {
	defer w.dog.watch("a write of the vote")()
	return w.noted(w.Log.Set(key, val))
}

// SetUint64 writes the term, or that of the vote. Raft panics when it cannot write a new
// term, so its goroutine ends here then, as in GetLog. A vote that cannot be written is
// not given, and Raft goes on.
func (w watched) SetUint64(key []byte, v uint64) error {
	defer w.dog.watch("a write of the term")()
	err := w.noted(w.Log.SetUint64(key, v))
	if err != nil && w.raftUp.Load() && bytes.Equal(key, keyCurrentTerm) {
		runtime.Goexit()
	}
	return err
}

// watchedMachine is the state machine as Raft sees it. Its writes are not synced, but
// a disk that does not answer stops them too: they wait until what they apply is in
// the log on disk.
type watchedMachine struct {
	*machine
	late lateLog // or nil
	dog  *watchdog
}

var _ raft.BatchingFSM = watchedMachine{}

func (w watchedMachine) ApplyBatch(logs []*raft.Log) []any {
	defer w.dog.watch("a write of the state")()
	w.note("committed")
	if w.late != nil && !mutant.M44 {
		w.fail(w.late.Settle(logs[len(logs)-1].Index))
		w.note("on the disk of the leader")
	}
	return w.machine.ApplyBatch(logs)
}

// noteTransfer is told how each proposal ended. A leader that refuses proposals because
// of a transfer for longer than any transfer takes has its transfer flag stuck, and
// would refuse for ever (hashicorp/raft#696): a step-down in the middle of a transfer,
// or a member that went away during one, can leave it so. Only a new Raft helps.
func (r *Replica) noteTransfer(err error) {
	if !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		r.handing.Store(0)
		return
	}
	now := int64(r.dog.ran()) + 1
	if r.handing.CompareAndSwap(0, now) {
		return
	}
	// A transfer waits an election time-out for the member to catch up, as long again
	// for its election, and between them for one request.
	limit := 2*r.cfg.Timing.Election + transportTimeout
	if took := time.Duration(now - r.handing.Load()); took > limit {
		r.fail(fmt.Errorf("%w: the leader has been handing its seat over for %v", ErrStuck, took))
	}
}
