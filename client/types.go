package client

import (
	"context"
	"slices"

	"github.com/dialkv/dialkv/store"
)

// Add adds a member, which is UTF-8 and not empty, to the set that a key of a set
// keyspace holds. To add it again is no error; Result.Found says whether the replica
// had it. A Get shows the members as Item.Values, in byte order.
//
// An add wins over a concurrent Remove. A set of more than store.MaxFields members, or
// of store.MaxValue bytes, is TooLarge, and nothing is changed.
func (k *Keyspace) Add(ctx context.Context, key, member string, opts ...Option) (Result, error) {
	return k.field(ctx, store.Command{Op: store.Put, Key: key, Field: member}, opts)
}

// Remove removes a member from a set: it takes away the adds that the replica which
// takes it had applied, in a session at least those that the session has seen. One that
// is concurrent stays. A set without members is an absent key.
func (k *Keyspace) Remove(ctx context.Context, key, member string, opts ...Option) (Result, error) {
	return k.field(ctx, store.Command{Op: store.Delete, Key: key, Field: member}, opts)
}

// PutField sets a field, which is UTF-8 and not empty, of the map that a key of a map
// keyspace holds. Of concurrent puts of a field a Get shows the one that an lww keyspace
// would. The limits are those of Add, for fields with their values.
func (k *Keyspace) PutField(ctx context.Context, key, field string, value []byte, opts ...Option) (Result, error) {
	return k.field(ctx, store.Command{Op: store.Put, Key: key, Field: field, Value: value}, opts)
}

// RemoveField removes a field from a map, as Remove does a member from a set: a
// concurrent put of the field survives it.
func (k *Keyspace) RemoveField(ctx context.Context, key, field string, opts ...Option) (Result, error) {
	return k.field(ctx, store.Command{Op: store.Delete, Key: key, Field: field}, opts)
}

// field writes a member or a field: an empty one must not mean the whole key.
func (k *Keyspace) field(ctx context.Context, c store.Command, opts []Option) (Result, error) {
	if err := store.CheckField(c.Field); err != nil {
		return Result{}, err
	}
	return k.write(ctx, c, opts)
}

// Field returns the value of a field of a map.
func (i Item) Field(name string) (value []byte, ok bool) {
	if at, found := slices.BinarySearch(i.Fields, name); found && at < len(i.Values) {
		return i.Values[at], true
	}
	return nil, false
}
