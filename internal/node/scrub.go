package node

import (
	"context"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

// Digest digests this node's own replica of an ap group.
func (n *Node) Digest(ctx context.Context, r *kvpb.DigestRequest) (*kvpb.DigestResponse, error) {
	id := store.GroupID{Keyspace: r.KeyspaceId, Shard: r.Shard}
	held, ok := n.find(id)
	if !ok {
		return nil, &store.Error{Code: store.Unavailable, Op: "scrub", Node: n.cfg.Node, Group: id, Msg: "this node holds no replica of the group"}
	}
	replica, ok := held.(causal)
	if !ok {
		return nil, &store.Error{Code: store.Unsupported, Op: "scrub", Node: n.cfg.Node, Group: id, Msg: "a replica of a cp group is not digested", Try: "an ap keyspace"}
	}
	if !r.OfBucket {
		d, err := replica.Digests(ctx, r.After)
		if err == nil {
			n.metrics.Events.Scrubs.Add(1)
			n.metrics.Events.Unreadable.Add(d.Unreadable)
		}
		return &kvpb.DigestResponse{Entry: d.Entry, Vector: d.Vector, Rows: d.Rows[:], Sums: d.Sums[:]}, err
	}
	entry, keys, err := replica.BucketKeys(ctx, r.After, int(r.Bucket))
	resp := &kvpb.DigestResponse{Entry: entry}
	for _, key := range keys {
		resp.Keys = append(resp.Keys, &kvpb.KeyDigest{Key: []byte(key.Key), Sum: key.Sum, Unreadable: key.Unreadable})
	}
	return resp, err
}
