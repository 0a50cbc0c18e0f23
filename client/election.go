package client

import (
	"bytes"
	"context"
	"iter"
	"time"

	"github.com/dialkv/dialkv/store"
)

// Leadership is an election that was won. It is kept alive until Resign, or until it is
// lost. What a leader writes should be Fenced: see Lock.
type Leadership struct{ seat *seat }

// Leader is who leads, or that nobody does.
type Leader struct {
	Found bool
	Value []byte // what it campaigned with
	Fence Fence
}

// Campaign stands for election under a name and waits until it leads, which is when all
// who stood before have resigned or died. value is what Leader shows, the address of this
// process perhaps. Everything else is as with Lock; the keys begin with "election/". cp
// only.
func (k *Keyspace) Campaign(ctx context.Context, name string, value []byte, ttl time.Duration, opts ...Option) (*Leadership, error) {
	ctx, cancel, session, err := k.seatOptions(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer cancel()
	prefix, err := queuePrefix("election", name)
	if err != nil {
		return nil, err
	}
	s, err := k.first(ctx, prefix, value, ttl, session)
	if err != nil {
		return nil, asCall(err, "campaign")
	}
	return &Leadership{seat: s}, nil
}

// Fence is the leadership's fencing token; of two leaders the later has the larger.
func (l *Leadership) Fence() Fence { return l.seat.fence }

// Lost is closed as soon as the leader cannot be sure any more that it leads: see
// Lock.Lost. Resign closes it, too.
func (l *Leadership) Lost() <-chan struct{} { return l.seat.lost }

// Resign lets the next candidate lead. With NotFound the leadership had been lost before.
func (l *Leadership) Resign(ctx context.Context) error { return l.seat.release(ctx) }

// Leader says who leads, as a strong read sees it. It may have changed when the answer
// arrives.
func (k *Keyspace) Leader(ctx context.Context, name string, opts ...Option) (Leader, error) {
	ctx, cancel, session, err := k.seatOptions(ctx, opts)
	if err != nil {
		return Leader{}, err
	}
	defer cancel()
	prefix, err := queuePrefix("election", name)
	if err != nil {
		return Leader{}, err
	}
	candidates, _, err := k.candidates(ctx, prefix, session)
	if err != nil {
		return Leader{}, asCall(err, "leader")
	}
	return candidates.leader(), nil
}

// Observe yields who leads now, and then whoever leads next, and that nobody does. A
// leader that led only for a moment is yielded, too, unless the group does not keep the
// changes since any more. It goes on until ctx ends or the loop breaks off; an error is
// the last element. WithTimeout bounds the whole.
func (k *Keyspace) Observe(ctx context.Context, name string, opts ...Option) iter.Seq2[Leader, error] {
	return func(yield func(Leader, error) bool) {
		ctx, cancel, session, err := k.seatOptions(ctx, opts)
		if err != nil {
			yield(Leader{}, err)
			return
		}
		defer cancel()
		prefix, err := queuePrefix("election", name)
		if err != nil {
			yield(Leader{}, err)
			return
		}
		o := &observer{k: k, prefix: prefix, session: session, yield: yield}
		for err == nil || store.AsError(err).Code == store.Compacted {
			err = o.observe(ctx)
		}
		if !o.left {
			yield(Leader{}, asCall(err, "observe"))
		}
	}
}

// observer is an Observe in progress.
type observer struct {
	k       *Keyspace
	prefix  string
	session *Session
	yield   func(Leader, error) bool
	any     bool // it has yielded one: last
	last    Leader
	left    bool // the loop broke off
}

// observe reads who there is and follows the changes from there; it returns an error at
// the end, which Compacted makes a new beginning.
func (o *observer) observe(ctx context.Context) error {
	candidates, revision, err := o.k.candidates(ctx, o.prefix, o.session)
	if err != nil {
		return err
	}
	w, err := o.k.Watch(ctx, store.WatchQuery{Prefix: o.prefix, From: revision + 1}, In(o.session))
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		if leader := candidates.leader(); !o.show(leader) {
			return store.Expired(ctx, "nothing: the loop has ended")
		}
		change, err := w.Next(ctx)
		if err != nil {
			return err
		}
		candidates.apply(change)
	}
}

// show yields a leader who is not the one that was yielded last.
func (o *observer) show(l Leader) bool {
	if o.any && l.Fence == o.last.Fence && bytes.Equal(l.Value, o.last.Value) {
		return true
	}
	o.any, o.last = true, l
	o.left = !o.yield(l, nil)
	return !o.left
}

// candidates are all who stand, by their keys.
type candidates map[string]Leader

func (k *Keyspace) candidates(ctx context.Context, prefix string, session *Session) (candidates, uint64, error) {
	all := make(candidates)
	revision, err := k.queue(ctx, store.Query{Prefix: prefix}, session, func(item store.Item) {
		if len(item.Values) == 1 {
			all[item.Key] = Leader{Found: true, Value: item.Values[0], Fence: Fence{Key: item.Key, Revision: item.Created}}
		}
	})
	return all, revision, err
}

// leader is the candidate that was the first to stand.
func (all candidates) leader() Leader {
	var first Leader
	for _, l := range all {
		if !first.Found || l.Fence.Revision < first.Fence.Revision {
			first = l
		}
	}
	return first
}

func (all candidates) apply(change Change) {
	for _, e := range change.Events {
		l := Leader{Found: true, Value: e.Value, Fence: Fence{Key: e.Key, Revision: change.Revision}}
		if old, known := all[e.Key]; known && e.Version > 1 {
			l.Fence = old.Fence
		}
		if all[e.Key] = l; e.Deleted {
			delete(all, e.Key)
		}
	}
}
