package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/shard"
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
	proved  token.Deps // some member holds it, or held it up to a period ago
	settled token.Deps // every member does

	crowded chan struct{} // there is a group that has noted much

	known map[uint64]bool // ids of keyspaces that this node has heard of since it started
}

func newDeps() *deps { return &deps{crowded: make(chan struct{}, 1), known: make(map[uint64]bool)} }

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

// heard notes which keyspaces there are.
func (d *deps) heard(t shard.Topology) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range t.Keyspaces {
		d.known[k.ID] = true
	}
}

func (d *deps) knew(keyspace uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known[keyspace]
}

// doubt makes what was proved be proved again: a group may be gone since, or restored.
func (d *deps) doubt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.proved = token.Deps{}
}

// settle remembers, of the groups that there are, what all members hold.
func (d *deps) settle(more token.Deps, there func(store.GroupID) bool) token.Deps {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settled = d.settled.Join(more)
	for group := range d.settled.All() {
		if !there(group) {
			d.settled = d.settled.Without(group)
		}
	}
	return d.settled
}

// errLost says that no member of a group will ever hold what was seen of it.
var errLost = errors.New("node: what was seen of the group is gone with it, or with a restore")

// Prove leaves of what one who writes to a group has seen of others what has to be noted,
// because not all members have it yet, and may be, because one of them has. What the group
// has noted already it tells all who read of it, and was proved before.
func (n *Node) Prove(ctx context.Context, group store.GroupID, seen token.Deps) (token.Deps, error) {
	if seen = seen.Without(store.CatalogGroup); seen.Empty() {
		return seen, nil
	}
	open, unproved := n.deps.beyond(seen)
	if r, ok := n.find(group); ok {
		noted := r.Deps()
		if noted.Crowded() {
			n.deps.hurry()
		}
		unproved = unproved.Beyond(noted)
	}
	for other, entry := range unproved.All() {
		if r, ok := n.find(other); ok && r.Holds(entry) {
			continue
		}
		one, err := token.DepsOf(other, entry)
		if err == nil {
			err = n.askFor(ctx, other, entry)
		}
		switch {
		case errors.Is(err, errLost):
			open = open.Without(other)
		case errors.Is(err, store.WritesLost):
			return open, err
		case err != nil:
			return open, &store.Error{
				Code: store.SessionUnreachable, Cause: err,
				Msg: fmt.Sprintf("no member of group %v that can be reached holds what the session has seen of it", other),
				Try: "a node on the side where the session was before, or a longer --timeout",
			}
		default:
			n.deps.prove(one)
		}
	}
	return open, nil
}

// keyspace finds the keyspace of a group. Of one that was deleted it says errLost: an id
// is never used again, so a keyspace that was there once, and is not, is gone. Only of one
// that this node never heard of the catalog's majority must be asked.
func (n *Node) keyspace(ctx context.Context, group store.GroupID) (shard.Keyspace, error) {
	for asked := false; ; asked = true {
		knew := n.deps.knew(group.Keyspace) // before the look at what there is now
		t := n.catalog.Topology()
		k, ok := t.KeyspaceByID(group.Keyspace)
		switch {
		case ok && group.Shard < k.Groups:
			return k, nil
		case ok, asked, knew:
			return k, errLost
		case !n.hear(ctx):
			return k, &store.Error{Code: store.Unavailable, Msg: "this node does not know the keyspace, and cannot ask the catalog's majority"}
		}
	}
}

// noKey is before every key that anybody has.
const noKey = "\x00"

// askFor returns once a member of the group holds what the entry names: it is what a
// causal read waits for, at whichever member.
func (n *Node) askFor(ctx context.Context, group store.GroupID, entry store.Entry) error {
	k, err := n.keyspace(ctx, group)
	if err != nil {
		return err
	}
	seen := token.Token{Cluster: n.id.Cluster, Epoch: n.Topology().Epoch}
	if err := seen.Read(group, entry); err != nil {
		return err
	}
	session, err := n.own.ResumeSession(seen.String())
	if err != nil {
		return err
	}
	nothing := store.Query{Key: noKey, To: noKey + noKey, Limit: 1, KeysOnly: true, Level: store.Causal}
	page, err := n.own.Keyspace(k.Name).Read(ctx, nothing, client.In(session), client.InGroup(group.Shard))
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
	var was token.Deps // noted
	var since time.Time
	for {
		select {
		case <-tick.C:
			n.deps.doubt()
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
		if !noted.Empty() {
			n.drop(ctx, n.findSettled(ctx, noted, was, time.Since(since)))
		}
		was, since = noted, time.Now()
	}
}

// settleAtOnce is how many groups are asked at a time.
const settleAtOnce = 8

// findSettled asks for what of each group nobody needs to wait, which was noted just now,
// or, as was, so long ago.
func (n *Node) findSettled(ctx context.Context, noted, was token.Deps, ago time.Duration) token.Deps {
	var mu sync.Mutex
	var found, lost token.Deps
	var asked sync.WaitGroup
	slots := make(chan struct{}, settleAtOnce)
	for group, entry := range noted.All() {
		slots <- struct{}{}
		asked.Go(func() {
			defer func() { <-slots }()
			settled, err := n.settledOf(ctx, group, was.Of(group), ago)
			into := &found
			if errors.Is(err, errLost) {
				settled, into = entry, &lost
			}
			if one, err := token.DepsOf(group, settled); err == nil {
				mu.Lock()
				defer mu.Unlock()
				*into = into.Join(one)
			}
		})
	}
	asked.Wait()
	t := n.catalog.Topology()
	return n.deps.settle(found, func(group store.GroupID) bool {
		_, ok := t.KeyspaceByID(group.Keyspace)
		return ok
	}).Join(lost)
}

// settledOf asks one member after the other, and all nodes that are not members: one that
// was, and has not heard that it is no more, would show what it has to whoever comes.
func (n *Node) settledOf(ctx context.Context, group store.GroupID, was store.Entry, ago time.Duration) (store.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	began := time.Now()
	if group == store.CatalogGroup {
		return nil, errLost // nobody's session reads it
	}
	k, err := n.keyspace(ctx, group)
	if err != nil {
		return nil, err
	}
	t := n.catalog.Topology()
	members := k.Members(group.Shard)
	ask := func(node string) (store.Entry, error) {
		ago := ago + time.Since(began)
		if r, here := n.find(group); node == n.cfg.Node && here {
			return r.Settled(ctx, was, ago)
		}
		if node == n.cfg.Node {
			return nil, &store.Error{Code: store.NotFound}
		}
		return n.pool.Settled(ctx, node, group, was, ago, t.Revision)
	}
	for _, other := range t.Nodes {
		gone := other.State == shard.Dead || other.State == shard.Removed
		if gone || slices.Contains(members, other.Name) {
			continue
		}
		if _, err := ask(other.Name); !errors.Is(err, store.NotFound) {
			return nil, fmt.Errorf("%s may still have a replica: %w", other.Name, err)
		}
	}
	err = &store.Error{Code: store.Unavailable, Msg: "no member knows"}
	for _, member := range members {
		var e store.Entry
		if e, err = ask(member); err == nil && e != nil {
			return e, nil
		}
	}
	return nil, err
}

// drop tells the groups here what is settled.
func (n *Node) drop(ctx context.Context, settled token.Deps) {
	ctx, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
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
