package cp

import (
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/store"
)

// transport is Raft's network transport with some habits changed.
//
// Heartbeats are handled in turn with everything else. The library's fast path
// runs them on the connection's own goroutine, where they race with appends and
// can make logs diverge (hashicorp/raft#695); our read index also needs terms that
// never step back.
//
// An append to a member that cannot be reached is tried again here, twice a second
// at least, instead of being reported: Raft would wait longer after each report, up
// to ten seconds, and make a member that is back wait as long. So is a snapshot, as
// long as nothing of it was sent.
//
// Snapshots that help nothing are noticed and slowed down, see snapshotLoops.
//
// Pre-vote survives because RequestPreVote is promoted from the embedded type.
type transport struct {
	*raft.NetworkTransport
	late  lateLog // or nil
	done  <-chan struct{}
	stale func(term uint64, member raft.ServerID) bool // nobody needs the append any more
	loops *snapshotLoops
}

var _ raft.WithPreVote = transport{}

// SetHeartbeatHandler does nothing, so that heartbeats take the ordinary way.
func (transport) SetHeartbeatHandler(func(raft.RPC)) {}

const (
	firstRetry = 20 * time.Millisecond
	lastRetry  = 500 * time.Millisecond
)

func (r *Replica) newTransport(layer *layer) transport {
	return transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: layer, MaxPool: 3, Timeout: transportTimeout, Logger: r.cfg.Events.Logger,
			// No pipelining: one entry at a time is on its way to the logs, and
			// Raft's pipeline can wedge when its connection ends (hashicorp/raft#612).
			MaxRPCsInFlight: 1,
		}),
		late:  r.late,
		done:  layer.ctx.Done(),
		stale: r.stale,
		loops: &snapshotLoops{group: r.cfg.Group, report: r.cfg.Events.SnapshotLoop, members: make(map[raft.ServerID]*snapshotRun)},
	}
}

// AppendEntries sends args to a member until it is answered or not needed any more.
func (t transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	args.Entries = head(args.Entries)
	args.LeaderCommitIndex = onDisk(t.late, args.LeaderCommitIndex)
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := t.NetworkTransport.AppendEntries(id, target, args, resp)
		if err == nil && !heartbeat(args) && resp.Success {
			t.loops.appended(id)
		}
		if err == nil || heartbeat(args) || t.stale(args.Term, id) || !t.pause(wait) {
			return err
		}
	}
}

// InstallSnapshot sends a snapshot to a member, once it can be reached. A transfer
// that broke off is Raft's to repeat, after a pause of at most ten seconds.
func (t transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if wait := t.loops.wait(id); wait > 0 && !t.pause(wait) {
		return raft.ErrTransportShutdown
	}
	content := &begun{Reader: data}
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := t.NetworkTransport.InstallSnapshot(id, target, args, resp, content)
		if err == nil && resp.Success {
			t.loops.installed(id)
		}
		if err == nil || content.yes || t.stale(args.Term, id) || !t.pause(wait) {
			return err
		}
	}
}

// pause returns false if the transport ends meanwhile.
func (t transport) pause(d time.Duration) bool {
	over := time.NewTimer(d)
	defer over.Stop()
	select {
	case <-over.C:
		return true
	case <-t.done:
		return false
	}
}

// begun knows whether anything was read.
type begun struct {
	io.Reader
	yes bool
}

func (b *begun) Read(p []byte) (int, error) {
	b.yes = true
	return b.Reader.Read(p)
}

// head is as many of the entries as make one request of bounded size, at least one.
// Raft counts entries, not bytes; it goes on from what the follower has then.
func head(entries []*raft.Log) []*raft.Log {
	size := 0
	for i, e := range entries {
		if size += len(e.Data); size > batchBytes && i > 0 {
			return entries[:i]
		}
	}
	return entries
}

// heartbeat recognises the requests by which Raft measures its lease. Those fail
// at once.
func heartbeat(args *raft.AppendEntriesRequest) bool {
	return len(args.Entries) == 0 && args.PrevLogEntry == 0 && args.LeaderCommitIndex == 0
}

const (
	// loopLimit is how many snapshots in a row may be installed at a member without
	// its taking an entry after any of them.
	loopLimit = 8
	// Past it, each waits twice as long as the one before.
	firstLoopWait = time.Second
	lastLoopWait  = time.Minute
)

// snapshotLoops notices members that are sent one snapshot after the other and take
// no log entry: with a divergent tail that is longer than the leader's log behind its
// snapshot (hashicorp/raft#697), which Config refuses to make possible, or because the
// log is cut faster than a snapshot can be sent. It would go on at full speed, so it
// is reported and slowed down.
type snapshotLoops struct {
	group  store.GroupID
	report func(group store.GroupID, member string, count int)

	mu      sync.Mutex
	members map[raft.ServerID]*snapshotRun
}

// snapshotRun is the snapshots installed at a member since it last took an entry.
type snapshotRun struct {
	count int
	wait  time.Duration // before the next
}

func (l *snapshotLoops) installed(id raft.ServerID) {
	l.mu.Lock()
	run := l.members[id]
	if run == nil {
		run = new(snapshotRun)
		l.members[id] = run
	}
	run.count++
	count := run.count
	if count >= loopLimit {
		run.wait = min(max(2*run.wait, firstLoopWait), lastLoopWait)
	}
	l.mu.Unlock()
	if count >= loopLimit && l.report != nil {
		l.report(l.group, string(id), count)
	}
}

// appended ends a member's run.
func (l *snapshotLoops) appended(id raft.ServerID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.members, id)
}

func (l *snapshotLoops) wait(id raft.ServerID) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if run := l.members[id]; run != nil {
		return run.wait
	}
	return 0
}
