package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/dialkv/dialkv/store"
)

// Locks and elections are a fair queue, made of nothing but the calls of this package, so
// that they can be copied and changed. Everyone who waits has a key under one prefix,
// attached to a lease that is kept alive. The key that was created first holds; everyone
// else watches the one created just before their own, and nobody but its successor wakes
// up when it goes (Hunt et al., "ZooKeeper", USENIX ATC 2010, 2.4).

// seat is a place in a queue.
type seat struct {
	k      *Keyspace
	prefix string
	lease  *Lease
	fence  Fence
	lost   <-chan struct{}    // closed when life ends
	leave  context.CancelFunc // ends life
	busy   sync.WaitGroup     // the goroutines that keep it
}

// queuePrefix is the prefix of a queue's keys. It always has a {tag}: all of them must be
// in one group.
func queuePrefix(kind, name string) (string, error) {
	prefix := kind + "/" + name + "/"
	if !tagged(name) {
		prefix = kind + "/{" + name + "}/"
	}
	if !tagged(prefix) || name == "" {
		return "", invalid(fmt.Sprintf("the name %.60q cannot be a {tag}", name), "a name that is not empty and does not begin with a brace")
	}
	return prefix, store.CheckKey(prefix)
}

// join takes a place at the end of the queue. The caller must give it up.
func (k *Keyspace) join(ctx context.Context, prefix string, value []byte, ttl time.Duration, s *Session) (*seat, error) {
	lease, err := k.Grant(ctx, prefix, ttl, In(s))
	if err != nil {
		return nil, err
	}
	key := fmt.Sprintf("%s%016x", prefix, lease.ID())
	r, err := k.Put(ctx, key, value, Create(), WithLease(lease), In(s))
	life, leave := context.WithCancel(context.WithoutCancel(ctx))
	st := &seat{
		k: k, prefix: prefix, lease: lease, fence: Fence{Key: key, Revision: r.Revision},
		lost: life.Done(), leave: leave,
	}
	if err != nil {
		st.abandon(ctx)
		return nil, err
	}
	st.busy.Go(func() { st.keepAlive(life) })
	st.busy.Go(func() { st.keepWatch(life) })
	return st, nil
}

// keepAlive renews the lease until life ends, or until it may have ended: counted by the
// own clock from before a request was sent, so never later than the group.
func (s *seat) keepAlive(life context.Context) {
	defer s.leave()
	session := s.k.c.NewSession() // the caller's is not for calls it did not make
	every := s.lease.TTL() / 3
	for wait := every; s.pause(life, wait); {
		ctx, cancel := context.WithDeadline(life, s.lease.Expires())
		err := s.lease.KeepAlive(ctx, In(session))
		cancel()
		switch {
		case err == nil:
			wait = every
		case store.AsError(err).Code == store.NotFound:
			return
		default:
			wait = every / 4
		}
	}
}

// pause reports whether the lease is still sure to live after d.
func (s *seat) pause(life context.Context, d time.Duration) bool {
	left := time.Until(s.lease.Expires())
	timer := time.NewTimer(min(d, left))
	defer timer.Stop()
	select {
	case <-life.Done():
		return false
	case <-timer.C:
		return time.Now().Before(s.lease.Expires())
	}
}

// keepWatch ends life when somebody deletes the key, whatever the lease does.
func (s *seat) keepWatch(life context.Context) {
	session := s.k.c.NewSession()
	for wait := time.Duration(0); ; {
		if s.k.gone(life, s.fence, session) == nil {
			s.leave()
			return
		}
		wait = backoff(wait)
		timer := time.NewTimer(wait)
		select {
		case <-life.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// await returns when every key before this one is gone.
func (s *seat) await(ctx context.Context, session *Session) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.busy.Go(func() {
		select {
		case <-s.lost:
			cancel()
		case <-ctx.Done():
		}
	})
	for wait := time.Duration(0); ; {
		before, err := s.before(ctx, session)
		if err == nil && before.Revision == 0 {
			return s.still()
		}
		if err == nil {
			wait, err = 0, s.k.gone(ctx, before, session)
		}
		if err == nil {
			continue
		}
		if s.still() != nil {
			return s.still()
		}
		wait = backoff(wait)
		if !store.AsError(err).Retryable() && store.AsError(err).Code != store.Compacted || s.k.c.pause(ctx, wait) != nil {
			return err
		}
	}
}

// still is an error once the place may be lost.
func (s *seat) still() error {
	select {
	case <-s.lost:
		return &store.Error{
			Code: store.Unavailable, Keyspace: s.k.name, Msg: fmt.Sprintf("the place in the queue, %s, was lost: its lease was not renewed in time, or somebody deleted it", s.fence.Key),
			Try: "again, with a longer TTL",
		}
	default:
		return nil
	}
}

// before returns the key that was created just before this one; none holds the queue.
func (s *seat) before(ctx context.Context, session *Session) (Fence, error) {
	var last Fence
	own := false
	_, err := s.k.queue(ctx, store.Query{Prefix: s.prefix, KeysOnly: true}, session, func(item store.Item) {
		own = own || item.Key == s.fence.Key
		if item.Created < s.fence.Revision && item.Created > last.Revision {
			last = Fence{Key: item.Key, Revision: item.Created}
		}
	})
	if err == nil && !own {
		s.leave()
		err = s.still()
	}
	return last, err
}

// queue calls f with every key of a prefix, as they are at the revision it returns.
func (k *Keyspace) queue(ctx context.Context, q store.Query, session *Session, f func(store.Item)) (uint64, error) {
	q.Level, q.Limit = Strong, pageSize(q)
	for {
		page, err := k.Read(ctx, q, In(session))
		if err != nil {
			return 0, err
		}
		for _, item := range page.Items {
			f(item)
		}
		if q.Page = page.Next; q.Page == "" {
			return page.Revision, nil
		}
	}
}

// gone returns nil once the key, as it was created, is not there any more.
func (k *Keyspace) gone(ctx context.Context, f Fence, session *Session) error {
	page, err := k.Read(ctx, store.Query{Key: f.Key, Level: Strong}, In(session))
	if err != nil {
		return err
	}
	if len(page.Items) == 0 || page.Items[0].Created != f.Revision {
		return nil
	}
	w, err := k.Watch(ctx, store.WatchQuery{Key: f.Key, From: page.Revision + 1}, In(session))
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		change, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range change.Events {
			if e.Deleted {
				return nil
			}
		}
	}
}

// release gives the place up. From now on nothing is kept alive, whatever the answer.
func (s *seat) release(ctx context.Context) error {
	s.leave()
	s.busy.Wait()
	return s.lease.Revoke(ctx, In(s.k.c.NewSession()))
}

// abandon is a release by one who has an error to return, and whose context may have
// ended. What it cannot reach ends with its lease.
func (s *seat) abandon(ctx context.Context) {
	gone := make(chan struct{})
	if !s.k.c.part(func() {
		defer close(gone)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(s.lease.TTL(), s.k.c.cfg.Timeout))
		defer cancel()
		_ = s.release(ctx)
	}) {
		s.leave()
		return
	}
	select {
	case <-gone:
	case <-ctx.Done():
	}
}

// seatOptions are the options of what waits in a queue.
func (k *Keyspace) seatOptions(ctx context.Context, opts []Option) (context.Context, context.CancelFunc, *Session, error) {
	o, err := k.c.writeOptions(ctx, opts)
	if err == nil && (o.write.set() || o.shard != nil) {
		err = invalid("a lock or an election takes a session and a timeout, and no other option", "client.In, client.WithTimeout")
	}
	if err != nil {
		return nil, nil, nil, err
	}
	if o.timeout == 0 {
		ctx, cancel := context.WithCancel(ctx)
		return ctx, cancel, o.session, nil
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	return ctx, cancel, o.session, nil
}

// first takes a place and waits until it is the first.
func (k *Keyspace) first(ctx context.Context, prefix string, value []byte, ttl time.Duration, session *Session) (*seat, error) {
	s, err := k.join(ctx, prefix, value, ttl, session)
	if err != nil {
		return nil, err
	}
	if err := s.await(ctx, session); err != nil {
		s.abandon(ctx)
		return nil, err
	}
	return s, nil
}
