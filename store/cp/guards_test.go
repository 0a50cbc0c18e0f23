package cp

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/link/linktest"
)

func TestWatchdogCountsOnlyTheTimeTheProcessRan(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		var failed error
		w := &watchdog{fail: func(err error) { failed = errors.Join(failed, err) }}
		w.watch("a short write")()
		end := w.watch("a long write")
		for range diskLimit / tick {
			w.beat()
		}
		time.Sleep(time.Hour) // stopped: nothing beats
		if failed != nil {
			t.Errorf("after %v that the process ran: %v", w.ran(), failed)
		}
		w.beat()
		if !errors.Is(failed, ErrStuck) {
			t.Errorf("after %v: %v", w.ran(), failed)
		}
		failed = nil
		end()
		for range 2 * diskLimit / tick {
			w.beat()
		}
		if failed != nil {
			t.Errorf("nothing is watched: %v", failed)
		}
	})
}

func TestRefusalsForATransferAreCountedFromTheFirstInARow(t *testing.T) {
	r := &Replica{broken: make(chan error, 1), dog: &watchdog{}}
	r.cfg.Timing.Election = time.Second
	limit := int((2*time.Second + transportTimeout) / tick)
	step := func(err error, beats int) bool {
		for range beats {
			r.dog.beat()
		}
		r.noteTransfer(err)
		return len(r.broken) > 0
	}
	if step(raft.ErrLeadershipTransferInProgress, 0) || step(raft.ErrLeadershipTransferInProgress, limit) {
		t.Error("ended within the time of a transfer")
	}
	if step(nil, 1) || step(raft.ErrLeadershipTransferInProgress, 2*limit) {
		t.Error("a command that was taken did not end the count")
	}
	if !step(raft.ErrLeadershipTransferInProgress, limit+1) {
		t.Error("not ended past it")
	}
}

func TestLeaderClockGoesOnAtTheMonotonicPace(t *testing.T) {
	wall, mono := time.UnixMilli(1_000_000), time.Duration(0)
	clock := func() *leaderClock {
		return &leaderClock{wall: func() time.Time { return wall }, mono: func() time.Duration { return mono }}
	}
	c := clock()
	want := func(state, ms int64) {
		t.Helper()
		if got := c.now(state); got != ms {
			t.Errorf("on a state of %d: %d, want %d", state, got, ms)
		}
	}
	want(0, 1_000_000) // the first entry of all
	mono += 5 * time.Millisecond
	want(1_000_000, 1_000_005)
	wall = wall.Add(time.Hour)
	mono += 5 * time.Millisecond
	want(1_000_005, 1_000_010)
	wall = wall.Add(-3 * time.Hour)
	want(1_000_005, 1_000_010) // the last was not committed
	mono += 1500 * time.Microsecond
	want(1_000_010, 1_000_011)
	mono += 500 * time.Microsecond
	want(1_000_011, 1_000_012) // parts of a millisecond are not lost
	want(2_000_000, 2_000_000) // others led meanwhile
	mono += time.Millisecond
	want(2_000_000, 2_000_001)
	c = clock() // a new leader, whose wall clock is hours off
	want(2_000_001, 2_000_001)
	mono += time.Second
	want(2_000_001, 2_001_001)
}

func TestConfigurationsFollowTheLog(t *testing.T) {
	var c configurations
	entry := func(index uint64, names ...raft.ServerID) *raft.Log {
		var conf raft.Configuration
		for _, n := range names {
			conf.Servers = append(conf.Servers, raft.Server{ID: n, Address: raft.ServerAddress(n)})
		}
		return &raft.Log{Index: index, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(conf)}
	}
	want := func(index uint64, members int) {
		t.Helper()
		if got := c.latest(); got.index != index || len(got.servers) != members {
			t.Errorf("%d members since entry %d, want %d since %d", len(got.servers), got.index, members, index)
		}
	}
	want(0, 0)
	c.stored([]*raft.Log{entry(1, "a"), {Index: 2, Type: raft.LogCommand}, entry(3, "a", "b")})
	want(3, 2)
	c.cut(3) // a tail that another leader's log replaces
	want(1, 1)
	c.snapshot(&raft.SnapshotMeta{ConfigurationIndex: 9, Configuration: raft.Configuration{Servers: make([]raft.Server, 4)}})
	want(9, 4)
	c.cut(1)
	want(9, 4)
	c.stored([]*raft.Log{entry(12, "a", "b", "c")})
	want(12, 3)
	c.snapshot(&raft.SnapshotMeta{ConfigurationIndex: 5})
	want(12, 3)
}

// A transport that only loses this interface goes on without pre-vote, in silence.
func TestRaftsTransportHasPreVote(t *testing.T) {
	if _, ok := planted(transport{}).(raft.WithPreVote); !ok {
		t.Error("pre-vote is off")
	}
}

// slowFS is a file system whose syncs take time.
type slowFS struct {
	vfs.FS
	takes time.Duration
}

type slowFile struct {
	vfs.File
	takes time.Duration
}

func (s slowFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	return slowFile{f, s.takes}, err
}

func (f slowFile) Sync() error {
	<-time.After(f.takes)
	return f.File.Sync()
}

func TestDiskIsMeasuredWithinABound(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		for _, takes := range []time.Duration{0, time.Millisecond, 40 * time.Millisecond, time.Second} {
			fs := slowFS{vfs.NewMem(), takes}
			began := time.Now()
			got, err := syncLatency(t.Context(), fs, "probe")
			if err != nil || got != takes {
				t.Errorf("a sync of %v measured as %v, %v", takes, got, err)
			}
			if took := time.Since(began); took > latencyBudget+takes {
				t.Errorf("a sync of %v: measured for %v", takes, took)
			}
			if left, _ := fs.List(""); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		}
	})
}

// fullLog takes nothing.
type fullLog struct{ Log }

func (fullLog) SetUint64([]byte, uint64) error { return engine.ErrFailed }

// Raft panics when it is told that a new term was not written.
func TestTermThatCannotBeWrittenEndsTheReplicaAndNotTheProcess(t *testing.T) {
	for _, c := range []struct {
		key     []byte
		up      bool
		returns bool
	}{{keyCurrentTerm, true, false}, {keyCurrentTerm, false, true}, {keyVoteTerm, true, true}} {
		var failed error
		w := watched{Log: fullLog{}, dog: &watchdog{}, fail: func(err error) { failed = err }, raftUp: new(atomic.Bool)}
		w.raftUp.Store(c.up)
		returned := make(chan bool, 1)
		go func() {
			back := false
			defer func() { returned <- back }()
			_ = w.SetUint64(c.key, 2)
			back = true
		}()
		if back := <-returned; back != c.returns || !errors.Is(failed, engine.ErrFailed) {
			t.Errorf("%s, Raft up %v: returned %v, the replica failed with %v", c.key, c.up, back, failed)
		}
	}
}
