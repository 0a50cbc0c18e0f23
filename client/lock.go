package client

import (
	"context"
	"fmt"
	"time"

	"github.com/dialkv/dialkv/store"
)

// Lock is a lock that is held. It is kept alive until Unlock, or until it is lost.
//
// A lock with a lease cannot keep two processes from believing that they hold it: one
// that is paused wakes up late. What is written under it should be Fenced, or show the
// revision of Fence to whatever it writes to.
type Lock struct{ seat *seat }

// Lock waits in a fair queue until the lock of that name is free, and holds it until
// Unlock. It waits as long as ctx and WithTimeout allow; if it fails it leaves the queue.
// A holder that dies lets go after ttl, which is kept alive every third of it.
//
// The lock of a NAME is in the group of the keys that are tagged {NAME}; a name that has
// a {tag} of its own is in that tag's group. What is Fenced by it must be in the same
// one. Its keys begin with "lock/". cp only.
func (k *Keyspace) Lock(ctx context.Context, name string, ttl time.Duration, opts ...Option) (*Lock, error) {
	ctx, cancel, session, err := k.seatOptions(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer cancel()
	prefix, err := queuePrefix("lock", name)
	if err != nil {
		return nil, err
	}
	s, err := k.first(ctx, prefix, nil, ttl, session)
	if err != nil {
		return nil, asCall(err, "lock")
	}
	return &Lock{seat: s}, nil
}

// TryLock is a Lock that does not wait: if somebody holds it, or waits for it, the error
// is Conflict.
func (k *Keyspace) TryLock(ctx context.Context, name string, ttl time.Duration, opts ...Option) (*Lock, error) {
	ctx, cancel, session, err := k.seatOptions(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer cancel()
	prefix, err := queuePrefix("lock", name)
	if err != nil {
		return nil, err
	}
	n, err := k.Count(ctx, store.Query{Prefix: prefix}, In(session))
	if err != nil || n > 0 {
		return nil, asCall(taken(name, err), "lock")
	}
	s, err := k.join(ctx, prefix, nil, ttl, session)
	if err != nil {
		return nil, asCall(err, "lock")
	}
	before, err := s.before(ctx, session)
	if err != nil || before.Revision > 0 {
		s.abandon(ctx)
		return nil, asCall(taken(name, err), "lock")
	}
	return &Lock{seat: s}, nil
}

func taken(name string, err error) error {
	if err != nil {
		return err
	}
	return &store.Error{Code: store.Conflict, Msg: fmt.Sprintf("the lock %.60q is held", name), Try: "Lock, which waits for it"}
}

// asCall names the call that the caller has made.
func asCall(err error, op string) error {
	e := *store.AsError(err)
	e.Op = op
	return &e
}

// Fence is the lock's fencing token.
func (l *Lock) Fence() Fence { return l.seat.fence }

// Lost is closed as soon as the holder cannot be sure any more that it holds the lock:
// its lease was not renewed in time, by its own clock and counted from before a renewal
// was sent; or its key is gone. Unlock closes it, too.
func (l *Lock) Lost() <-chan struct{} { return l.seat.lost }

// Unlock lets go. With NotFound the lock had been lost before; with any other error the
// group lets go when the lease ends, and not later than that.
func (l *Lock) Unlock(ctx context.Context) error { return l.seat.release(ctx) }
