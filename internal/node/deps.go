package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// A group notes what its writes depend on in other groups, and all who read of it are
// made to wait for that. So nothing is noted because a token says so: a made-up one must
// cost its holder a wait, and nobody else anything. And nothing is kept for ever: what all
// members of the other group hold needs no waiting for.

const (
	// settlePeriod is how often a node looks for what it can forget.
	settlePeriod = 5 * time.Second
	// settleSoon is how soon, if a group has noted so much that it may have to refuse.
	settleSoon = 250 * time.Millisecond
	settleWait = 2 * time.Second // for the members of one group
)

// deps is what this node knows of groups, beyond what its own replicas hold.
type deps struct {
	mu      sync.Mutex
	proved  token.Deps // some member holds it
	settled token.Deps // every member does

	crowded chan struct{} // there is a group that has noted much
}

func newDeps() *deps { return &deps{crowded: make(chan struct{}, 1)} }

// beyond is what of seen must be noted, and what of that nobody has proved here.
func (d *deps) beyond(seen token.Deps) (open, unproved token.Deps) {
	d.mu.Lock()
	defer d.mu.Unlock()
	open = seen.Beyond(d.settled)
	return open, open.Beyond(d.proved)
}

func (d *deps) hurry() {
	select {
	case d.crowded <- struct{}{}:
	default:
	}
}

func (d *deps) prove(one token.Deps) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.proved.Check() != nil {
		d.proved = token.Deps{} // it is proved again when it is needed
	}
	d.proved = d.proved.Join(one)
}

// settle remembers, of the groups that there are, what all members hold.
func (d *deps) settle(more token.Deps, there func(store.GroupID) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settled = d.settled.Join(more)
	for group := range d.settled.All() {
		if !there(group) {
			d.settled = d.settled.Without(group)
		}
	}
}

// errLost says that no member of a group will ever hold what was seen of it.
var errLost = errors.New("node: what was seen of the group is gone with it, or with a restore")

// Prove leaves of what one who writes to a group has seen of others what has to be noted,
// because not all members have it yet, and may be, because one of them has.
func (n *Node) Prove(ctx context.Context, group store.GroupID, seen token.Deps) (token.Deps, error) {
	if seen.Empty() {
		return seen, nil
	}
	if r, ok := n.find(group); ok && r.Deps().Crowded() {
		n.deps.hurry()
	}
	open, unproved := n.deps.beyond(seen)
	for group, entry := range unproved.All() {
		if r, ok := n.find(group); ok && r.Holds(entry) {
			continue
		}
		one, err := token.DepsOf(group, entry)
		if err == nil {
			err = n.askFor(ctx, group, entry)
		}
		switch {
		case errors.Is(err, errLost):
			open = open.Without(group)
		case err != nil:
			return open, &store.Error{
				Code: store.SessionUnreachable, Cause: err,
				Msg: fmt.Sprintf("no member of group %v that can be reached holds what the session has seen of it", group),
				Try: "a node on the side where the session was before, or a longer --timeout",
			}
		default:
			n.deps.prove(one)
		}
	}
	return open, nil
}

// askFor returns once a member of the group holds what the entry names: it is what a
// causal read waits for, at whichever member.
func (n *Node) askFor(ctx context.Context, group store.GroupID, entry store.Entry) error {
	t := n.catalog.Topology()
	k, ok := t.KeyspaceByID(group.Keyspace)
	if !ok && n.hear(ctx) {
		if k, ok = n.catalog.Topology().KeyspaceByID(group.Keyspace); !ok {
			return errLost
		}
	}
	switch {
	case !ok:
		return &store.Error{Code: store.Unavailable, Msg: "this node does not know the keyspace, and cannot ask the catalog's majority"}
	case group.Shard >= k.Groups:
		return errLost
	}
	seen := token.Token{Cluster: n.id.Cluster, Epoch: n.Topology().Epoch}
	if err := seen.Read(group, entry); err != nil {
		return err
	}
	session, err := n.own.ResumeSession(seen.String())
	if err != nil {
		return err
	}
	page, err := n.own.Keyspace(k.Name).Read(ctx, store.Query{Limit: 1, KeysOnly: true, Level: store.Causal}, client.In(session), client.InGroup(group.Shard))
	switch {
	case errors.Is(err, store.TokenMismatch), errors.Is(err, store.NoSuchKeyspace):
		return errLost
	case err == nil && page.Proof.Group != group:
		return errLost // another keyspace has the name now
	}
	return err
}

// settle drops from what the groups here depend on elsewhere what nobody needs to wait
// for, until ctx ends.
func (n *Node) settle(ctx context.Context) error {
	tick := time.NewTicker(settlePeriod)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-n.deps.crowded:
			if !rest(ctx, settleSoon) {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
		var noted token.Deps
		for id := range n.groups.list() {
			if r, ok := n.find(id); ok {
				noted = noted.Join(r.Deps())
			}
		}
		if noted.Empty() {
			continue
		}
		n.findSettled(ctx, noted)
		n.drop(ctx)
	}
}

// findSettled asks what all members hold of the groups that others depend on.
func (n *Node) findSettled(ctx context.Context, noted token.Deps) {
	var found token.Deps
	for group, entry := range noted.All() {
		settled, err := n.settledOf(ctx, group)
		if errors.Is(err, errLost) {
			settled = entry
		}
		one, err := token.DepsOf(group, settled)
		if err == nil {
			found = found.Join(one)
		}
	}
	t := n.catalog.Topology()
	n.deps.settle(found, func(group store.GroupID) bool {
		_, ok := t.KeyspaceByID(group.Keyspace)
		return ok
	})
}

// settledOf asks one member after the other.
func (n *Node) settledOf(ctx context.Context, group store.GroupID) (store.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	k, ok := n.catalog.Topology().KeyspaceByID(group.Keyspace)
	if !ok && n.hear(ctx) {
		if k, ok = n.catalog.Topology().KeyspaceByID(group.Keyspace); !ok {
			return nil, errLost
		}
	}
	r, here := n.find(group)
	if here {
		if e, err := r.Settled(ctx); err == nil {
			return e, nil
		}
	}
	err := error(&store.Error{Code: store.Unavailable, Msg: "no member knows"})
	for _, member := range k.Members(group.Shard) {
		if member == n.cfg.Node {
			continue
		}
		var e store.Entry
		if e, err = n.pool.Settled(ctx, member, group); err == nil {
			return e, nil
		}
	}
	return nil, err
}

// drop tells the groups here what is settled.
func (n *Node) drop(ctx context.Context) {
	n.deps.mu.Lock()
	settled := n.deps.settled
	n.deps.mu.Unlock()
	for id := range n.groups.list() {
		r, ok := n.find(id)
		if !ok {
			continue
		}
		noted := r.Deps()
		old := noted.Beyond(noted.Beyond(settled))
		if old.Empty() {
			continue
		}
		if err := r.Settle(ctx, old); err != nil {
			n.cfg.Logger.Debug("what a group depends on elsewhere is not dropped yet", "node", n.cfg.Node, "group", id.String(), "error", err)
		}
	}
}
