package engine

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Slow is the disk fs, of which the syncs of the node's log take as much longer as pace
// says.
func Slow(fs vfs.FS, pace *Pace) vfs.FS { return slowDisk{fs, pace} }

// slowDisk is a disk of which the syncs of the node's log can be made to take longer.
// Only the log's: nothing else on a node waits for a sync while it holds a lock, and in
// virtual time nobody may.
type slowDisk struct {
	vfs.FS
	pace *Pace
}

// Pace is how slow a disk is. It may outlive the engine, and be used by several
// goroutines.
type Pace struct {
	now    atomic.Pointer[slowness]
	waited atomic.Uint64 // syncs that were made to wait
}

// slowness is immutable, but that over is closed when another takes its place.
type slowness struct {
	delay time.Duration
	over  chan struct{}
}

// Waited is how many syncs were made to wait so far.
func (p *Pace) Waited() uint64 { return p.waited.Load() }

// Set makes syncs take that much longer from now on. Those that wait already go on.
func (p *Pace) Set(delay time.Duration) {
	if before := p.now.Swap(&slowness{delay: delay, over: make(chan struct{})}); before != nil {
		close(before.over)
	}
}

func (p *Pace) wait() {
	s := p.now.Load()
	if s == nil || s.delay == 0 {
		return
	}
	p.waited.Add(1)
	timer := time.NewTimer(s.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.over:
	}
}

func (d slowDisk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	return d.slow(name, f), err
}

func (d slowDisk) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(from, to, category)
	return d.slow(to, f), err
}

// Unwrap is the disk itself, for whoever looks for its kind.
func (d slowDisk) Unwrap() vfs.FS { return d.FS }

func (d slowDisk) slow(name string, f vfs.File) vfs.File {
	if f == nil || !strings.HasSuffix(name, ".log") {
		return f
	}
	return slowFile{f, d.pace}
}

type slowFile struct {
	vfs.File
	pace *Pace
}

func (f slowFile) Sync() error {
	f.pace.wait()
	return f.File.Sync()
}

func (f slowFile) SyncData() error {
	f.pace.wait()
	return f.File.SyncData()
}
