package node

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store/ap"
)

// place keeps an ap replica told of its group's members. Nobody leads an ap group, so
// a member that comes, or goes, says itself when it has, to the catalog.
func (n *Node) place(ctx context.Context, g *group, r *ap.Replica) {
	n.attend(ctx, g.id, never, never, func(ctx context.Context) error {
		k, ok := n.catalog.Topology().KeyspaceByID(g.id.Keyspace)
		if !ok {
			return nil
		}
		if err := r.Adopt(placementOf(k, g.id.Shard)); err != nil {
			return err
		}
		return errors.Join(n.learnClosed(g.id, r), n.comeOrGo(ctx, k, g.id.Shard, r))
	})
}

func placementOf(k shard.Keyspace, s uint32) ap.Placement {
	m := k.Move(s)
	return ap.Placement{Epoch: m.Changes, Members: k.Members(s), Joining: m.Joining, Leaving: m.Leaving}
}

// comeOrGo takes this node's part in what moves. A member goes only after who comes in
// its place.
func (n *Node) comeOrGo(ctx context.Context, k shard.Keyspace, s uint32, r *ap.Replica) error {
	m, me := k.Move(s), n.cfg.Node
	switch {
	case slices.Contains(m.Newcomers(), me):
		return n.recorded(ctx, moveWait, r.CatchUp, func(ctx context.Context) error { return n.catalog.Entered(ctx, k, s, me) })
	case slices.Contains(m.Leaving, me) && len(m.Newcomers()) == 0 && len(k.Target(s)) > 0:
		return n.recorded(ctx, recordWait, r.Leave, func(ctx context.Context) error { return n.catalog.Left(ctx, k, s, me) })
	}
	return nil
}

// recorded waits, until the catalog changes, and then writes down what was waited for.
func (n *Node) recorded(ctx context.Context, patience time.Duration, wait, record func(context.Context) error) error {
	news, cancel := n.untilNews(ctx, patience)
	err := wait(news)
	changed := errors.Is(news.Err(), context.Canceled)
	cancel()
	if err != nil && changed {
		return errLater
	}
	if err != nil {
		return err
	}
	ctx, cancel = context.WithTimeout(ctx, recordWait)
	defer cancel()
	return record(ctx)
}
