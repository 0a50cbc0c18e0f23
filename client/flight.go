package client

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// Who reads what somebody else is just reading waits for that answer, where the level
// allows it: a key that is suddenly wanted by all is asked for once.
//
// An eventual read is of some past state, so any answer will do. A bounded one promises
// what was acknowledged up to some time before it began, which an earlier call may have
// missed: see flight.covers. All other levels promise what was done before the read
// began, to anybody or in the session, and never join a call that began before it.

// flights are the reads in progress that others may join.
type flights struct {
	mu  sync.Mutex
	all map[flightKey]*flight
}

// flightKey is what makes reads identical.
type flightKey struct {
	group   store.GroupID
	key     string
	level   store.Level
	bound   time.Duration
	cluster string // of the session, and its epoch: a wrong one is refused
	epoch   uint64
	token   string // of a bounded read, which covers it
}

// flight is one read, and those who wait for it.
type flight struct {
	began time.Time
	done  chan struct{} // made by the first who joins
	page  store.Page    // theirs, to be copied; valid once done is closed
	err   error
}

// shared reports whether reads of the query may join.
func (c *Client) shared(q store.Query) bool {
	if c.cfg.Resilience.NoSingleFlight || q.Scan() || q.Siblings || q.Page != "" {
		return false
	}
	return q.Level == store.Eventual || q.Level == store.Bounded || mutant.M30 && q.Level == store.Strong
}

// flightKey is the key of a read in this session, for which tok is sent.
func (s *Session) flightKey(group store.GroupID, q store.Query, tok []byte) flightKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := flightKey{group: group, key: q.Key, level: q.Level, bound: q.Bound, cluster: s.tok.Cluster, epoch: s.tok.Epoch}
	if q.Level == store.Bounded {
		k.token = string(tok)
	}
	return k
}

// readShared is readOne, or the answer of one who does it already.
func (c *Client) readShared(ctx context.Context, ks shard.Keyspace, group store.GroupID, q store.Query, s *Session, tok []byte) (store.Page, error) {
	began, key := time.Now(), s.flightKey(group, q, tok)
	for {
		f, mine := c.flights.join(key, began, q)
		if mine {
			page, err := c.readOne(ctx, ks, group, q, tok, s)
			c.flights.land(key, f, page, err)
			return page, err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			e := store.Expired(ctx, "an identical read")
			e.Op, e.Keyspace, e.Group = "get", ks.Name, group
			return store.Page{}, e
		}
		switch {
		case f.err == nil && f.covers(began, q):
			tell(c.cfg.Observe.Joined, ks.Name)
			c.noteKind(ctx, "joined", "an identical read")
			return cloned(f.page), nil
		case f.err == nil || !store.AsError(f.err).Retryable():
			return c.readOne(ctx, ks, group, q, tok, s)
		}
		// What has failed may be due to who made the call. One of us makes another.
	}
}

// join returns the flight to wait for, or one that is the caller's to make.
func (f *flights) join(key flightKey, began time.Time, q store.Query) (_ *flight, mine bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if there := f.all[key]; there != nil && (q.Level != store.Bounded || began.Sub(there.began) <= q.Bound) {
		if there.done == nil {
			there.done = make(chan struct{})
		}
		return there, false
	}
	own := &flight{began: began}
	if f.all == nil {
		f.all = make(map[flightKey]*flight)
	}
	f.all[key] = own
	return own, true
}

// land hands an answer to those who have joined. From then on nobody does.
func (f *flights) land(key flightKey, x *flight, page store.Page, err error) {
	f.mu.Lock()
	if f.all[key] == x {
		delete(f.all, key)
	}
	done := x.done
	f.mu.Unlock()
	if done != nil {
		x.page, x.err = cloned(page), err
		close(done)
	}
}

// covers reports whether the answer is one to a read that began then. The node took the
// read after the flight began, and shows all that was acknowledged Staleness before that.
func (f *flight) covers(began time.Time, q store.Query) bool {
	if q.Level != store.Bounded {
		return true
	}
	p := f.page.Proof
	return p.Fresh && p.Staleness+began.Sub(f.began) <= q.Bound
}

// cloned is a page of which nobody else has the bytes.
func cloned(p store.Page) store.Page {
	p.Items = slices.Clone(p.Items)
	for i := range p.Items {
		item := &p.Items[i]
		item.Values = slices.Clone(item.Values)
		for j, v := range item.Values {
			item.Values[j] = bytes.Clone(v)
		}
		item.Fields, item.Remaining = slices.Clone(item.Fields), slices.Clone(item.Remaining)
	}
	p.Context, p.Entry, p.Deps = bytes.Clone(p.Context), bytes.Clone(p.Entry), bytes.Clone(p.Deps)
	return p
}
