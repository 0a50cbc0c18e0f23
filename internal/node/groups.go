package node

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dialkv/dialkv/internal/rpc"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/telemetry"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap"
	"github.com/dialkv/dialkv/store/cp"
)

// groups are the replicas this node runs, as the catalog says.
type groups struct {
	node *Node

	mu   sync.Mutex
	open map[store.GroupID]*group
}

// replica is what both engines are.
type replica interface {
	store.Replica
	rpc.PeerReplica
	// Of other groups: see deps.go.
	Holds(e store.Entry) bool
	Deps() token.Deps
	Settle(ctx context.Context, settled token.Deps) error
}

// consensus is a cp replica as its peers see it: they call, and open no streams.
type consensus struct{ *cp.Replica }

func (consensus) ServeStream(context.Context, string, rpc.Stream) error {
	return &store.Error{Code: store.Unsupported, Op: "peer", Msg: "replicas of a cp group open no streams"}
}

// causal is an ap replica as its peers see it.
type causal struct{ *ap.Replica }

func (c causal) ServeStream(ctx context.Context, from string, s rpc.Stream) error {
	return c.Replica.ServeStream(ctx, from, s)
}

// follow opens and closes replicas as the catalog changes, and closes all at the end.
func (g *groups) follow(ctx context.Context) error {
	defer g.closeAll()
	heard := g.node.heard
	for {
		next := g.node.catalog.Next()
		g.node.refresh()
		if err := g.node.catalog.Refused(g.node.cfg.Node); err != nil {
			return err
		}
		t := g.node.catalog.Topology()
		if me, ok := t.ByName(g.node.cfg.Node); ok && me.State == shard.Leaving {
			g.node.beginDrain()
		}
		if err := g.reconcile(ctx, t); err != nil {
			return err
		}
		g.node.refresh()
		select {
		case <-next:
		case <-heard:
			heard = nil
			if err := g.sweep(g.node.catalog.Topology()); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// reconcile makes the open replicas those that the catalog places here. One that is
// placed here no more is closed and its data is dropped: its keyspace is gone, or its
// group's configuration has gone on without it.
func (g *groups) reconcile(ctx context.Context, t shard.Topology) error {
	g.node.deps.heard(t)
	g.node.book.learn(t.Nodes)
	g.node.book.forget(g.node.catalog.Removed)
	wanted := placedHere(t, g.node.cfg.Node)
	for id := range g.list() {
		if _, ok := wanted[id]; !ok {
			if err := g.drop(id); err != nil {
				return err
			}
		}
	}
	var missing []store.GroupID
	for id := range wanted {
		if _, ok := g.get(id); !ok {
			missing = append(missing, id)
		}
	}
	for i, id := range inTurn(missing, wanted, g.node.cfg.Node) {
		if err := g.start(ctx, id, wanted[id], time.Duration(i)*g.node.stagger()); err != nil {
			return err
		}
	}
	return nil
}

// placedHere are the groups of which the node has, or shall have, a replica.
func placedHere(t shard.Topology, node string) map[store.GroupID]shard.Keyspace {
	wanted := make(map[store.GroupID]shard.Keyspace)
	for _, k := range t.Keyspaces {
		for s, members := range k.Placement {
			if slices.Contains(members, node) {
				wanted[store.GroupID{Keyspace: k.ID, Shard: uint32(s)}] = k
			}
		}
	}
	return wanted
}

// inTurn orders groups that are opened together: first those that name this node
// first, so that each group's first member tends to be the one who campaigns first,
// and leaders are spread from the beginning.
func inTurn(ids []store.GroupID, in map[store.GroupID]shard.Keyspace, node string) []store.GroupID {
	first := func(id store.GroupID) bool { return in[id].Members(id.Shard)[0] == node }
	slices.SortFunc(ids, func(a, b store.GroupID) int {
		if fa, fb := first(a), first(b); fa != fb {
			if fa {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Keyspace, b.Keyspace), cmp.Compare(a.Shard, b.Shard))
	})
	return ids
}

// stagger is the pause between groups that are opened together, so that they do not
// all elect at the same instant.
func (n *Node) stagger() time.Duration {
	if d := n.cfg.Timing.Raft.Heartbeat; d > 0 {
		return d / 8
	}
	return 40 * time.Millisecond
}

// start keeps a replica open from now on, the first time after a delay.
func (g *groups) start(ctx context.Context, id store.GroupID, k shard.Keyspace, delay time.Duration) error {
	if err := g.node.held.note(id); err != nil {
		return err
	}
	run := &group{id: id, keyspace: k}
	run.failed.Store(&errNotYet)
	g.mu.Lock()
	g.open[id] = run
	g.mu.Unlock()
	run.stage = start(context.WithoutCancel(ctx), new(firstError), func(ctx context.Context) error { return g.node.keep(ctx, run, delay) })
	return nil
}

// drop stops a replica and deletes what it kept.
func (g *groups) drop(id store.GroupID) error {
	g.mu.Lock()
	run := g.open[id]
	delete(g.open, id)
	g.mu.Unlock()
	run.stage.stop()
	return g.node.forget(id)
}

func (g *groups) closeAll() {
	for _, run := range g.list() {
		run.stage.cancel()
	}
	for _, run := range g.list() {
		run.stage.stop()
	}
}

func (g *groups) get(id store.GroupID) (*group, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	run, ok := g.open[id]
	return run, ok
}

func (g *groups) list() map[store.GroupID]*group {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.open)
}

func (n *Node) openGroup(id store.GroupID, k shard.Keyspace) (replica, error) {
	if k.Mode == store.CP {
		var founders []string
		if k.Move(id.Shard).Changes == 0 {
			founders = k.Members(id.Shard)
		}
		r, err := n.openCP(n.parts, id, founders)
		return consensus{r}, err
	}
	cfg := ap.Config{
		Node: n.cfg.Node, Group: id, Placement: placementOf(k, id.Shard),
		Policy: k.Policy, W: k.W, Durability: k.Durability,
		Engine: n.engine, Peers: streams{calls{n.pool, id}}, Clock: n.wallClock,
		LogBytes: n.cfg.Storage.CausalLog, Events: n.causalEvents(id),
	}
	if k.Durability == store.Memory {
		var err error
		if cfg.Memory, err = n.memory.get(n.cfg.Storage.MemTable); err != nil {
			return nil, err
		}
	}
	r, err := ap.Open(cfg)
	return causal{r}, err
}

func (n *Node) causalEvents(id store.GroupID) ap.Events {
	log := n.cfg.Logger.With("node", n.cfg.Node, "group", id.String())
	return ap.Events{
		Ready:     n.refresh,
		Committed: n.metrics.Events.Committed,
		Sent: func(peer string, rows int, took time.Duration) {
			n.metrics.Events.SnapshotsSent.Add(1)
			log.Info("a peer that was behind the log was sent a snapshot", "peer", peer, "rows", rows, "took", took)
		},
		Installed: func(peer string, rows, changed int, took time.Duration) {
			n.metrics.Events.SnapshotsGot.Add(1)
			log.Info("a snapshot was merged", "peer", peer, "rows", rows, "changed", changed, "took", took)
		},
		Emptied: func(held uint64) {
			log.Warn("a replica in memory was emptied by a restart, and is filled by its peers before it serves", "held", held)
		},
		Refilled: func(lost uint64) {
			log.Warn("a replica in memory is filled again", "lost", lost)
		},
		Refused: func(peer string, err error) {
			log.Warn("a peer's stream was refused", "peer", peer, "error", err)
		},
	}
}

func (n *Node) openCP(p *parts, id store.GroupID, bootstrap []string) (*cp.Replica, error) {
	return cp.Open(cp.Config{
		Node: n.cfg.Node, Group: id, Bootstrap: bootstrap,
		Engine: n.engine, Mux: p.mux, Peers: calls{p.pool, id},
		OpenLog: n.cfg.logFor(id), Timing: n.cfg.Timing.Raft, Compaction: n.cfg.Storage.Compaction,
		Events: cp.Events{Logger: telemetry.Raft(n.cfg.Logger, "node", n.cfg.Node, "group", id.String()), Leader: func(group store.GroupID, leader string, term uint64) {
			n.metrics.Events.Seats.Leader(group, leader)
			n.cfg.Logger.Info("leader", "node", n.cfg.Node, "group", group.String(), "leader", leader, "term", term)
			if n.joined.Load() {
				n.refresh()
			}
		}},
	})
}

// calls is cp.Peers for one group, and half of ap.Peers.
type calls struct {
	pool  *rpc.Pool
	group store.GroupID
}

func (c calls) Call(ctx context.Context, to string, payload []byte) ([]byte, error) {
	return c.pool.Call(ctx, to, c.group, payload)
}

// streams is ap.Peers for one group.
type streams struct{ calls }

func (s streams) Stream(ctx context.Context, to string) (ap.Stream, error) {
	return s.pool.Stream(ctx, to, s.group)
}
