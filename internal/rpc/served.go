package rpc

import (
	"sync/atomic"
	"time"

	"github.com/dialkv/dialkv/store"
)

// Served tells of a read or a write that was answered.
type Served struct {
	Keyspace string // "" if there is none as was asked for
	Op       string // get, scan, or what store.Command calls itself; "" if that is not known
	// Level is what a read asked for, after the default was filled in; the default of a
	// write, and of what was refused before its keyspace was known.
	Level store.Level
	Err   error
	Took  time.Duration
}

// Traffic is what a server is busy with now.
type Traffic struct {
	Requests    atomic.Int64 // reads and writes, however they came
	Streams     atomic.Int64 // of clients that send many
	Watches     atomic.Int64
	PeerStreams atomic.Int64 // that peers opened
}

// begin notes that a read or write has come. It returns when, since the server began: that
// takes one look at the clock, and the time of day another.
func (s *kv) begin() time.Duration {
	s.traffic.Requests.Add(1)
	return time.Since(s.began)
}

// done tells of a read or write that has been served.
func (s *kv) done(p *place, op string, err error, began time.Duration) {
	if s.cfg.Served != nil {
		s.cfg.Served(Served{Keyspace: p.keyspace.Name, Op: op, Level: p.level, Err: err, Took: time.Since(s.began) - began})
	}
}
