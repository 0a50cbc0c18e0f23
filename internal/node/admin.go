package node

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/dialkv/dialkv/internal/catalog"
	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/rpc"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

var _ rpc.Admin = (*Node)(nil)

// Status describes the node and its replicas, from what it knows itself.
func (n *Node) Status(context.Context, *kvpb.StatusRequest) (*kvpb.StatusResponse, error) {
	resp := &kvpb.StatusResponse{
		Node: n.cfg.Node, Cluster: n.id.Cluster, Reasons: n.Health().Reasons,
		Draining: n.draining.Load(), AllowFaults: n.cfg.AllowFaults, Pid: uint32(os.Getpid()), Version: version(), Self: kvpb.ToNode(n.self()),
		Start: n.id.Start,
	}
	resp.Ready = len(resp.Reasons) == 0
	resp.Replicas = append(resp.Replicas, replicaStatus(store.CatalogName, n.system.Status()))
	for _, run := range n.groups.list() {
		if r, ok := run.replica(); ok {
			resp.Replicas = append(resp.Replicas, replicaStatus(run.keyspace.Name, r.Status()))
		}
	}
	slices.SortFunc(resp.Replicas, func(a, b *kvpb.ReplicaStatus) int { return compareGroups(a.Group, b.Group) })
	for _, m := range n.members.List() {
		resp.Members = append(resp.Members, &kvpb.Member{Name: m.Name, Addr: m.Addr, State: "alive"})
	}
	return resp, nil
}

func compareGroups(a, b string) int {
	ga, _ := store.ParseGroupID(a)
	gb, _ := store.ParseGroupID(b)
	return compareIDs(ga, gb)
}

func compareIDs(a, b store.GroupID) int {
	return cmp.Or(cmp.Compare(a.Keyspace, b.Keyspace), cmp.Compare(a.Shard, b.Shard))
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}

func replicaStatus(keyspace string, s store.Status) *kvpb.ReplicaStatus {
	return &kvpb.ReplicaStatus{
		Group: s.Group.String(), Keyspace: keyspace, Mode: s.Mode.String(), Role: s.Role, Leader: s.Leader,
		Term: s.Term, Applied: s.Applied, Revision: s.Revision, Vector: s.Vector, Members: s.Members,
		Ready: s.Ready, Detail: s.Detail, NonVoters: s.NonVoters, Epoch: s.Epoch, Backlog: s.Backlog,
		Emptied: s.Emptied, Lost: s.Lost,
	}
}

// Join records a node in the catalog, or recognises one that is recorded, and tells
// it where everybody is. The catalog's leader then makes it a member.
func (n *Node) Join(ctx context.Context, r *kvpb.JoinRequest) (*kvpb.JoinResponse, error) {
	if r.Cluster != "" && r.Cluster != n.id.Cluster {
		return nil, &store.Error{
			Code: store.TokenMismatch, Op: "join", Node: n.cfg.Node,
			Msg: "the joining node's data directory is of cluster " + r.Cluster + ", this is " + n.id.Cluster,
			Try: "another --data directory, or --join addresses of its own cluster",
		}
	}
	joiner, err := kvpb.FromNode(r.Node)
	if err != nil {
		return nil, err
	}
	if err := n.catalog.AddNode(ctx, joiner); err != nil {
		return nil, err
	}
	n.book.learn([]shard.Node{joiner})
	resp := &kvpb.JoinResponse{Cluster: n.id.Cluster, Epoch: epoch, Nodes: []*kvpb.Node{kvpb.ToNode(n.self())}}
	for _, known := range n.catalog.Topology().Nodes {
		if known.Name != n.cfg.Node && known.Name != joiner.Name {
			resp.Nodes = append(resp.Nodes, kvpb.ToNode(known))
		}
	}
	return resp, nil
}

// CreateKeyspace creates a keyspace and returns when its groups serve on every
// member that can be reached.
func (n *Node) CreateKeyspace(ctx context.Context, r *kvpb.CreateKeyspaceRequest) (*kvpb.CreateKeyspaceResponse, error) {
	spec, err := specOf(r)
	if err != nil {
		return nil, err
	}
	k, err := n.catalog.CreateKeyspace(ctx, spec)
	if err != nil {
		return nil, err
	}
	n.awaitServing(ctx, k)
	return &kvpb.CreateKeyspaceResponse{Keyspace: kvpb.ToKeyspace(k)}, nil
}

func specOf(r *kvpb.CreateKeyspaceRequest) (catalog.Spec, error) {
	s := catalog.Spec{Name: r.Name, Replicas: int(r.Replicas), Groups: int(r.Groups)}
	var err error
	if s.Mode, err = store.ParseMode(r.Mode); err != nil {
		return s, err
	}
	if r.Conflict != "" {
		if s.Policy, err = store.ParsePolicy(r.Conflict); err != nil {
			return s, err
		}
	}
	if s.W, err = store.ParseW(r.W); err != nil {
		return s, err
	}
	if r.Durability != "" {
		s.Durability, err = store.ParseDurability(r.Durability)
	}
	return s, err
}

const (
	serveWait  = 10 * time.Second       // for a new keyspace's groups to serve
	servePause = 20 * time.Millisecond  // between looks at a member that is not there yet
	memberWait = 500 * time.Millisecond // for a member to answer at all
)

// awaitServing waits until every member that answers says that it serves each group it
// shall hold: a node opens them one after the other.
func (n *Node) awaitServing(ctx context.Context, k shard.Keyspace) {
	ctx, cancel := context.WithTimeout(ctx, serveWait)
	defer cancel()
	for i, members := range k.Placement {
		id := store.GroupID{Keyspace: k.ID, Shard: uint32(i)}
		for _, m := range members {
			for ctx.Err() == nil && !n.serves(ctx, m, id) {
				select {
				case <-time.After(servePause):
				case <-ctx.Done():
				}
			}
		}
	}
}

// serves reports whether a member serves the group, or cannot be reached.
func (n *Node) serves(ctx context.Context, member string, id store.GroupID) bool {
	admin, err := n.pool.Admin(member)
	if err != nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, memberWait)
	defer cancel()
	s, err := admin.Status(ctx, &kvpb.StatusRequest{})
	return err != nil || statusServes(s, id)
}

// statusServes reports whether a node whose status that is serves the group.
func statusServes(s *kvpb.StatusResponse, id store.GroupID) bool {
	return slices.ContainsFunc(s.GetReplicas(), func(r *kvpb.ReplicaStatus) bool {
		return r.GetGroup() == id.String() && r.GetReady() && (r.GetMode() != store.CP.String() || r.GetLeader() != "")
	})
}

// DeleteKeyspace deletes a keyspace. Nodes drop their replicas when they hear.
func (n *Node) DeleteKeyspace(ctx context.Context, r *kvpb.DeleteKeyspaceRequest) (*kvpb.DeleteKeyspaceResponse, error) {
	if err := n.catalog.DeleteKeyspace(ctx, r.Name); err != nil {
		return nil, err
	}
	return &kvpb.DeleteKeyspaceResponse{}, nil
}

// SetFaults replaces the rules of this node's links.
func (n *Node) SetFaults(_ context.Context, r *kvpb.SetFaultsRequest) (*kvpb.SetFaultsResponse, error) {
	if !n.cfg.AllowFaults && len(r.Rules) > 0 {
		return nil, n.noFaults()
	}
	rules := make([]link.Rule, 0, len(r.Rules))
	for _, x := range r.Rules {
		action, err := link.ParseAction(x.Action)
		if err != nil {
			return nil, err
		}
		rules = append(rules, link.Rule{
			From: x.From, To: x.To, Action: action,
			Delay: time.Duration(x.DelayNs), Jitter: time.Duration(x.JitterNs), Loss: x.Loss,
			Duplicate: x.Duplicate, Reorder: x.Reorder, Bandwidth: int64(min(x.Bandwidth, math.MaxInt64)),
		})
	}
	if err := n.door.Rules().Set(rules); err != nil {
		return nil, err
	}
	n.cfg.Logger.Warn("link rules set", "node", n.cfg.Node, "rules", len(rules))
	return &kvpb.SetFaultsResponse{}, nil
}

func (n *Node) noFaults() *store.Error {
	return &store.Error{
		Code: store.Denied, Op: "faults", Node: n.cfg.Node,
		Msg: "this node does not take fault rules", Try: "start it with --allow-faults",
	}
}

// maxSyncDelay is for ever, as far as anybody waits.
const maxSyncDelay = time.Hour

// SlowDisk makes each sync of this node's log take longer, and writes fail.
func (n *Node) SlowDisk(_ context.Context, r *kvpb.SlowDiskRequest) (*kvpb.SlowDiskResponse, error) {
	delay := time.Duration(r.SyncDelayNs)
	if delay < 0 || delay > maxSyncDelay {
		return nil, &store.Error{Code: store.Invalid, Op: "faults", Node: n.cfg.Node, Msg: fmt.Sprintf("a sync cannot take %v longer, the limit is %v", delay, maxSyncDelay)}
	}
	failure := engine.Failure(r.Failure)
	if err := failure.Check(); err != nil {
		return nil, err
	}
	if !n.cfg.AllowFaults && (delay > 0 || failure != "") {
		return nil, n.noFaults()
	}
	n.disk.Set(delay)
	n.ills.Set(failure)
	return &kvpb.SlowDiskResponse{}, nil
}

// maxSkew is further than any clock is wrong.
const maxSkew = 24 * time.Hour

// Skew sets this node's wall clock ahead, or behind.
func (n *Node) Skew(_ context.Context, r *kvpb.SkewRequest) (*kvpb.SkewResponse, error) {
	ahead := time.Duration(r.AheadNs)
	if ahead.Abs() > maxSkew {
		return nil, &store.Error{Code: store.Invalid, Op: "faults", Node: n.cfg.Node, Msg: fmt.Sprintf("a clock cannot be set %v ahead, the limit is %v either way", ahead, maxSkew)}
	}
	if !n.cfg.AllowFaults && ahead != 0 {
		return nil, n.noFaults()
	}
	n.skew.Store(int64(ahead))
	return &kvpb.SkewResponse{}, nil
}

// wallClock is the clock of what the node stamps.
func (n *Node) wallClock() time.Time { return n.cfg.Clock().Add(time.Duration(n.skew.Load())) }

// Faults lists the rules of this node's links and what they have done so far.
func (n *Node) Faults(context.Context, *kvpb.FaultsRequest) (*kvpb.FaultsResponse, error) {
	resp := new(kvpb.FaultsResponse)
	resp.Held, resp.Delayed = n.door.Rules().Counts()
	resp.SlowSyncs, resp.FailedWrites, resp.SkewNs = n.disk.Waited(), n.ills.Met(), n.skew.Load()
	for _, x := range n.door.Rules().List() {
		resp.Rules = append(resp.Rules, &kvpb.LinkRule{
			From: x.From, To: x.To, Action: x.Action.String(),
			DelayNs: int64(x.Delay), JitterNs: int64(x.Jitter), Loss: x.Loss,
			Duplicate: x.Duplicate, Reorder: x.Reorder, Bandwidth: uint64(x.Bandwidth),
		})
	}
	return resp, nil
}

// Dump reads this node's replica of a group as it is, asking nobody.
func (n *Node) Dump(ctx context.Context, r *kvpb.DumpRequest) (*kvpb.DumpResponse, error) {
	id := store.GroupID{Keyspace: r.KeyspaceId, Shard: r.Shard}
	held, ok := n.find(id)
	if !ok {
		return nil, &store.Error{Code: store.Unavailable, Op: "dump", Node: n.cfg.Node, Group: id, Msg: "this node holds no replica of the group"}
	}
	limit := int(r.Limit)
	if limit == 0 {
		limit = store.MaxPage
	}
	page, err := held.Read(ctx, store.Query{Page: r.From, Level: store.Eventual, Limit: limit, Siblings: true})
	if err != nil {
		return nil, err
	}
	full := kvpb.ToPage(page)
	return &kvpb.DumpResponse{
		Items: full.Items, Next: page.Next, Mode: held.Status().Mode.String(),
		Entry: page.Entry, Revision: page.Revision, Vector: page.Proof.Vector,
	}, nil
}
