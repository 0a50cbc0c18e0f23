package cp

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/store"
)

const (
	// fullPoll is how often a round asks all voters, so that it is known who is quick.
	fullPoll = 64
	// leastPatience is what a voter is given at least before the others are asked, too.
	leastPatience = time.Millisecond
)

// poll is whom a read-index round asks first. Any majority proves as much as all, and
// to be asked is what a strong read costs the others: so those are asked who were quick
// when all were asked last, and the rest only when one of these does not answer, or says
// no. It belongs to the goroutine that runs the rounds.
type poll struct {
	quick    []string      // whose answers decided the last round in which all were asked
	patience time.Duration // how long the rest is left alone: four times what such a round takes
}

// reply is what a voter said: nil, if it is at no later term.
type reply struct {
	voter string
	err   error
}

// askVoters returns nil once a majority of voters has said that it is at no later
// term than term.
func (r *Replica) askVoters(ctx context.Context, conf raft.Configuration, term uint64, question *logpb.TermRequest) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	others, votes, voters := r.electorate(conf)
	needed := voters/2 + 1 - votes
	if needed <= 0 {
		return nil
	}
	replies := make(chan reply, len(others))
	ask := func(voters []string) {
		for _, v := range voters {
			go func() { replies <- reply{v, r.askTerm(ctx, v, term, question)} }()
		}
	}
	all := len(r.poll.quick) < needed || question.Round%fullPoll == 0
	waiting := len(others)
	if !all {
		waiting = min(needed, len(others))
	}
	began := time.Now()
	ask(others[:waiting])
	rest := others[waiting:]
	late := time.NewTimer(max(r.poll.patience, leastPatience))
	defer late.Stop()
	var agreed []string
	var last error
	for len(agreed) < needed {
		if waiting == 0 && len(rest) == 0 {
			return &store.Error{Code: store.Unavailable, Msg: fmt.Sprintf("%d of %d voters confirmed the leader", votes+len(agreed), voters), Cause: last}
		}
		select {
		case got := <-replies:
			waiting--
			if got.err == nil {
				agreed = append(agreed, got.voter)
				continue
			}
			last = got.err
		case <-late.C:
		}
		ask(rest)
		waiting, rest = waiting+len(rest), nil
	}
	if len(rest) == 0 {
		r.poll.quick = agreed
	}
	if all {
		r.poll.patience = min(4*time.Since(began), r.cfg.Timing.Heartbeat/10)
	}
	return nil
}

// electorate returns the voters but for this replica, the quick ones first, this
// replica's own vote, and how many voters there are.
func (r *Replica) electorate(conf raft.Configuration) (others []string, votes, voters int) {
	for _, s := range conf.Servers {
		if s.Suffrage == raft.Voter {
			voters++
		} else if !mutant.M23 {
			continue
		}
		if string(s.ID) == r.cfg.Node {
			votes++
			continue
		}
		others = append(others, string(s.ID))
	}
	rank := func(voter string) int {
		if slices.Contains(r.poll.quick, voter) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(others, func(a, b string) int { return rank(a) - rank(b) })
	return others, votes, voters
}

// askTerm asks one voter whether it is at no later term.
func (r *Replica) askTerm(ctx context.Context, voter string, term uint64, question *logpb.TermRequest) error {
	resp, err := r.call(ctx, voter, &logpb.CPRequest{Kind: &logpb.CPRequest_Term{Term: question}})
	if err != nil {
		return err
	}
	switch t := resp.GetTerm(); {
	case t == nil || t.Term == 0 || t.Round != question.Round:
		return fmt.Errorf("cp: %s answered a question for its term with something else", voter)
	case t.Term > term:
		return &store.Error{Code: store.NotLeader, Msg: fmt.Sprintf("%s is at term %d, this leader at %d", voter, t.Term, term)}
	}
	return nil
}
