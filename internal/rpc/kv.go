package rpc

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

type kv struct {
	kvpb.UnimplementedKVServer
	cfg     Config
	node    Node
	traffic *Traffic
	began   time.Time
}

// request is what reads and writes have in common.
type request interface {
	GetKeyspace() string
	GetKeyspaceId() uint64
	GetShard() uint32
	GetToken() []byte
}

// place is where a request is served, and what came with it.
type place struct {
	topology shard.Topology
	keyspace shard.Keyspace
	group    store.GroupID
	session  token.Token
	replica  store.Replica
	level    store.Level // of a read
}

// find resolves a request as far as it can. key is empty where the request is for
// the whole group, or for keys that are checked with holds. What it found before an
// error helps to explain the error.
func (s *kv) find(ctx context.Context, r request, key string) (p place, err error) {
	p.topology = s.node.Topology()
	if p.topology.Cluster == "" {
		return p, &store.Error{Code: store.Unavailable, Msg: "this node belongs to no cluster yet"}
	}
	if p.session, err = token.Decode(r.GetToken()); err != nil {
		return p, err
	}
	if err := p.session.Check(p.topology.Cluster, p.topology.Epoch); err != nil {
		return p, err
	}
	if p.keyspace, err = s.node.Keyspace(ctx, r.GetKeyspaceId(), r.GetKeyspace()); err != nil {
		return p, err
	}
	p.group = store.GroupID{Keyspace: p.keyspace.ID, Shard: r.GetShard()}
	if p.group.Shard >= p.keyspace.Groups || key != "" && p.keyspace.Shard(key) != p.group.Shard {
		return p, p.misses()
	}
	replica, ok := s.node.Replica(p.group)
	if !ok && p.keyspace.Mode == store.CP {
		// The group has moved: the client goes where its leader is, and that costs it
		// no attempt.
		return p, &store.Error{Code: store.NotLeader, Leader: p.topology.Leaders[p.group], Msg: "this node holds no replica of group " + p.group.String()}
	}
	if !ok {
		return p, &store.Error{Code: store.Unavailable, Msg: "this node holds no replica of group " + p.group.String(), Try: "one of its members"}
	}
	p.replica = replica
	return p, nil
}

// misses refuses a key that is not of the group. A client with another idea of the
// shards must not hide a key in a group where nobody else looks for it.
func (p *place) misses() error {
	return &store.Error{
		Code: store.Invalid,
		Msg:  fmt.Sprintf("shard %d of the %d of keyspace %q does not hold the key", p.group.Shard, p.keyspace.Groups, p.keyspace.Name),
	}
}

// holds refuses a transaction whose keys are not all of the group.
func (p *place) holds(c store.Command) error {
	first, other := "", ""
	c.Keys(func(key string) bool {
		if first == "" {
			first = key
		}
		if p.keyspace.Shard(key) != p.keyspace.Shard(first) {
			other = key
		}
		return other == ""
	})
	switch {
	case other != "":
		return apart(first, other)
	case first != "" && p.keyspace.Shard(first) != p.group.Shard:
		return p.misses()
	}
	return nil
}

func apart(first, other string) error {
	return &store.Error{
		Code: store.Invalid,
		Msg:  fmt.Sprintf("the keys of a transaction must share a group, and %.60q and %.60q do not", first, other),
		Try:  "use one group, or the same {tag} in all keys",
	}
}

// explain fills in the places that the error leaves open.
func (p *place) explain(op, keyspace string, err error) *kvpb.Error {
	if err == nil {
		return nil
	}
	e := *store.AsError(err)
	if e.Op == "" {
		e.Op = op
	}
	if e.Keyspace == "" {
		e.Keyspace = keyspace
	}
	if e.Group == (store.GroupID{}) {
		e.Group = p.group
	}
	if e.Node == "" {
		e.Node = p.topology.Node
	}
	return kvpb.ToError(&e)
}

func (p *place) mode() string {
	if p.keyspace.ID == 0 {
		return ""
	}
	return p.keyspace.Mode.String()
}

func (p *place) seal(of token.Scope, context store.Entry) ([]byte, error) {
	return token.SealContext(p.topology.Cluster, p.topology.Epoch, p.group, of, context)
}

func (s *kv) Read(ctx context.Context, r *kvpb.ReadRequest) (*kvpb.ReadResponse, error) {
	ctx, cancel := kvpb.ToAnswer(ctx)
	defer cancel()
	response := s.read(ctx, r)
	if err := kvpb.CheckSize(response); err != nil {
		response = unreadable(response, err)
	}
	return response, nil
}

// read serves a read within ctx. The answer may be larger than a message.
func (s *kv) read(ctx context.Context, r *kvpb.ReadRequest) *kvpb.ReadResponse {
	began := s.begin()
	defer s.traffic.Requests.Add(-1)
	key, op := r.GetKey(), "get"
	if r.GetLimit() > 0 || r.GetCount() {
		key, op = "", "scan"
	}
	ctx, traced := s.cfg.begin(ctx, r.GetTrace(), "kv.node.", op)
	at, err := s.find(ctx, r, key)
	response := &kvpb.ReadResponse{}
	if err == nil {
		response, err = at.read(ctx, r)
	}
	s.done(&at, op, err, began)
	at.traced(traced, err)
	if err != nil {
		response = &kvpb.ReadResponse{Error: at.explain(op, r.GetKeyspace(), err)}
	}
	response.Mode, response.KeyspaceId, response.Shard = at.mode(), at.group.Keyspace, at.group.Shard
	response.Spans = kvpb.ToSpans(ctx, r.GetTrace())
	return response
}

func (p *place) read(ctx context.Context, r *kvpb.ReadRequest) (*kvpb.ReadResponse, error) {
	q, err := kvpb.FromQuery(r)
	if err != nil {
		return nil, err
	}
	if err := q.Check(); err != nil {
		return nil, err
	}
	p.level = q.Level.Or(p.keyspace.Mode)
	q.After = p.session.For(p.group, q.Level)
	page, err := p.replica.Read(ctx, q)
	if err != nil {
		return nil, err
	}
	if page.Context, err = p.seal(token.OfPage(q, page), page.Context); err != nil {
		return nil, err
	}
	return kvpb.ToPage(page), nil
}

// unreadable takes the place of an answer to a read that cannot be sent.
func unreadable(r *kvpb.ReadResponse, err error) *kvpb.ReadResponse {
	e := *store.AsError(err)
	e.Op, e.Node, e.Try = "read", r.GetProof().GetNode(), "fewer items a page"
	e.Group = store.GroupID{Keyspace: r.GetKeyspaceId(), Shard: r.GetShard()}
	return &kvpb.ReadResponse{Error: kvpb.ToError(&e), Mode: r.GetMode(), KeyspaceId: r.GetKeyspaceId(), Shard: r.GetShard()}
}

func (s *kv) Write(ctx context.Context, r *kvpb.WriteRequest) (*kvpb.WriteResponse, error) {
	ctx, cancel := kvpb.ToAnswer(ctx)
	defer cancel()
	response := s.write(ctx, r)
	if err := kvpb.CheckSize(response); err != nil {
		response = untold(response, err)
	}
	return response, nil
}

// write serves a write within ctx. The answer may be larger than a message.
func (s *kv) write(ctx context.Context, r *kvpb.WriteRequest) *kvpb.WriteResponse {
	began := s.begin()
	defer s.traffic.Requests.Add(-1)
	var at place
	var result store.Result
	c, err := kvpb.FromCommand(r)
	op := c.Name()
	ctx, traced := s.cfg.begin(ctx, r.GetTrace(), "kv.node.", op)
	if err == nil {
		at, err = s.find(ctx, r, c.Key)
	}
	if err == nil && c.Txn != nil {
		err = at.holds(c)
	}
	if err == nil {
		var seen token.Deps
		seen, err = s.node.Prove(ctx, at.group, at.session.Others(at.group))
		c.Deps = seen.Encode()
	}
	if err == nil {
		result, err = at.write(ctx, c)
	}
	s.done(&at, op, err, began)
	at.traced(traced, err)
	response := kvpb.ToResult(result)
	response.Error = at.explain(op, r.GetKeyspace(), err)
	response.Mode, response.KeyspaceId, response.Shard = at.mode(), at.group.Keyspace, at.group.Shard
	response.Spans = kvpb.ToSpans(ctx, r.GetTrace())
	return response
}

// untold takes the place of an answer to a write that cannot be sent, as that of a
// transaction with many gets may be. The write is done, or is not, as the answer
// says; and that is all that can be said of it.
func untold(r *kvpb.WriteResponse, err error) *kvpb.WriteResponse {
	if r.GetError() == nil {
		r.Error = kvpb.ToError(&store.Error{
			Code: store.Unknown, Op: "write", Node: r.GetProof().GetNode(),
			Group: store.GroupID{Keyspace: r.GetKeyspaceId(), Shard: r.GetShard()},
			Msg:   fmt.Sprintf("it was applied at revision %d, but what it read does not fit into an answer", r.GetRevision()),
			Try:   "fewer gets in a transaction", Cause: err,
		})
	}
	r.Value, r.Steps, r.Context, r.Spans = nil, nil, nil, nil
	return r
}

func (p *place) write(ctx context.Context, c store.Command) (store.Result, error) {
	var err error
	if c.Context, err = token.OpenContext(p.topology.Cluster, p.topology.Epoch, p.group, c.Key, c.Context); err != nil {
		return store.Result{}, err
	}
	if err := c.Check(); err != nil {
		return store.Result{}, err
	}
	c.After = p.session.For(p.group, store.LevelDefault)
	result, err := p.replica.Write(ctx, c)
	sealed, sealErr := p.seal(token.OfKey(c.Key), result.Context)
	if result.Context = sealed; err == nil && sealErr != nil {
		return result, &store.Error{Code: store.Unknown, Msg: "the answer cannot be sealed", Cause: sealErr}
	}
	return result, err
}

func (s *kv) Topology(ctx context.Context, r *kvpb.TopologyRequest) (*kvpb.TopologyResponse, error) {
	ctx, cancel := kvpb.ToAnswer(ctx)
	defer cancel()
	var err error
	var asked shard.Keyspace
	if r.GetKeyspace() != "" {
		asked, err = s.node.Keyspace(ctx, 0, r.GetKeyspace())
	}
	topology := s.node.Topology()
	if topology.Cluster == "" {
		return nil, &store.Error{Code: store.Unavailable, Node: topology.Node, Msg: "this node belongs to no cluster yet"}
	}
	if _, ok := topology.KeyspaceByID(asked.ID); asked.ID != 0 && !ok {
		topology.Keyspaces = append(without(topology.Keyspaces, asked.Name), asked)
	}
	response := kvpb.ToTopology(topology)
	response.Error = (&place{topology: topology}).explain("topology", r.GetKeyspace(), err)
	return response, nil
}

// without leaves out the keyspace that had the name before.
func without(keyspaces []shard.Keyspace, name string) []shard.Keyspace {
	return slices.DeleteFunc(slices.Clone(keyspaces), func(k shard.Keyspace) bool { return k.Name == name })
}
