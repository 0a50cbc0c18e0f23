package client

import (
	"cmp"
	"context"
	"iter"
	"sync"
	"time"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// Lease is a handle on a promise of one group: to delete the keys that were attached to
// it, together, once nobody has kept it alive for its TTL. Never earlier; after a change
// of leader up to one TTL later. It is safe for concurrent use.
type Lease struct {
	k   *Keyspace
	key string // of the group that has it; "" if the keyspace has one group
	id  uint64

	mu      sync.Mutex
	ttl     time.Duration
	expires time.Time
}

// Grant makes a lease in the group of key, to which keys of that group can be attached,
// by WithLease. The key need not exist; a {tag} will do. On a keyspace of one group it
// may be empty. cp only.
func (k *Keyspace) Grant(ctx context.Context, key string, ttl time.Duration, opts ...Option) (*Lease, error) {
	if err := checkPlace(key); err != nil {
		return nil, err
	}
	sent := time.Now()
	r, err := k.Write(ctx, store.Command{Op: store.Grant, TTL: ttl}, in(key, opts)...)
	if err != nil {
		return nil, err
	}
	l := k.Lease(key, r.Lease)
	l.renewed(sent, cmp.Or(r.TTL, ttl))
	return l, nil
}

// Lease returns a handle on a lease that was granted elsewhere, by the key it was granted
// for, or another of the same group, and its id. It asks nobody.
func (k *Keyspace) Lease(key string, id uint64) *Lease { return &Lease{k: k, key: key, id: id} }

func checkPlace(key string) error {
	if key == "" {
		return nil
	}
	return store.CheckKey(key)
}

// ID is the revision that granted the lease; it is unique within its group.
func (l *Lease) ID() uint64 { return l.id }

// TTL is how long the lease lives when nobody keeps it alive; 0 until Grant or KeepAlive
// has said so.
func (l *Lease) TTL() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ttl
}

// Expires is when the lease may end, by this process's monotonic clock; the zero time if
// that is not known. It is counted from before the request was sent, so the group never
// ends the lease earlier, as long as both clocks run at the same rate.
func (l *Lease) Expires() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.expires
}

// renewed notes an answer to a request of that time. Answers may come out of order.
func (l *Lease) renewed(sent time.Time, ttl time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ttl > 0 {
		l.ttl = ttl
	}
	if end := sent.Add(l.ttl); end.After(l.expires) {
		l.expires = end
	}
}

// KeepAlive gives the lease another TTL from now on. NotFound says that it has ended, and
// that the keys that were attached to it are gone.
func (l *Lease) KeepAlive(ctx context.Context, opts ...Option) error {
	sent := time.Now()
	r, err := l.write(ctx, store.KeepAlive, opts)
	if err == nil {
		l.renewed(sent, r.TTL)
	}
	return err
}

// Revoke ends the lease and deletes the keys attached to it, at one revision. NotFound
// says that it had ended before.
func (l *Lease) Revoke(ctx context.Context, opts ...Option) error {
	_, err := l.write(ctx, store.Revoke, opts)
	return err
}

func (l *Lease) write(ctx context.Context, op store.Op, opts []Option) (store.Result, error) {
	if err := checkPlace(l.key); err != nil {
		return store.Result{}, err
	}
	return l.k.Write(ctx, store.Command{Op: op, Lease: l.id}, in(l.key, opts)...)
}

// in adds the group of key to the options, which stay the caller's.
func in(key string, opts []Option) []Option {
	return append(opts[:len(opts):len(opts)], inGroupOf(key))
}

// LeaseItem is a lease as its group sees it.
type LeaseItem struct {
	Group store.GroupID
	store.Lease
}

// Leases lists the leases of the keyspace, group after group in the order of their ids,
// those included that were made for a put with a TTL. Each page is a call with a timeout
// of its own; an error is the last element. cp only.
func (k *Keyspace) Leases(ctx context.Context, opts ...Option) iter.Seq2[LeaseItem, error] {
	return func(yield func(LeaseItem, error) bool) {
		list, err := k.leaseShards(ctx, opts)
		if err != nil {
			yield(LeaseItem{}, err)
			return
		}
		for _, n := range list {
			q := store.Query{Leases: true, Limit: store.MaxPage}
			for more := true; more; more = q.Page != "" {
				page, err := k.Read(ctx, q, append(opts[:len(opts):len(opts)], InGroup(n))...)
				if err != nil {
					yield(LeaseItem{}, err)
					return
				}
				for _, l := range page.Leases {
					if !yield(LeaseItem{Group: page.Proof.Group, Lease: l}, nil) {
						return
					}
				}
				q.Page = page.Next
			}
		}
	}
}

func (k *Keyspace) leaseShards(ctx context.Context, opts []Option) (list []uint32, err error) {
	o, err := k.c.readOptions(ctx, opts)
	if err != nil {
		return nil, err
	}
	ctx, cancel := k.c.bounded(ctx, o.timeout)
	defer cancel()
	err = k.routed(ctx, func(ks shard.Keyspace) error {
		list, err = shards(ks, "", o.shard)
		return err
	})
	return list, err
}
