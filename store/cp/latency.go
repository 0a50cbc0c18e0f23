package cp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	latencyWrites = 20
	latencyBudget = 300 * time.Millisecond
	latencyBytes  = 512
	// latencyFactor is how much longer than a synced write the heartbeat time-out
	// must be: a follower answers a heartbeat after the writes before it, and a few
	// of those may be slow in a row.
	latencyFactor = 10
)

// checkDisk compares the disk with the heartbeat time-out. It warns and does not
// refuse: a machine that is busy when the node starts must still start, and a disk
// that is too slow makes elections, not wrong answers.
func (r *Replica) checkDisk(ctx context.Context) {
	measure := r.cfg.DiskLatency
	if measure == nil {
		if r.cfg.Engine.FS() != vfs.Default {
			return // in memory, and tests count what is written
		}
		measure = func() time.Duration { return r.measureDisk(ctx) }
	}
	slowest := measure()
	if slowest*latencyFactor >= r.cfg.Timing.Heartbeat && slowest > 0 && r.cfg.Events.SlowDisk != nil {
		r.cfg.Events.SlowDisk(r.cfg.Group, slowest, r.cfg.Timing.Heartbeat)
	}
}

// measureDisk is the slowest of a few small synced writes beside the group's
// snapshots. Of twenty samples the slowest stands for the 99.9th percentile: it is
// no estimate of it, but what it says is slow is slow.
func (r *Replica) measureDisk(ctx context.Context) time.Duration {
	slowest, err := syncLatency(ctx, r.cfg.Engine.FS(), r.snaps.path("latency.part"))
	if err != nil {
		r.cfg.Events.Logger.Warn("the disk could not be measured", "group", r.cfg.Group.String(), "error", err)
	}
	return slowest
}

// syncLatency writes and syncs a small file until it has done so often enough or for
// long enough. It removes the file.
func syncLatency(ctx context.Context, fs vfs.FS, path string) (slowest time.Duration, err error) {
	file, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return 0, fmt.Errorf("cp: disk latency: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), fs.Remove(path)) }()
	began := time.Now()
	for range latencyWrites {
		if ctx.Err() != nil || time.Since(began) > latencyBudget {
			break
		}
		at := time.Now()
		if _, err := file.Write(make([]byte, latencyBytes)); err != nil {
			return slowest, fmt.Errorf("cp: disk latency: %w", err)
		}
		if err := file.Sync(); err != nil {
			return slowest, fmt.Errorf("cp: disk latency: %w", err)
		}
		slowest = max(slowest, time.Since(at))
	}
	return slowest, nil
}
