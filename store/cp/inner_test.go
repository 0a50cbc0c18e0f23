package cp

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/store"
)

func TestAppendIsCutByBytesAndKeepsOneEntry(t *testing.T) {
	entry := func(size int) *raft.Log { return &raft.Log{Data: make([]byte, size)} }
	for _, c := range []struct {
		sizes []int
		want  int
	}{
		{nil, 0},
		{[]int{10, 10, 10}, 3},
		{[]int{3 * batchBytes, 10}, 1},
		{[]int{batchBytes / 2, batchBytes / 2, 1}, 2},
		{[]int{10, 3 * batchBytes}, 1},
	} {
		var entries []*raft.Log
		for _, s := range c.sizes {
			entries = append(entries, entry(s))
		}
		if got := len(head(entries)); got != c.want {
			t.Errorf("%v: %d entries, want %d", c.sizes, got, c.want)
		}
	}
}

// A snapshot with a label below its content would make the follower that installs it
// apply entries twice.
func TestNoSnapshotIsTakenWhileTheLogIsReplayed(t *testing.T) {
	e, err := engine.Open(engine.Config{Dir: "/data", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	group := store.GroupID{Keyspace: 7}
	state, err := loadState(e, group)
	if err != nil {
		t.Fatal(err)
	}
	snaps, err := openSnapshots(e, group)
	if err != nil {
		t.Fatal(err)
	}
	state.meta.AppliedIndex = 10
	take := func(index uint64) error {
		out, err := snaps.Create(1, index, 2, raft.Configuration{}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		c := &capture{view: state.view(), engine: e, group: group, meta: &logpb.State{Version: formatVersion, AppliedIndex: state.meta.AppliedIndex}}
		defer c.Release()
		return c.Persist(out)
	}
	if err := take(5); !errors.Is(err, errReplaying) {
		t.Errorf("a snapshot labelled 5 of a state at 10: %v", err)
	}
	if metas, err := snaps.List(); err != nil || len(metas) != 0 {
		t.Errorf("it was kept: %v, %v", metas, err)
	}
	if err := take(11); err != nil { // entry 11 is a leader's no-op, which the machine never sees
		t.Error(err)
	}
	if metas, err := snaps.List(); err != nil || len(metas) != 1 || metas[0].Index != 11 {
		t.Errorf("%v, %v", metas, err)
	}
}

// spoiling is a file system whose files change what they were given to write, as vfs.File
// allows.
type spoiling struct{ vfs.FS }

func (s spoiling) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, category)
	return spoiled{f}, err
}

type spoiled struct{ vfs.File }

func (s spoiled) Write(b []byte) (int, error) {
	n, err := s.File.Write(bytes.Clone(b))
	clear(b)
	return n, err
}

// What a snapshot is written from may be the engine's own memory, where a change would be
// a change of the state.
func TestASnapshotLeavesWhatItIsMadeOfAlone(t *testing.T) {
	e, err := engine.Open(engine.Config{Dir: "/data", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	snaps, err := openSnapshots(e, store.GroupID{Keyspace: 7})
	if err != nil {
		t.Fatal(err)
	}
	snaps.fs = spoiling{snaps.fs}
	out, err := snaps.Create(1, 1, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	value := bytes.Repeat([]byte("x"), 300<<10)
	if _, err := out.Write(value); err != nil || bytes.Count(value, []byte("x")) != len(value) {
		t.Errorf("the value was changed: %v", err)
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
}

// A large snapshot takes long on purpose, and must not hold up the end of its replica.
func TestSnapshotIsGivenUpWhenTheReplicaEnds(t *testing.T) {
	e, err := engine.Open(engine.Config{Dir: "/data", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	group := store.GroupID{Keyspace: 7}
	state, err := loadState(e, group)
	if err != nil {
		t.Fatal(err)
	}
	snaps, err := openSnapshots(e, group)
	if err != nil {
		t.Fatal(err)
	}
	fill := state.space.Batch()
	for i := range 3 * pace >> 10 {
		fill.Set(state.key(keyRecord, fmt.Append(nil, i)), make([]byte, 1<<10))
	}
	if err := fill.Commit(false); err != nil {
		t.Fatal(err)
	}
	take := func(down chan struct{}) error {
		out, err := snaps.Create(1, 11, 2, raft.Configuration{}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		c := &capture{view: state.view(), engine: e, group: group, down: down, meta: &logpb.State{Version: formatVersion, AppliedIndex: 11}}
		defer c.Release()
		return c.Persist(out)
	}
	down := make(chan struct{})
	close(down)
	if err := take(down); !errors.Is(err, errStopped) {
		t.Errorf("it ended with %v", err)
	}
	if names, err := e.FS().List(snaps.dir); err != nil || len(names) != 0 {
		t.Errorf("left: %v, %v", names, err)
	}
	if err := take(nil); err != nil {
		t.Error(err)
	}
	if metas, err := snaps.List(); err != nil || len(metas) != 1 {
		t.Errorf("%v, %v", metas, err)
	}
}
