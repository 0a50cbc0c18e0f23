package rpc

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// maxWatches is how many watches a node serves at a time.
const maxWatches = 10_000

// Watch sends every change that is asked for. The first response has no events: it
// says that the watch is established, and behind which revision at the earliest. An
// error is in the last response. A consumer that is slow holds up its own stream
// only; one that falls too far behind hears Compacted from the replica.
func (s *kv) Watch(r *kvpb.WatchRequest, stream grpc.ServerStreamingServer[kvpb.WatchResponse]) error {
	place := brought(stream.Context())
	ctx, traced := s.cfg.begin(kvpb.FromTrace(stream.Context(), place), place, "kv.node.", "watch")
	at, err := s.find(ctx, r, r.GetKey())
	if err == nil {
		err = s.watch(stream, &at, func() (store.Changes, store.Change, error) {
			changes, begin, err := at.watch(ctx, r)
			at.traced(traced, err)
			traced = nil // what comes after it belongs to no call
			return changes, begin, err
		})
	}
	at.traced(traced, err)
	if stream.Context().Err() != nil {
		return err // nobody is there to hear it
	}
	last := at.change(store.Change{})
	last.Error = at.explain("watch", r.GetKeyspace(), err)
	return stream.Send(last)
}

// watch opens a watch, and sends changes until one cannot be had or sent.
func (s *kv) watch(stream grpc.ServerStreamingServer[kvpb.WatchResponse], at *place, open func() (store.Changes, store.Change, error)) error {
	if s.traffic.Watches.Add(1) > maxWatches {
		s.traffic.Watches.Add(-1)
		return &store.Error{
			Code: store.Overloaded, RetryAfter: time.Second,
			Msg: fmt.Sprintf("this node serves %d watches, which is the limit", maxWatches), Try: "another member of the group, or fewer watches of larger ranges",
		}
	}
	defer s.traffic.Watches.Add(-1)
	changes, begin, err := open()
	if err != nil {
		return err
	}
	defer changes.Close()
	if err := stream.Send(at.change(begin)); err != nil {
		return err
	}
	for {
		c, err := changes.Next(stream.Context())
		if err != nil {
			return err
		}
		response := at.change(c)
		if err := kvpb.CheckSize(response); err != nil {
			return err
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}

// watch begins a watch. The revision that it is said to begin behind is one that the
// replica had before, because the watch may have begun before any that is read later:
// whoever resumes from there may see more than they asked for, and misses nothing.
func (p *place) watch(ctx context.Context, r *kvpb.WatchRequest) (changes store.Changes, begin store.Change, err error) {
	q := kvpb.FromWatch(r)
	if err := q.Check(); err != nil {
		return nil, begin, err
	}
	switch {
	case r.Since != nil:
		if begin.Revision, err = p.goOn(&q, r.GetSince()); err != nil {
			return nil, begin, err
		}
	case q.From > 0:
		begin.Revision = q.From - 1
	default:
		begin.Revision = p.replica.Status().Revision
	}
	q.After = p.session.For(p.group, store.LevelDefault)
	changes, err = p.replica.Watch(ctx, q)
	if exact, ok := changes.(interface{ Passed() uint64 }); ok && err == nil && r.Since != nil {
		begin.Revision = exact.Passed()
	}
	return changes, begin, err
}

// goOn makes the query one that goes on behind what a token has read of the group, and
// returns how many writes that is. A token that has read nothing of it begins with the
// first write.
func (p *place) goOn(q *store.WatchQuery, since string) (uint64, error) {
	if p.keyspace.Mode != store.AP || q.From > 0 {
		return 0, &store.Error{Code: store.Invalid, Msg: "a watch goes on behind a token on ap keyspaces only, and then from no revision", Try: "on cp, the revision behind the last that was seen"}
	}
	t, err := token.Parse(since)
	if err == nil {
		err = t.Check(p.topology.Cluster, p.topology.Epoch)
	}
	if err != nil {
		return 0, err
	}
	if q.Since = t.For(p.group, store.Monotonic); q.Since == nil {
		q.From = 1
	}
	return token.Sum(q.Since)
}

func (p *place) change(c store.Change) *kvpb.WatchResponse {
	response := kvpb.ToChange(c)
	response.Mode, response.KeyspaceId, response.Shard, response.Node = p.mode(), p.group.Keyspace, p.group.Shard, p.topology.Node
	return response
}
