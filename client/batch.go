package client

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/store"
)

// Limits of a GetMulti and of a Batch.
const (
	MaxBatch      = 1024     // keys, or commands
	MaxBatchBytes = 16 << 20 // of the keys and values of a Batch; of the values that a GetMulti finds
)

// batchInFlight is how many calls of one batch are under way at a time. Each group has a
// share of them of its own: one that does not answer holds up nobody else.
const batchInFlight = 128

// Got is what GetMulti found of one key: the Item, or the error in its place.
type Got struct {
	Item
	Err error
}

// Done is what one command of a Batch did, as its method would have returned it.
type Done struct {
	Result
	Err error
}

// GetMulti reads keys at the same time, and returns what it found in the order of the keys.
// Each is a Get of its own with an outcome of its own: during a partition some groups answer
// and others do not. There is no instant at which all of them were so; on cp a Txn of
// GetStep reads keys of one group at one.
//
// The error is not nil only if nothing was asked: a key is Invalid, there are more than
// MaxBatch, or the keyspace is not there. Once MaxBatchBytes were found, keys that were not
// asked for yet are TooLarge. All have the time of one call.
func (k *Keyspace) GetMulti(ctx context.Context, keys []string, opts ...Option) (_ []Got, err error) {
	ctx, traced := k.begin(ctx, "multi-get")
	defer func() { spans.End(traced, err) }()
	o, err := k.c.readOptions(ctx, opts)
	if err != nil {
		return nil, err
	}
	if err := checkCount("keys", len(keys), o); err != nil {
		return nil, err
	}
	for i, key := range keys {
		if err := (store.Query{Key: key, Level: o.level, Bound: o.bound}).Check(); err != nil {
			return nil, numbered("key", i, err)
		}
	}
	ctx, cancel := k.c.bounded(ctx, o.timeout)
	defer cancel()
	seen := o.session.Token()
	got := make([]Got, len(keys))
	var bytes atomic.Int64
	err = k.spread(ctx, len(keys), o.session, func(i int) string { return keys[i] }, func(i int) {
		if bytes.Load() > MaxBatchBytes {
			got[i] = Got{Item{Key: keys[i]}, k.explain(tooMuch("what was found before", bytes.Load()))}
			return
		}
		err := k.branch(o.session, seen, func(in Option) (err error) {
			got[i].Item, err = k.Get(ctx, keys[i], append(slices.Clone(opts), in)...)
			return err
		})
		got[i].Key, got[i].Err = keys[i], k.explain(asRead(store.AsError(err)))
		for _, v := range got[i].Values {
			bytes.Add(int64(len(v)))
		}
	})
	return got, err
}

// Batch makes writes at the same time, and returns what they did in the order of the
// commands. Each has an outcome of its own: it is not a transaction, not even where all keys
// are in one group; for that there is Txn. The options add to every command.
//
//	done, err := carts.Batch(ctx, []store.Command{
//		{Op: store.Put, Key: "u1", Value: tea},
//		{Op: store.Delete, Key: "u2"},
//	})
//
// They are not ordered among themselves, and so no two may be of the same key, but of two
// members or fields of it. In a session none is a cause of another. The error is not nil only if nothing was sent: a command is
// Invalid, or has no key of its own (a transaction, a lease), there are more than MaxBatch
// or than MaxBatchBytes, or the keyspace is not there. All have the time of one call.
func (k *Keyspace) Batch(ctx context.Context, commands []store.Command, opts ...Option) (_ []Done, err error) {
	ctx, traced := k.begin(ctx, "batch")
	defer func() { spans.End(traced, err) }()
	o, err := k.c.writeOptions(ctx, opts)
	if err != nil {
		return nil, err
	}
	if err := checkBatch(commands, o); err != nil {
		return nil, err
	}
	ctx, cancel := k.c.bounded(ctx, o.timeout)
	defer cancel()
	seen := o.session.Token()
	done := make([]Done, len(commands))
	err = k.spread(ctx, len(commands), o.session, func(i int) string { return commands[i].Key }, func(i int) {
		done[i].Err = k.branch(o.session, seen, func(in Option) error {
			r, err := k.Write(ctx, commands[i], append(slices.Clone(opts), in)...)
			done[i].Result = resultOf(r)
			return err
		})
	})
	return done, err
}

// spread runs do for 0 to n-1, in each group as many at a time as its share.
func (k *Keyspace) spread(ctx context.Context, n int, s *Session, key func(i int) string, do func(i int)) error {
	if n == 0 {
		return nil
	}
	// Each call finds its group again. What is known here spreads them, and keeps those of a
	// new client from asking for the topology one after the other.
	ks, err := k.c.resolve(ctx, k.name)
	if err != nil {
		return k.explain(asRead(store.AsError(err)))
	}
	groups := byGroup(ks, n, key)
	if err := s.room(slices.Collect(maps.Keys(groups))); err != nil {
		return k.explain(err)
	}
	share := max(1, batchInFlight/len(groups))
	var all sync.WaitGroup
	for _, list := range groups {
		var next atomic.Int64
		for range min(share, len(list)) {
			all.Go(func() {
				for at := next.Add(1); at <= int64(len(list)); at = next.Add(1) {
					do(list[at-1])
				}
			})
		}
	}
	all.Wait()
	return nil
}

func byGroup(ks shard.Keyspace, n int, key func(i int) string) map[store.GroupID][]int {
	groups := make(map[store.GroupID][]int)
	for i := range n {
		group := ks.Group(key(i))
		groups[group] = append(groups[group], i)
	}
	return groups
}

// branch makes one call of a batch. It is part of the session as that was when the batch
// began: what others of the batch have seen meanwhile is no cause of it. What it has seen
// itself is in the session afterwards.
func (k *Keyspace) branch(s *Session, seen string, do func(in Option) error) error {
	own, err := k.c.ResumeSession(seen)
	if err != nil {
		return k.explain(err)
	}
	err = do(In(own))
	if failed := s.rejoin(own); failed != nil && err == nil {
		err = k.explain(&store.Error{Code: store.Unknown, Msg: "the session cannot remember the answer", Cause: failed})
	}
	return err
}

func checkCount(of string, n int, o options) error {
	switch {
	case o.shard != nil:
		return invalid("each of a batch goes to the group of its key", "client.InGroup with a range")
	case n <= MaxBatch:
		return nil
	}
	return &store.Error{Code: store.TooLarge, Msg: fmt.Sprintf("there are %d %s, the limit is %d", n, of, MaxBatch), Try: "several calls"}
}

func tooMuch(of string, n int64) error {
	return &store.Error{Code: store.TooLarge, Msg: fmt.Sprintf("%s has %d bytes, the limit is %d", of, n, MaxBatchBytes), Try: "several calls, of fewer keys each"}
}

// checkBatch refuses a batch before any of it is sent.
func checkBatch(commands []store.Command, o options) error {
	if err := checkCount("commands", len(commands), o); err != nil {
		return err
	}
	bytes := 0
	seen := make(map[string]map[string]bool, len(commands)) // the members or fields of each key, "" for all of it
	for i, c := range commands {
		if c.Key == "" || c.Op == store.Transact {
			return numbered("command", i, invalid(fmt.Sprintf("it is a %v, which has no key of its own", c.Op), "a call of its own"))
		}
		if err := o.write.addTo(&c); err != nil {
			return numbered("command", i, err)
		}
		if err := c.Check(); err != nil {
			return numbered("command", i, err)
		}
		fields := seen[c.Key]
		if fields[""] || fields[c.Field] || c.Field == "" && len(fields) > 0 {
			return numbered("command", i, invalid(fmt.Sprintf("the key %.60q is in the batch twice, and nobody would know which came first", c.Key), "two batches, one after the other, or on cp a Txn"))
		}
		if fields == nil {
			fields = make(map[string]bool, 1)
			seen[c.Key] = fields
		}
		fields[c.Field] = true
		bytes += len(c.Key) + len(c.Field) + len(c.Value)
	}
	if bytes > MaxBatchBytes {
		return tooMuch("the batch", int64(bytes))
	}
	return nil
}

// numbered says which of a batch it was.
func numbered(of string, i int, err error) error {
	e := *store.AsError(err)
	e.Msg = fmt.Sprintf("%s %d of the batch: %s", of, i, e.Msg)
	return &e
}
