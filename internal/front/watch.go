package front

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

// maxWatches is how many watches enter by a node at a time.
const maxWatches = 10_000

// Watch follows the changes of a group from where this node stands: when the replica
// it listens to falls away, it goes on at another. The first response has no events: it
// says that the watch is established, and behind which revision. An error is in the
// last.
func (s *Service) Watch(r *kvpb.WatchRequest, stream grpc.ServerStreamingServer[kvpb.WatchResponse]) error {
	ctx := stream.Context()
	keyspace := s.client.Keyspace(r.GetKeyspace())
	session, err := s.resume(r.GetToken())
	if err == nil {
		err = s.watch(keyspace, session, r, stream)
	}
	if ctx.Err() != nil {
		return err // nobody is there to hear it
	}
	return stream.Send(&kvpb.WatchResponse{
		Error: kvpb.ToError(store.AsError(err)), Mode: s.mode(ctx, keyspace, err), Shard: r.GetShard(), Token: tokenOf(session),
	})
}

// watch sends changes until one cannot be had or sent.
func (s *Service) watch(k *client.Keyspace, session *client.Session, r *kvpb.WatchRequest, stream grpc.ServerStreamingServer[kvpb.WatchResponse]) error {
	if s.watches.Add(1) > maxWatches {
		s.watches.Add(-1)
		return &store.Error{
			Code: store.Overloaded, Op: "watch", RetryAfter: time.Second,
			Msg: fmt.Sprintf("%d watches enter by this node, which is the limit", maxWatches), Try: "another node, or fewer watches of larger ranges",
		}
	}
	defer s.watches.Add(-1)
	ctx, q := stream.Context(), kvpb.FromWatch(r)
	opts := append(ofRange(session, q.Key == "", r.GetShard()), client.Progress())
	if r.Since != nil {
		opts = append(opts, client.Since(r.GetSince()))
	}
	w, err := k.Watch(ctx, q, opts...)
	if err != nil {
		return err
	}
	defer w.Close()
	mode := s.mode(ctx, k, nil)
	for {
		response, err := next(ctx, w)
		if err != nil {
			return err
		}
		response.Mode, response.Token = mode, tokenOf(session)
		if err := kvpb.CheckSize(response); err != nil {
			return err
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}

func next(ctx context.Context, w *client.Watch) (*kvpb.WatchResponse, error) {
	c, err := w.Next(ctx)
	if err != nil {
		return nil, err
	}
	response := kvpb.ToChange(store.Change{Revision: c.Revision, Events: c.Events})
	response.KeyspaceId, response.Shard, response.Since = c.Group.Keyspace, c.Group.Shard, c.Resume
	return response, nil
}
