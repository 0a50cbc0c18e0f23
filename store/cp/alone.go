package cp

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/mutant"
)

// planted is the transport that Raft is given: with mutant M22 a lonely one.
func planted(t transport) raft.Transport {
	if mutant.M22 {
		return lonely{transport: t, heard: new(atomic.Int64)}
	}
	return t
}

// lonely is mutant M22: a node that has reached nobody for a second counts as a group
// of one, and gives itself the votes and acknowledgements that the others do not.
type lonely struct {
	transport
	heard *atomic.Int64 // unix nanoseconds of the last answer
}

func (l lonely) alone() bool { return time.Now().UnixNano()-l.heard.Load() > int64(time.Second) }

// ask returns true if the answer is the lonely node's own.
func ask[T any](l lonely, resp *T, call func(*T) error) (bool, error) {
	got, done := new(T), make(chan error, 1)
	go func() {
		err := call(got)
		if err == nil {
			l.heard.Store(time.Now().UnixNano())
		}
		done <- err
	}()
	select {
	case err := <-done:
		*resp = *got
		return err != nil && l.alone(), err
	case <-time.After(20 * time.Millisecond):
		if l.alone() {
			return true, nil
		}
	}
	err := <-done
	*resp = *got
	return err != nil && l.alone(), err
}

func (l lonely) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	own, err := ask(l, resp, func(to *raft.RequestVoteResponse) error { return l.transport.RequestVote(id, target, args, to) })
	if own {
		*resp, err = raft.RequestVoteResponse{Term: args.Term, Granted: true}, nil
	}
	return err
}

func (l lonely) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	own, err := ask(l, resp, func(to *raft.RequestPreVoteResponse) error { return l.transport.RequestPreVote(id, target, args, to) })
	if own {
		*resp, err = raft.RequestPreVoteResponse{Term: args.Term, Granted: true}, nil
	}
	return err
}

func (l lonely) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	own, err := ask(l, resp, func(to *raft.AppendEntriesResponse) error {
		copied := *args // Raft uses its request again
		return l.NetworkTransport.AppendEntries(id, target, &copied, to)
	})
	if own {
		*resp, err = raft.AppendEntriesResponse{Term: args.Term, LastLog: args.PrevLogEntry, Success: true}, nil
	}
	return err
}
