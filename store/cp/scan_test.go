package cp_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// pages reads a scan to its end and calls between after each page but the last.
func (m *member) pages(t *testing.T, q store.Query, between func()) (all []store.Page) {
	t.Helper()
	for {
		page, err := m.replica.Read(within(t, 10*time.Second), q)
		if err != nil {
			t.Fatalf("%s: page %d of %+v: %v", m.name, len(all)+1, q, err)
		}
		if all = append(all, page); page.Next == "" {
			return all
		}
		q.Page = page.Next
		if between != nil {
			between()
		}
	}
}

func items(pages []store.Page) (all []store.Item) {
	for _, p := range pages {
		all = append(all, p.Items...)
	}
	return all
}

func keysOf(items []store.Item) (keys []string) {
	for _, i := range items {
		keys = append(keys, i.Key)
	}
	return keys
}

// refusedPage wants a page token to be refused.
func refusedPage(t *testing.T, m *member, q store.Query, page string, want store.Code) {
	t.Helper()
	q.Page = page
	_, err := m.replica.Read(within(t, time.Second), q)
	if e := store.AsError(err); !errors.Is(err, want) || e.Try == "" {
		t.Errorf("%s: %v, want %v and what to try", m.name, err, want)
	}
}

func TestScanShowsWhatItsRangeHolds(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		keys := []string{"a", "a\x00", "b", "p", "p/", "p/0", "p/00", "p/1", "p/é", "p/日本", "p0", "q", "z\U0010ffff", "é"}
		for _, i := range rand.Perm(len(keys)) {
			c.put(keys[i], "value of "+keys[i])
		}
		m := c.leader()
		bounds := append([]string{"", "\xff", "p/\xff", "zz"}, keys...)
		rng := rand.New(rand.NewPCG(1, 2))
		pick := func() string { return bounds[rng.IntN(len(bounds))] }
		for range 400 {
			q := store.Query{Limit: 1 + rng.IntN(6), Level: store.Eventual, Reverse: rng.IntN(2) == 0, KeysOnly: rng.IntN(3) == 0}
			for _, field := range []*string{&q.Key, &q.To, &q.Prefix} {
				if rng.IntN(3) == 0 {
					*field = pick()
				}
			}
			want := slices.DeleteFunc(slices.Clone(keys), func(k string) bool {
				return k < q.Key || q.To != "" && k >= q.To || !strings.HasPrefix(k, q.Prefix)
			})
			counted := q
			counted.Count = true
			if page, err := m.replica.Read(within(t, time.Second), counted); err != nil || page.Count != uint64(len(want)) || page.Items != nil || page.Next != "" {
				t.Errorf("count of %+v: %+v, %v, want %d", q, page, err, len(want))
			}
			if q.Reverse {
				slices.Reverse(want)
			}
			pages := m.pages(t, q, nil)
			got := items(pages)
			if !slices.Equal(keysOf(got), want) || len(pages) != max(1, (len(want)+q.Limit-1)/q.Limit) {
				t.Fatalf("%+v: %q in %d pages, want %q", q, keysOf(got), len(pages), want)
			}
			for _, item := range got {
				if value := item.Values; q.KeysOnly != (value == nil) || value != nil && string(value[0]) != "value of "+item.Key {
					t.Fatalf("%+v: %+v", q, item)
				}
			}
		}
		<-time.After(6 * time.Second)
		if n := m.replica.Pins(); n != 0 {
			t.Errorf("%d views are kept six seconds after the end of every scan", n)
		}
	})
}

func TestItemTellsItsRevisionsVersionAndLease(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		first := c.put("k", "1")
		granted, err := c.write(store.Command{Op: store.Grant, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		second, err := c.write(store.Command{Op: store.Put, Key: "k", Value: []byte("2"), Lease: granted.Lease})
		if err != nil {
			t.Fatal(err)
		}
		want := store.Item{Key: "k", Revision: second.Revision, Created: first.Revision, Version: 2, Lease: granted.Lease}
		for _, q := range []store.Query{{Key: "k"}, {Limit: 1}, {Limit: 1, KeysOnly: true}} {
			page, err := c.leader().replica.Read(within(t, time.Second), q)
			if err != nil || len(page.Items) != 1 {
				t.Fatalf("%+v: %v, %v", q, page, err)
			}
			got := page.Items[0]
			got.Values = nil
			if fmt.Sprint(got) != fmt.Sprint(want) || page.Revision != second.Revision {
				t.Errorf("%+v: %+v at %d, want %+v at %d", q, got, page.Revision, want, second.Revision)
			}
		}
	})
}

func TestAllPagesOfAScanAreOfOneRevision(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		for i := range 20 {
			c.put(fmt.Sprintf("k%02d", i), "before")
		}
		for _, m := range []*member{c.leader(), c.follower()} {
			for _, back := range []bool{false, true} {
				revision := c.put("k00", "before").Revision
				n := 0
				pages := m.pages(t, store.Query{Limit: 3, Reverse: back}, func() {
					for i := range 20 { // values, deletes and new keys, before and behind the scan
						c.put(fmt.Sprintf("k%02d", i), "after")
					}
					if _, err := c.write(store.Command{Op: store.Delete, Key: fmt.Sprintf("k%02d", 19-n)}); err != nil {
						t.Fatal(err)
					}
					c.put(fmt.Sprintf("k%02d+%d", n, n), "new")
					n++
				})
				for i, p := range pages {
					if p.Revision != revision || string(p.Entry) != string(pages[0].Entry) {
						t.Errorf("%s: page %d is of revision %d, the scan of %d", m.name, i+1, p.Revision, revision)
					}
				}
				got := items(pages)
				if len(got) != 20 || slices.ContainsFunc(got, func(i store.Item) bool { return string(i.Values[0]) != "before" }) {
					t.Errorf("%s: %d items: %q", m.name, len(got), keysOf(got))
				}
				for _, key := range keysOf(items(m.pages(t, store.Query{Limit: 100}, nil))) {
					if _, err := c.write(store.Command{Op: store.Delete, Key: key}); err != nil {
						t.Fatal(err)
					}
				}
				for i := range 20 {
					c.put(fmt.Sprintf("k%02d", i), "before")
				}
			}
		}
	})
}

// A snapshot from the leader puts another generation of the state in place of the one
// a scan reads.
func TestScanGoesOnAcrossTheInstallOfASnapshot(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, frequent)
		for i := range 10 {
			c.put(fmt.Sprintf("k%d", i), "before")
		}
		away := c.follower()
		q := store.Query{Limit: 4}
		first, err := away.replica.Read(within(t, time.Second), q)
		if err != nil {
			t.Fatal(err)
		}
		c.rules(link.Isolate(away.name, c.names))
		var rest []string
		for _, name := range c.names {
			if name != away.name {
				rest = append(rest, name)
			}
		}
		leader := c.leader(rest...).replica
		for i := range 200 {
			if _, err := leader.Write(within(t, time.Second), store.Command{Op: store.Put, Key: fmt.Sprintf("k%d", i%10), Value: []byte("after")}); err != nil {
				t.Fatal(err)
			}
		}
		if err := leader.Snapshot(within(t, 5*time.Second)); err != nil {
			t.Fatal(err)
		}
		generation := away.replica.Generation()
		c.heal()
		if got, err := away.get(within(t, 10*time.Second), "k0", store.Strong); err != nil || got != "after" {
			t.Fatalf("%q, %v", got, err)
		}
		if away.replica.Generation() == generation {
			t.Fatal("no snapshot was installed: this run shows nothing")
		}
		q.Page = first.Next
		rest2 := away.pages(t, q, nil)
		got := append(first.Items, items(rest2)...)
		if len(got) != 10 || slices.ContainsFunc(got, func(i store.Item) bool { return string(i.Values[0]) != "before" }) || rest2[0].Revision != first.Revision {
			t.Errorf("%d items: %v", len(got), got)
		}
	})
}

func TestPageTokenIsOfOneScanAtOneNode(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		for i := range 5 {
			c.put(fmt.Sprint("k", i), "v")
		}
		c.put("b", "below the range")
		c.put("n", "above it")
		m, other := c.leader(), c.follower()
		q := store.Query{Limit: 2, Prefix: "k"}
		page, err := m.replica.Read(within(t, time.Second), q)
		if err != nil || page.Next == "" {
			t.Fatalf("%+v, %v", page, err)
		}
		for _, garbage := range []string{"x", "????", page.Next[:12], page.Next[1:], token.Page{}.Encode()} {
			refusedPage(t, m, q, garbage, store.Invalid)
		}
		for _, another := range []store.Query{
			{Limit: 2}, {Limit: 2, Prefix: "k", Key: "k1"}, {Limit: 2, Prefix: "k", To: "k9"}, {Limit: 2, Prefix: "k", Reverse: true},
			{Limit: 2, Prefix: "k", KeysOnly: true}, {Limit: 2, Prefix: "k", Count: true}, {Limit: 2, Key: "k"},
		} {
			refusedPage(t, m, another, page.Next, store.Invalid)
		}
		refusedPage(t, other, q, page.Next, store.Compacted)
		at, err := token.ParsePage(page.Next)
		if err != nil {
			t.Fatal(err)
		}
		at.View++
		refusedPage(t, m, q, at.Encode(), store.Compacted)

		// A made-up key stays in the range; the limit and the level may change.
		for key, want := range map[string]int{"": 5, "a": 5, "k3": 2, "z": 0} {
			at, _ := token.ParsePage(page.Next)
			at.Key = key
			again, err := m.replica.Read(within(t, time.Second), store.Query{Limit: 9, Prefix: "k", Level: store.Eventual, Page: at.Encode()})
			if err != nil || len(again.Items) != want {
				t.Errorf("from %q: %q, %v", key, keysOf(again.Items), err)
			}
			// That was the end of the scan. Whoever lost the answer may ask again, for a
			// moment; then the view is gone.
			if twice, err := m.replica.Read(within(t, time.Second), store.Query{Limit: 9, Prefix: "k", Page: at.Encode()}); err != nil || len(twice.Items) != want {
				t.Errorf("the last page again: %q, %v", keysOf(twice.Items), err)
			}
			<-time.After(6 * time.Second)
			if n := m.replica.Pins(); n != 0 {
				t.Errorf("%d views are kept six seconds after the end", n)
			}
			refusedPage(t, m, q, page.Next, store.Compacted)
			if page, err = m.replica.Read(within(t, time.Second), q); err != nil {
				t.Fatal(err)
			}
		}
		back := store.Query{Limit: 9, Prefix: "k", Reverse: true}
		for key, want := range map[string]int{"z": 5, "k3": 3, "a": 0} {
			begun := back
			begun.Limit, begun.Page = 1, ""
			first, err := m.replica.Read(within(t, time.Second), begun)
			if err != nil {
				t.Fatal(err)
			}
			at, _ := token.ParsePage(first.Next)
			at.Key = key
			back.Page = at.Encode()
			again, err := m.replica.Read(within(t, time.Second), back)
			if err != nil || len(again.Items) != want {
				t.Errorf("back from %q: %q, %v", key, keysOf(again.Items), err)
			}
		}
		// A page may be asked for again.
		q.Page = page.Next
		for range 3 {
			again, err := m.replica.Read(within(t, time.Second), q)
			if err != nil || !slices.Equal(keysOf(again.Items), []string{"k2", "k3"}) {
				t.Errorf("%q, %v", keysOf(again.Items), err)
			}
		}
		name := m.name
		m = c.start(name, c.crash(m), c.names)
		refusedPage(t, m, q, page.Next, store.Compacted)
	})
}

func TestViewIsKeptForAMinuteAfterItsLastPage(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		for i := range 9 {
			c.put(fmt.Sprint("k", i), "v")
		}
		m := c.leader()
		first, err := m.replica.Read(within(t, time.Second), store.Query{Limit: 2})
		if err != nil {
			t.Fatal(err)
		}
		idle, err := m.replica.Read(within(t, time.Second), store.Query{Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		next := first.Next
		for range 3 {
			<-time.After(59 * time.Second)
			page, err := m.replica.Read(within(t, time.Second), store.Query{Limit: 2, Page: next})
			if err != nil {
				t.Fatal(err)
			}
			next = page.Next
		}
		refusedPage(t, m, store.Query{Limit: 3}, idle.Next, store.Compacted)
		if n := m.replica.Pins(); n != 1 {
			t.Errorf("%d views are kept, one scan goes on", n)
		}
		<-time.After(time.Minute + time.Millisecond)
		if n := m.replica.Pins(); n != 0 {
			t.Errorf("%d views are kept, no scan goes on", n)
		}
		refusedPage(t, m, store.Query{Limit: 2}, next, store.Compacted)
	})
}

func TestOldestViewMakesRoomAndAllEndWithTheReplica(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		const most = 128
		c := newCluster(t, 1, nil)
		for i := range 3 {
			c.put(fmt.Sprint("k", i), "v")
		}
		m := c.leader()
		var tokens []string
		for i := range most + 3 {
			page, err := m.replica.Read(within(t, time.Second), store.Query{Limit: 1})
			if err != nil {
				t.Fatal(err)
			}
			tokens = append(tokens, page.Next)
			if i == most-1 { // the oldest is used again
				if page, err = m.replica.Read(within(t, time.Second), store.Query{Limit: 1, Page: tokens[0]}); err != nil {
					t.Fatal(err)
				}
				tokens[0] = page.Next
			}
		}
		if n := m.replica.Pins(); n != most {
			t.Errorf("%d views are kept", n)
		}
		for i, page := range tokens {
			if i >= 1 && i <= 3 {
				refusedPage(t, m, store.Query{Limit: 1}, page, store.Compacted)
			} else if _, err := m.replica.Read(within(t, time.Second), store.Query{Limit: 1, Page: page}); err != nil {
				t.Errorf("scan %d: %v", i, err)
			}
		}
		c.stop(m) // the engine panics when it is closed under a view
	})
}

func TestPageIsCutByBytes(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		large := strings.Repeat("x", 300<<10)
		for i := range 8 {
			c.put(fmt.Sprint("k", i), large)
		}
		c.put("k9", strings.Repeat("x", store.MaxValue))
		for _, back := range []bool{false, true} {
			var sizes []int
			pages := c.leader().pages(t, store.Query{Limit: 100, Reverse: back}, nil)
			for _, p := range pages {
				sizes = append(sizes, len(p.Items))
			}
			want := []int{3, 3, 2, 1}
			if back {
				want = []int{1, 3, 3, 2}
			}
			if !slices.Equal(sizes, want) || len(items(pages)) != 9 {
				t.Errorf("reverse %v: pages of %v items, want %v", back, sizes, want)
			}
		}
		if pages := c.leader().pages(t, store.Query{Limit: 100, KeysOnly: true}, nil); len(pages) != 1 {
			t.Errorf("%d pages of keys only", len(pages))
		}
	})
}

func TestLaterPageWaitsForNothingAndTellsTheLevelOfTheFirst(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		for i := range 6 {
			c.put(fmt.Sprint("k", i), "v")
		}
		m := c.follower()
		first, err := m.replica.Read(within(t, time.Second), store.Query{Limit: 2, Level: store.Quorum})
		if err != nil || first.Proof.WaitedFor == "" {
			t.Fatalf("%+v, %v", first.Proof, err)
		}
		c.rules(link.Isolate(m.name, c.names))
		<-time.After(10 * time.Second)
		began := time.Now()
		second, err := m.replica.Read(within(t, time.Second), store.Query{Limit: 2, Level: store.Quorum, Page: first.Next})
		if err != nil || time.Since(began) != 0 {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		p := second.Proof
		if p.Asked != store.Quorum || p.Served != store.Strong || p.WaitedFor != "" || p.Waited != 0 || !p.Fresh || p.Staleness < 10*time.Second || p.Staleness > 11*time.Second {
			t.Errorf("%+v", p)
		}
	})
}

func TestLeasesAreListedInOrder(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		var ids []uint64
		for i := range 5 {
			res, err := c.write(store.Command{Op: store.Grant, TTL: time.Duration(i+1) * time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, res.Lease)
			for k := range i {
				if _, err := c.write(store.Command{Op: store.Put, Key: fmt.Sprintf("k%d/%d", i, k), Lease: res.Lease}); err != nil {
					t.Fatal(err)
				}
			}
		}
		<-time.After(10 * time.Second)
		for _, m := range []*member{c.leader(), c.follower()} {
			var got []store.Lease
			for _, p := range m.pages(t, store.Query{Leases: true, Limit: 2}, nil) {
				got = append(got, p.Leases...)
			}
			for i, l := range got {
				ttl := time.Duration(i+1) * time.Minute
				if l.ID != ids[i] || l.TTL != ttl || l.Keys != uint64(i) {
					t.Errorf("%s: lease %d: %+v", m.name, i, l)
				}
				switch leads := m == c.leader(); {
				case leads && (l.Remaining > ttl-10*time.Second || l.Remaining < ttl-11*time.Second), !leads && l.Remaining != 0:
					t.Errorf("%s: lease %d has %v of %v left", m.name, i, l.Remaining, ttl)
				}
			}
			if len(got) != 5 {
				t.Errorf("%s: %d leases", m.name, len(got))
			}
		}
	})
}

// A scan under way when the replica stops is finished or refused; the engine is closed
// only then.
func TestReplicaStopsUnderScans(t *testing.T) {
	c := newCluster(t, 1, nil)
	for i := range 300 {
		c.put(fmt.Sprintf("k%03d", i), strings.Repeat("v", 1000))
	}
	m := c.leader()
	ended := make(chan error, 8)
	for range cap(ended) {
		go func() {
			for {
				page, err := m.replica.Read(t.Context(), store.Query{Limit: store.MaxPage, Level: store.Eventual})
				if err != nil || len(page.Items) != 300 {
					ended <- err
					return
				}
			}
		}()
	}
	<-time.After(20 * time.Millisecond)
	c.stop(m)
	for range cap(ended) {
		if err := <-ended; !errors.Is(err, store.Unavailable) {
			t.Errorf("a scan ended with %v", err)
		}
	}
}
