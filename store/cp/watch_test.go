package cp_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

// watch begins a watch that must begin.
func (m *member) watch(t *testing.T, q store.WatchQuery) store.Changes {
	t.Helper()
	w, err := m.replica.Watch(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// seen collects changes up to a revision as "revision key=value …".
func seen(t *testing.T, w store.Changes, until uint64) []string {
	t.Helper()
	var out []string
	for {
		c, err := w.Next(within(t, 10*time.Second))
		if err != nil {
			t.Fatalf("after %q: %v", out, err)
		}
		line := fmt.Sprint(c.Revision)
		for _, e := range c.Events {
			if line += " " + e.Key; e.Deleted {
				line += " gone"
			} else {
				line += "=" + string(e.Value)
			}
		}
		if len(c.Events) > 0 {
			out = append(out, line)
		}
		if c.Revision >= until {
			return out
		}
	}
}

func TestWatchOnAFollowerSurvivesASnapshotInstalledUnderIt(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, frequent)
		first := c.put("a/first", "1")
		away := c.follower()
		if _, err := away.get(within(t, 5*time.Second), "a/first", store.Strong); err != nil {
			t.Fatal(err)
		}
		w := away.watch(t, store.WatchQuery{Prefix: "a/", From: first.Revision + 1})
		var others []string
		for _, n := range c.names {
			if n != away.name {
				others = append(others, n)
			}
		}
		c.cut(away.name + "|" + strings.Join(others, ","))
		var want []string
		var last store.Result
		for i := range 200 {
			key := []string{"a/x", "b/y"}[i%2]
			res, err := c.leader(others...).replica.Write(within(t, 5*time.Second), store.Command{Op: store.Put, Key: key, Value: []byte(fmt.Sprint(i))})
			if err != nil {
				t.Fatal(err)
			}
			if last = res; key == "a/x" {
				want = append(want, fmt.Sprintf("%d a/x=%d", res.Revision, i))
			}
		}
		for _, n := range others {
			if err := c.nodes[n].replica.Snapshot(within(t, 5*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		c.heal()
		got := seen(t, w, last.Revision)
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got %d changes, want %d: %q", len(got), len(want), got)
		}
		if names, err := away.fs.List("/data/snapshots/7-0"); err != nil || len(names) == 0 {
			t.Errorf("no snapshot was installed, so this shows nothing: %v, %v", names, err)
		}
	})
}

func TestWatchEndsWhereNobodyProvesThatItHearsOfChanges(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v")
		m := c.follower()
		if _, err := m.get(within(t, 5*time.Second), "k", store.Strong); err != nil {
			t.Fatal(err)
		}
		w := m.watch(t, store.WatchQuery{All: true})
		if _, err := w.Next(within(t, 5*time.Second)); err != nil { // progress, while all is well
			t.Fatal(err)
		}
		var rest []string
		for _, n := range c.names {
			if n != m.name {
				rest = append(rest, n)
			}
		}
		c.cut(m.name + "|" + strings.Join(rest, ","))
		for range 20 {
			if _, err := w.Next(within(t, 5*time.Second)); err != nil {
				if store.AsError(err).Code != store.Unavailable {
					t.Errorf("the watch ended with %v", err)
				}
				return
			}
		}
		t.Error("a watch that is cut off went on giving notices of progress")
	})
}

// The history is cut by the leader once it is too large; who comes too late is told
// so, and what the oldest is.
func TestWatchFromBelowTheHistoryIsCompacted(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(cfg *cp.Config) { cfg.Compaction.History = 64 << 10 })
		early := c.put("k", "early")
		w := c.leader().watch(t, store.WatchQuery{All: true, From: early.Revision})
		big := strings.Repeat("x", 1<<10)
		var last store.Result
		for range 80 {
			last = c.put("big", big)
		}
		<-time.After(5 * time.Second)
		for _, m := range c.nodes {
			if _, err := m.get(within(t, 5*time.Second), "k", store.Strong); err != nil {
				t.Fatal(err)
			}
			_, err := m.replica.Watch(t.Context(), store.WatchQuery{All: true, From: early.Revision})
			if e := store.AsError(err); e == nil || e.Code != store.Compacted || e.Try == "" {
				t.Errorf("%s: from a revision long gone: %v", m.name, err)
			}
			m.watch(t, store.WatchQuery{All: true, From: last.Revision})
		}
		if _, err := w.Next(within(t, time.Second)); store.AsError(err) == nil || store.AsError(err).Code != store.Compacted {
			t.Errorf("the watch that fell behind: %v", err)
		}
	})
}

func TestHistoryOlderThanAnHourIsCut(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		early := c.put("k", "1")
		<-time.After(70 * time.Minute)
		last := c.put("k", "2")
		<-time.After(5 * time.Second)
		if _, err := c.leader().replica.Watch(t.Context(), store.WatchQuery{All: true, From: early.Revision}); store.AsError(err) == nil || store.AsError(err).Code != store.Compacted {
			t.Errorf("from a revision of an hour ago: %v", err)
		}
		if got := seen(t, c.leader().watch(t, store.WatchQuery{All: true, From: last.Revision}), last.Revision); len(got) != 1 {
			t.Errorf("the last change: %q", got)
		}
	})
}

func TestWatchFromAFutureRevisionIsInvalidAndFromALateReplicaIsNot(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		late := c.follower()
		last := c.put("k", "v")
		if _, err := late.replica.Watch(t.Context(), store.WatchQuery{All: true, From: last.Revision + 1}); err != nil {
			t.Errorf("behind the last revision, at a replica that may be late: %v", err)
		}
		for _, m := range c.nodes {
			_, err := m.replica.Watch(t.Context(), store.WatchQuery{All: true, From: last.Revision + 10})
			if e := store.AsError(err); e == nil || e.Code != store.Invalid {
				t.Errorf("%s: from a revision that the group has not reached: %v", m.name, err)
			}
		}
	})
}

func TestHistoryIsInTheStateAfterAPowerCut(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, frequent)
		first := c.put("k", "0")
		var last store.Result
		for i := range 50 {
			last = c.put("k", fmt.Sprint(i+1))
		}
		m := c.leader()
		disk := c.crash(m)
		back := c.start(m.name, disk.CrashClone(vfs.CrashCloneCfg{}), c.names)
		c.leader()
		if got := seen(t, back.watch(t, store.WatchQuery{Key: "k", From: first.Revision}), last.Revision); len(got) != 51 {
			t.Errorf("%d of 51 changes: %q", len(got), got)
		}
	})
}

func TestWatchEndsWithItsReplica(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		c.put("k", "v")
		m := c.leader()
		w := m.watch(t, store.WatchQuery{All: true})
		ended := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		go func() {
			for {
				if _, err := w.Next(ctx); err != nil {
					ended <- err
					return
				}
			}
		}()
		c.stop(m)
		if err := <-ended; store.AsError(err).Code != store.Unavailable {
			t.Errorf("%v", err)
		}
	})
}

func TestWatchIsNotOpenedWhereNothingProvesThatChangesAreHeard(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v")
		alone := c.follower()
		rest := c.others(alone)
		<-time.After(2 * time.Second)
		c.cut(alone.name + "|" + rest[0].name + "," + rest[1].name)
		<-time.After(time.Minute)
		w, err := alone.replica.Watch(within(t, 5*time.Second), store.WatchQuery{All: true})
		if !errors.Is(err, store.Unavailable) {
			t.Errorf("%v, %v, want Unavailable", w, err)
		}
	})
}
