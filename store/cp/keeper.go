package cp

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/logpb"
)

// keeper knows when the group's leases are due. Every replica counts a lease's TTL on
// its own monotonic clock, from the moment it applied the grant or the last renewal:
// later than the client asked for it, and so never early, whoever leads by then. The
// leader proposes what is due; an expiry names the renewals that were counted, and
// does nothing if another came before it in the log.
type keeper struct {
	wake chan struct{} // of one: a lease is due earlier than any before

	mu     sync.Mutex
	latest map[uint64]deadline
	queue  deadlines // those of latest, and stale ones
}

type deadline struct {
	lease    uint64
	renewals uint64
	at       time.Time
}

func newKeeper(s *state) *keeper {
	k := &keeper{wake: make(chan struct{}, 1)}
	k.reset(s)
	return k
}

// reset begins anew with the leases of a state that was loaded or restored.
func (k *keeper) reset(s *state) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.latest, k.queue = make(map[uint64]deadline, len(s.leases)), nil
	for _, l := range s.leases {
		k.add(l)
	}
}

// note takes in which leases a run of entries has changed.
func (k *keeper) note(s *state, changed map[uint64]bool) {
	if len(changed) == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for id := range changed {
		l := s.leases[id]
		if l == nil {
			delete(k.latest, id)
		} else if d, ok := k.latest[id]; !ok || d.renewals != l.Renewals {
			k.add(l)
		}
	}
}

func (k *keeper) add(l *logpb.Lease) {
	d := deadline{l.Id, l.Renewals, time.Now().Add(time.Duration(l.TtlMs) * time.Millisecond)}
	k.latest[l.Id] = d
	k.push(d)
}

func (k *keeper) push(d deadline) {
	heap.Push(&k.queue, d)
	if k.queue[0] == d {
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

// due takes out at most so many leases that are due, and says how long it is until the
// next one is.
func (k *keeper) due(most int) (list []deadline, next time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	for len(k.queue) > 0 {
		d := k.queue[0]
		switch {
		case k.latest[d.lease] != d:
		case d.at.After(now):
			return list, d.at.Sub(now)
		case len(list) == most:
			return list, 0
		default:
			list = append(list, d)
		}
		heap.Pop(&k.queue)
	}
	return list, time.Hour
}

// again puts back leases that could not be ended.
func (k *keeper) again(list []deadline) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, d := range list {
		if k.latest[d.lease] == d {
			k.push(d)
		}
	}
}

// remaining is how long a lease has still to live.
func (k *keeper) remaining(id uint64) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	d, ok := k.latest[id]
	if !ok {
		return 0
	}
	return max(0, time.Until(d.at))
}

// deadlines is a heap with the earliest on top.
type deadlines []deadline

func (q deadlines) Len() int           { return len(q) }
func (q deadlines) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q deadlines) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *deadlines) Push(x any)        { *q = append(*q, x.(deadline)) }
func (q *deadlines) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

const (
	choreTick   = time.Second // between looks at the history, and at leases that could not be ended
	expireBatch = 256         // leases that are ended together
)

// chores does what falls to the group's leader: it ends leases that are due, and cuts
// the history of changes.
func (r *Replica) chores(ctx context.Context, ra *raft.Raft) {
	tick := time.NewTicker(choreTick)
	defer tick.Stop()
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-tick.C:
			r.trim(ctx, ra)
			r.abort(ctx)
		case <-next.C:
		case <-r.machine.leases.wake:
		case <-ctx.Done():
			return
		}
		if !r.leads(ra) {
			next.Reset(choreTick)
			continue
		}
		// The epoch is taken before the leases: a restore in between begins them anew.
		epoch := r.machine.epoch()
		list, wait := r.machine.leases.due(expireBatch)
		if failed := r.expire(ctx, list, epoch); len(failed) > 0 {
			r.machine.leases.again(failed)
			wait = choreTick
		}
		next.Reset(wait)
	}
}

// leads reports whether this replica leads and has applied an entry of its term.
func (r *Replica) leads(ra *raft.Raft) bool {
	v := r.machine.views.Load()
	return v != nil && ra.State() == raft.Leader && v.term == ra.CurrentTerm()
}

// expire proposes the end of leases and returns those that may be alive still.
func (r *Replica) expire(ctx context.Context, list []deadline, epoch uint64) (failed []deadline) {
	ctx, cancel := context.WithTimeout(ctx, enqueueTimeout)
	defer cancel()
	done := make([]<-chan outcome, len(list))
	for i, d := range list {
		done[i] = r.suggest(&logpb.Command{Op: logpb.Command_OP_EXPIRE, Lease: d.lease, Renewals: d.renewals, Epoch: epoch})
	}
	for i, d := range list {
		if !ended(ctx, done[i]) {
			failed = append(failed, d)
		}
	}
	return failed
}

// suggest queues a command of the leader's own; nil if the queue is full.
func (r *Replica) suggest(c *logpb.Command) <-chan outcome {
	p := &pending{command: c, done: make(chan outcome, 1), alone: c.Restore != nil}
	if !r.enqueue(p) {
		return nil
	}
	return p.done
}

func ended(ctx context.Context, done <-chan outcome) bool {
	select {
	case out := <-done:
		return out.err == nil
	case <-ctx.Done():
		return false
	}
}

// trim cuts the history of changes once it is too large or too old.
func (r *Replica) trim(ctx context.Context, ra *raft.Raft) {
	if !r.leads(ra) {
		return
	}
	v, err := r.wait(ctx, func(*view) bool { return true })
	if err != nil {
		return
	}
	below, err := v.excess(r.cfg.Compaction.History)
	v.Close()
	switch {
	case err != nil:
		r.fail(err)
	case below > 0:
		ctx, cancel := context.WithTimeout(ctx, enqueueTimeout)
		defer cancel()
		ended(ctx, r.suggest(&logpb.Command{Op: logpb.Command_OP_TRIM, ExpectRevision: below}))
	}
}
