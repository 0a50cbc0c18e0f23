package cp_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
)

// gone waits until a strong read does not find the key, and says when that was.
func (c *cluster) gone(key string) time.Time {
	c.t.Helper()
	for range 100_000 {
		page, err := c.leader().replica.Read(within(c.t, 5*time.Second), store.Query{Key: key})
		if err == nil && len(page.Items) == 0 {
			return time.Now()
		}
		<-time.After(10 * time.Millisecond)
	}
	c.t.Fatalf("%s is still there", key)
	return time.Time{}
}

func TestAKeyLivesItsTTLThroughCrashesAndNewLeaders(t *testing.T) {
	const ttl = 10 * time.Second
	for name, disturb := range map[string]func(c *cluster){
		"nothing": func(*cluster) {},
		"a new leader": func(c *cluster) {
			m := c.leader()
			disk := c.crash(m)
			c.start(m.name, disk, c.names)
		},
		"all crash": func(c *cluster) {
			for _, n := range c.names {
				disk := c.crash(c.nodes[n])
				c.start(n, disk, c.names)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			linktest.Bubble(t, func(t *testing.T) {
				c := newCluster(t, 3, frequent)
				began := time.Now()
				res, err := c.write(store.Command{Op: store.Put, Key: "k", Value: []byte("v"), TTL: ttl})
				if err != nil || res.Lease != res.Revision || res.TTL != ttl {
					t.Fatalf("%+v, %v", res, err)
				}
				<-time.After(ttl / 2)
				disturb(c)
				lived := c.gone("k").Sub(began)
				if most := 2*ttl + 2*time.Second; lived < ttl || lived > most {
					t.Errorf("it lived %v, want %v to %v", lived, ttl, most)
				}
			})
		})
	}
}

// An expiry that the leader proposed loses against a renewal that came before it in
// the log, however late the leader hears of that.
func TestARenewalInTheLogBeatsAnExpiryBehindIt(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		grant, err := c.write(store.Command{Op: store.Grant, TTL: 500 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.write(store.Command{Op: store.Put, Key: "k", Value: []byte("v"), Lease: grant.Lease}); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(500 * time.Millisecond)
		for i := range 200 {
			sent := time.Now()
			_, err := c.leader().replica.Write(within(t, 5*time.Second), store.Command{Op: store.KeepAlive, Lease: grant.Lease})
			if err != nil {
				if store.AsError(err).Code != store.NotFound || time.Now().Before(deadline) {
					t.Fatalf("renewal %d, %v before its end: %v", i, time.Until(deadline), err)
				}
				return // it came too late, which is what it was told
			}
			deadline = sent.Add(500 * time.Millisecond)
			page, err := c.leader().replica.Read(within(t, 5*time.Second), store.Query{Key: "k"})
			if err != nil || len(page.Items) != 1 && time.Now().Before(deadline) {
				t.Fatalf("after renewal %d the key is gone: %v", i, err)
			}
			<-time.After(500*time.Millisecond - time.Duration(i%7)*time.Millisecond - 3*time.Millisecond)
		}
	})
}

func TestLeasesComeWithASnapshot(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, frequent)
		away := c.follower()
		disk := c.crash(away)
		grant, err := c.write(store.Command{Op: store.Grant, TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			if _, err := c.write(store.Command{Op: store.Put, Key: fmt.Sprintf("k%02d", i%10), Value: []byte("v"), Lease: grant.Lease}); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range c.nodes {
			if err := m.replica.Snapshot(within(t, 5*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		back := c.start(away.name, disk, c.names)
		if got, err := back.get(within(t, 5*time.Second), "k05", store.Strong); err != nil || got != "v" {
			t.Fatalf("%q, %v", got, err)
		}
		if names, err := disk.List("/data/snapshots/7-0"); err != nil || len(names) == 0 {
			t.Fatalf("no snapshot was installed, so this shows nothing: %v, %v", names, err)
		}
		// With the two others gone by turns, only the one with the snapshot can have
		// brought the lease into the majority that ends it.
		for _, n := range c.names {
			if n != back.name {
				c.start(n, c.crash(c.nodes[n]), c.names)
			}
		}
		c.gone("k00")
		c.gone("k09")
		page, err := back.replica.Read(within(t, 5*time.Second), store.Query{Count: true})
		if err != nil || page.Count != 0 {
			t.Errorf("%d keys are left, %v", page.Count, err)
		}
	})
}

func TestEveryKeyOfALeaseGoesAtOneRevision(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		grant, err := c.write(store.Command{Op: store.Grant, TTL: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if _, err := c.write(store.Command{Op: store.Put, Key: fmt.Sprint("k", i), Lease: grant.Lease}); err != nil {
				t.Fatal(err)
			}
		}
		w := c.leader().watch(t, store.WatchQuery{All: true})
		for {
			change, err := w.Next(within(t, 10*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			if len(change.Events) == 0 {
				continue
			}
			if len(change.Events) != 20 || !change.Events[0].Expired {
				t.Errorf("%d of 20 keys went at revision %d: %+v", len(change.Events), change.Revision, change.Events[0])
			}
			return
		}
	})
}

func TestLimitsOfLeases(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		grant, err := c.write(store.Command{Op: store.Grant, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		put := func(i int) error {
			_, err := c.leader().replica.Write(within(t, time.Minute), store.Command{Op: store.Put, Key: fmt.Sprint("k", i), Lease: grant.Lease})
			return err
		}
		for i := range 4096 {
			if err := put(i); err != nil {
				t.Fatal(i, err)
			}
		}
		if err := put(7); err != nil {
			t.Errorf("a key that is attached already: %v", err)
		}
		if err := put(4096); store.AsError(err) == nil || store.AsError(err).Code != store.QuotaExceeded || store.AsError(err).Try != "a second lease for the other keys" {
			t.Errorf("one key too many: %+v", err)
		}
	})
}

func TestARefusalForALeaseSaysWhatHelps(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		for want, command := range map[string]store.Command{
			"a new lease, and its keys put again":                    {Op: store.KeepAlive, Lease: 9},
			"nothing, if it was granted in this group: it has ended": {Op: store.Revoke, Lease: 9},
			"a new lease, granted in the group of the key":           {Op: store.Put, Key: "k", Lease: 9},
		} {
			if _, err := c.write(command); !errors.Is(err, store.NotFound) || store.AsError(err).Try != want {
				t.Errorf("%v: %v, try: %s", command.Op, err, store.AsError(err).Try)
			}
		}
	})
}

// A transaction attaches what the same puts, one after the other, would attach.
func TestATransactionKeepsTheLimitOfALease(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		grant := func() uint64 {
			res, err := c.write(store.Command{Op: store.Grant, TTL: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			return res.Lease
		}
		lease, other := grant(), grant()
		put := func(key string, lease uint64) store.Step { return store.Step{Op: store.Put, Key: key, Lease: lease} }
		txn := func(steps ...store.Step) error {
			_, err := c.leader().replica.Write(within(t, time.Minute), store.Command{Op: store.Transact, Txn: &store.Txn{Then: steps}})
			return err
		}
		for first := 0; first < 4096; first += store.MaxSteps {
			var steps []store.Step
			for i := range store.MaxSteps {
				steps = append(steps, put(fmt.Sprint("k", first+i), lease))
			}
			if first+store.MaxSteps == 4096 {
				steps = steps[1:]
			}
			if err := txn(steps...); err != nil {
				t.Fatalf("from key %d on: %v", first, err)
			}
		}
		gone := store.Step{Op: store.Delete, Key: "k1"}
		for _, s := range []struct {
			what  string
			steps []store.Step
			fits  bool
		}{
			{"keys that are attached", []store.Step{put("k1", lease), put("k2", lease), put("k3", lease)}, true},
			{"two keys, where there is room for one", []store.Step{put("a", lease), put("b", lease)}, false},
			{"the last key, three times", []store.Step{put("a", lease), put("a", lease), put("a", lease)}, true},
			{"a key too many, behind a step that would do", []store.Step{put("free", 0), put("b", lease)}, false},
			{"a key for another one that goes", []store.Step{gone, put("b", lease)}, true},
			{"a key that goes too late", []store.Step{put("c", lease), {Op: store.Delete, Key: "b"}}, false},
			{"a key for another one that changes its lease", []store.Step{put("b", other), put("c", lease)}, true},
			{"a key for another one that loses its lease", []store.Step{put("c", 0), put("d", lease)}, true},
			{"an increment, which attaches nothing", []store.Step{{Op: store.Increment, Key: "n", Delta: 1}, put("e", lease)}, false},
		} {
			err := txn(s.steps...)
			if s.fits && err != nil {
				t.Errorf("%s: %v", s.what, err)
			}
			if !s.fits && (!errors.Is(err, store.QuotaExceeded) || store.AsError(err).Try != "a second lease for the other keys") {
				t.Errorf("%s: %v", s.what, err)
			}
		}
		for _, key := range []string{"free", "n", "e"} {
			if page, err := c.leader().replica.Read(within(t, time.Minute), store.Query{Key: key}); err != nil || len(page.Items) > 0 {
				t.Errorf("a transaction was refused, and %s is there: %v", key, err)
			}
		}
		page, err := c.leader().replica.Read(within(t, time.Minute), store.Query{Leases: true, Limit: 9})
		if err != nil || len(page.Leases) != 2 || page.Leases[0].Keys != 4096 || page.Leases[1].Keys != 1 {
			t.Errorf("%+v, %v", page.Leases, err)
		}
	})
}
