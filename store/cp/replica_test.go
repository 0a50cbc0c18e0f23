package cp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestStrongReadAtEveryReplicaSeesTheLastWrite(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		for i := range 20 {
			want := fmt.Sprint("v", i)
			c.put("k", want)
			for _, m := range c.nodes {
				if got, err := m.get(within(t, time.Second), "k", store.Strong); err != nil || got != want {
					t.Fatalf("%s: got %q, %v, want %q", m.name, got, err, want)
				}
			}
		}
	})
}

func TestMinorityRefusesStrongReadsAndServesEventualOnesWithTheirAge(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 5, nil)
		c.put("k", "v1")
		for _, m := range c.nodes { // each has proved its freshness once
			if _, err := m.get(within(t, time.Second), "k", store.Strong); err != nil {
				t.Fatal(err)
			}
		}
		old := c.leader()
		other := "n1"
		if old.name == other {
			other = "n2"
		}
		var rest []string
		for _, n := range c.names {
			if n != old.name && n != other {
				rest = append(rest, n)
			}
		}
		c.cut(old.name + "," + other + "|" + rest[0] + "," + rest[1] + "," + rest[2])
		fresh := c.leader(rest...)
		if _, err := fresh.replica.Write(within(t, 5*time.Second), store.Command{Op: store.Put, Key: "k", Value: []byte("v2")}); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{old.name, other} {
			m := c.nodes[name]
			if got, err := m.get(within(t, time.Second), "k", store.Strong); !errors.Is(err, store.Unavailable) {
				t.Errorf("%s: strong read in the minority: %q, %v", name, got, err)
			}
			page, err := m.replica.Read(within(t, time.Second), store.Query{Key: "k", Level: store.Eventual})
			if err != nil || string(page.Items[0].Values[0]) != "v1" {
				t.Errorf("%s: eventual read in the minority: %v, %v", name, page, err)
			}
			if !page.Proof.Fresh || page.Proof.Staleness < time.Second {
				t.Errorf("%s: staleness %v (fresh %v) after a second in the minority", name, page.Proof.Staleness, page.Proof.Fresh)
			}
			_, err = m.replica.Write(within(t, time.Second), store.Command{Op: store.Put, Key: "k", Value: []byte("lost")})
			if e := store.AsError(err); err == nil || e.Code == store.Conflict {
				t.Errorf("%s: write in the minority: %v", name, err)
			}
		}
		c.heal()
		for _, m := range c.nodes {
			if got, err := m.get(within(t, 5*time.Second), "k", store.Strong); err != nil || got != "v2" {
				t.Errorf("%s after the heal: %q, %v", m.name, got, err)
			}
		}
	})
}

func TestWriteInFlightAtACutIsUnknownNotFailed(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v1")
		old := c.leader()
		rest := ""
		for _, n := range c.names {
			if n != old.name {
				rest += "," + n
			}
		}
		c.cut(old.name + "|" + rest[1:])
		_, err := old.replica.Write(within(t, 50*time.Millisecond), store.Command{Op: store.Put, Key: "k", Value: []byte("v2")})
		if !errors.Is(err, store.Unknown) {
			t.Errorf("a write the leader logged before its deadline: %v, want Unknown", err)
		}
	})
}

func TestSessionEntryIsWaitedForAtAFollower(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		for i := range 20 {
			res := c.put("k", fmt.Sprint("v", i))
			for _, m := range c.nodes {
				page, err := m.replica.Read(within(t, time.Second), store.Query{Key: "k", Level: store.ReadYourWrites, After: res.Entry})
				if err != nil || string(page.Items[0].Values[0]) != fmt.Sprint("v", i) {
					t.Fatalf("%s: %v %v", m.name, page.Items, err)
				}
			}
		}
	})
}

func TestRetriedCommandIsAppliedOnceAlsoByANewLeaderAndAfterRestart(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		open, err := c.write(store.Command{Op: store.OpenSession})
		if err != nil {
			t.Fatal(err)
		}
		cmd := store.Command{
			Op: store.Put, Key: "k", Value: []byte("v1"),
			Request: store.Request{Session: open.Revision, Number: 1, Lowest: 1},
		}
		first, err := c.write(cmd)
		if err != nil {
			t.Fatal(err)
		}
		again := func(when string) {
			t.Helper()
			res, err := c.write(cmd)
			if err != nil || res.Revision != first.Revision {
				t.Errorf("%s: revision %d, %v; the first answer was %d", when, res.Revision, err, first.Revision)
			}
		}
		again("at the same leader")
		c.put("k", "v2")
		again("after a later write")
		old := c.leader()
		disk := c.crash(old)
		again("at a new leader")
		c.start(old.name, disk, c.names)
		for _, m := range c.nodes {
			if got, err := m.get(within(t, 5*time.Second), "k", store.Strong); err != nil || got != "v2" {
				t.Errorf("%s: %q, %v; the repeated put was applied again", m.name, got, err)
			}
		}
	})
}

func TestAcknowledgedWritesSurviveAPowerCutOfAllNodes(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		acked := 0
		for round := range 3 {
			for i := range 50 {
				c.put(fmt.Sprintf("k%d-%d", round, i), "v")
				acked++
			}
			disks := map[string]*vfs.MemFS{}
			for _, m := range c.nodes {
				m.ep.Kill()
			}
			for _, m := range c.nodes {
				disks[m.name] = m.fs.CrashClone(vfs.CrashCloneCfg{})
			}
			for _, m := range c.nodes {
				c.crash(m)
			}
			for name, disk := range disks {
				c.start(name, disk, c.names)
			}
			page, err := c.leader().replica.Read(within(t, 5*time.Second), store.Query{Limit: store.MaxPage})
			if err != nil || len(page.Items) != acked {
				t.Fatalf("round %d: %d keys, %v; %d were acknowledged", round, len(page.Items), err, acked)
			}
		}
	})
}

func TestConditionFailsWithWhatItSaw(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		one := c.put("k", "v1")
		two, err := c.write(store.Command{Op: store.Put, Key: "k", Value: []byte("v2"), If: store.Condition{Kind: store.IfValue, Value: []byte("v1")}})
		if err != nil || two.Replaced != one.Revision {
			t.Fatalf("%+v, %v", two, err)
		}
		res, err := c.write(store.Command{Op: store.Put, Key: "k", Value: []byte("v3"), If: store.Condition{Kind: store.IfRevision, Revision: one.Revision}})
		if !errors.Is(err, store.Conflict) || !res.Found || string(res.Value) != "v2" || res.Revision != two.Revision {
			t.Errorf("%+v, %v", res, err)
		}
		if _, err = c.write(store.Command{Op: store.Put, Key: "k", Value: []byte("v4"), If: store.Condition{Kind: store.IfAbsent}}); !errors.Is(err, store.Conflict) {
			t.Errorf("create of a key that is there: %v", err)
		}
	})
}

func TestMemberThatWasAwayIsReachedWithinASecondOfItsReturn(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v1")
		away := c.follower()
		disk := c.crash(away)
		<-time.After(time.Minute) // Raft's own pause between attempts is at ten seconds by now
		c.put("k", "v2")
		back := c.start(away.name, disk, c.names)
		if got, err := back.get(within(t, time.Second), "k", store.Strong); err != nil || got != "v2" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// Without its log a replica has forgotten its term, its vote and the entries behind its
// state, and would skip what a new log brings under the same numbers.
func TestStateWithAnotherLogIsRefused(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		c.put("k", "v")
		disk := c.crash(c.leader())
		e, err := engine.Open(engine.Config{Dir: "/data", FS: disk})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		ep, err := c.net.Endpoint("again")
		if err != nil {
			t.Fatal(err)
		}
		defer ep.Close()
		elsewhere := func(e *engine.Engine, _ store.GroupID) (cp.Log, io.Closer, error) {
			return cp.EngineLog(e, store.GroupID{Keyspace: 99})
		}
		_, err = cp.Open(cp.Config{Node: "n1", Group: group, Bootstrap: c.names, Engine: e, Mux: cp.NewMux(ep), Peers: peers{ep}, OpenLog: elsewhere})
		if !errors.Is(err, store.Corrupt) {
			t.Errorf("opened a replica on another log: %v", err)
		}
	})
}
