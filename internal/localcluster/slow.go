package localcluster

import (
	"context"
	"time"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/kvpb"
)

// SlowDisk makes every sync of a node's log take that much longer, until it is called
// again; 0 heals, and lets go on what waits. It holds over a restart.
func (m *Memory) SlowDisk(_ context.Context, name string, delay time.Duration) error {
	if _, err := m.get(name); err != nil && delay > 0 {
		return err
	}
	m.paceOf(name).Set(delay)
	return nil
}

// SlowSyncs is how many syncs of a node's log SlowDisk has made wait.
func (m *Memory) SlowSyncs(_ context.Context, name string) uint64 { return m.paceOf(name).Waited() }

func (m *Memory) paceOf(name string) *engine.Pace {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.paces[name] == nil {
		m.paces[name] = new(engine.Pace)
	}
	return m.paces[name]
}

// SlowDisk makes every sync of a node's log take that much longer, until it is called
// again or the node restarts; 0 heals.
func (p *Procs) SlowDisk(ctx context.Context, name string, delay time.Duration) error {
	admin, err := p.Admin(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, faultTimeout)
	defer cancel()
	_, err = admin.SlowDisk(ctx, &kvpb.SlowDiskRequest{SyncDelayNs: int64(delay)})
	return kvpb.FromStatus(err)
}

// SlowSyncs is how many syncs of a node's log SlowDisk has made wait since the node
// started; 0 if it cannot be asked.
func (p *Procs) SlowSyncs(ctx context.Context, name string) uint64 {
	admin, err := p.Admin(name)
	if err != nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, faultTimeout)
	defer cancel()
	faults, err := admin.Faults(ctx, &kvpb.FaultsRequest{})
	if err != nil {
		return 0
	}
	return faults.GetSlowSyncs()
}

// Skew sets the wall clock of a node ahead, or behind, until it is called again or the
// node restarts; 0 heals.
func (m *Memory) Skew(ctx context.Context, name string, ahead time.Duration) error {
	return skew(ctx, m, name, ahead)
}

// Skew sets the wall clock of a node ahead, or behind, until it is called again or the
// node restarts; 0 heals.
func (p *Procs) Skew(ctx context.Context, name string, ahead time.Duration) error {
	return skew(ctx, p, name, ahead)
}

func skew(ctx context.Context, c Cluster, name string, ahead time.Duration) error {
	admin, err := c.Admin(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, faultTimeout)
	defer cancel()
	_, err = admin.Skew(ctx, &kvpb.SkewRequest{AheadNs: int64(ahead)})
	return kvpb.FromStatus(err)
}
