package cp_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

// others are the members besides m, in name order.
func (c *cluster) others(m *member) []*member {
	var rest []*member
	for _, name := range c.names {
		if o := c.nodes[name]; o != nil && o != m {
			rest = append(rest, o)
		}
	}
	return rest
}

// agree waits until the members see the same Members.
func (c *cluster) agree(want ...string) {
	c.t.Helper()
	for range 1000 {
		same := true
		for _, name := range want {
			if m := c.nodes[name]; m != nil {
				same = same && slices.Equal(m.replica.Status().Members, want)
			}
		}
		if same {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	c.t.Fatalf("the members do not see %v within ten seconds", want)
}

func TestNodeJoinsWithoutAVoteUntilItHasCaughtUp(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v1")
		leader := c.leader()
		if err := leader.replica.Join(within(t, 2*time.Second), "n4"); !errors.Is(err, store.Unavailable) {
			t.Fatalf("join of a node that is not there: %v", err)
		}
		s := leader.replica.Status()
		if !slices.Equal(s.NonVoters, []string{"n4"}) || !slices.Contains(s.Members, "n4") {
			t.Fatalf("members %v, without a vote %v", s.Members, s.NonVoters)
		}
		c.put("k", "v2") // four voters of which one is away would also do; see the next line
		c.crash(c.follower())
		c.put("k", "v3") // two of three voters: it would take three of four
		m := c.start("n4", vfs.NewCrashableMem(), nil)
		for range 2 { // again changes nothing
			if err := c.leader().replica.Join(within(t, 10*time.Second), "n4"); err != nil {
				t.Fatal(err)
			}
		}
		if s := c.leader().replica.Status(); len(s.NonVoters) != 0 || len(s.Members) != 4 {
			t.Errorf("members %v, without a vote %v", s.Members, s.NonVoters)
		}
		if got, err := m.get(within(t, 5*time.Second), "k", store.Strong); err != nil || got != "v3" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestMembershipIsChangedAtTheLeaderOnly(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		leader, f := c.leader().name, c.follower().replica
		ctx := within(t, time.Second)
		for what, err := range map[string]error{
			"join": f.Join(ctx, "n9"), "remove": f.Remove(ctx, leader), "transfer": f.Transfer(ctx, ""),
		} {
			if e := store.AsError(err); err == nil || e.Code != store.NotLeader || e.Leader != leader {
				t.Errorf("%s at a follower: %v, want NotLeader with %s", what, err, leader)
			}
		}
	})
}

func TestDeadMemberIsRemovedAndAHealthyOneIsKeptForTheMajority(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v1")
		leader := c.leader()
		rest := c.others(leader)
		dead, healthy := rest[0], rest[1]
		c.crash(dead)
		err := leader.replica.Remove(within(t, 5*time.Second), healthy.name)
		if e := store.AsError(err); err == nil || e.Code != store.Invalid || !strings.Contains(e.Try, dead.name) {
			t.Fatalf("remove of one of the two that answer: %v", err)
		}
		for range 2 { // one that is not there changes nothing
			if err := leader.replica.Remove(within(t, 5*time.Second), dead.name); err != nil {
				t.Fatal(err)
			}
		}
		want := []string{leader.name, healthy.name}
		slices.Sort(want)
		c.agree(want...)
		c.names = want
		c.put("k", "v2")
		if err := leader.replica.Remove(within(t, 5*time.Second), healthy.name); err != nil {
			t.Fatal(err)
		}
		err = leader.replica.Remove(within(t, 5*time.Second), leader.name)
		if e := store.AsError(err); err == nil || e.Code != store.Invalid || e.Try == "" {
			t.Errorf("remove of the last member: %v", err)
		}
	})
}

func TestLeaderThatIsToGoHandsItsSeatOverFirst(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v1")
		old := c.leader()
		err := old.replica.Remove(within(t, 5*time.Second), old.name)
		e := store.AsError(err)
		if err == nil || e.Code != store.NotLeader || e.Leader == "" || e.Leader == old.name {
			t.Fatalf("%v, want NotLeader with the new leader", err)
		}
		if err := c.nodes[e.Leader].replica.Remove(within(t, 5*time.Second), old.name); err != nil {
			t.Fatal(err)
		}
		c.names = slices.DeleteFunc(c.names, func(n string) bool { return n == old.name })
		c.agree(c.names...)
		c.put("k", "v2")
		if s := old.replica.Status(); s.Role == "stopped" {
			t.Errorf("the replica of a removed member has stopped by itself: %+v", s)
		}
	})
}

// Each removal alone leaves two of three voters that answer. Both would leave one of two.
func TestTwoChangesThatWereDecidedOnTheSameMembersDoNotBothHappen(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 4, nil)
		c.put("k", "v1")
		leader := c.leader()
		rest := c.others(leader)
		c.crash(rest[0])
		errs := make(chan error, 2)
		for _, m := range rest[1:] {
			go func() { errs <- leader.replica.Remove(within(t, 5*time.Second), m.name) }()
		}
		first, second := <-errs, <-errs
		if first != nil && second != nil {
			t.Errorf("neither was removed: %v; %v", first, second)
		}
		refused := first
		if refused == nil {
			refused = second
		}
		if !errors.Is(refused, store.Unavailable) && !errors.Is(refused, store.Invalid) {
			t.Errorf("both removed, or refused with the wrong code: %v", refused)
		}
		if _, err := leader.replica.Write(within(t, 2*time.Second), store.Command{Op: store.Put, Key: "k", Value: []byte("v2")}); err != nil {
			t.Errorf("the group lost its majority: %v", err)
		}
	})
}

func TestConfigurationIndexSurvivesSnapshotsAndRestarts(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, frequent)
		c.put("k", "v")
		c.start("n4", vfs.NewCrashableMem(), nil)
		if err := c.leader().replica.Join(within(t, 10*time.Second), "n4"); err != nil {
			t.Fatal(err)
		}
		c.names = append(c.names, "n4")
		want := c.leader().replica.ConfigurationIndex()
		for i := range 200 {
			c.put("k", fmt.Sprint("v", i))
		}
		m := c.leader()
		if err := m.replica.Snapshot(within(t, 5*time.Second)); err != nil {
			t.Fatal(err)
		}
		if m.replica.FirstLog() <= want {
			t.Fatalf("the log still begins at %d", m.replica.FirstLog())
		}
		disk := c.crash(m)
		m = c.start(m.name, disk, nil)
		if got := m.replica.ConfigurationIndex(); got != want {
			t.Errorf("the configuration is of entry %d after a restart, %d before", got, want)
		}
		leader := c.leader()
		if err := leader.replica.Remove(within(t, 10*time.Second), c.others(leader)[0].name); err != nil {
			t.Errorf("a change after a snapshot: %v", err)
		}
	})
}

func TestLeadershipGoesWhereItIsSent(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v1")
		for range 3 {
			old := c.leader()
			to := c.others(old)[1]
			if err := old.replica.Transfer(within(t, 5*time.Second), to.name); err != nil {
				t.Fatal(err)
			}
			if s := old.replica.Status(); s.Leader != to.name {
				t.Errorf("transfer returned when %s sees %q lead, not %s", old.name, s.Leader, to.name)
			}
			if err := old.replica.Transfer(within(t, time.Second), to.name); err != nil {
				t.Errorf("a transfer to the one that leads: %v", err)
			}
		}
		leader := c.leader()
		if err := leader.replica.Transfer(within(t, time.Second), "n9"); !errors.Is(err, store.Invalid) {
			t.Errorf("transfer to a stranger: %v", err)
		}
		if err := leader.replica.Drain(within(t, 5*time.Second)); err != nil || leader.replica.Status().Role == "leader" {
			t.Errorf("drained: %v, %s", err, leader.replica.Status().Role)
		}
		if err := leader.replica.Drain(within(t, time.Second)); err != nil {
			t.Errorf("drain of a follower: %v", err)
		}
		one := newCluster(t, 1, nil)
		if err := one.leader().replica.Drain(within(t, time.Second)); err != nil {
			t.Errorf("drain of a group of one: %v", err)
		}
	})
}

func TestTransferToADeadMemberLeavesTheLeaderAtWork(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v1")
		leader := c.leader()
		dead := c.others(leader)[0]
		c.crash(dead)
		for range 3 {
			if err := leader.replica.Transfer(within(t, 5*time.Second), dead.name); !errors.Is(err, store.Unavailable) {
				t.Errorf("transfer to a dead member: %v", err)
			}
			if _, err := leader.replica.Write(within(t, time.Second), store.Command{Op: store.Put, Key: "k", Value: []byte("v2")}); err != nil {
				t.Errorf("a write after it: %v", err)
			}
		}
	})
}

func TestLeaderThatStopsHasASuccessorWhenItHasStopped(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		for range 5 {
			c.put("k", "v")
			old := c.leader()
			c.stop(old)
			leads := 0
			for _, m := range c.nodes {
				if m.replica.Status().Role == "leader" {
					leads++
				}
			}
			if leads != 1 {
				t.Errorf("%d of the others lead when %s has stopped", leads, old.name)
			}
			c.start(old.name, old.fs, c.names)
		}
	})
}

// seats are the members of a cluster whose list changes while a client looks at it.
type seats [3]atomic.Pointer[member]

// insist repeats a request, under its number, until it is answered, as a client does.
func (s *seats) insist(t *testing.T, cmd store.Command) (store.Result, error) {
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		for i := range s {
			m := s[i].Load()
			if m.replica.Status().Role != "leader" {
				continue
			}
			var res store.Result
			if res, err = m.replica.Write(within(t, 2*time.Second), cmd); err == nil || !store.AsError(err).Retryable() {
				return res, err
			}
		}
	}
	return store.Result{}, err
}

func TestRollingRestartFailsNoSessionWriteAndRepeatsNone(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		var all seats
		for i, name := range c.names {
			all[i].Store(c.nodes[name])
		}
		open, err := all.insist(t, store.Command{Op: store.OpenSession})
		if err != nil {
			t.Fatal(err)
		}
		const writes = 600
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range uint64(writes) {
				cmd := store.Command{Op: store.Increment, Key: "n", Delta: 1, Request: store.Request{Session: open.Revision, Number: i + 1, Lowest: i + 1}}
				if _, err := all.insist(t, cmd); err != nil {
					t.Errorf("write %d: %v", i+1, err)
				}
				<-time.After(2 * time.Millisecond)
			}
		}()
		for range 2 {
			for i, name := range c.names {
				<-time.After(100 * time.Millisecond)
				m := c.nodes[name]
				c.stop(m)
				all[i].Store(c.start(name, m.fs, c.names))
			}
		}
		<-done
		if got, err := c.leader().get(within(t, 5*time.Second), "n", store.Strong); err != nil || got != fmt.Sprint(writes) {
			t.Errorf("%d writes count %s, %v", writes, got, err)
		}
	})
}

func TestMemberThatWasCutOffDoesNotRaiseTheTerm(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v1")
		leader := c.leader()
		rest := c.others(leader)
		term := leader.replica.Status().Term
		c.cut(rest[0].name + "|" + leader.name + "," + rest[1].name)
		<-time.After(20 * time.Second)
		if got := rest[0].replica.Status().Term; got != term {
			t.Errorf("cut off, it went from term %d to %d without a vote: pre-vote is lost", term, got)
		}
		c.heal()
		<-time.After(2 * time.Second)
		if s := leader.replica.Status(); s.Term != term || s.Role != "leader" {
			t.Errorf("its return made term %d of %d, and %s is %s", s.Term, term, leader.name, s.Role)
		}
	})
}

// With the library's fast path, heartbeats are answered beside Raft's main goroutine,
// and the leader would stay.
func TestHeartbeatsWaitBehindTheFollowersWrites(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		disks := stalls{}
		c := newCluster(t, 3, disks.configure)
		c.put("k", "v1")
		leader := c.leader()
		for _, m := range c.others(leader) {
			defer disks.stop(m.name)()
		}
		_, err := leader.replica.Write(within(t, time.Second), store.Command{Op: store.Put, Key: "k", Value: []byte("v2")})
		if !errors.Is(err, store.Unknown) {
			t.Errorf("a write that no follower took: %v", err)
		}
		if s := leader.replica.Status(); s.Role == "leader" {
			t.Error("it leads on heartbeats that were answered while the followers' Raft stood still")
		}
	})
}

// tail makes a leader with a long uncommitted tail, cuts it off, and lets the others
// commit and snapshot past where the logs part.
func (c *cluster) tail(entries, commits int) *member {
	old := c.leader()
	rest := c.others(old)
	c.cut(old.name + "|" + rest[0].name + "," + rest[1].name)
	old.replica.Tail(entries)
	fresh := c.leader(rest[0].name, rest[1].name)
	for i := range commits {
		cmd := store.Command{Op: store.Put, Key: "k", Value: fmt.Append(nil, "v", i)}
		if _, err := fresh.replica.Write(within(c.t, 5*time.Second), cmd); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, m := range rest {
		if err := m.replica.Snapshot(within(c.t, 5*time.Second)); err != nil {
			c.t.Fatal(err)
		}
	}
	// A new leader knows nothing of where the logs part, and looks from its own end.
	if err := fresh.replica.Transfer(within(c.t, 5*time.Second), ""); err != nil {
		c.t.Fatal(err)
	}
	// What the leader before sent into the cut would still arrive at the heal, and cut
	// the tail off; by now it is given up.
	<-time.After(5 * time.Second)
	return old
}

func TestMemberWithADivergentTailConverges(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(cfg *cp.Config) {
			cfg.Compaction = cp.Compaction{Threshold: 16, Trailing: 32}
			cfg.Events.SnapshotLoop = func(_ store.GroupID, member string, n int) { t.Errorf("%d snapshots for %s", n, member) }
		})
		c.put("k", "v")
		old := c.tail(30, 20)
		c.heal()
		if got, err := old.get(within(t, 5*time.Second), "k", store.Strong); err != nil || got != "v19" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestSnapshotsThatHelpNothingAreReportedAndSlowedDown(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		reports := make(chan int, 1000)
		c := newCluster(t, 3, func(cfg *cp.Config) {
			cp.AnyTrailing(cfg)
			cfg.Compaction = cp.Compaction{Threshold: 16, Trailing: 1}
			cfg.Events.SnapshotLoop = func(_ store.GroupID, _ string, n int) { reports <- n }
		})
		c.put("k", "v")
		old := c.tail(60, 20)
		c.heal()
		<-time.After(time.Minute)
		if n := len(reports); n == 0 || n > 8 { // after 1, 2, 4, 8, 16, 32 seconds
			t.Fatalf("%d reports in a minute", n)
		}
		if first := <-reports; first != 8 {
			t.Errorf("first reported after %d snapshots", first)
		}
		// A restart empties the log that parts from the snapshot.
		disk := c.crash(old)
		old = c.start(old.name, disk, c.names)
		if got, err := old.get(within(t, 2*time.Minute), "k", store.Strong); err != nil || got != "v19" {
			t.Errorf("after a restart: %q, %v", got, err)
		}
	})
}

// A head that stays behind a hole may hold entries that never were committed.
func TestInstalledSnapshotEmptiesTheLog(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, frequent)
		c.put("k", "v")
		away := c.follower()
		had := away.replica.LastLog()
		disk := c.crash(away)
		for i := range 200 {
			c.put("k", fmt.Sprint("v", i))
		}
		for _, m := range c.nodes {
			if err := m.replica.Snapshot(within(t, 5*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		back := c.start(away.name, disk, c.names)
		if got, err := back.get(within(t, 5*time.Second), "k", store.Strong); err != nil || got != "v199" {
			t.Fatalf("%q, %v", got, err)
		}
		c.put("k", "after")
		if got, err := back.get(within(t, 5*time.Second), "k", store.Strong); err != nil || got != "after" {
			t.Fatalf("%q, %v", got, err)
		}
		if first := back.replica.FirstLog(); first <= had {
			t.Errorf("the log begins at %d; entries to %d are from before the snapshot", first, had)
		}
	})
}

// A side without a majority must acknowledge nothing, however long it is cut off.
func TestNodeThatIsCutOffDoesNotMakeItselfAGroupOfOne(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v1")
		leader := c.leader()
		rest := c.others(leader)
		c.cut(rest[0].name + "|" + leader.name + "," + rest[1].name)
		<-time.After(10 * time.Second)
		res, err := rest[0].replica.Write(within(t, 5*time.Second), store.Command{Op: store.Put, Key: "k", Value: []byte("mine")})
		if (err == nil) != mutant.M22 {
			t.Errorf("a write at a node that is cut off: %+v, %v", res, err)
		}
	})
}
