package node

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dialkv/dialkv/internal/catalog"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap"
)

// Each start of a node leaves an actor in the vectors of its ap groups. What has ended is
// closed: one member of the group asks all, and the catalog keeps what came of it, from where
// all members learn it in one order. Without the catalog's majority, or a member, nothing is
// closed.

const (
	// closePeriod is how often a node looks. After a restart of all nodes, one after the
	// other, it finds many actors at once.
	closePeriod = 10 * time.Second
	closeWait   = 5 * time.Second // for all members of one group
)

// closeActors closes actors of the groups in which it is this node's turn, until ctx ends.
func (n *Node) closeActors(ctx context.Context) error {
	for rest(ctx, closePeriod) {
		for id, run := range n.groups.list() {
			found, ok := run.replica()
			if !ok {
				continue
			}
			r, ok := found.(causal)
			if !ok {
				continue
			}
			if err := n.closeSome(ctx, id, r.Replica); err != nil {
				n.cfg.Logger.Debug("actors of a group are not closed yet", "node", n.cfg.Node, "group", id.String(), "error", err)
			}
		}
	}
	return nil
}

func (n *Node) closeSome(ctx context.Context, id store.GroupID, r *ap.Replica) error {
	ctx, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	k, ok := n.catalog.Topology().KeyspaceByID(id.Keyspace)
	if !ok {
		return nil
	}
	if missing := n.unrecorded(id, r); len(missing) > 0 {
		return n.recordAgain(ctx, id, r, missing) // a member that joins waits for them
	}
	question, ok := r.Closing()
	if !ok {
		return nil
	}
	k, err := n.catalog.Fresh(ctx, k)
	if err != nil || k.Move(id.Shard).Changes != question.Epoch {
		return err // if it is not the newest, this node will hear
	}
	after, closure, err := r.Ended(ctx, question)
	if err != nil || closure == nil {
		return err
	}
	if err = n.catalog.Close(ctx, id, after, closure); err == nil {
		n.cfg.Logger.Info("actors of a group that run no more were closed", "node", n.cfg.Node, "group", id.String())
	}
	return err
}

// unrecorded are the numbers of closures that a replica has learned and the catalog lacks,
// as it may when it was forced to go on without its majority.
func (n *Node) unrecorded(id store.GroupID, r *ap.Replica) []uint64 {
	recorded := n.catalog.Closed(id)
	return slices.DeleteFunc(slices.Clone(r.Closed(0)), func(number uint64) bool {
		return slices.ContainsFunc(recorded, func(c catalog.Closure) bool { return c.Number == number })
	})
}

func (n *Node) recordAgain(ctx context.Context, id store.GroupID, r *ap.Replica, numbers []uint64) error {
	for _, number := range numbers {
		value, err := r.Closure(number)
		if err == nil {
			err = n.catalog.RecordClosed(ctx, catalog.Closure{Group: id, Number: number, Value: value})
		}
		if err != nil && !errors.Is(err, store.Conflict) {
			return err
		}
	}
	return nil
}

// learnClosed tells a replica what was closed.
func (n *Node) learnClosed(id store.GroupID, r *ap.Replica) error {
	closed := n.catalog.Closed(id)
	known := r.Closed(0)
	for _, c := range closed {
		if len(known) > 0 && c.Number <= known[len(known)-1] {
			continue
		}
		if err := r.Learn(c.Number, c.Value); err != nil {
			return err
		}
	}
	return nil
}
