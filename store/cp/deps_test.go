package cp_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// seenOf is what one has seen who saw revision n of another group.
func seenOf(t *testing.T, keyspace, n uint64) token.Deps {
	t.Helper()
	d, err := token.DepsOf(store.GroupID{Keyspace: keyspace}, token.EncodeEntry([]token.Component{{N: n}}))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (c *cluster) depend(key string, on token.Deps) {
	c.t.Helper()
	if _, err := c.write(store.Command{Op: store.Put, Key: key, Value: []byte("v"), Deps: on.Encode()}); err != nil {
		c.t.Fatal(err)
	}
}

// tells wants a strong read at a member to tell what the group depends on.
func (m *member) tells(t *testing.T, want token.Deps) {
	t.Helper()
	page, err := m.replica.Read(within(t, 5*time.Second), store.Query{Key: "k", Level: store.Strong})
	if err != nil || !bytes.Equal(page.Deps, want.Encode()) {
		t.Errorf("%s tells of other groups %x, %v; want %x", m.name, page.Deps, err, want.Encode())
	}
}

func TestDependenciesSurviveCrashesAndComeWithSnapshots(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, frequent)
		c.depend("k", seenOf(t, 100, 4))
		away := c.follower()
		disk := c.crash(away)
		c.depend("k", seenOf(t, 101, 7))
		for i := range 200 {
			c.put(fmt.Sprint("k", i%50), "v")
		}
		for _, m := range c.nodes {
			if err := m.replica.Snapshot(within(t, 5*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		both := seenOf(t, 100, 4).Join(seenOf(t, 101, 7))
		back := c.start(away.name, disk, c.names)
		back.tells(t, both)
		for _, name := range c.names {
			c.start(name, c.crash(c.nodes[name]), c.names)
		}
		for _, m := range c.nodes {
			m.tells(t, both)
		}
	})
}

// What all members have on disk they show after any crash, so nobody needs to be told to
// wait for it.
func TestSettledIsWhatEveryMemberHasOnDisk(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		wrote := c.put("k", "v")
		lead := c.leader()
		settled, err := lead.replica.Settled(within(t, 5*time.Second), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(settled, wrote.Entry) {
			t.Errorf("settled is %x, the last write %x", settled, wrote.Entry)
		}
		for _, name := range c.names {
			m := c.start(name, c.crash(c.nodes[name]), c.names)
			// It shows nothing older, though it has not heard of the leader yet.
			for !m.replica.Holds(wrote.Entry) {
				page, err := m.replica.Read(within(t, time.Second), store.Query{Key: "k", Level: store.Eventual})
				if err == nil && len(page.Items) == 0 {
					t.Fatalf("%s shows the state before what was settled", m.name)
				}
				time.Sleep(time.Millisecond)
			}
		}
	})
}

func TestNothingSettlesWithoutEveryMember(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v")
		if _, err := c.follower().replica.Settled(within(t, time.Second), nil, 0); !errors.Is(err, store.NotLeader) {
			t.Errorf("a follower says what is settled: %v", err)
		}
		lost := c.follower()
		c.crash(lost)
		if settled, err := c.leader().replica.Settled(within(t, time.Second), nil, 0); err == nil {
			t.Errorf("%x is settled without %s", settled, lost.name)
		}
	})
}

// A leader that was cut off must not call settled what a member does not have that came
// after.
func TestLeaderThatIsCutOffSettlesNothing(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v")
		old := c.leader()
		rest := slices.DeleteFunc(slices.Clone(c.names), func(name string) bool { return name == old.name })
		c.cut(old.name + "|" + rest[0] + "," + rest[1])
		if settled, err := old.replica.Settled(within(t, time.Second), nil, 0); err == nil {
			t.Errorf("cut off it says that %x is settled", settled)
		}
	})
}

// A leader that asks what its members have, and is deposed before they answer, must not
// believe what they say then: they may have voted for somebody whose members it does not
// know.
func TestDeposedLeaderSettlesNothing(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v")
		old := c.leader()
		rest := slices.DeleteFunc(slices.Clone(c.names), func(name string) bool { return name == old.name })
		c.cut(old.name + "|" + rest[0] + "," + rest[1])
		answer := make(chan error, 1)
		go func() {
			settled, err := old.replica.Settled(within(t, time.Minute), nil, 0)
			if err == nil {
				err = fmt.Errorf("%x is settled", settled)
			}
			answer <- err
		}()
		time.Sleep(time.Millisecond)
		if role := old.replica.Status().Role; role != "leader" {
			t.Fatalf("it is %s when it asks", role)
		}
		now := c.leader(rest...)
		if _, err := now.replica.Write(within(t, 5*time.Second), store.Command{Op: store.Put, Key: "k", Value: []byte("w")}); err != nil {
			t.Fatal(err)
		}
		c.heal()
		err := <-answer
		if !errors.Is(err, store.NotLeader) || !strings.Contains(err.Error(), "is at term") {
			t.Errorf("deposed it was answered, and says: %v", err)
		}
	})
}

func TestWhatIsSettledElsewhereIsForgottenEverywhere(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.depend("k", seenOf(t, 100, 4).Join(seenOf(t, 101, 7)))
		if err := c.leader().replica.Settle(within(t, 5*time.Second), seenOf(t, 100, 4).Join(seenOf(t, 101, 6))); err != nil {
			t.Fatal(err)
		}
		for _, m := range c.nodes {
			m.tells(t, seenOf(t, 101, 7))
		}
		c.depend("k", seenOf(t, 101, 9))
		for _, m := range c.nodes {
			m.tells(t, seenOf(t, 101, 9))
		}
	})
}

// The groups of another cluster, of which a snapshot may be, are none here.
func TestRestoreBeginsWithoutDependencies(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.depend("k", seenOf(t, 100, 4))
		if _, err := c.restore(bytes.NewReader(c.save())); err != nil {
			t.Fatal(err)
		}
		for _, m := range c.nodes {
			m.tells(t, token.Deps{})
		}
	})
}
