package nemesis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dialkv/dialkv/internal/link"
)

// Times of a stall.
const (
	stallDisk  = time.Hour       // until it is healed
	stallWrite = 2 * time.Second // until Raft's goroutine has something to write
	stallSend  = 150 * time.Millisecond
	stallLate  = time.Minute // what is sent to the leader meanwhile does not matter any more
	// Raft gives a request up after two seconds, and with it the answer that is held.
	stallSoon   = 400 * time.Millisecond
	stallRenew  = 5 * time.Millisecond
	stallBelief = 5 * time.Millisecond
	stallTail   = 50 * time.Millisecond
)

// stall makes a leader believe that it leads when it does no more, as a pause of its
// process does. Its disk stands still, so Raft's own goroutine does, and cannot give up
// the lead; what it asked is answered, and the answers are held on their way; then
// nothing it sends arrives any more, and the others elect another. At the heal answers
// of some renew its lease before it goes on, and those of the others come while it may
// be proving to itself that it leads. Answers that old prove nothing.
func (n *nemesis) stall(ctx context.Context, leader string) fault {
	disks := n.cluster.(Disks)
	others := n.without(leader)
	before, synced := n.groups(ctx), disks.SlowSyncs(ctx, leader)
	answers := between(others, []string{leader})
	questions := between([]string{leader}, others)
	return fault{
		detail: leader + "|" + strings.Join(others, ","),
		soon:   stallSoon,
		begin: func(ctx context.Context) error {
			if err := disks.SlowDisk(ctx, leader, stallDisk); err != nil {
				return err
			}
			for waited := time.Duration(0); disks.SlowSyncs(ctx, leader) == synced && waited < stallWrite; waited += lookPause {
				_ = wait(ctx, lookPause)
			}
			if err := n.cluster.SetFaults(ctx, answers); err != nil {
				return err
			}
			_ = wait(ctx, stallSend)
			for i := range answers {
				answers[i].Delay = stallLate
			}
			return n.cluster.SetFaults(ctx, append(answers, questions...))
		},
		effect: func(ctx context.Context) string {
			if disks.SlowSyncs(ctx, leader) == synced {
				return ""
			}
			return n.superseded(ctx, leader, before)
		},
		heal: func(ctx context.Context) error {
			half := len(answers) / 2
			release := func(answers []link.Rule) []link.Rule {
				for i := range answers {
					answers[i].Action = link.Pass
				}
				return answers
			}
			release(answers[:half])
			err := n.cluster.SetFaults(ctx, append(answers, questions...))
			_ = wait(ctx, stallRenew)
			err = errors.Join(err, disks.SlowDisk(ctx, leader, 0))
			_ = wait(ctx, stallBelief)
			release(answers)
			err = errors.Join(err, n.cluster.SetFaults(ctx, append(answers, questions...)))
			_ = wait(ctx, stallTail)
			return errors.Join(err, n.cluster.SetFaults(ctx, nil), n.whole(ctx))
		},
	}
}

// superseded says which group has another leader than the one that stands still.
func (n *nemesis) superseded(ctx context.Context, leader string, before map[string]led) string {
	for name, now := range n.groups(ctx) {
		if was := before[name]; was.leader == leader && now.leader != leader && now.term > was.term {
			return fmt.Sprintf("%s leads %s in %s's place", now.leader, name, leader)
		}
	}
	return ""
}
