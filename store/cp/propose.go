package cp

import (
	"errors"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/store"
)

// proposer gathers the commands that wait into one log entry, and takes what queued
// meanwhile into the next. One entry is on its way into the logs, and the one before it
// is being applied: so the disks and the state machines work at the same time. It is the
// only caller of Raft's Apply.
type proposer struct {
	r        *Replica
	ra       *raft.Raft
	clock    leaderClock
	inFlight chan flight // to finish, in the order of the log
}

// flight is an entry that was handed to Raft.
type flight struct {
	batch  []*pending
	future raft.ApplyFuture
	over   chan struct{} // closed when it has ended
}

// propose runs the proposer until the replica ends, and returns when nothing of it is in
// flight any more: after Raft's shutdown a future may never be answered.
func (r *Replica) propose(ra *raft.Raft) {
	p := &proposer{r: r, ra: ra, inFlight: make(chan flight)}
	var finished sync.WaitGroup
	finished.Go(p.finish)
	defer finished.Wait()
	defer close(p.inFlight)
	for {
		select {
		case next := <-r.queue:
			for next != nil {
				var batch []*pending
				if batch, next = r.gather(next); len(batch) > 0 {
					p.commit(batch)
				}
			}
		case <-r.down:
			r.refuseQueued()
			return
		}
	}
}

// gather takes p and what else waits into a batch. It returns the command that must
// begin the next one, if it has taken one out.
func (r *Replica) gather(p *pending) (batch []*pending, next *pending) {
	for size := 0; ; {
		if p.alone && len(batch) > 0 {
			return batch, p
		}
		r.waiting.Add(-int64(p.size))
		if p.stage.CompareAndSwap(queued, proposed) {
			batch = append(batch, p)
			size += p.size
		}
		if p.alone || len(batch) == batchCommands || size >= batchBytes {
			return batch, nil
		}
		select {
		case p = <-r.queue:
		default:
			return batch, nil
		}
	}
}

// commit hands a batch to Raft as one entry. It returns when the entry is being applied,
// or has ended, and the one before it has ended.
func (p *proposer) commit(batch []*pending) {
	entry := &logpb.Batch{Version: formatVersion, LeaderMs: p.clock.now(p.r.machine.time())}
	for _, c := range batch {
		entry.Commands = append(entry.Commands, c.command)
	}
	if mutant.M4 {
		p.r.acknowledgeEarly(batch)
	}
	p.r.counts.entry(len(batch))
	applying := p.r.machine.applying.next()
	p.r.machine.traced.Store(originsOf(batch))
	f := flight{batch: batch, future: p.ra.ApplyLog(raft.Log{Data: encode(entry)}, enqueueTimeout), over: make(chan struct{})}
	p.inFlight <- f // the one before has ended
	select {
	case <-applying:
	case <-f.over:
	}
}

// originsOf notes of each command that is traced that it was proposed, with how many
// others, and returns whose they are: nil if none is.
func originsOf(batch []*pending) *[]*spans.Origin {
	var traced []*spans.Origin
	for _, c := range batch {
		if c.from != nil {
			c.from.Note("proposed", spans.Commands.Int(len(batch)))
			traced = append(traced, c.from)
		}
	}
	if traced == nil {
		return nil
	}
	return &traced
}

// finish tells the callers how their entries ended.
func (p *proposer) finish() {
	for f := range p.inFlight {
		err := f.future.Error()
		p.r.noteTransfer(err)
		answers, ok := f.future.Response().([]*logpb.Answer)
		if err == nil && (!ok || len(answers) != len(f.batch)) {
			err = errStopped
		}
		for i, c := range f.batch {
			c.from.Note("applied")
			switch {
			case c.early:
			case err != nil:
				c.done <- outcome{err: outcomeOf(p.ra, err)}
			default:
				c.done <- outcome{answer: answers[i]}
			}
		}
		close(f.over)
	}
}

// acknowledgeEarly is mutant M4: it answers before anything is committed.
func (r *Replica) acknowledgeEarly(batch []*pending) {
	revision := r.machine.views.Load().revision
	for i, p := range batch {
		if p.command.Condition == logpb.Command_CONDITION_ALWAYS && p.command.Op == logpb.Command_OP_PUT {
			p.done <- outcome{answer: &logpb.Answer{Revision: revision + uint64(i) + 1}}
			p.early = true
		}
	}
}

// outcomeOf says of Raft's error whether the entry may still be committed. Only
// what Raft refuses before its log is certain.
func outcomeOf(ra *raft.Raft, err error) *store.Error {
	switch {
	case errors.Is(err, raft.ErrNotLeader):
		return &store.Error{Code: store.NotLeader, Leader: leaderOf(ra)}
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return &store.Error{Code: store.Overloaded, Msg: "the log took nothing for " + enqueueTimeout.String(), RetryAfter: enqueueTimeout, Cause: err}
	case errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return &store.Error{Code: store.Unavailable, Msg: "leadership is being handed over", Cause: err}
	}
	return &store.Error{Code: store.Unknown, Msg: "the leader lost its seat or its disk with the command in its log", Cause: err}
}

// refuseQueued answers what was never proposed.
func (r *Replica) refuseQueued() {
	for {
		select {
		case p := <-r.queue:
			r.waiting.Add(-int64(p.size))
			p.done <- outcome{err: r.stopping()}
		default:
			return
		}
	}
}

// openTerm proposes the command that shows this leader what earlier terms
// committed: a leader knows its commit index only once an entry of its own term is
// committed (Ongaro, 6.4). It is a command because Raft's own no-ops and barriers
// never reach the state machine.
func (r *Replica) openTerm() {
	c := &logpb.Command{Op: logpb.Command_OP_OPEN_TERM}
	r.enqueue(&pending{command: c, done: make(chan outcome, 1)}) // a full queue opens the term as well
}
