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

// FailDisk makes what a node writes fail, until it is called again; "" heals. It holds over
// a restart.
func (m *Memory) FailDisk(_ context.Context, name string, failure engine.Failure) error {
	if err := failure.Check(); err != nil {
		return err
	}
	m.troubleOf(name).Set(failure)
	return nil
}

// FailedWrites is how many writes and syncs of a node FailDisk has made fail.
func (m *Memory) FailedWrites(_ context.Context, name string) uint64 { return m.troubleOf(name).Met() }

func (m *Memory) troubleOf(name string) *engine.Trouble {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.troubles[name] == nil {
		m.troubles[name] = new(engine.Trouble)
	}
	return m.troubles[name]
}

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
	return p.faultsOf(ctx, name).GetSlowSyncs()
}

// faultsOf is what the faults of a node have done, nil if it cannot be asked.
func (p *Procs) faultsOf(ctx context.Context, name string) *kvpb.FaultsResponse {
	admin, err := p.Admin(name)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, faultTimeout)
	defer cancel()
	faults, err := admin.Faults(ctx, &kvpb.FaultsRequest{})
	if err != nil {
		return nil
	}
	return faults
}

// FailDisk makes what a node writes to its storage engine fail, until it is called again
// or the node restarts; "" heals. Logs of Raft that are files of their own go on.
func (p *Procs) FailDisk(ctx context.Context, name string, failure engine.Failure) error {
	admin, err := p.Admin(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, faultTimeout)
	defer cancel()
	_, err = admin.SlowDisk(ctx, &kvpb.SlowDiskRequest{Failure: string(failure)})
	return kvpb.FromStatus(err)
}

// FailedWrites is how many writes and syncs of a node FailDisk has made fail since the
// node started; 0 if it cannot be asked.
func (p *Procs) FailedWrites(ctx context.Context, name string) uint64 {
	return p.faultsOf(ctx, name).GetFailedWrites()
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
