package client

import (
	"context"
	"maps"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/bulkhead"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/store"
)

// router remembers where groups live, who leads them and how nodes answer. All of
// it is a hint: the nodes themselves know better, and say so.
type router struct {
	near    string // the node to begin with wherever it holds the group; "" if none
	offset  int    // where this client begins in every other placement, so that clients spread
	newPeer func(node string) *peer

	bulkhead Bulkhead
	hosts    hosts // of bounded reads

	mu       sync.Mutex
	topology shard.Topology
	fetched  time.Time
	leaders  map[store.GroupID]string
	sought   map[store.GroupID]time.Time // when somebody last looked for its leader
	peers    map[string]*peer
	halls    map[place]bulkhead.Bulkhead[any]
}

func newRouter(near string, b Bulkhead, newPeer func(node string) *peer) *router {
	return &router{
		near: near, bulkhead: b, halls: make(map[place]bulkhead.Bulkhead[any]), offset: rand.IntN(1 << 20), newPeer: newPeer,
		leaders: make(map[store.GroupID]string), peers: make(map[string]*peer), sought: make(map[store.GroupID]time.Time),
	}
}

// known returns the topology and when it was fetched, the zero time if never.
func (r *router) known() (shard.Topology, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.topology, r.fetched
}

func (r *router) addr(node string) string {
	t, _ := r.known()
	n, _ := t.ByName(node)
	return n.Addr
}

// learn takes in what a node said. A node that lags behind does not take back
// what is known; one of another cluster is refused.
func (r *router) learn(t shard.Topology) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.topology.Cluster != "" && t.Cluster != r.topology.Cluster {
		return &store.Error{Code: store.Unavailable, Node: t.Node, Msg: "the node is of another cluster: " + t.Cluster}
	}
	r.fetched = time.Now()
	if t.Epoch < r.topology.Epoch || t.Epoch == r.topology.Epoch && t.Revision < r.topology.Revision {
		return nil
	}
	r.topology = t
	maps.DeleteFunc(r.peers, func(node string, _ *peer) bool { _, there := t.ByName(node); return !there })
	maps.DeleteFunc(r.halls, func(p place, _ bulkhead.Bulkhead[any]) bool {
		_, node := t.ByName(p.node)
		_, keyspace := t.KeyspaceByID(p.keyspace)
		return !node || !keyspace
	})
	for group, leader := range t.Leaders {
		if r.leaders[group] == "" {
			r.leaders[group] = leader
		}
	}
	return nil
}

func (r *router) leader(group store.GroupID) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leaders[group]
}

// led notes who leads a group; "" if nobody is known to.
func (r *router) led(group store.GroupID, leader string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaders[group] = leader
}

// seekEvery is how often somebody looks for a leader that nobody knows.
const seekEvery = 50 * time.Millisecond

// seek returns 0 if nobody has looked for the leader of the group just now, and then the
// caller does; else after which time somebody may.
func (r *router) seek(group store.GroupID) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if wait := seekEvery - time.Since(r.sought[group]); wait > 0 {
		return wait
	}
	r.sought[group] = time.Now()
	return 0
}

// peer returns the record of a node; nil of a seed, which has no name.
func (r *router) peer(node string) *peer {
	if node == "" {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.record(node)
}

// admit asks for the permit to make an attempt at a node, and says where there is a place
// for it.
func (r *router) admit(node string, keyspace uint64) (permit, hall, bool) {
	r.mu.Lock()
	p, h := r.record(node), r.hall(place{node, keyspace})
	r.mu.Unlock()
	leave, ok := p.admit()
	return leave, h, ok
}

// record is called with mu held.
func (r *router) record(node string) *peer {
	p := r.peers[node]
	if p == nil {
		p = r.newPeer(node)
		r.peers[node] = p
	}
	return p
}

// order returns the nodes in the order in which to try them: first, then the near
// one, then from the client's own offset on, so that it stays with one of them; and at
// the end those that do not answer. It also names those that are to be probed, and the node
// that would be first if it were not silent, nil if none.
func (r *router) order(nodes []string, first string) (out, due []string, spared *peer) {
	out = make([]string, 0, len(nodes))
	ranks := make([]int, 0, 8)
	best, silent := math.MaxInt, (*peer)(nil) // who would come first if nobody were silent
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range nodes {
		node := nodes[(r.offset+i)%len(nodes)]
		p := r.record(node)
		s, probe := p.standing()
		if probe {
			due = append(due, node)
		}
		rank := r.rank(node, first, s)
		if s == suspect {
			if would := r.rank(node, first, sound); would < best {
				best, silent = would, p
			}
		} else if rank < best {
			best, silent = rank, nil
		}
		out, ranks = append(out, node), append(ranks, rank)
		for j := len(out) - 1; j > 0 && ranks[j] < ranks[j-1]; j-- {
			out[j], out[j-1], ranks[j], ranks[j-1] = out[j-1], out[j], ranks[j-1], ranks[j]
		}
	}
	if silent != nil && silent.name != out[0] {
		spared = silent
	}
	return out, due, spared
}

// rank is where a node comes. Those that do not answer come behind all others, and among
// themselves as if they did: when all are silent, the likeliest is still tried first.
func (r *router) rank(node, first string, s standing) int {
	const ranks = 4
	switch {
	case s >= suspect:
		return ranks*int(s) + r.rank(node, first, sound)
	case node == first:
		return 0
	case s == newly:
		return 3
	case node == r.near:
		return 1
	}
	return 2
}

// endpoints are all that might know the topology, the likeliest first.
func (c *Client) endpoints(ctx context.Context) []endpoint {
	t, _ := c.router.known()
	var nodes []string
	for _, n := range t.Nodes {
		nodes = append(nodes, n.Name)
	}
	var out []endpoint
	order, due, _ := c.router.order(nodes, "")
	c.probe(ctx, due)
	for _, node := range order {
		out = append(out, endpoint{node: node})
	}
	for i := range c.cfg.Seeds {
		out = append(out, endpoint{seed: c.cfg.Seeds[(c.router.offset+i)%len(c.cfg.Seeds)]})
	}
	return out
}

// resolve returns the keyspace of the name. One that is not known yet is asked
// for; that it does not exist is said by a node, not concluded from old knowledge.
func (c *Client) resolve(ctx context.Context, name string) (shard.Keyspace, error) {
	t, _ := c.router.known()
	if k, ok := t.Keyspace(name); ok {
		return k, nil
	}
	return c.lookUp(ctx, name)
}

func (c *Client) lookUp(ctx context.Context, name string) (shard.Keyspace, error) {
	if err := c.fetch(ctx, name); err != nil {
		return shard.Keyspace{}, err
	}
	t, _ := c.router.known()
	if k, ok := t.Keyspace(name); ok {
		return k, nil
	}
	return shard.Keyspace{}, &store.Error{Code: store.Unavailable, Keyspace: name, Msg: "the node that answered knows the keyspace, but lags behind"}
}

// fetch asks one node after the other for the topology, until one knows it and
// the keyspace of that name, if one is given. Those who come while another is
// asking wait, and are content with what it learned.
func (c *Client) fetch(ctx context.Context, keyspace string) (err error) {
	ctx, traced := c.below(ctx, "kv.topology")
	defer func() { spans.End(traced, err) }()
	asked := time.Now()
	select {
	case c.refresh <- struct{}{}:
		defer func() { <-c.refresh }()
	case <-ctx.Done():
		return store.Expired(ctx, "the topology")
	}
	if _, fetched := c.router.known(); keyspace == "" && fetched.After(asked) {
		return nil
	}
	var last error = store.Expired(ctx, "the topology")
	for _, e := range c.endpoints(ctx) {
		if ctx.Err() != nil {
			break
		}
		if last = c.fetchFrom(ctx, e, keyspace); last == nil || store.AsError(last).Code == store.NoSuchKeyspace {
			return last
		}
	}
	return last
}

// fresh is how old what is known of the cluster may be before it is asked for again.
const fresh = time.Second

// renewSoon asks for the topology beside the caller, if what is known is not fresh and
// nobody asks. A node that answers and does not serve may be about to leave: who goes on
// coming to it, until it is gone, has a request there when it ends.
func (c *Client) renewSoon(ctx context.Context) {
	if _, fetched := c.router.known(); time.Since(fetched) <= fresh || !c.renewing.CompareAndSwap(false, true) {
		return
	}
	if !c.part(func() {
		defer c.renewing.Store(false)
		ctx, cancel := context.WithTimeout(spans.Apart(context.WithoutCancel(ctx)), mostShare)
		defer cancel()
		_ = c.fetch(ctx, "") // what is known has to do then
	}) {
		c.renewing.Store(false)
	}
}

// renew returns what is known of the keyspace now, and asks first if that is not fresh.
// It takes no more than a quarter of the time that is left.
func (c *Client) renew(ctx context.Context, k shard.Keyspace) shard.Keyspace {
	if _, fetched := c.router.known(); time.Since(fetched) > fresh {
		deadline, _ := ctx.Deadline()
		part, cancel := context.WithTimeout(ctx, time.Until(deadline)/4)
		defer cancel()
		_ = c.fetch(part, "") // what is known has to do then
	}
	t, _ := c.router.known()
	if now, ok := t.KeyspaceByID(k.ID); ok {
		return now
	}
	return k
}

// fetchFrom asks one node, whatever its circuit: somebody must know the cluster.
func (c *Client) fetchFrom(ctx context.Context, e endpoint, keyspace string) error {
	ctx, cancel := share(ctx)
	defer cancel()
	var leave permit
	if p := c.router.peer(e.node); p != nil {
		leave, _ = p.admit()
	}
	began := time.Now()
	v, err := c.ask(ctx, e, keyspace)
	switch {
	case v != heard:
		v = verdictOf(ctx, began)
	case !leave.probe():
		v = nothing // that it answers here does not mean that it serves
	}
	leave.done(v)
	return err
}

func (c *Client) ask(ctx context.Context, e endpoint, keyspace string) (verdict, error) {
	cc, err := c.conns.ready(ctx, e)
	if err != nil {
		return failed, err
	}
	response := &kvpb.TopologyResponse{}
	if _, err := cc.invoke(ctx, e, kvpb.KV_Topology_FullMethodName, &kvpb.TopologyRequest{Keyspace: keyspace}, response); err != nil {
		return failed, asRead(store.AsError(err))
	}
	t, err := kvpb.FromTopology(response)
	if err != nil {
		return heard, err
	}
	if err := c.router.learn(t); err != nil {
		return heard, err
	}
	if response.GetError() != nil {
		return heard, kvpb.FromError(response.GetError())
	}
	return heard, nil
}

// probe finds out, beside the caller, whether nodes that were silent, or whose circuits
// were open, for long enough are back.
func (c *Client) probe(ctx context.Context, due []string) {
	for _, node := range due {
		p := c.router.peer(node)
		if !c.part(func() {
			defer p.probed()
			if leave := p.glance(); leave.p != nil {
				if v := c.probeOnce(ctx, node); v == heard {
					p.stirs()
				} else {
					leave.done(v)
				}
				return
			}
			for leave, ok := p.probe(0); ok && leave.probe(); leave, ok = p.probe(never) {
				leave.done(c.probeOnce(ctx, node))
			}
		}) {
			p.probed()
		}
	}
}

func (c *Client) probeOnce(ctx context.Context, node string) verdict {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leastShare)
	defer cancel()
	v, _ := c.ask(ctx, endpoint{node: node}, "")
	return v
}
