package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

const (
	tendPause  = 200 * time.Millisecond // before something that did not work is tried again
	tendMost   = 5 * time.Second
	moveWait   = time.Minute // for a newcomer to catch up
	recordWait = 5 * time.Second
)

// tend makes the members of a group those of the catalog, whenever this node leads
// it, and hands leadership over while the node is drained. What a crash interrupts,
// the next leader goes on with: what there is to do is what the group's configuration
// and the record differ in.
func (n *Node) tend(ctx context.Context, g *group, r *cp.Replica) {
	n.attend(ctx, g.id, r.LeaderChanged, never, func(ctx context.Context) error { return n.tendGroup(ctx, g, r) })
}

// never is a change that nobody waits for.
func never() <-chan struct{} { return nil }

// attend calls do when the catalog, the group's leader, the drain or what else is
// watched changes, and again after a pause when it failed.
func (n *Node) attend(ctx context.Context, id store.GroupID, leader, watch func() <-chan struct{}, do func(context.Context) error) {
	for pause := tendPause; ctx.Err() == nil; {
		next, changed, drained, watched := n.catalog.Next(), leader(), n.drained(), watch()
		err := do(ctx)
		var again <-chan time.Time
		if err == nil {
			pause = tendPause
		} else {
			n.cfg.Logger.Log(ctx, levelOf(err), "a group is not as it shall be", "node", n.cfg.Node, "group", id.String(), "error", err)
			again = time.After(pause)
			pause = min(2*pause, tendMost)
		}
		select {
		case <-next:
		case <-changed:
		case <-drained:
		case <-watched:
		case <-again:
		case <-ctx.Done():
		}
	}
}

// errLater says that there is nothing to do but to look again.
var errLater = errors.New("later")

func levelOf(err error) slog.Level {
	if onlyLater(err) {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func onlyLater(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(joined.Unwrap(), func(err error) bool { return !onlyLater(err) })
	}
	return err == errLater
}

// untilNews is a context that ends when the catalog changes: what waits long must not
// go on for a plan that is old.
func (n *Node) untilNews(ctx context.Context, patience time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	news := n.catalog.Next()
	go func() {
		select {
		case <-news:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func (n *Node) tendGroup(ctx context.Context, g *group, r *cp.Replica) error {
	if r.Status().Role != "leader" {
		return nil
	}
	if n.draining.Load() && len(others(r.Status())) > 0 {
		return n.handOver(ctx, r)
	}
	k, ok := n.catalog.Topology().KeyspaceByID(g.id.Keyspace)
	if !ok || asRecorded(r.Status(), k, g.id.Shard) {
		return nil
	}
	// What is changed is changed by the newest record.
	k, err := n.catalog.Fresh(ctx, k)
	if errors.Is(err, store.NoSuchKeyspace) {
		return nil
	}
	if err != nil {
		return err
	}
	move := k.Move(g.id.Shard)
	absent, err := n.reshape(ctx, r, k.Target(g.id.Shard), move.Joining, moveWait)
	if err != nil || move.Settled() {
		return errors.Join(err, absent)
	}
	ctx, cancel := context.WithTimeout(ctx, recordWait)
	defer cancel()
	return errors.Join(n.catalog.Settle(ctx, k, g.id.Shard), absent)
}

// asRecorded reports whether the group has the members it shall have and its record
// says so.
func asRecorded(s store.Status, k shard.Keyspace, number uint32) bool {
	return k.Move(number).Settled() && len(s.NonVoters) == 0 && sameNames(s.Members, k.Target(number))
}

func sameNames(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// reshape changes the group's configuration, one member at a time, until its voters
// are the target: those that are dead, or have no vote, go first; then the new ones
// come; then the others go, which still serve until then. A leader that is to go
// hands over first, and the next one goes on. patience is for one newcomer to catch
// up; one that does not is tried again, and goes on where it was.
//
// absent names those of the target that have no vote and do not answer. Where a group
// was forced to go on without its majority, these are the lost ones; nothing waits for
// them but what needs them as newcomers.
func (n *Node) reshape(ctx context.Context, r *cp.Replica, target, newcomers []string, patience time.Duration) (absent, err error) {
	if len(target) == 0 {
		return nil, nil // of a record that nobody should have written
	}
	status := r.Status()
	extra := slices.DeleteFunc(slices.Clone(status.Members), func(name string) bool { return slices.Contains(target, name) })
	useless := func(name string) bool { return slices.Contains(status.NonVoters, name) || n.gone(name) }
	for _, name := range extra {
		if useless(name) && name != n.cfg.Node {
			if err := n.expel(ctx, r, name); err != nil {
				return nil, err
			}
		}
	}
	for _, name := range target {
		if slices.Contains(status.Members, name) && !slices.Contains(status.NonVoters, name) {
			continue
		}
		if !slices.Contains(newcomers, name) && !n.answers(ctx, name) {
			absent = errors.Join(absent, fmt.Errorf("node: %s has no vote and does not answer", name))
			continue
		}
		switch refused := n.invite(ctx, r, name, patience); {
		case errors.Is(refused, store.Denied):
			absent = errors.Join(absent, refused) // one of before the forcing is there, with its data
		default:
			err = errors.Join(err, refused)
		}
	}
	if err != nil {
		return absent, err
	}
	for _, name := range extra {
		if err := n.expel(ctx, r, name); err != nil {
			return absent, err
		}
	}
	return absent, nil
}

// invite makes a node a voter.
func (n *Node) invite(ctx context.Context, r *cp.Replica, name string, patience time.Duration) error {
	ctx, cancel := n.untilNews(ctx, patience)
	defer cancel()
	return r.Join(ctx, name)
}

// gone reports whether the catalog says that nobody waits for the node any more.
func (n *Node) gone(name string) bool {
	known, ok := n.catalog.Topology().ByName(name)
	return !ok || known.State >= shard.Dead
}

func (n *Node) expel(ctx context.Context, r *cp.Replica, name string) error {
	ctx, cancel := context.WithTimeout(ctx, recordWait)
	defer cancel()
	return r.Remove(ctx, name)
}
