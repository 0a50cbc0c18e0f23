package client

import (
	"context"
	"fmt"
	"sync"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/store"
)

// Change is what one revision of one group changed, or one write on ap, as far as a Watch
// asked for it.
type Change struct {
	Group    store.GroupID // revisions of different groups do not compare
	Revision uint64        // ap: how many writes of the group the watch has come past
	Events   []store.Event // none: a notice of progress, which only Progress asks for
	// Resume is, on ap, where another Watch goes on behind this change: see Since. It is
	// of all groups of the watch.
	Resume string
}

// Watch is a watch in progress. It belongs to one goroutine, but for Close.
type Watch struct {
	c        *Client
	session  *Session
	since    *Session // ap: all that was returned or passed over, and what it began behind
	progress bool
	updates  chan update
	err      error // its last word

	ended   <-chan struct{}
	end     context.CancelFunc
	running sync.WaitGroup
}

// update is what a follower has to say: a change with what the session must remember of
// it, or the error that ends the watch.
type update struct {
	Change
	entry store.Entry
	deps  store.Deps
	token []byte // of a watch that enters by a node
	since string // of such a watch of an ap keyspace
	err   error
}

// Watch follows the changes of a key, of a prefix, or of the whole keyspace. It returns
// once it is established: every change that is acknowledged after that will be returned,
// once. With q.From it begins at that revision, for one who has seen all before it; with
// a session it begins no earlier than what the session has seen.
//
// It listens to the nearest replica that has caught up, and goes to another by itself
// when the stream breaks, when a replica cannot prove any more that it hears of changes,
// or when it falls silent. It goes on behind the last change that was returned: there is
// no gap and no duplicate. It lives until ctx ends, or Close.
//
// The changes of a keyspace of several groups are in order for each group only, and come
// apart; q.From is then refused, since revisions belong to groups. A key, a prefix with
// a {tag} and InGroup are of one group.
//
// On ap each write comes once, in the order in which the replica has applied it, which is
// not that of another replica but never puts a write before one that it depends on. The
// watch can be continued by another: see Since and Change.Resume. q.From is 1, for all
// that the log of the replica holds, or 0.
func (k *Keyspace) Watch(ctx context.Context, q store.WatchQuery, opts ...Option) (*Watch, error) {
	o, err := k.c.watchOptions(ctx, opts)
	if err != nil {
		return nil, err
	}
	if err := q.Check(); err != nil {
		return nil, err
	}
	if q.Since != nil || o.since != nil && q.From > 0 {
		return nil, invalid("a watch goes on behind a token, and then from no revision", "client.Since")
	}
	life, end := context.WithCancel(ctx)
	followers, err := k.establish(life, q, o)
	if err != nil {
		end()
		return nil, err
	}
	w := &Watch{c: k.c, session: o.session, progress: o.progress, updates: make(chan update), ended: life.Done(), end: end}
	if err := w.begin(followers); err != nil {
		end()
		return nil, k.explain(err)
	}
	for _, f := range followers {
		w.running.Go(func() { f.run(life, w.updates) })
	}
	return w, nil
}

// begin notes, on ap, what the watch of each group begins behind.
func (w *Watch) begin(followers []*follower) error {
	for _, f := range followers {
		if f.since == nil {
			return nil
		}
		if w.since == nil {
			w.since = &Session{}
		}
		tok, err := f.since.all()
		if err == nil {
			err = w.since.merge(tok, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// establish is what is traced of a watch. What comes after it belongs to no call.
func (k *Keyspace) establish(life context.Context, q store.WatchQuery, o options) ([]*follower, error) {
	ctx, cancel := k.c.bounded(life, o.timeout)
	defer cancel()
	ctx, traced := k.begin(ctx, "watch")
	list, err := k.followers(life, ctx, q, o)
	spans.End(traced, err)
	return list, err
}

// followers establishes a watch of each group within ctx, which lives as long as life.
func (k *Keyspace) followers(life, ctx context.Context, q store.WatchQuery, o options) (list []*follower, err error) {
	err = k.routed(ctx, func(ks shard.Keyspace) error {
		groups, err := watched(ks, q, o.shard)
		if err != nil {
			return err
		}
		list = make([]*follower, len(groups))
		return parallel(len(groups), func(i int) (err error) {
			list[i], err = k.follow(life, ctx, ks, groups[i], q, o)
			return err
		})
	})
	return list, err
}

// watched lists the groups of a watch.
func watched(ks shard.Keyspace, q store.WatchQuery, only *uint32) ([]uint32, error) {
	if q.Key != "" {
		if n := ks.Shard(q.Key); only == nil || *only == n {
			return []uint32{n}, nil
		}
		return nil, invalid(fmt.Sprintf("the key is in shard %d, not %d", ks.Shard(q.Key), *only), "")
	}
	list, err := shards(ks, q.Prefix, only)
	if err == nil && q.From > 0 && len(list) > 1 && ks.Mode == store.CP {
		err = invalid(fmt.Sprintf("the watch begins at revision %d, and it is of %d groups, each with revisions of its own", q.From, len(list)),
			"client.InGroup, or a prefix with a {tag}")
	}
	return list, err
}

// Next returns the next change. The session of the watch covers it from then on. That
// ctx ends is Unavailable and ends only this call. Any other error is the watch's last
// word, and is returned from then on: Compacted, if the group does not keep the changes
// that come next; NoSuchKeyspace; TokenMismatch; Denied; Invalid.
func (w *Watch) Next(ctx context.Context) (Change, error) {
	for w.err == nil {
		select {
		case u := <-w.updates:
			if w.take(u); w.err == nil && (len(u.Events) > 0 || w.progress) {
				if w.since != nil {
					u.Resume = w.since.Token()
				}
				return u.Change, nil
			}
		case <-w.ended:
			w.err = &store.Error{Code: store.Unavailable, Op: "watch", Msg: "the watch was closed, or its context has ended"}
		case <-ctx.Done():
			return Change{}, store.Expired(ctx, "the next change")
		}
	}
	return Change{}, w.err
}

func (w *Watch) take(u update) {
	if w.err = u.err; w.err == nil {
		w.err = w.session.saw(w.c, u)
	}
	if w.err == nil && w.since != nil {
		w.err = w.since.passed(w.c, u)
	}
	if w.err == nil && w.since != nil {
		_, w.err = w.since.all() // Resume is one that can be gone on behind, or there is none
	}
	if w.err != nil {
		w.end()
	}
}

// Close ends the watch and returns when nothing of it is left.
func (w *Watch) Close() {
	w.end()
	w.running.Wait()
}
