package cp

import (
	"context"

	"github.com/hashicorp/raft"
)

// Rounds is how many read-index rounds this replica has led.
func (r *Replica) Rounds() uint64 { return r.roundNumber.Load() }

// Pins is how many views are kept for scans.
func (r *Replica) Pins() int { return r.pins.Len() }

// Generation is that of the state that reads see.
func (r *Replica) Generation() uint64 { return r.machine.views.Load().gen }

// AddNonvoter makes node a member without a vote, and leaves it one.
func (r *Replica) AddNonvoter(ctx context.Context, node string) error {
	ra, err := r.up(ctx)
	if err != nil {
		return err
	}
	return ra.AddNonvoter(raft.ServerID(node), raft.ServerAddress(node), 0, enqueueTimeout).Error()
}

// RaftVerifiesLeader is what Raft itself says of its leadership.
func (r *Replica) RaftVerifiesLeader() error { return r.raft.Load().VerifyLeader().Error() }
