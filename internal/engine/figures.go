package engine

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
	dto "github.com/prometheus/client_model/go"
)

// Figures say how the storage is. Those that count do so since it was opened.
type Figures struct {
	Bytes     uint64 // of its files, which are in memory where all is
	Disk      Disk
	Written   uint64 // bytes, to its log
	Syncs     Syncs
	MemTable  uint64 // bytes
	Hits      uint64 // of the block cache
	Misses    uint64
	Debt      uint64 // bytes that are to be compacted, an estimate
	Sublevels int    // of level 0; writes are stopped at twelve
	Stalls    uint64 // how often writes were stopped until something was flushed or compacted
}

// Disk is what the storage stands on. Total is 0 where nobody can say.
type Disk struct{ Total, Free uint64 }

// Syncs are those of the log.
type Syncs struct {
	Count uint64
	Took  time.Duration // all together
	// Within says how many took no longer than so many seconds.
	Within map[float64]uint64
}

// Figures is a cheap look. Of an engine that was closed they are zero.
func (e *Engine) Figures() Figures {
	e.life.RLock()
	defer e.life.RUnlock()
	if e.closed {
		return Figures{}
	}
	m := e.db.Metrics()
	f := Figures{
		Bytes: m.DiskSpaceUsage(), Written: m.WAL.BytesWritten, Syncs: syncsOf(m), MemTable: m.MemTable.Size,
		Hits: uint64(m.BlockCache.Hits), Misses: uint64(m.BlockCache.Misses),
		Debt: m.Compact.EstimatedDebt, Sublevels: int(m.Levels[0].Sublevels), Stalls: e.stalls.Load(),
	}
	if e.cfg.Memory {
		return f
	}
	if usage, err := e.cfg.FS.GetDiskUsage(e.cfg.Dir); err == nil {
		f.Disk = Disk{usage.TotalBytes, usage.AvailBytes}
	}
	return f
}

// syncsOf is Pebble's histogram, in seconds, with some of its hundred buckets: six to 4 ms
// and eight from there to 10 s.
func syncsOf(m *pebble.Metrics) Syncs {
	var out dto.Metric
	if m.LogWriter.FsyncLatency == nil || m.LogWriter.FsyncLatency.Write(&out) != nil {
		return Syncs{}
	}
	h := out.GetHistogram()
	s := Syncs{Count: h.GetSampleCount(), Took: time.Duration(h.GetSampleSum()), Within: make(map[float64]uint64)}
	for i, b := range h.GetBucket() {
		switch {
		case i == 1, i == 2, i == 5, i == 10, i == 20, i == 40, i >= 50 && (i-50)%7 == 0:
			s.Within[b.GetUpperBound()/float64(time.Second)] = b.GetCumulativeCount()
		}
	}
	return s
}
