package node

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// farewell is how long a removed node is given to hear that it was removed, before
// the catalog's group goes on without it.
const farewell = 2 * time.Second

// tendCatalog looks after the catalog's group and, on its leader, after the cluster:
// every recorded node is a member of the group; nodes that leave are taken out; groups
// that lack a member get one.
func (n *Node) tendCatalog(ctx context.Context) error {
	s := steward{Node: n, seen: make(map[string]time.Time)}
	n.attend(ctx, store.CatalogGroup, n.system.LeaderChanged, n.members.Changed, func(ctx context.Context) error {
		n.checkReady()
		if n.system.Status().Role != "leader" {
			return nil
		}
		if n.draining.Load() && len(others(n.system.Status())) > 0 {
			return n.handOver(ctx, n.system)
		}
		return s.look(ctx)
	})
	return nil
}

// steward is what the catalog's leader does for the cluster. Everything it plans is
// a conditional write, so that two who believe to lead do no harm.
type steward struct {
	*Node
	seen map[string]time.Time // since when a node that was removed is a member of the catalog's group
}

func (s *steward) look(ctx context.Context) error {
	t := s.catalog.Topology()
	steps, err := s.plan(ctx, t)
	errs := []error{err}
	for _, step := range steps {
		s.cfg.Logger.Info("a group's members change", "keyspace", step.Keyspace.Name, "shard", step.Shard,
			"members", step.Members, "joining", step.Move.Joining, "leaving", step.Move.Leaving)
		errs = append(errs, s.within(ctx, func(ctx context.Context) error { return s.catalog.Begin(ctx, step) }))
	}
	for _, node := range t.Nodes {
		if goes(t, node) {
			errs = append(errs, s.within(ctx, func(ctx context.Context) error { return s.dismiss(ctx, node) }))
		}
	}
	if more, err := s.catalog.ForgetClosed(ctx); err != nil || more {
		errs = append(errs, cmp.Or(err, errLater))
	}
	return errors.Join(append(errs, s.tendVoters(ctx, t))...)
}

// goes reports whether nothing keeps a node that leaves, or is dead, any more.
func goes(t shard.Topology, node shard.Node) bool {
	return node.State != shard.Member && !holds(t, node.Name)
}

// dismiss records that a node is removed, on which it ends. Its vote in the catalog is
// taken away before: of two voters the other could not even take note alone.
func (s *steward) dismiss(ctx context.Context, node shard.Node) error {
	if node.State < shard.Dead {
		if err := s.system.Demote(ctx, node.Name); err != nil {
			return err
		}
	}
	s.cfg.Logger.Info("a node is removed", "member", node.Name)
	return s.catalog.SetState(ctx, node.Name, shard.Removed)
}

// plan is what there is to repair now. Only when there is something to repair are
// nodes asked whether they are there to take a replica; while one of them is missed
// it looks again.
func (s *steward) plan(ctx context.Context, t shard.Topology) ([]shard.Step, error) {
	wish := shard.Repair(t, func(string) bool { return true })
	if len(wish) == 0 {
		return nil, nil
	}
	there := s.ask(ctx, namesOf(t))
	steps := shard.Repair(t, func(name string) bool { return there[name] != nil })
	if len(there) < len(t.Nodes) {
		return steps, errLater
	}
	return steps, nil
}

func (s *steward) within(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, recordWait)
	defer cancel()
	return do(ctx)
}

// tendVoters makes the members of the catalog's group those that the catalog names.
func (s *steward) tendVoters(ctx context.Context, t shard.Topology) error {
	var target []string
	for _, node := range t.Nodes {
		if node.State < shard.Dead && !goes(t, node) {
			target = append(target, node.Name)
		}
	}
	status := s.system.Status()
	if !slices.Contains(target, s.cfg.Node) {
		return nil // not recorded yet: a founder that has only begun
	}
	for _, name := range status.Members {
		known, ok := t.ByName(name)
		if ok && known.State < shard.Dead && goes(t, known) || s.catalog.Removed(name) && !s.told(ctx, name) {
			return errLater // it is on its way out, and still has to hear of it
		}
	}
	if len(status.NonVoters) == 0 && sameNames(status.Members, target) {
		return nil
	}
	absent, err := s.reshape(ctx, s.system, target, nil, joinTimeout)
	return errors.Join(err, absent)
}

// told reports whether a node that was removed has ended, or has had time to hear.
func (s *steward) told(ctx context.Context, name string) bool {
	since, ok := s.seen[name]
	if !ok {
		since = time.Now()
		s.seen[name] = since
	}
	return time.Since(since) > farewell || !s.answers(ctx, name)
}

// holds reports whether a node is named by any group.
func holds(t shard.Topology, node string) bool {
	return slices.ContainsFunc(t.Keyspaces, func(k shard.Keyspace) bool {
		return slices.ContainsFunc(k.Placement, func(members []string) bool { return slices.Contains(members, node) })
	})
}
