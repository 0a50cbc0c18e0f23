package cp_test

import (
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
)

// paces are the disks of a cluster's members.
type paces map[string]*engine.Pace

func (p paces) wrap(name string, fs vfs.FS) vfs.FS {
	p[name] = new(engine.Pace)
	return engine.Slow(fs, p[name])
}

// A majority needs the leader when the third member is away: a follower has the entry on
// disk, and the leader, which sent it, has not.
func TestNothingIsToldOfAnEntryBeforeTheLeadersDiskHasIt(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		disks := paces{}
		c := newClusterOn(t, 3, seldom, disks.wrap)
		c.put("k", "v1")
		leader := c.leader()
		rest := c.others(leader)
		c.cut(rest[1].name + "|" + leader.name + "," + rest[0].name)
		disks[leader.name].Set(8 * time.Second)

		began := time.Now()
		wrote := make(chan error, 1)
		go func() {
			_, err := leader.replica.Write(within(t, 10*time.Second), store.Command{Op: store.Put, Key: "k", Value: []byte("v2")})
			wrote <- err
		}()
		<-time.After(4 * time.Second)
		select {
		case err := <-wrote:
			t.Fatalf("the write was answered before the leader's disk had it: %v", err)
		default:
		}
		for _, m := range []*member{leader, rest[0]} {
			if got, err := m.get(within(t, time.Second), "k", store.Eventual); got != "v1" || err != nil {
				t.Errorf("%s shows %q, %v", m.name, got, err)
			}
		}
		if got, err := leader.get(within(t, time.Second), "k", store.Strong); got != "v1" && !errors.Is(err, store.Unavailable) {
			t.Errorf("a strong read gives %q, %v", got, err)
		}
		disks[leader.name].Set(0)
		if err := <-wrote; err != nil {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if got, err := rest[0].get(within(t, 5*time.Second), "k", store.Strong); got != "v2" || err != nil {
			t.Errorf("%s: a strong read gives %q, %v", rest[0].name, got, err)
		}
	})
}

// The disks of a leader and of its followers are at an entry at the same time.
func TestDisksOfAGroupWriteAtTheSameTime(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		const sync = 20 * time.Millisecond
		disks := paces{}
		c := newClusterOn(t, 3, seldom, disks.wrap)
		c.put("k", "v1")
		for _, pace := range disks {
			pace.Set(sync)
		}
		leader := c.leader()
		for range 5 { // a heartbeat may be before it on a follower's disk
			began := time.Now()
			if _, err := leader.replica.Write(within(t, 10*time.Second), store.Command{Op: store.Put, Key: "k", Value: []byte("v2")}); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < sync || took > sync*3/2 {
				t.Errorf("a write took %v with syncs of %v", took, sync)
			}
		}
	})
}

// What a crash takes out of the leader's log was never told, and the group goes on.
func TestCrashOfALeaderWithEntriesThatAreNotOnItsDisk(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		disks := paces{}
		c := newClusterOn(t, 3, nil, disks.wrap)
		c.put("k", "v1")
		for i := range 5 {
			leader := c.leader()
			rest := c.others(leader)
			c.cut(leader.name + "|" + rest[0].name + "," + rest[1].name)
			disks[leader.name].Set(5 * time.Second)
			written := make(chan error, 1)
			go func() {
				_, err := leader.replica.Write(within(t, 3*time.Second), store.Command{Op: store.Put, Key: "k", Value: []byte("lost")})
				written <- err
			}()
			<-time.After(50 * time.Millisecond)
			disk := c.crash(leader)
			if err := <-written; err == nil {
				t.Fatalf("round %d: a write that no other member has was acknowledged", i)
			}
			c.heal()
			c.start(leader.name, disk, nil)
			if got, err := c.leader().get(within(t, 10*time.Second), "k", store.Strong); got != "v1" || err != nil {
				t.Fatalf("round %d: %q, %v", i, got, err)
			}
			c.put("k", "v1")
		}
	})
}
