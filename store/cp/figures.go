package cp

import (
	"sync/atomic"
	"time"
)

// Figures say what a replica has done since it was opened, and how far it is.
type Figures struct {
	Entries, Commands uint64 // of its own, as leader, that went to the log; a term's first among them
	Rounds, Reads     uint64 // read-index rounds that it ran, and those who waited for one
	Failed            uint64 // of the rounds
	Queued            int64  // bytes that wait for the log

	Last, Commit uint64        // indexes of the log
	Heard        time.Duration // how long ago a follower heard its leader
	Followed     bool          // there is such a time
}

// counts are what Figures count.
type counts struct{ entries, commands, rounds, reads, failed atomic.Uint64 }

func (c *counts) entry(commands int) {
	c.entries.Add(1)
	c.commands.Add(uint64(commands))
}

func (c *counts) round(reads int, err error) {
	c.rounds.Add(1)
	c.reads.Add(uint64(reads))
	if err != nil {
		c.failed.Add(1)
	}
}

// Figures is a cheap, local look. It never blocks.
func (r *Replica) Figures() Figures {
	f := Figures{
		Entries: r.counts.entries.Load(), Commands: r.counts.commands.Load(),
		Rounds: r.counts.rounds.Load(), Reads: r.counts.reads.Load(), Failed: r.counts.failed.Load(),
		Queued: r.waiting.Load(),
	}
	ra := r.raft.Load()
	if ra == nil {
		return f
	}
	f.Last, f.Commit = ra.LastIndex(), ra.CommitIndex()
	if at := ra.LastContact(); roleOf(ra) != "leader" && !at.IsZero() {
		f.Heard, f.Followed = time.Since(at), true
	}
	return f
}
