package cp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

func (c *cluster) save() []byte {
	c.t.Helper()
	var out bytes.Buffer
	if err := c.follower().replica.Save(within(c.t, 10*time.Second), cp.Origin{Cluster: "c", Keyspace: "ks"}, &out); err != nil {
		c.t.Fatal(err)
	}
	return out.Bytes()
}

func anySnapshot(*logpb.SnapshotHeader) error { return nil }

func (c *cluster) restore(snapshot io.Reader) (cp.Restored, error) {
	return c.leader().replica.Restore(within(c.t, 30*time.Second), anySnapshot, snapshot)
}

// contents is what a replica has, as "key=value", by a strong read.
func (c *cluster) contents(m *member) string {
	c.t.Helper()
	var out []string
	q := store.Query{Limit: store.MaxPage}
	for {
		page, err := m.replica.Read(within(c.t, 10*time.Second), q)
		if err != nil {
			c.t.Fatalf("%s: %v", m.name, err)
		}
		for _, item := range page.Items {
			out = append(out, item.Key+"="+string(item.Values[0]))
		}
		if q.Page = page.Next; q.Page == "" {
			return strings.Join(out, " ")
		}
	}
}

func TestRestoreBringsTheSavedStateBackUnderANewEpoch(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, frequent)
		for i := range 30 {
			c.put(fmt.Sprintf("k%02d", i), "old")
		}
		opened, err := c.write(store.Command{Op: store.OpenSession})
		if err != nil {
			t.Fatal(err)
		}
		lease, err := c.write(store.Command{Op: store.Put, Key: "leased", Value: []byte("x"), TTL: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		want := c.contents(c.leader())
		snapshot := c.save()
		c.put("k05", "new")
		c.put("more", "new")
		late := c.put("k06", "new")
		w := c.follower().watch(t, store.WatchQuery{All: true})

		out, err := c.restore(bytes.NewReader(snapshot))
		if err != nil || out.Epoch != 1 || out.Keys != 31 || out.Revision <= late.Revision {
			t.Fatalf("%+v, %v; the last revision was %d", out, err, late.Revision)
		}
		for _, m := range c.nodes {
			if got := c.contents(m); got != want {
				t.Errorf("%s holds %s\nwant %s", m.name, got, want)
			}
		}
		if _, err := w.Next(within(t, 5*time.Second)); store.AsError(err) == nil || store.AsError(err).Code != store.Compacted {
			t.Errorf("the watch of before goes on: %v", err)
		}
		_, err = c.write(store.Command{Op: store.Put, Key: "k", Request: store.Request{Session: opened.Revision, Number: 1, Lowest: 1}})
		if store.AsError(err) == nil || store.AsError(err).Code != store.SessionExpired {
			t.Errorf("the session of before goes on: %v", err)
		}
		_, err = c.leader().replica.Read(within(t, time.Second), store.Query{Key: "k05", Level: store.Causal, After: late.Entry})
		if store.AsError(err) == nil || store.AsError(err).Code != store.TokenMismatch {
			t.Errorf("a token of before: %v", err)
		}
		if next := c.put("after", "1"); next.Revision <= out.Revision {
			t.Errorf("revision %d after a restore at %d", next.Revision, out.Revision)
		} else if _, err := c.leader().replica.Read(within(t, time.Second), store.Query{Key: "after", Level: store.Causal, After: next.Entry}); err != nil {
			t.Errorf("a token of the new epoch: %v", err)
		}
		c.gone("leased")
		_ = lease
	})
}

func TestWhatIsNoSoundSnapshotChangesNothing(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		for i := range 8 {
			c.put(fmt.Sprint("k", i), strings.Repeat("x", 150<<10))
		}
		snapshot := c.save()
		c.put("k1", "newer")
		before := c.contents(c.leader())
		flipped := func(at int) []byte {
			b := bytes.Clone(snapshot)
			b[at] ^= 1
			return b
		}
		for name, b := range map[string][]byte{
			"nothing":                  nil,
			"not a snapshot":           []byte("hello, world: this is no snapshot at all"),
			"cut in the header":        snapshot[:10],
			"cut in the middle":        snapshot[:len(snapshot)/2],
			"cut before its checksum":  snapshot[:len(snapshot)-4],
			"a bit of the header":      flipped(4),
			"a bit in the middle":      flipped(len(snapshot) / 2),
			"a bit of the checksum":    flipped(len(snapshot) - 1),
			"a bit of the first value": flipped(500),
		} {
			_, err := c.restore(bytes.NewReader(b))
			if e := store.AsError(err); e == nil || e.Code != store.Corrupt || e.Try == "" {
				t.Errorf("%s: %v", name, err)
			}
			if got := c.contents(c.leader()); got != before {
				t.Fatalf("%s changed the group", name)
			}
		}
		refuse := func(*logpb.SnapshotHeader) error { return &store.Error{Code: store.Invalid} }
		if _, err := c.leader().replica.Restore(within(t, 5*time.Second), refuse, bytes.NewReader(snapshot)); !errors.Is(err, store.Invalid) {
			t.Errorf("refused by its header: %v", err)
		}
		if _, err := c.follower().replica.Restore(within(t, 5*time.Second), anySnapshot, bytes.NewReader(snapshot)); !errors.Is(err, store.NotLeader) {
			t.Errorf("at a follower: %v", err)
		}
		if _, err := c.restore(bytes.NewReader(snapshot)); err != nil {
			t.Errorf("and the sound one: %v", err)
		}
	})
}

// stalled gives a part of a snapshot and then waits until it is told to go on.
type stalled struct {
	part, rest io.Reader
	reached    chan struct{}
	goOn       chan struct{}
}

func (s *stalled) Read(b []byte) (int, error) {
	if n, err := s.part.Read(b); err == nil {
		return n, nil
	}
	select {
	case <-s.reached:
	default:
		close(s.reached)
	}
	<-s.goOn
	return s.rest.Read(b)
}

// A restore whose leader loses its seat in the middle changes nothing, and does not
// keep another from its turn. Members crash in the middle, too, and take a snapshot.
func TestRestoreIsWholeOrNotAtAll(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, frequent)
		for i := range 8 {
			c.put(fmt.Sprint("k", i), strings.Repeat("x", 300<<10))
		}
		snapshot := c.save()
		c.put("k0", "newer")
		want := c.contents(c.leader())
		half := len(snapshot) / 2
		in := &stalled{bytes.NewReader(snapshot[:half]), bytes.NewReader(snapshot[half:]), make(chan struct{}), make(chan struct{})}
		old := c.leader()
		failed := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() {
			_, err := old.replica.Restore(ctx, anySnapshot, in)
			failed <- err
		}()
		<-in.reached
		<-time.After(time.Second) // what was read has been proposed
		for _, m := range c.nodes {
			if err := m.replica.Snapshot(within(t, 10*time.Second)); err == nil {
				t.Errorf("%s took a snapshot between the pieces of a restore", m.name)
			}
		}
		follower := c.follower()
		c.start(follower.name, c.crash(follower), c.names)
		var rest []string
		for _, n := range c.names {
			if n != old.name {
				rest = append(rest, n)
			}
		}
		c.cut(old.name + "|" + strings.Join(rest, ","))
		c.leader(rest...)
		close(in.goOn)
		if err := <-failed; err == nil {
			t.Error("a leader without a majority restored the group")
		}
		c.heal()
		for _, m := range c.nodes {
			if got := c.contents(m); got != want {
				t.Errorf("%s was changed by half a restore", m.name)
			}
		}
		if out, err := c.restore(bytes.NewReader(snapshot)); err != nil || out.Epoch != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
		restored := c.contents(c.leader())
		for _, n := range c.names {
			m := c.start(n, c.crash(c.nodes[n]).CrashClone(vfs.CrashCloneCfg{}), c.names)
			c.leader()
			if got := c.contents(m); got != restored || got == want {
				t.Errorf("%s, after a power cut, holds something else", n)
			}
		}
	})
}

// halfway begins a restore at the leader that waits in its middle for goOn. The end of
// the restore arrives in ended.
func (c *cluster) halfway(snapshot []byte) (goOn func(), ended <-chan error) {
	c.t.Helper()
	half := len(snapshot) / 2
	in := &stalled{bytes.NewReader(snapshot[:half]), bytes.NewReader(snapshot[half:]), make(chan struct{}), make(chan struct{})}
	leader, done := c.leader(), make(chan error, 1)
	go func() {
		_, err := leader.replica.Restore(within(c.t, time.Minute), anySnapshot, in)
		done <- err
	}()
	<-in.reached
	<-time.After(time.Second) // what was read has been proposed
	return func() { close(in.goOn) }, done
}

// A leader may open its term more than once: when the first entry takes its time, and
// after a transfer of its seat that came to nothing.
func TestARestoreOutlivesATermThatIsOpenedAgain(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		for i := range 8 {
			c.put(fmt.Sprint("k", i), strings.Repeat("x", 300<<10))
		}
		snapshot := c.save()
		want := c.contents(c.leader())
		c.put("k0", "newer")
		goOn, ended := c.halfway(snapshot)
		c.leader().replica.Tail(3)
		goOn()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		for _, m := range c.nodes {
			if got := c.contents(m); got != want {
				t.Errorf("%s does not hold what was saved", m.name)
			}
		}
	})
}

// A leader that is elected again does not go on with what it began in another term: it is
// told that nothing was changed, and may begin anew.
func TestARestoreIsOfOneTerm(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		for i := range 8 {
			c.put(fmt.Sprint("k", i), strings.Repeat("x", 300<<10))
		}
		snapshot := c.save()
		c.put("k0", "newer")
		want := c.contents(c.leader())
		goOn, ended := c.halfway(snapshot)
		old := c.leader()
		other := c.others(old)[0]
		for _, hand := range []struct{ from, to *member }{{old, other}, {other, old}} {
			if err := hand.from.replica.Transfer(within(t, 5*time.Second), hand.to.name); err != nil {
				t.Fatal(err)
			}
			c.put("between", hand.to.name)
		}
		for _, m := range c.nodes {
			if err := m.replica.Snapshot(within(t, 10*time.Second)); err != nil {
				t.Errorf("%s takes no snapshot after the term of a restore: %v", m.name, err)
			}
		}
		goOn()
		err := <-ended
		if !errors.Is(err, store.Unavailable) || !store.AsError(err).Retryable() || !strings.Contains(err.Error(), "a term ended") || store.AsError(err).Try == "" {
			t.Errorf("the restore ended with %v", err)
		}
		if got := c.contents(c.leader()); got != "between="+old.name+" "+want {
			t.Error("half a restore has changed the group")
		}
		if out, err := c.restore(bytes.NewReader(snapshot)); err != nil || out.Epoch != 1 {
			t.Errorf("the same once more: %+v, %v", out, err)
		}
	})
}

// A receiver that takes nothing does not keep a replica from ending, and the storage
// from closing.
func TestReplicaStopsUnderASnapshotThatNobodyTakes(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		for i := range 4 {
			c.put(fmt.Sprint("k", i), strings.Repeat("x", store.MaxValue))
		}
		m := c.leader()
		out, in := io.Pipe()
		saved := make(chan error, 1)
		go func() { saved <- m.replica.Save(t.Context(), cp.Origin{}, in) }()
		if _, err := io.ReadFull(out, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		c.stop(m)
		_ = out.Close()
		if err := <-saved; err == nil {
			t.Error("half a snapshot was called whole")
		}
	})
}

// An expiry that was queued before a restore does not end the lease that the restore
// brought back: that one begins a whole TTL anew.
func TestExpiryQueuedBeforeARestoreEndsNothingAfterIt(t *testing.T) {
	const ttl = 500 * time.Millisecond
	for early := -4 * time.Millisecond; early <= 0; early += 250 * time.Microsecond {
		t.Run(early.String(), func(t *testing.T) {
			linktest.Bubble(t, func(t *testing.T) {
				c := newCluster(t, 3, nil)
				c.put("warm", "1")
				if _, err := c.write(store.Command{Op: store.Put, Key: "leased", Value: []byte("x"), TTL: ttl}); err != nil {
					t.Fatal(err)
				}
				due := time.Now().Add(ttl)
				snapshot := c.save()
				<-time.After(time.Until(due.Add(early)))
				if _, err := c.restore(bytes.NewReader(snapshot)); err != nil {
					t.Fatal(err)
				}
				<-time.After(ttl / 2)
				page, err := c.leader().replica.Read(within(t, time.Second), store.Query{Key: "leased"})
				if err != nil || len(page.Items) == 0 {
					t.Errorf("the key was gone half its TTL after the restore: %v", err)
				}
			})
		})
	}
}

// A restore that was given up, at whatever point, keeps the group from no snapshot.
func TestRestoreThatWasGivenUpLeavesSnapshotsPossible(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "v")
		snapshot := c.save()
		leader := c.leader()
		busy := func(ctx context.Context) {
			for i := range 8 {
				go func() {
					for ctx.Err() == nil {
						_, _ = leader.replica.Write(ctx, store.Command{Op: store.Put, Key: fmt.Sprint("busy", i), Value: []byte("x")})
					}
				}()
			}
		}
		for patience := time.Millisecond; patience < 6*time.Millisecond; patience += 200 * time.Microsecond {
			ctx, stop := context.WithCancel(t.Context())
			busy(ctx)
			<-time.After(10 * time.Millisecond)
			short, cancel := context.WithTimeout(t.Context(), patience)
			_, _ = leader.replica.Restore(short, anySnapshot, bytes.NewReader(snapshot))
			cancel()
			stop()
			<-time.After(3 * time.Second)
			if err := leader.replica.Snapshot(within(t, 5*time.Second)); err != nil {
				t.Fatalf("a restore was given up after %v, and then: %v", patience, err)
			}
		}
	})
}

// A session from before a restore may no more write than it may read.
func TestWriteWithATokenOfTheOldEpochIsRefused(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		result, err := c.write(store.Command{Op: store.Put, Key: "k", Value: []byte("v")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.restore(bytes.NewReader(c.save())); err != nil {
			t.Fatal(err)
		}
		if _, err := c.write(store.Command{Op: store.Put, Key: "k", Value: []byte("w"), After: result.Entry}); !errors.Is(err, store.TokenMismatch) {
			t.Errorf("%v, want TokenMismatch", err)
		}
	})
}
