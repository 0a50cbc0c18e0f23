package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// feed is the history of every group, of which each node can serve a watch. A change of
// revision n is of the key kn.
type feed struct {
	mu     sync.Mutex
	last   uint64
	oldest uint64
	more   chan struct{} // closed when last grows
	opened []string      // node@from of every watch
	after  []store.Entry
	since  []store.Entry
}

func (w *cluster) feed() *feed {
	f := &feed{last: 3, more: make(chan struct{})}
	w.each(func(n *node) {
		n.scan = func(store.GroupID, store.Query) (store.Page, error) {
			at, _ := f.state()
			return store.Page{Revision: at, Entry: revision(at)}, nil
		}
		n.watch = func(ctx context.Context, q store.WatchQuery) (store.Changes, error) { return f.open(n.name, q) }
	})
	return f
}

func (f *feed) state() (uint64, chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last, f.more
}

func (f *feed) open(node string, q store.WatchQuery) (store.Changes, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.since = append(f.since, q.Since)
	f.opened, f.after = append(f.opened, fmt.Sprintf("%s@%d", node, q.From)), append(f.after, q.After)
	if q.Since != nil {
		n, err := token.Sum(q.Since)
		if err != nil {
			return nil, err
		}
		q.From = n + 1
	}
	if q.From == 0 {
		q.From = f.last + 1
	}
	if q.From < f.oldest {
		return nil, &store.Error{Code: store.Compacted, Msg: "too late"}
	}
	return &fed{f: f, next: q.From}, nil
}

// write adds n changes.
func (f *feed) write(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last += uint64(n)
	close(f.more)
	f.more = make(chan struct{})
}

// fed is a watch of a feed. Its first n changes are followed by what end says.
type fed struct {
	f    *feed
	next uint64
	n    int
	end  func(ctx context.Context) error
}

func (c *fed) Close() {}

func (c *fed) Next(ctx context.Context) (store.Change, error) {
	quiet := time.After(time.Second)
	for {
		if c.end != nil && c.n == 0 {
			return store.Change{}, c.end(ctx)
		}
		last, more := c.f.state()
		if c.next <= last {
			c.n--
			c.next++
			return store.Change{Revision: c.next - 1, Entry: revision(c.next - 1), Events: []store.Event{{Key: fmt.Sprint("k", c.next-1)}}}, nil
		}
		select {
		case <-more:
		case <-quiet:
			return store.Change{Revision: last, Entry: revision(last)}, nil
		case <-ctx.Done():
			return store.Change{}, ctx.Err()
		}
	}
}

// ends makes every watch of a node end after n changes.
func (f *feed) ends(n *node, after int, end func(ctx context.Context) error) {
	n.watch = func(ctx context.Context, q store.WatchQuery) (store.Changes, error) {
		changes, err := f.open(n.name, q)
		if err == nil {
			changes.(*fed).n, changes.(*fed).end = after, end
		}
		return changes, err
	}
}

// wants takes the changes up to a revision and wants every one of them once, in order.
func wants(t *testing.T, w *client.Watch, from, to uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for want := from; want <= to; want++ {
		c, err := w.Next(ctx)
		must(t, err)
		if c.Revision != want || len(c.Events) != 1 || c.Events[0].Key != fmt.Sprint("k", want) {
			t.Fatalf("change %+v, want that of revision %d", c, want)
		}
	}
}

var everything = store.WatchQuery{All: true}

func TestWatchReturnsEveryChangeOnceWhateverBecomesOfItsStreams(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		f := w.feed()
		var kinds atomic.Int32
		w.each(func(n *node) {
			f.ends(n, 5, func(ctx context.Context) error {
				switch kinds.Add(1) % 3 {
				case 0: // it says so
					return &store.Error{Code: store.Unavailable, Msg: "no proof"}
				case 1: // it breaks
					n.cut()
				default: // it says nothing
					<-ctx.Done()
				}
				return errors.New("nobody hears this")
			})
		})
		watch, err := w.keyspace().Watch(t.Context(), everything)
		must(t, err)
		defer watch.Close()
		f.write(40)
		wants(t, watch, 4, 43)
		go func() {
			for range 60 {
				f.write(1)
				time.Sleep(300 * time.Millisecond)
			}
		}()
		wants(t, watch, 44, 103)
		if n := kinds.Load(); n < 15 {
			t.Errorf("only %d streams ended", n)
		}
	})
}

func TestWatchMissesNothingWhenItsFirstStreamSaysNothing(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		f := w.feed()
		watch, err := w.keyspace().Watch(t.Context(), everything)
		must(t, err)
		defer watch.Close()
		w.each(func(n *node) { n.unreachable(refused) })
		f.write(5)
		time.Sleep(10 * time.Second)
		w.each(func(n *node) { n.unreachable(nil) })
		began := time.Now()
		wants(t, watch, 4, 8)
		if d := time.Since(began); d > 4*time.Second {
			t.Errorf("it came back after %v", d)
		}
	})
}

// A replica that lags behind must know how far the watch was: it waits, or refuses.
func TestWatchGoesOnWithWhatItHasSeen(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		f := w.feed()
		watch, err := w.keyspace().Watch(t.Context(), store.WatchQuery{Key: "k", From: 2})
		must(t, err)
		defer watch.Close()
		f.write(3)
		wants(t, watch, 2, 6)
		w.each(func(n *node) { n.cut() })
		f.write(1)
		wants(t, watch, 7, 7)
		last := len(f.opened) - 1
		if f.opened[0][2:] != "@2" || f.opened[last][2:] != "@7" || string(f.after[last]) != string(revision(6)) {
			t.Errorf("watches were opened as %v, after %v", f.opened, f.after)
		}
	})
}

func TestWatchGoesToAnotherNode(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		f := w.feed()
		w.each(func(n *node) {
			f.ends(n, 1, func(context.Context) error { return store.Unavailable })
		})
		watch, err := w.keyspace().Watch(t.Context(), everything)
		must(t, err)
		defer watch.Close()
		f.write(20)
		wants(t, watch, 4, 23)
		for i := range f.opened[1:] {
			if f.opened[i][:2] == f.opened[i+1][:2] {
				t.Errorf("it came back to the node that had just ended it: %v", f.opened)
			}
		}
	})
}

func TestWatchDoesNotPressNodesThatEndIt(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		f := w.feed()
		w.each(func(n *node) { f.ends(n, 0, func(context.Context) error { return store.Unavailable }) })
		watch, err := w.keyspace().Watch(t.Context(), everything)
		must(t, err)
		time.Sleep(time.Minute)
		watch.Close()
		if n := len(f.opened); n > 300 {
			t.Errorf("%d attempts in a minute", n)
		}
	})
}

func TestWatchLeavesASilentNode(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		f := w.feed()
		c := w.open(func(cfg *client.Config) { cfg.Near = "n2" })
		f.ends(w.nodes["n2"], 2, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		watch, err := c.Keyspace("ks").Watch(t.Context(), everything)
		must(t, err)
		defer watch.Close()
		f.write(4)
		began := time.Now()
		wants(t, watch, 4, 7)
		if d := time.Since(began); d > 6*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

func TestWatchEndsWithAnAnswerThatNothingHelps(t *testing.T) {
	for _, code := range []store.Code{store.Compacted, store.NoSuchKeyspace, store.TokenMismatch, store.Denied, store.Invalid} {
		world(t, store.CP, func(t *testing.T, w *cluster) {
			f := w.feed()
			w.each(func(n *node) {
				f.ends(n, 2, func(context.Context) error { return &store.Error{Code: code, Msg: "so it is"} })
			})
			watch, err := w.keyspace().Watch(t.Context(), everything)
			must(t, err)
			f.write(5)
			wants(t, watch, 4, 5)
			for range 2 {
				_, err = watch.Next(t.Context())
				wantCode(t, err, code)
			}
			watch.Close()
			if len(f.opened) != 1 {
				t.Errorf("%v: %v", code, f.opened)
			}
		})
	}
}

func TestWatchThatIsTooLateIsCompacted(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		f := w.feed()
		f.oldest = 3
		_, err := w.keyspace().Watch(t.Context(), store.WatchQuery{All: true, From: 2})
		wantCode(t, err, store.Compacted)
		if e := store.AsError(err); e.Op != "watch" || e.Keyspace != "ks" || e.Node == "" {
			t.Errorf("it does not say where: %+v", e)
		}
	})
}

func TestSessionCoversAChangeOnceItWasReturned(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		f, asked := w.feed(), w.asked()
		c := w.open(nil)
		ks, s := c.Keyspace("ks"), c.NewSession()
		watch, err := ks.Watch(t.Context(), everything, client.In(s))
		must(t, err)
		defer watch.Close()
		f.write(3)
		synctest.Wait() // the first has arrived, and nobody took it
		look := func(want store.Entry) {
			t.Helper()
			probe, err := c.ResumeSession(s.Token())
			must(t, err)
			_, err = ks.Get(t.Context(), "k", client.In(probe), client.At(client.Causal))
			must(t, err)
			if got := (*asked)[len(*asked)-1]; string(got) != string(want) {
				t.Errorf("the session knows %v, want %v", got, want)
			}
		}
		look(nil)
		wants(t, watch, 4, 5)
		look(revision(5))
	})
}

func TestWatchOfSeveralGroups(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.sharded(3)
		f, ks := w.feed(), w.keyspace()
		watch, err := ks.Watch(t.Context(), store.WatchQuery{Prefix: "k"})
		must(t, err)
		f.write(10)
		last := map[uint32]uint64{}
		for range 30 {
			c, err := watch.Next(t.Context())
			if must(t, err); last[c.Group.Shard] != 0 && c.Revision != last[c.Group.Shard]+1 {
				t.Errorf("group %v went from %d to %d", c.Group, last[c.Group.Shard], c.Revision)
			}
			last[c.Group.Shard] = c.Revision
		}
		if watch.Close(); len(last) != 3 || last[0] != 13 || last[1] != 13 || last[2] != 13 {
			t.Errorf("groups came to %v", last)
		}
		_, err = ks.Watch(t.Context(), store.WatchQuery{Prefix: "k", From: 4})
		wantCode(t, err, store.Invalid)
		for _, q := range []store.WatchQuery{{Key: "k", From: 4}, {Prefix: "{u1}/", From: 4}} {
			one, err := ks.Watch(t.Context(), q)
			must(t, err)
			one.Close()
		}
	})
}

func TestNoticesOfProgressAreForThoseWhoAsk(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		f := w.feed()
		watch, err := w.keyspace().Watch(t.Context(), everything, client.Progress())
		must(t, err)
		defer watch.Close()
		var got []uint64
		for range 3 {
			c, err := watch.Next(t.Context())
			if must(t, err); len(c.Events) > 0 != (len(got) == 1) {
				t.Errorf("change %d is %+v", len(got), c)
			}
			if got = append(got, c.Revision); len(got) == 1 {
				f.write(1)
			}
		}
		if want := []uint64{3, 4, 4}; !slices.Equal(got, want) {
			t.Errorf("revisions %v, want %v", got, want)
		}
	})
}

func TestWatchEndsWithItsContextItsCloseAndItsClient(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.feed()
		c := w.open(nil)
		ends := map[string]func(cancel func(), watch *client.Watch){
			"context": func(cancel func(), _ *client.Watch) { cancel() },
			"close":   func(_ func(), watch *client.Watch) { watch.Close() },
			"client":  func(func(), *client.Watch) { must(t, c.Close()) },
		}
		for _, name := range []string{"context", "close", "client"} {
			ctx, cancel := context.WithCancel(t.Context())
			watch, err := c.Keyspace("ks").Watch(ctx, everything)
			must(t, err)
			short, stop := context.WithTimeout(t.Context(), time.Second)
			_, err = watch.Next(short)
			stop()
			wantCode(t, err, store.Unavailable)
			ends[name](cancel, watch)
			_, err = watch.Next(t.Context())
			wantCode(t, err, store.Unavailable)
			watch.Close()
			cancel()
		}
	})
}

func TestWatchThatNobodyServesIsUnavailable(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		f := w.feed()
		w.each(func(n *node) {
			n.watch = func(context.Context, store.WatchQuery) (store.Changes, error) { return nil, store.Unavailable }
		})
		began := time.Now()
		_, err := w.keyspace().Watch(t.Context(), everything, client.WithTimeout(3*time.Second))
		wantCode(t, err, store.Unavailable)
		if time.Since(began) > 3*time.Second || len(f.opened) != 0 {
			t.Errorf("it took %v", time.Since(began))
		}
	})
}

func TestWatchDoesNotGoOnAtAnotherKeyspaceOfTheName(t *testing.T) {
	for _, at := range []string{"", "n2"} {
		world(t, store.CP, func(t *testing.T, w *cluster) {
			f := w.feed()
			watch, err := w.open(func(cfg *client.Config) { cfg.At = at }).Keyspace("ks").Watch(t.Context(), everything)
			must(t, err)
			defer watch.Close()
			f.write(1)
			wants(t, watch, 4, 4)
			w.change(func(top *shard.Topology) {
				again := top.Keyspaces[0]
				again.ID = 8
				top.Keyspaces, top.Revision = []shard.Keyspace{again}, top.Revision+1
			})
			w.each(func(n *node) { n.cut() })
			f.write(1)
			_, err = watch.Next(t.Context())
			wantCode(t, err, store.NoSuchKeyspace)
		})
	}
}
