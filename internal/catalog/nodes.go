package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// AddNode records a node, or confirms that the record is of this very node and
// brings its addresses up to date. A node of the same name with another disk is
// another node: it could have forgotten a vote or an acknowledged write. One that
// was removed does not come back: its groups went on without it.
func (c *Catalog) AddNode(ctx context.Context, n shard.Node) error {
	if err := store.CheckName("node", n.Name); err != nil {
		return err
	}
	known, revision, err := c.node(ctx, n.Name)
	if err != nil {
		return err
	}
	if revision == 0 {
		return c.putNode(ctx, n, store.Condition{Kind: store.IfAbsent})
	}
	n.State = known.State
	switch {
	case known.State == shard.Removed && known.Disk == n.Disk:
		return removed(n.Name)
	case known.State == shard.Removed:
		return &store.Error{
			Code: store.AlreadyExists, Node: n.Name,
			Msg: "the cluster had a node " + n.Name + " that was removed, and a name is not used again",
			Try: "join under a name that was never used",
		}
	case known.Disk != n.Disk:
		return &store.Error{
			Code: store.AlreadyExists, Node: n.Name,
			Msg: fmt.Sprintf("the cluster has a node %s with another data directory (disk %x, not %x)", n.Name, known.Disk, n.Disk),
			Try: fmt.Sprintf("start with the old directory, or join under a name that was never used; if the old directory is lost, kvctl cluster remove %s --dead", n.Name),
		}
	case known == n:
		return nil
	}
	return c.putNode(ctx, n, store.Condition{Kind: store.IfRevision, Revision: revision})
}

// removed is what a node is told that was taken out of the cluster.
func removed(name string) error {
	return &store.Error{
		Code: store.Denied, Node: name,
		Msg: "the node " + name + " was removed from the cluster, which went on without it",
		Try: "join with an empty --data directory and a --id that was never used",
	}
}

// Refused is the error of a node that was removed, or nil.
func (c *Catalog) Refused(name string) error {
	if c.Removed(name) {
		return removed(name)
	}
	return nil
}

// node reads a node's record at the majority; revision 0 is none.
func (c *Catalog) node(ctx context.Context, name string) (shard.Node, uint64, error) {
	b, revision, err := c.remote.Get(ctx, nodePrefix+name)
	if err != nil || b == nil {
		return shard.Node{}, 0, err
	}
	n, err := decodeNode(b)
	return n, revision, err
}

func (c *Catalog) putNode(ctx context.Context, n shard.Node, cond store.Condition) error {
	value, err := encodeNode(n)
	if err != nil {
		return err
	}
	return retryable(c.remote.Put(ctx, nodePrefix+n.Name, value, cond))
}

// retryable says of a record that changed between the look and the write, perhaps by
// an earlier attempt of the same node, that one should look again.
func retryable(err error) error {
	if errors.Is(err, store.Conflict) {
		return &store.Error{Code: store.Unavailable, Msg: "the node's record changed at the same moment", Cause: err}
	}
	return err
}

// SetState moves a node on, from member over leaving and dead to removed; never
// back. A node that is there already stays so.
func (c *Catalog) SetState(ctx context.Context, name string, state shard.State) error {
	n, revision, err := c.node(ctx, name)
	switch {
	case err != nil:
		return err
	case revision == 0:
		return &store.Error{Code: store.Invalid, Node: name, Msg: "the cluster has no node " + name, Try: "kvctl node list"}
	case n.State >= state:
		return nil
	}
	n.State = state
	return c.putNode(ctx, n, store.Condition{Kind: store.IfRevision, Revision: revision})
}
