// Package catalog is the typed view of the system keyspace that describes a
// cluster: its nodes, its keyspaces, and which nodes hold which group.
//
// A node reads the catalog from its own replica and follows it as it changes; a
// node that is cut off goes on with its last copy. Changes go to the catalog's
// majority through a [Store]. So the catalog's failure stops changes, never data.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// Keys of the catalog's records.
const (
	nodePrefix     = "node/"
	keyspacePrefix = "keyspace/"
	closedPrefix   = "closed/"
	nextIDKey      = "next-keyspace-id"
)

// Local is this node's replica of the catalog's group.
type Local interface {
	Read(ctx context.Context, q store.Query) (store.Page, error)
	// Changed returns the revision as soon as it is above since.
	Changed(ctx context.Context, since uint64) (uint64, error)
	Status() store.Status
}

// Store reads and writes the catalog through its majority, from where this node
// stands. Get returns nil and revision 0 for a key that is not there. A condition
// that fails is Conflict.
type Store interface {
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	Put(ctx context.Context, key string, value []byte, cond store.Condition) error
	Delete(ctx context.Context, key string, revision uint64) error
}

// Catalog is safe for concurrent use.
type Catalog struct {
	local  Local
	remote Store
	view   atomic.Pointer[view]
}

// view is one state of the catalog. next is closed when there is a newer one.
type view struct {
	shard.Topology
	removed []string // names of the nodes that are out
	closed  map[store.GroupID][]Closure
	next    chan struct{}
}

// New makes the view over the node's own replica. Follow fills it.
func New(local Local, remote Store) *Catalog {
	c := &Catalog{local: local, remote: remote}
	c.view.Store(&view{next: make(chan struct{})})
	return c
}

// Follow keeps the view up to date with the local replica until ctx ends.
func (c *Catalog) Follow(ctx context.Context) error {
	for {
		if _, err := c.local.Changed(ctx, c.view.Load().Revision); err != nil {
			if ctx.Err() != nil || errors.Is(err, store.Unavailable) {
				return nil
			}
			return err
		}
		next, err := c.load(ctx)
		if errors.Is(err, store.Compacted) {
			continue // the view that the first page began is gone
		}
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, store.Unavailable) {
				return nil
			}
			return err
		}
		close(c.view.Swap(next).next)
	}
}

func (c *Catalog) load(ctx context.Context) (*view, error) {
	v := &view{next: make(chan struct{}), closed: make(map[store.GroupID][]Closure)}
	for from, more, first := "", true, true; more; first = false {
		page, err := c.local.Read(ctx, store.Query{Page: from, Level: store.Eventual, Limit: store.MaxPage})
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			if err := v.add(item); err != nil {
				return nil, fmt.Errorf("catalog: %s: %w", item.Key, err)
			}
		}
		if first {
			v.Revision = page.Revision // what changed since is looked at again
		}
		from, more = page.Next, page.Next != ""
	}
	return v, nil
}

func (v *view) add(item store.Item) error {
	switch {
	case strings.HasPrefix(item.Key, nodePrefix):
		n, err := decodeNode(item.Values[0])
		if n.State == shard.Removed {
			v.removed = append(v.removed, n.Name)
		} else {
			v.Nodes = append(v.Nodes, n)
		}
		return err
	case strings.HasPrefix(item.Key, keyspacePrefix):
		k, err := decodeKeyspace(item.Values[0])
		v.Keyspaces = append(v.Keyspaces, k)
		return err
	case strings.HasPrefix(item.Key, closedPrefix): // in the order of keys, which is that of numbers
		c, err := decodeClosure(item)
		v.closed[c.Group] = append(v.closed[c.Group], c)
		return err
	}
	return nil
}

// Topology is the catalog as this node knows it: nodes, keyspaces and revision. The
// caller adds whose view it is. It is shared and must not be changed.
func (c *Catalog) Topology() shard.Topology { return c.view.Load().Topology }

// Removed reports whether a node of that name was taken out of the cluster.
func (c *Catalog) Removed(node string) bool { return slices.Contains(c.view.Load().removed, node) }

// Recorded is how many nodes the cluster has had, those that were removed included.
func (c *Catalog) Recorded() int {
	v := c.view.Load()
	return len(v.Nodes) + len(v.removed)
}

// members names the nodes that stay in the cluster.
func members(nodes []shard.Node) []string {
	list := make([]string, 0, len(nodes))
	for _, n := range nodes {
		if n.State == shard.Member {
			list = append(list, n.Name)
		}
	}
	return list
}

// Next is closed when the catalog has changed since the call.
func (c *Catalog) Next() <-chan struct{} { return c.view.Load().next }

// Keyspace finds a keyspace by id or, if id is 0, by name: in the local copy, else
// at the majority, because only that can say that there is none. A caller who has
// only the id of a keyspace this node has not heard of is told Unavailable.
func (c *Catalog) Keyspace(ctx context.Context, id uint64, name string) (shard.Keyspace, error) {
	t := c.Topology()
	k, ok := t.Keyspace(name)
	if id != 0 {
		k, ok = t.KeyspaceByID(id)
	}
	if ok {
		return k, nil
	}
	if name == "" {
		return shard.Keyspace{}, cannotAsk(fmt.Sprintf("with id %d", id), nil)
	}
	b, _, err := c.remote.Get(ctx, keyspacePrefix+name)
	switch {
	case err != nil:
		return shard.Keyspace{}, cannotAsk(name, err)
	case b == nil:
		return shard.Keyspace{}, noSuch(name)
	}
	k, err = decodeKeyspace(b)
	if err == nil && id != 0 && k.ID != id {
		return shard.Keyspace{}, noSuch(fmt.Sprintf("%s with id %d", name, id))
	}
	return k, err
}

func noSuch(name string) error {
	return &store.Error{
		Code: store.NoSuchKeyspace, Keyspace: name, Msg: "there is no keyspace " + name,
		Try: "kvctl keyspace list, or kvctl keyspace create " + name + " --mode cp",
	}
}

func cannotAsk(name string, cause error) error {
	return &store.Error{
		Code: store.Unavailable, Keyspace: name, Cause: cause,
		Msg: "this node does not know the keyspace " + name + " and cannot ask the catalog's majority",
	}
}
