package cp_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/link/linktest"
)

// counted counts the syncs of write-ahead logs.
type counted struct {
	vfs.FS
	syncs *atomic.Int64
}

func (c counted) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := c.FS.Create(name, category)
	return c.watch(name, f), err
}

func (c counted) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := c.FS.ReuseForWrite(old, name, category)
	return c.watch(name, f), err
}

func (c counted) watch(name string, f vfs.File) vfs.File {
	if f == nil || filepath.Ext(name) != ".log" {
		return f
	}
	return countedFile{f, c.syncs}
}

type countedFile struct {
	vfs.File
	syncs *atomic.Int64
}

func (f countedFile) Sync() error     { f.syncs.Add(1); return f.File.Sync() }
func (f countedFile) SyncData() error { f.syncs.Add(1); return f.File.SyncData() }

func TestAWriteCostsOneSyncOnEachNode(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		syncs := map[string]*atomic.Int64{}
		wrapped := func(name string, fs vfs.FS) vfs.FS {
			syncs[name] = new(atomic.Int64)
			return counted{fs, syncs[name]}
		}
		c := newClusterOn(t, 3, nil, wrapped)
		c.put("k", "v")
		<-time.After(time.Second) // what the election wrote is written
		before := map[string]int64{}
		for name, n := range syncs {
			before[name] = n.Load()
		}
		const writes = 200
		for i := range writes {
			c.put("k", fmt.Sprint(i))
		}
		<-time.After(time.Second)
		for name, n := range syncs {
			// A follower that is behind by an entry gets two with one request, and syncs once.
			if cost := n.Load() - before[name]; cost < writes/2 || cost > writes+5 {
				t.Errorf("%s: %d syncs for %d writes, one after the other", name, cost, writes)
			}
		}
	})
}
