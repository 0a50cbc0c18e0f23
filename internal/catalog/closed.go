package catalog

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/dialkv/dialkv/store"
)

// Closure says that actors of an ap group have ended. What it says is for the group's
// replicas to read; the catalog keeps them in one order.
type Closure struct {
	Group  store.GroupID
	Number uint64
	Value  []byte
}

func (c Closure) key() string {
	return fmt.Sprintf("%s%d/%d/%016x", closedPrefix, c.Group.Keyspace, c.Group.Shard, c.Number)
}

func decodeClosure(item store.Item) (c Closure, err error) {
	parts := strings.Split(strings.TrimPrefix(item.Key, closedPrefix), "/")
	if len(parts) != 3 {
		return c, &store.Error{Code: store.Corrupt, Msg: "the key names no keyspace, shard and number"}
	}
	keyspace, err := strconv.ParseUint(parts[0], 10, 64)
	if err != nil {
		return c, err
	}
	s, err := strconv.ParseUint(parts[1], 10, 32)
	if err != nil {
		return c, err
	}
	c.Group = store.GroupID{Keyspace: keyspace, Shard: uint32(s)}
	c.Number, err = strconv.ParseUint(parts[2], 16, 64)
	c.Value = item.Values[0]
	return c, err
}

// Closed are the closures of a group, in order, as far as this node knows. They are shared
// and must not be changed.
func (c *Catalog) Closed(group store.GroupID) []Closure { return c.view.Load().closed[group] }

// numbersOfEpoch is how many closures of a group an epoch of the catalog has to itself: one
// that was forced to go on without its majority may lack some that replicas have learned.
const numbersOfEpoch = 1 << 32

// Close records what was found to come behind the closure of a number. If another came
// first it is Conflict.
func (c *Catalog) Close(ctx context.Context, group store.GroupID, after uint64, value []byte) error {
	number := max(after, c.local.Status().Epoch*numbersOfEpoch) + 1
	return c.RecordClosed(ctx, Closure{group, number, value})
}

// RecordClosed records a closure under its number, as it was before if a replica has learned
// it and the catalog lacks it.
func (c *Catalog) RecordClosed(ctx context.Context, closure Closure) error {
	return c.remote.Put(ctx, closure.key(), closure.Value, store.Condition{Kind: store.IfAbsent})
}

// mostForgotten closures of keyspaces that were deleted are dropped at a time.
const mostForgotten = 64

// ForgetClosed drops closures of keyspaces that are not there any more, and reports whether
// there are more of them. An id of a keyspace is not used again.
func (c *Catalog) ForgetClosed(ctx context.Context) (more bool, err error) {
	v := c.view.Load()
	dropped := 0
	for group, closures := range v.closed {
		if _, there := v.KeyspaceByID(group.Keyspace); there {
			continue
		}
		for _, closure := range closures {
			if dropped == mostForgotten {
				return true, nil
			}
			dropped++
			_, revision, err := c.remote.Get(ctx, closure.key())
			if err == nil && revision != 0 {
				err = c.remote.Delete(ctx, closure.key(), revision)
			}
			if err != nil {
				return true, retryable(err)
			}
		}
	}
	return false, nil
}
