package node

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

// group is a replica that this node keeps open.
type group struct {
	id       store.GroupID
	keyspace shard.Keyspace // as it was when the group was placed here
	stage    *stage

	running atomic.Pointer[replica] // nil while it is not open
	failed  atomic.Pointer[error]   // why not
}

// replica is the open replica, if there is one now.
func (g *group) replica() (replica, bool) {
	if r := g.running.Load(); r != nil {
		return *r, true
	}
	return nil, false
}

var errNotYet = errors.New("it is about to be opened")

// A replica that ended with an error is opened again after a pause that doubles.
const (
	reopenPause = 500 * time.Millisecond
	reopenMost  = 30 * time.Second
)

// keep opens a replica, runs it, and opens it again when it ends with an error, until
// ctx ends. The node's other replicas go on meanwhile; this one keeps it from being
// ready.
func (n *Node) keep(ctx context.Context, g *group, delay time.Duration) error {
	for pause := reopenPause; ; pause = min(2*pause, reopenMost) {
		if !rest(ctx, delay) {
			return nil
		}
		began := time.Now()
		err := n.live(ctx, g)
		if errors.Is(err, cp.ErrStuck) {
			n.stuck.set(err)
		}
		if ctx.Err() != nil || n.engine.Err() != nil || n.stuck.err() != nil {
			return err
		}
		if err == nil {
			err = errors.New("it ended by itself")
		}
		g.failed.Store(&err)
		n.cfg.Logger.Error("a replica stopped", "node", n.cfg.Node, "keyspace", g.keyspace.Name, "group", g.id.String(), "error", err)
		if time.Since(began) > reopenMost {
			pause = reopenPause
		}
		delay = pause
	}
}

// live is one life of a replica. The goroutine that looks after its members lives as
// long.
func (n *Node) live(ctx context.Context, g *group) error {
	r, err := n.openGroup(g.id, g.keyspace)
	if err != nil {
		return err
	}
	g.running.Store(&r)
	n.refresh()
	var ended firstError
	side := start(ctx, &ended, func(ctx context.Context) error {
		switch r := r.(type) {
		case consensus:
			n.tend(ctx, g, r.Replica)
		case causal:
			n.place(ctx, g, r.Replica)
		}
		return nil
	})
	err = r.Run(ctx)
	g.running.Store(nil)
	side.stop()
	return err
}

// rest reports false if ctx ended before d was over.
func rest(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
