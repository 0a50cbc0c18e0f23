package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

// held is the list of the groups that this node has, or may have, data of. It is in
// the engine, in a space of the node's own, so that what was deleted or moved while
// the node was down is found again.
type held struct{ space *engine.Space }

const heldKind = 1

func openHeld(e *engine.Engine) held { return held{e.Space(store.GroupID{}, heldKind)} }

func heldKey(id store.GroupID) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, id.Keyspace), id.Shard)
}

// note adds a group before anything of it is written. It needs no sync: what a crash
// keeps of the engine is a prefix.
func (h held) note(id store.GroupID) error {
	if _, ok, err := h.space.Get(heldKey(id)); ok || err != nil {
		return err
	}
	b := h.space.Batch()
	b.Set(heldKey(id), nil)
	return b.Commit(false)
}

func (h held) drop(id store.GroupID) error {
	b := h.space.Batch()
	b.Delete(heldKey(id))
	return b.Commit(false)
}

func (h held) list() (ids []store.GroupID, err error) {
	view := h.space.View()
	defer view.Close()
	for key := range view.Scan(nil, nil, &err) {
		if len(key) != 12 {
			return nil, fmt.Errorf("node: the list of held groups has a key of %d bytes", len(key))
		}
		ids = append(ids, store.GroupID{Keyspace: binary.BigEndian.Uint64(key), Shard: binary.BigEndian.Uint32(key[8:])})
	}
	return ids, err
}

// forget deletes what a group kept here. Nothing of it is open.
func (n *Node) forget(id store.GroupID) error {
	// The engine first: its sync makes the catalog's record of the deletion durable
	// too, and a state without its log could not be opened again.
	if err := n.engine.Drop(id); err != nil {
		return err
	}
	if err := n.memory.drop(id); err != nil {
		return err
	}
	if err := cp.Remove(n.engine, id); err != nil {
		return err
	}
	return n.held.drop(id)
}

// awaitNews ends once the node's copy of the catalog is known to be fresh.
func (n *Node) awaitNews(ctx context.Context) error {
	for pause := joinPause; !n.hear(ctx); pause = min(2*pause, reopenMost) {
		if !rest(ctx, pause) {
			return nil
		}
	}
	close(n.heard)
	return nil
}

// sweep deletes, once after a start, what was deleted or moved away while the node
// was down. The node's copy of the catalog must be fresh: after a crash it may lie
// behind the data, and a group it has not heard of yet is none to delete.
func (g *groups) sweep(t shard.Topology) error {
	ids, err := g.node.held.list()
	if err != nil {
		return err
	}
	wanted := placedHere(t, g.node.cfg.Node)
	for _, id := range ids {
		_, open := g.get(id)
		if _, ok := wanted[id]; ok || open {
			continue
		}
		g.node.cfg.Logger.Info("data of a group that is not placed here any more is dropped", "node", g.node.cfg.Node, "group", id.String())
		if err := g.node.forget(id); err != nil {
			return err
		}
	}
	return nil
}

const hearWait = 3 * time.Second // for the catalog's majority

// hear brings the node's copy of the catalog up to what the majority has now.
func (n *Node) hear(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, hearWait)
	defer cancel()
	page, err := n.system.Read(ctx, store.Query{Key: n.cfg.Node, Level: store.Strong})
	if err != nil {
		return false
	}
	for {
		next := n.catalog.Next()
		if n.catalog.Topology().Revision >= page.Revision {
			return true
		}
		select {
		case <-next:
		case <-ctx.Done():
			return false
		}
	}
}
