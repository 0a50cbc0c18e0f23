package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

const (
	drainWait   = 30 * time.Second       // for a drain that nobody gave a deadline
	removedLook = 100 * time.Millisecond // Raft does not say when its members change
)

// RemoveNode takes a node out of the cluster, and returns when it is out. What must
// not be is refused before anything is changed. Once it is recorded that the node
// leaves, the removal goes on whoever dies: the catalog's leader plans it and the
// groups' leaders carry it out. So an Unknown says only that it was not awaited, and
// the same call again awaits it.
func (n *Node) RemoveNode(ctx context.Context, r *kvpb.RemoveNodeRequest) (*kvpb.RemoveNodeResponse, error) {
	if err := store.CheckName("node", r.Node); err != nil {
		return nil, err
	}
	if !n.hear(ctx) {
		return nil, &store.Error{
			Code: store.Unavailable, Op: "remove", Node: n.cfg.Node, Msg: "the catalog's majority cannot be reached from here; nothing was changed",
			Try: "kvctl cluster status, and bring back what is down",
		}
	}
	t := n.catalog.Topology()
	if n.catalog.Removed(r.Node) {
		return n.awaitRemoved(ctx, t, r.Node)
	}
	known, ok := t.ByName(r.Node)
	if !ok {
		return nil, &store.Error{
			Code: store.NotFound, Op: "remove", Msg: fmt.Sprintf("the cluster has no node %q", r.Node),
			Try: "one of " + strings.Join(namesOf(t), ", "),
		}
	}
	state := shard.Leaving
	if r.Dead {
		state = shard.Dead
	}
	if known.State < state {
		if err := n.mayLeave(ctx, t, r); err != nil {
			return nil, err
		}
		if err := n.catalog.SetState(ctx, r.Node, state); err != nil {
			return nil, err
		}
	}
	return n.awaitRemoved(ctx, t, r.Node)
}

// electionWait is how long a removal waits for groups that are electing a leader just
// now, as they are when the node that shall go has only died.
const electionWait = 5 * time.Second

func (n *Node) mayLeave(ctx context.Context, t shard.Topology, r *kvpb.RemoveNodeRequest) error {
	for began := time.Now(); ; {
		v := removal{topology: t, node: r.Node, dead: r.Dead, statuses: n.ask(ctx, namesOf(t))}
		err := v.check()
		if !errors.Is(err, errNoLeader) || time.Since(began) > electionWait || !rest(ctx, joinPause) {
			return err
		}
	}
}

func namesOf(t shard.Topology) []string {
	names := make([]string, len(t.Nodes))
	for i, known := range t.Nodes {
		names[i] = known.Name
	}
	slices.Sort(names)
	return names
}

// awaitRemoved waits until the node is out, and names the groups that have another
// member in its place. It is out when the catalog's group counts without it: before
// that, one more loss could be one too many.
func (n *Node) awaitRemoved(ctx context.Context, before shard.Topology, node string) (*kvpb.RemoveNodeResponse, error) {
	look := time.NewTicker(removedLook)
	defer look.Stop()
	for {
		next := n.catalog.Next()
		if n.catalog.Removed(node) && !slices.Contains(n.system.Status().Members, node) {
			return &kvpb.RemoveNodeResponse{Moved: replaced(before, n.catalog.Topology(), node)}, nil
		}
		select {
		case <-next:
		case <-look.C:
		case <-ctx.Done():
			return nil, &store.Error{
				Code: store.Unknown, Op: "remove", Node: node, Cause: context.Cause(ctx),
				Msg: fmt.Sprintf("the removal of %s was begun and goes on; it still has %d replicas to give away", node, len(placedHere(n.catalog.Topology(), node))),
				Try: "kvctl cluster remove " + node + " again, to wait for it",
			}
		}
	}
}

func replaced(before, after shard.Topology, node string) []string {
	var moved []string
	for id, k := range placedHere(before, node) {
		now, ok := after.KeyspaceByID(k.ID)
		if ok && len(now.Target(id.Shard)) >= len(k.Target(id.Shard)) {
			moved = append(moved, id.String())
		}
	}
	slices.SortFunc(moved, compareGroups)
	return moved
}

// TransferLeader hands a cp group's leadership to a voter. Only the group's leader
// can; another node says who that is.
func (n *Node) TransferLeader(ctx context.Context, r *kvpb.TransferLeaderRequest) (*kvpb.TransferLeaderResponse, error) {
	k, err := n.groupOwner(ctx, r.KeyspaceId, r.Keyspace, r.Shard)
	if err != nil {
		return nil, err
	}
	id := store.GroupID{Keyspace: k.ID, Shard: r.Shard}
	own, ok := n.leads(id)
	if !ok {
		return nil, &store.Error{Code: store.NotLeader, Op: "transfer", Keyspace: k.Name, Group: id, Node: n.cfg.Node, Leader: n.Topology().Leaders[id]}
	}
	if s := n.askOne(ctx, r.To); r.To != "" && s.GetDraining() {
		return nil, &store.Error{
			Code: store.Unavailable, Op: "transfer", Node: r.To, Keyspace: k.Name, Group: id, Msg: r.To + " is drained and leads nothing",
			Try: "another node, or kvctl node restart " + r.To,
		}
	}
	if err := own.Transfer(ctx, r.To); err != nil {
		return nil, err
	}
	n.refresh()
	return &kvpb.TransferLeaderResponse{Leader: own.Status().Leader}, nil
}

func (n *Node) groupOwner(ctx context.Context, id uint64, name string, number uint32) (shard.Keyspace, error) {
	if id == store.CatalogKeyspace || name == store.CatalogName {
		return n.systemKeyspace(), nil
	}
	k, err := n.catalog.Keyspace(ctx, id, name)
	switch {
	case err != nil:
		return k, err
	case k.Mode != store.CP:
		return k, &store.Error{Code: store.Unsupported, Op: "transfer", Keyspace: k.Name, Msg: "an ap keyspace has no leader", Try: "a cp keyspace"}
	case number >= k.Groups:
		return k, &store.Error{
			Code: store.Invalid, Op: "transfer", Keyspace: k.Name, Msg: fmt.Sprintf("%s has %d groups, there is no group %d", k.Name, k.Groups, number),
			Try: fmt.Sprintf("--group 0 to %d", k.Groups-1),
		}
	}
	return k, nil
}

// AlterKeyspace changes how many replicas a keyspace shall have and returns when its
// groups have as many. It goes on whether that is awaited or not.
func (n *Node) AlterKeyspace(ctx context.Context, r *kvpb.AlterKeyspaceRequest) (*kvpb.AlterKeyspaceResponse, error) {
	k, err := n.catalog.AlterKeyspace(ctx, r.Name, int(r.Replicas))
	if err != nil {
		return nil, err
	}
	for {
		next := n.catalog.Next()
		if now, ok := n.catalog.Topology().KeyspaceByID(k.ID); ok && complete(now, int(r.Replicas)) {
			return &kvpb.AlterKeyspaceResponse{Keyspace: kvpb.ToKeyspace(now)}, nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return nil, &store.Error{
				Code: store.Unknown, Op: "alter", Keyspace: k.Name, Cause: context.Cause(ctx),
				Msg: fmt.Sprintf("%s shall have %d replicas and its groups go on moving", k.Name, r.Replicas), Try: "kvctl keyspace show " + k.Name,
			}
		}
	}
}

// complete reports whether each group has as many members as it shall have.
func complete(k shard.Keyspace, replicas int) bool {
	for s := range k.Placement {
		if !k.Move(uint32(s)).Settled() || len(k.Members(uint32(s))) != replicas {
			return false
		}
	}
	return k.Replicas == replicas
}

// Drain hands over everything that this node leads and returns when it leads nothing
// that another could. Until it restarts it gives back at once what it is elected for.
func (n *Node) Drain(ctx context.Context, _ *kvpb.DrainRequest) (*kvpb.DrainResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, drainWait)
	defer cancel()
	led := n.led()
	n.beginDrain()
	for _, r := range led {
		if err := awaitHandedOver(ctx, r); err != nil {
			return nil, err
		}
	}
	return &kvpb.DrainResponse{Moved: uint32(len(led))}, nil
}

func (n *Node) beginDrain() {
	if n.draining.CompareAndSwap(false, true) {
		close(n.drain)
		n.cfg.Logger.Info("drained from now on", "node", n.cfg.Node)
	}
}

// led are the replicas that lead a group which another voter could lead.
func (n *Node) led() []*cp.Replica {
	var led []*cp.Replica
	ids := []store.GroupID{store.CatalogGroup}
	for id := range n.groups.list() {
		ids = append(ids, id)
	}
	for _, id := range ids {
		if r, ok := n.leads(id); ok && len(others(r.Status())) > 0 {
			led = append(led, r)
		}
	}
	return led
}

func awaitHandedOver(ctx context.Context, r *cp.Replica) error {
	for {
		changed := r.LeaderChanged()
		s := r.Status()
		if s.Role != "leader" {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return &store.Error{
				Code: store.Unavailable, Op: "drain", Node: s.Node, Group: s.Group, Cause: context.Cause(ctx),
				Msg: fmt.Sprintf("nobody has taken over group %v; the node goes on trying", s.Group), Try: "kvctl cluster status: another voter must be up, and not drained",
			}
		}
	}
}
