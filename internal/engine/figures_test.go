package engine

import (
	"maps"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/store"
)

func TestFiguresCountSyncs(t *testing.T) {
	e, err := Open(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	before := e.Figures()
	if before.Bytes == 0 || before.Disk.Total == 0 || before.Disk.Free > before.Disk.Total {
		t.Errorf("of a new engine: %+v", before)
	}
	const commits = 20
	s := e.Space(store.GroupID{Keyspace: 7}, 'a')
	for range commits {
		b := s.Batch()
		b.Set([]byte("k"), make([]byte, 1000))
		if err := b.Commit(true); err != nil {
			t.Fatal(err)
		}
	}
	after := e.Figures()
	if n := after.Syncs.Count - before.Syncs.Count; n < 1 || n > commits || after.Syncs.Took <= before.Syncs.Took {
		t.Errorf("%d syncs after %d commits, in %v", n, commits, after.Syncs.Took)
	}
	if n := after.Written - before.Written; n < commits*1000 {
		t.Errorf("%d bytes were written to the log", n)
	}
	bounds := slices.Sorted(maps.Keys(after.Syncs.Within))
	if len(bounds) < 10 || bounds[len(bounds)-1] < 9 || after.Syncs.Within[bounds[len(bounds)-1]] != after.Syncs.Count {
		t.Errorf("the buckets are %v", after.Syncs.Within)
	}
	for i := 1; i < len(bounds); i++ {
		if after.Syncs.Within[bounds[i]] < after.Syncs.Within[bounds[i-1]] {
			t.Errorf("the buckets do not add up: %v", after.Syncs.Within)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if f := e.Figures(); f.Bytes != 0 || f.Syncs.Count != 0 {
		t.Errorf("of a closed engine: %+v", f)
	}
}

func TestFiguresOfMemoryNameNoDisk(t *testing.T) {
	for name, cfg := range map[string]Config{"memory": {Memory: true}, "a disk in memory": {Dir: "/d", FS: vfs.NewMem()}} {
		e, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if f := e.Figures(); f.Disk != (Disk{}) {
			t.Errorf("%s: %+v", name, f)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}
