package catalog

import (
	"context"
	"errors"
	"slices"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// Begin records that a member of a group changes. It is refused with Conflict if the
// record of the group is not any more what the step was planned on.
func (c *Catalog) Begin(ctx context.Context, step shard.Step) error {
	return c.changeGroup(ctx, step.Keyspace, step.Shard, func(shard.Move) ([]string, shard.Move) { return step.Members, step.Move })
}

// Settle records that a cp group has the members it shall have, as it does once its
// configuration says so. Until then those that leave stay named, so that nobody drops
// a replica that still counts.
func (c *Catalog) Settle(ctx context.Context, k shard.Keyspace, s uint32) error {
	return c.changeGroup(ctx, k, s, func(m shard.Move) ([]string, shard.Move) { return k.Target(s), shard.Move{Changes: m.Changes + 1} })
}

// Entered records that a joining member of an ap group has caught up. From the next
// epoch on it counts.
func (c *Catalog) Entered(ctx context.Context, k shard.Keyspace, s uint32, node string) error {
	return c.changeGroup(ctx, k, s, func(m shard.Move) ([]string, shard.Move) {
		return k.Members(s), shard.Move{Joining: without(m.Joining, node), Leaving: m.Leaving, Changes: m.Changes + 1}
	})
}

// Left records that an ap group goes on without a member that was leaving.
func (c *Catalog) Left(ctx context.Context, k shard.Keyspace, s uint32, node string) error {
	return c.changeGroup(ctx, k, s, func(m shard.Move) ([]string, shard.Move) {
		return without(k.Members(s), node), shard.Move{Joining: without(m.Joining, node), Leaving: without(m.Leaving, node), Changes: m.Changes + 1}
	})
}

func without(list []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(n string) bool { return n == name })
}

// changeGroup changes one group's part of a keyspace's record, if that is still as in
// k. Other groups of the keyspace may change at the same time.
func (c *Catalog) changeGroup(ctx context.Context, k shard.Keyspace, s uint32, change func(shard.Move) ([]string, shard.Move)) error {
	for range idAttempts {
		now, revision, err := c.record(ctx, k)
		if err != nil {
			return err
		}
		if now.Move(s).Changes != k.Move(s).Changes || !slices.Equal(now.Members(s), k.Members(s)) {
			return &store.Error{Code: store.Conflict, Keyspace: k.Name, Msg: "the group's members changed at the same moment"}
		}
		now.Placement[s], now.Moves[s] = change(now.Move(s))
		value, err := encodeKeyspace(now)
		if err != nil {
			return err
		}
		err = c.remote.Put(ctx, keyspacePrefix+k.Name, value, store.Condition{Kind: store.IfRevision, Revision: revision})
		if !errors.Is(err, store.Conflict) {
			return err
		}
	}
	return &store.Error{Code: store.Unavailable, Keyspace: k.Name, Msg: "others changed the keyspace's record at the same moment"}
}

// Fresh is the keyspace as the majority has it now. One that was deleted, or made
// again under its name, is NoSuchKeyspace.
func (c *Catalog) Fresh(ctx context.Context, k shard.Keyspace) (shard.Keyspace, error) {
	now, _, err := c.record(ctx, k)
	return now, err
}

func (c *Catalog) record(ctx context.Context, k shard.Keyspace) (shard.Keyspace, uint64, error) {
	now, revision, err := c.recordOf(ctx, k.Name)
	if err == nil && now.ID != k.ID {
		err = noSuch(k.Name)
	}
	return now, revision, err
}

func (c *Catalog) recordOf(ctx context.Context, name string) (shard.Keyspace, uint64, error) {
	if err := store.CheckName("keyspace", name); err != nil {
		return shard.Keyspace{}, 0, err
	}
	b, revision, err := c.remote.Get(ctx, keyspacePrefix+name)
	if err != nil {
		return shard.Keyspace{}, 0, err
	}
	if b == nil {
		return shard.Keyspace{}, 0, noSuch(name)
	}
	k, err := decodeKeyspace(b)
	return k, revision, err
}
