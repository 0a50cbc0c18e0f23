package cp

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// The state notes what the writes of the group depend on in other groups, and every
// answer tells it. It changes by the log only, so that it is the same everywhere, and
// goes with snapshots of Raft's. A restore begins without: the snapshot may be of
// another cluster, where those groups are others.

// setDeps makes d what the state's writes depend on.
func (s *state) setDeps(d token.Deps) {
	s.deps, s.meta.Deps = d, d.Encode()
}

// noting returns what the state depends on once the command is applied, or why it must
// not be.
func (t *tx) noting(c *logpb.Command) (token.Deps, *logpb.Answer) {
	if len(c.Deps) == 0 {
		return t.s.deps, nil
	}
	d, err := token.DecodeDeps(c.Deps)
	if err != nil {
		t.err = fmt.Errorf("cp: the dependencies of a command: %w", err)
		return t.s.deps, &logpb.Answer{}
	}
	joined := t.s.deps.Join(d.Without(t.s.group))
	if err := joined.Check(); err != nil {
		e := store.AsError(err)
		return t.s.deps, &logpb.Answer{Code: string(e.Code), Msg: e.Msg, Revision: t.s.meta.Revision}
	}
	return joined, nil
}

// settle drops what nobody needs to wait for any more.
func (t *tx) settle(c *logpb.Command) *logpb.Answer {
	d, err := token.DecodeDeps(c.Deps)
	if err != nil {
		t.err = fmt.Errorf("cp: the dependencies that are settled: %w", err)
	}
	t.s.setDeps(t.s.deps.Beyond(d))
	return &logpb.Answer{Revision: t.s.meta.Revision}
}

// told is what an answer from the view tells of other groups.
func (v *view) told(found bool) store.Deps {
	if mutant.M37 && !found {
		return nil // as if each value kept its own
	}
	return v.encoded
}

// Deps is what the group's writes depend on in other groups, as far as this replica
// knows.
func (r *Replica) Deps() token.Deps {
	if v := r.machine.views.Load(); v != nil {
		return v.deps
	}
	return token.Deps{}
}

// Holds reports whether this replica's state includes what the entry names. What was
// seen before a restore it does not.
func (r *Replica) Holds(e store.Entry) bool {
	s, err := seenIn(e)
	v := r.machine.views.Load()
	return err == nil && v != nil && s.epoch == v.epoch && s.revision <= v.revision
}

// Settle drops from what the group depends on elsewhere what all members of those groups
// hold, or nobody does any more. On any but the leader it does nothing.
func (r *Replica) Settle(ctx context.Context, settled token.Deps) error {
	ra := r.raft.Load()
	if ra == nil || ra.State() != raft.Leader {
		return nil
	}
	_, err := r.submit(ctx, &logpb.Command{Op: logpb.Command_OP_SETTLE, Deps: settled.Encode()})
	if err != nil {
		return r.at(err, "settle")
	}
	return nil
}

// Settled is for what of the group nobody needs to wait, because every member has it on
// disk, those without a vote included: whichever of them somebody reads, whenever, shows
// it. Only a leader knows, and only if all members answer. Without them it knows at least
// that what was seen before the group was restored is nowhere.
//
// A member that this leader does not know of can have come only by a later leader. But
// every member that it knows says that it was at no later term when it held this, so it
// had voted for none; a member that came after shows nothing before it has proved itself
// fresh, which includes this.
func (r *Replica) Settled(ctx context.Context, _ store.Entry, _ time.Duration) (store.Entry, error) {
	entry, err := r.settled(ctx)
	if ra, v := r.raft.Load(), r.machine.views.Load(); err != nil && ra != nil && ra.State() == raft.Leader && v != nil && v.epoch > 0 {
		return entryOf(v.epoch, 1), nil
	}
	if err != nil {
		return nil, r.at(err, "settled")
	}
	return entry, nil
}

func (r *Replica) settled(ctx context.Context) (store.Entry, error) {
	ra, err := r.leading(ctx)
	if err != nil {
		return nil, err
	}
	term, conf := ra.CurrentTerm(), r.confs.latest()
	v := r.machine.views.Load()
	if v == nil {
		return nil, r.stopping()
	}
	held := make(chan error, len(conf.servers))
	for _, s := range conf.servers {
		go func() { held <- r.hasSynced(ctx, string(s.ID), v.index, term) }()
	}
	for range conf.servers {
		if failed := <-held; err == nil {
			err = failed
		}
	}
	if err != nil {
		return nil, err
	}
	if ra.State() != raft.Leader || ra.CurrentTerm() != term || !slices.Equal(r.confs.latest().servers, conf.servers) {
		return nil, &store.Error{Code: store.Unavailable, Msg: "leadership or membership changed meanwhile"}
	}
	return entryOf(v.epoch, v.revision), nil
}

// hasSynced returns nil once a member has on disk what the log says up to an index, and
// was at no later term.
func (r *Replica) hasSynced(ctx context.Context, node string, index, term uint64) error {
	if node == r.cfg.Node {
		return r.cfg.Engine.Sync()
	}
	resp, err := r.call(ctx, node, &logpb.CPRequest{Kind: &logpb.CPRequest_Applied{Applied: &logpb.AppliedRequest{Index: index, Synced: true}}})
	switch a := resp.GetApplied(); {
	case err != nil:
		return err
	case a == nil || a.Index < index || a.Term == 0:
		return fmt.Errorf("cp: %s answered a question for what it has on disk with something else", node)
	case a.Term > term:
		return &store.Error{Code: store.NotLeader, Msg: fmt.Sprintf("%s is at term %d, this leader at %d", node, a.Term, term)}
	}
	return nil
}
