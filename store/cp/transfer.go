package cp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/store"
)

// Transfer hands leadership to the voter to, or to the most caught-up voter that
// answers if to is "", and returns when this replica sees it lead. Writes are refused
// meanwhile, and nothing was done of what is refused.
//
// Invalid: to is no voter. NotLeader: this replica does not lead. Unavailable: the
// voter does not answer or did not win; leadership may still change.
func (r *Replica) Transfer(ctx context.Context, to string) error {
	ra, err := r.up(ctx)
	if err != nil {
		return r.at(err, "transfer")
	}
	if to != "" && leaderOf(ra) == to {
		return nil
	}
	if ra.State() != raft.Leader {
		return r.at(&store.Error{Code: store.NotLeader, Leader: leaderOf(ra)}, "transfer")
	}
	if err := r.transfer(ctx, ra, to); err != nil {
		return r.at(err, "transfer")
	}
	return nil
}

// Drain hands leadership to another voter if this replica has it, so that the node
// can stop without an election time-out. A group of one voter has nobody to hand it to.
func (r *Replica) Drain(ctx context.Context) error {
	ra, err := r.up(ctx)
	if err != nil {
		return r.at(err, "drain")
	}
	if ra.State() != raft.Leader || len(r.confs.latest().voters()) < 2 {
		return nil
	}
	if err := r.transfer(ctx, ra, ""); err != nil && !errors.Is(err, store.NotLeader) {
		return r.at(err, "drain")
	}
	return nil
}

// transfer asks only a voter that answers now. Raft waits for one that does not in a
// way that can end with the transfer flag set for good (hashicorp/raft#696).
func (r *Replica) transfer(ctx context.Context, ra *raft.Raft, to string) error {
	to, err := r.successor(ctx, to)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		done <- ra.LeadershipTransferToServer(raft.ServerID(to), raft.ServerAddress(to)).Error()
	}()
	select {
	case err := <-done:
		switch {
		case errors.Is(err, raft.ErrNotLeader):
			return &store.Error{Code: store.NotLeader, Leader: leaderOf(ra)}
		case err != nil:
			return &store.Error{Code: store.Unavailable, Msg: "leadership did not go to " + to, Cause: err}
		}
	case <-ctx.Done():
		return store.Expired(ctx, "leadership to go to "+to)
	}
	return r.awaitLeader(ctx, ra, to)
}

// successor is to, if it is a voter that answers, or for "" the voter with the most
// log applied among those that do. All are asked at once, for one heartbeat time-out.
func (r *Replica) successor(ctx context.Context, to string) (string, error) {
	others := slices.DeleteFunc(r.confs.latest().voters(), func(v string) bool { return v == r.cfg.Node })
	switch {
	case to != "" && !slices.Contains(others, to):
		return "", &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("%q is no voter of the group", to), Try: "one of its other voters"}
	case to != "":
		others = []string{to}
	case len(others) == 0:
		return "", &store.Error{Code: store.Invalid, Msg: "the group has no other voter", Try: "let another node join first"}
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timing.Heartbeat)
	defer cancel()
	type reply struct {
		voter   string
		applied uint64
		err     error
	}
	replies := make(chan reply, len(others))
	for _, v := range others {
		go func() {
			applied, err := r.askApplied(ctx, v, 0)
			replies <- reply{v, applied, err}
		}()
	}
	var best, got reply
	for range others {
		if got = <-replies; got.err != nil {
			continue
		}
		if best.voter == "" || got.applied > best.applied || got.applied == best.applied && got.voter < best.voter {
			best = got
		}
	}
	if best.voter == "" {
		return "", &store.Error{Code: store.Unavailable, Cause: got.err, Msg: "no voter that could take over answers"}
	}
	return best.voter, nil
}

// awaitLeader returns when this replica sees to lead.
func (r *Replica) awaitLeader(ctx context.Context, ra *raft.Raft, to string) error {
	look := time.NewTicker(r.cfg.Timing.Election)
	defer look.Stop()
	for {
		changed := r.changed.next()
		switch leader := leaderOf(ra); {
		case leader == to:
			return nil
		case ra.State() == raft.Shutdown:
			return r.stopping()
		case leader != "" && leader != r.cfg.Node:
			return &store.Error{Code: store.Unavailable, Msg: leader + " leads instead of " + to}
		case ra.State() == raft.Leader:
			return &store.Error{Code: store.Unavailable, Msg: to + " did not win the election; " + r.cfg.Node + " leads again"}
		}
		select {
		case <-changed:
		case <-look.C:
		case <-ctx.Done():
			return store.Expired(ctx, to+" to lead")
		}
	}
}
