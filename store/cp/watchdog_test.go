package cp_test

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

// ended waits until a member's Run returns and takes it out of the cluster; its engine
// stays open, because what hangs may still use it.
func (c *cluster) ended(m *member) error {
	c.t.Helper()
	m.done.Wait()
	delete(c.nodes, m.name)
	return m.err
}

func TestLeaderWhoseDiskDoesNotAnswerEnds(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		disks := stalls{}
		c := newCluster(t, 3, disks.configure)
		c.put("k", "v1")
		old := c.leader()
		rest := c.others(old)
		resume := disks.stop(old.name)
		began := time.Now()
		go func() {
			_, _ = old.replica.Write(t.Context(), store.Command{Op: store.Put, Key: "k", Value: []byte("lost")})
		}()
		ran := make(chan struct{})
		go func() { // mux and calls go on; only Run ends by itself
			for old.replica.Status().Detail != "the replica has stopped" {
				<-time.After(100 * time.Millisecond)
			}
			close(ran)
		}()
		<-ran
		if took := time.Since(began); took < 9*time.Second || took > 12*time.Second {
			t.Errorf("noticed after %v, want ten seconds", took)
		}
		<-time.After(12 * time.Second) // what it waits for at its end is bounded
		old.stop()
		if err := c.ended(old); !errors.Is(err, cp.ErrStuck) {
			t.Errorf("Run: %v", err)
		}
		fresh := c.leader(rest[0].name, rest[1].name)
		if _, err := fresh.replica.Write(within(t, 5*time.Second), store.Command{Op: store.Put, Key: "k", Value: []byte("v2")}); err != nil {
			t.Errorf("the others: %v", err)
		}
		resume()
		<-time.After(time.Minute)
		if err := errors.Join(old.ep.Close(), old.engine.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestDiskThatAnswersInTimeIsNoReasonToEnd(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		disks := stalls{}
		c := newCluster(t, 3, disks.configure)
		c.put("k", "v1")
		for _, m := range c.others(nil) {
			resume := disks.stop(m.name)
			<-time.After(9 * time.Second)
			resume()
			c.put("k", "v2")
		}
	})
}

// rotten is a log in which entries can no longer be read.
type rotten struct {
	cp.Log
	yes *atomic.Bool
}

func (l rotten) GetLog(index uint64, log *raft.Log) error {
	if l.yes.Load() {
		return fmt.Errorf("%w: entry %d", engine.ErrCorrupt, index)
	}
	return l.Log.GetLog(index, log)
}

func TestEntryThatCannotBeReadEndsTheReplicaAndNotTheProcess(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		rot := map[string]*atomic.Bool{}
		c := newCluster(t, 3, func(cfg *cp.Config) {
			yes := new(atomic.Bool)
			rot[cfg.Node] = yes
			cfg.OpenLog = func(e *engine.Engine, g store.GroupID) (cp.Log, io.Closer, error) {
				log, closer, err := cp.EngineLog(e, g)
				return rotten{log, yes}, closer, err
			}
		})
		c.put("k", "v1")
		bad := c.follower()
		rot[bad.name].Store(true)
		c.put("k", "v2")
		<-time.After(time.Second)
		if s := bad.replica.Status(); s.Ready || s.Applied >= c.leader().replica.Status().Applied {
			t.Errorf("it goes on: %+v", s)
		}
		bad.stop()
		if err := c.ended(bad); !errors.Is(err, engine.ErrCorrupt) {
			t.Errorf("Run: %v", err)
		}
		if err := errors.Join(bad.ep.Close(), bad.engine.Close()); err != nil {
			t.Error(err)
		}
		c.put("k", "v3")
	})
}

// Raft's flag stays set when a member does not answer during two transfers in a row:
// cp itself asks first, so the test goes around it. What then hangs in Raft never ends,
// which a bubble would not allow.
func TestLeaderWhoseTransferFlagIsStuckEnds(t *testing.T) {
	// In real time a leader may lose its seat to a busy machine, and its flag with it.
	c := newCluster(t, 3, func(cfg *cp.Config) {
		cfg.Timing = cp.Timing{Heartbeat: time.Second, Election: time.Second, Lease: 800 * time.Millisecond, Commit: 50 * time.Millisecond}
	})
	var leader *member
	var rest []*member
	stuck := false
	for range 5 {
		c.put("k", "v1")
		leader = c.leader()
		rest = c.others(leader)
		c.cut(rest[0].name + "|" + leader.name + "," + rest[1].name)
		c.put("k", "v2") // which the member that is cut off lacks
		for range 2 {
			if err := leader.replica.TransferBlindly(rest[0].name); err == nil {
				t.Fatal("it went to a member that is cut off")
			}
			<-time.After(50 * time.Millisecond) // Raft takes its flag back after it has answered
		}
		err := refuses(t, leader)
		if stuck = errors.Is(err, store.Unavailable); stuck {
			break
		}
		t.Logf("a write during the transfer: %v", err)
		c.heal()
	}
	if !stuck {
		t.Fatal("the flag was never stuck, so this shows nothing")
	}
	stopped := make(chan struct{})
	go func() { defer close(stopped); leader.done.Wait() }()
	timeout := time.NewTimer(20 * time.Second)
	defer timeout.Stop()
	for leader.replica.Status().Detail != "the replica has stopped" {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-timeout.C:
			t.Fatal("it still refuses every write")
		}
	}
	leader.stop()
	<-stopped
	if err := c.ended(leader); !errors.Is(err, cp.ErrStuck) {
		t.Errorf("Run: %v", err)
	}
	if err := errors.Join(leader.ep.Close(), leader.engine.Close()); err != nil {
		t.Error(err)
	}
	c.heal()
	if _, err := c.leader(rest[0].name, rest[1].name).replica.Write(within(t, 5*time.Second), store.Command{Op: store.Put, Key: "k"}); err != nil {
		t.Errorf("the others: %v", err)
	}
}

// refuses is Unavailable if the member refuses writes for longer than Raft, on a busy
// machine, may need to take its flag back.
func refuses(t *testing.T, m *member) error {
	for range 4 {
		if _, err := m.replica.Write(within(t, time.Second), store.Command{Op: store.Put, Key: "k"}); !errors.Is(err, store.Unavailable) {
			return err
		}
		<-time.After(500 * time.Millisecond)
	}
	return store.Unavailable
}

func TestSlowDiskIsToldAtStart(t *testing.T) {
	for took, want := range map[time.Duration]int{0: 0, 10 * time.Millisecond: 0, 15 * time.Millisecond: 1} {
		linktest.Bubble(t, func(t *testing.T) {
			told := make(chan time.Duration, 10)
			c := newCluster(t, 1, func(cfg *cp.Config) { // with a heartbeat time-out of 150 ms
				cfg.DiskLatency = func() time.Duration { return took }
				cfg.Events.SlowDisk = func(_ store.GroupID, measured, _ time.Duration) { told <- measured }
			})
			c.put("k", "v")
			<-time.After(time.Second)
			if len(told) != want {
				t.Errorf("a disk of %v: told %d times", took, len(told))
			}
		})
	}
}
