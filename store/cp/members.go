package cp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/store"
)

// Join makes node a voter of the group, through its leader, which must be this
// replica. The node first catches up without a vote: a member that votes before it
// has the log can take the majority away. Joining again changes nothing, and goes on
// where an earlier call ended.
//
// Unavailable means that node is at most a member without a vote; Unknown that the
// change was in the log when ctx ended.
func (r *Replica) Join(ctx context.Context, node string) error {
	ra, err := r.leading(ctx)
	if err != nil {
		return r.at(err, "join")
	}
	id, addr := raft.ServerID(node), raft.ServerAddress(node)
	conf := r.confs.latest()
	switch member, known := conf.member(id); {
	case known && member.Suffrage == raft.Voter:
		return nil
	case !known:
		if err := r.change(ctx, ra, ra.AddNonvoter(id, addr, conf.index, enqueueTimeout)); err != nil {
			return r.at(err, "join")
		}
	}
	if err := r.awaitCaughtUp(ctx, ra, node); err != nil {
		return r.at(err, "join")
	}
	// Whoever changed the members meanwhile may have removed this one.
	conf = r.confs.latest()
	if _, known := conf.member(id); !known {
		return r.at(interrupted(nil), "join")
	}
	if err := r.change(ctx, ra, ra.AddVoter(id, addr, conf.index, enqueueTimeout)); err != nil {
		return r.at(err, "join")
	}
	return nil
}

// awaitCaughtUp returns once node has applied all that is committed now. A node that
// does not answer, because it is only about to open the group, is asked again.
func (r *Replica) awaitCaughtUp(ctx context.Context, ra *raft.Raft, node string) error {
	target := ra.CommitIndex()
	for {
		applied, err := r.askApplied(ctx, node, target)
		if err == nil && applied >= target {
			return nil
		}
		behind := &store.Error{Code: store.Unavailable, Cause: err, Msg: fmt.Sprintf("%s did not catch up with log entry %d", node, target)}
		// Who refuses to answer, because it is of another lineage, does so for ever.
		if ra.State() != raft.Leader || errors.Is(err, store.Denied) {
			return behind
		}
		again := time.NewTimer(r.cfg.Timing.Heartbeat)
		select {
		case <-again.C:
		case <-r.down:
			again.Stop()
			return r.stopping()
		case <-ctx.Done():
			again.Stop()
			return behind
		}
	}
}

// askApplied returns the log entry that node has applied, once it is at least index.
func (r *Replica) askApplied(ctx context.Context, node string, index uint64) (uint64, error) {
	resp, err := r.call(ctx, node, &logpb.CPRequest{Kind: &logpb.CPRequest_Applied{Applied: &logpb.AppliedRequest{Index: index}}})
	if err != nil {
		return 0, err
	}
	if resp.GetApplied() == nil {
		return 0, fmt.Errorf("cp: %s answered a question for its state with something else", node)
	}
	return resp.GetApplied().Index, nil
}

// Remove takes node out of the group, through its leader, which must be this
// replica. Removing a node that is no member changes nothing.
//
// Invalid says that it must not go: it is the last member, or the voters that stay
// and answer now are no majority of those that stay, so that the group would lose its
// quorum with it. A leader that is to go hands its seat over first and answers
// NotLeader with the new leader, which can remove it.
func (r *Replica) Remove(ctx context.Context, node string) error {
	err := r.retire(ctx, node, func(ra *raft.Raft, conf numbered, member raft.Server) raft.IndexFuture {
		return ra.RemoveServer(member.ID, conf.index, enqueueTimeout)
	})
	if err != nil {
		return r.at(err, "remove")
	}
	return nil
}

// Demote takes node's vote away and leaves it a member, which still hears what is
// committed. A node without a vote, or that is no member, it leaves as it is. Its
// errors are those of Remove.
func (r *Replica) Demote(ctx context.Context, node string) error {
	err := r.retire(ctx, node, func(ra *raft.Raft, conf numbered, member raft.Server) raft.IndexFuture {
		if member.Suffrage != raft.Voter {
			return nil
		}
		return ra.DemoteVoter(member.ID, conf.index, enqueueTimeout)
	})
	if err != nil {
		return r.at(err, "demote")
	}
	return nil
}

// retire makes a change by which a member counts for less; nil is none.
func (r *Replica) retire(ctx context.Context, node string, change func(*raft.Raft, numbered, raft.Server) raft.IndexFuture) error {
	ra, err := r.leading(ctx)
	if err != nil {
		return err
	}
	conf := r.confs.latest()
	member, known := conf.member(raft.ServerID(node))
	if !known {
		return nil
	}
	if err := r.mayGo(ctx, conf, node); err != nil {
		return err
	}
	if node == r.cfg.Node {
		if err := r.transfer(ctx, ra, ""); err != nil {
			return err
		}
		return &store.Error{Code: store.NotLeader, Leader: leaderOf(ra)}
	}
	if f := change(ra, conf, member); f != nil {
		return r.change(ctx, ra, f)
	}
	return nil
}

// mayGo refuses a removal after which the group could not commit anything: the other
// voters are asked now.
func (r *Replica) mayGo(ctx context.Context, conf numbered, node string) error {
	if len(conf.servers) == 1 {
		return &store.Error{
			Code: store.Invalid, Msg: node + " is the last member of the group",
			Try: "delete the keyspace, or let another node join first",
		}
	}
	member, _ := conf.member(raft.ServerID(node))
	if member.Suffrage != raft.Voter {
		return nil
	}
	stay := slices.DeleteFunc(conf.voters(), func(v string) bool { return v == node })
	healthy, deaf := r.askHealth(ctx, stay)
	if len(stay) == 0 || len(healthy) <= len(stay)/2 {
		return &store.Error{
			Code: store.Invalid,
			Msg:  fmt.Sprintf("without %s, %d of %d voters would answer, which is no majority", node, len(healthy), len(stay)),
			Try:  fmt.Sprintf("bring %s back, or remove %[1]s first", strings.Join(deaf, ", ")),
		}
	}
	return nil
}

// askHealth asks voters for their term, all at once, and says who answered as a
// running voter within two heartbeat time-outs. This replica answers for itself.
func (r *Replica) askHealth(ctx context.Context, voters []string) (healthy, deaf []string) {
	ctx, cancel := context.WithTimeout(ctx, 2*r.cfg.Timing.Heartbeat)
	defer cancel()
	type reply struct {
		voter string
		err   error
	}
	replies := make(chan reply, len(voters))
	for _, v := range voters {
		go func() { replies <- reply{v, r.askRunning(ctx, v)} }()
	}
	for range voters {
		if got := <-replies; got.err == nil {
			healthy = append(healthy, got.voter)
		} else {
			deaf = append(deaf, got.voter)
		}
	}
	slices.Sort(deaf)
	return healthy, deaf
}

// askRunning returns nil if voter says now that it runs and votes.
func (r *Replica) askRunning(ctx context.Context, voter string) error {
	if voter == r.cfg.Node {
		return nil
	}
	question := &logpb.TermRequest{Round: r.roundNumber.Add(1)}
	resp, err := r.call(ctx, voter, &logpb.CPRequest{Kind: &logpb.CPRequest_Term{Term: question}})
	if err != nil {
		return err
	}
	if t := resp.GetTerm(); t == nil || t.Term == 0 || t.Round != question.Round {
		return fmt.Errorf("cp: %s answered a question for its term with something else", voter)
	}
	return nil
}

// leading returns Raft if this replica leads.
func (r *Replica) leading(ctx context.Context) (*raft.Raft, error) {
	ra, err := r.up(ctx)
	if err != nil {
		return nil, err
	}
	if ra.State() != raft.Leader {
		return nil, &store.Error{Code: store.NotLeader, Leader: leaderOf(ra)}
	}
	return ra, nil
}

// change waits for a change of membership. Raft's futures know no context, so one
// that is never answered leaves a goroutine until Raft stops.
func (r *Replica) change(ctx context.Context, ra *raft.Raft, f raft.IndexFuture) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		switch {
		case err == nil:
			return nil
		case strings.HasPrefix(err.Error(), "configuration changed since"):
			return interrupted(err) // raft has no error value for it
		}
		return outcomeOf(ra, err)
	case <-ctx.Done():
		return &store.Error{Code: store.Unknown, Msg: "the deadline came before the change of members was known to be committed", Cause: context.Cause(ctx)}
	}
}

func interrupted(cause error) error {
	return &store.Error{Code: store.Unavailable, Cause: cause, Msg: "another change of members came first; nothing was changed", Try: "the same again"}
}

// numbered is a configuration and the log entry that made it. Raft refuses a change
// that names an entry other than its latest configuration's, so a decision taken on
// this one cannot meet another. Raft's own ConfigurationFuture has no index.
type numbered struct {
	index   uint64
	servers []raft.Server
}

func (n numbered) member(id raft.ServerID) (raft.Server, bool) {
	i := slices.IndexFunc(n.servers, func(s raft.Server) bool { return s.ID == id })
	if i < 0 {
		return raft.Server{}, false
	}
	return n.servers[i], true
}

func (n numbered) voters() []string {
	var names []string
	for _, s := range n.servers {
		if s.Suffrage == raft.Voter {
			names = append(names, string(s.ID))
		}
	}
	return names
}

// configurations follows the group's configurations as they enter the log. It learns
// of each before Raft acts on it.
type configurations struct {
	mu    sync.Mutex
	floor numbered   // of the newest snapshot
	log   []numbered // by index; the last is the latest
}

// keptConfigurations is more than the uncommitted ones that a tail can lose: a leader
// appends one at a time.
const keptConfigurations = 8

func (c *configurations) latest() numbered {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.log); n > 0 && c.log[n-1].index > c.floor.index {
		return c.log[n-1]
	}
	return c.floor
}

// snapshot notes the configuration of a snapshot that is complete.
func (c *configurations) snapshot(meta *raft.SnapshotMeta) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if meta.ConfigurationIndex > c.floor.index {
		c.floor = numbered{index: meta.ConfigurationIndex, servers: meta.Configuration.Servers}
	}
}

// stored looks for configurations among new entries.
func (c *configurations) stored(logs []*raft.Log) {
	for _, log := range logs {
		if log.Type == raft.LogConfiguration {
			c.append(numbered{index: log.Index, servers: raft.DecodeConfiguration(log.Data).Servers})
		}
	}
}

func (c *configurations) append(n numbered) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, n)
	if len(c.log) > keptConfigurations {
		c.log = slices.Delete(c.log, 0, 1)
	}
}

// cut forgets what stood in a tail that was removed.
func (c *configurations) cut(from uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = slices.DeleteFunc(c.log, func(n numbered) bool { return n.index >= from })
}
