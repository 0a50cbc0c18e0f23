package client_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// What a client is given that does not work: each has a clear error. Those in a bubble
// fail if a goroutine is left.

func TestSeedsThatAreDownAreUnavailableAtTheDeadline(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.each(func(n *node) { n.unreachable(refused) })
		began := time.Now()
		_, err := w.keyspace().Get(t.Context(), "k", client.WithTimeout(time.Second))
		wantCode(t, err, store.Unavailable)
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
		if !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("it does not say why: %v", err)
		}
	})
}

// A node that was told the address of another cluster is not asked for anything.
func TestNodeOfAnotherClusterIsRefused(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		c := w.open(nil)
		_, err := c.Topology(t.Context())
		must(t, err)
		w.change(func(t *shard.Topology) { t.Cluster = strings.Repeat("ab", 16) })
		_, err = c.Topology(t.Context())
		wantCode(t, err, store.Unavailable)
		if !strings.Contains(err.Error(), "another cluster") {
			t.Errorf("it does not say why: %v", err)
		}
	})
}

// stranger listens on a socket, and speaks something else than a node.
func stranger(t *testing.T, kind string) string {
	t.Helper()
	if kind == "silent" {
		l, err := net.Listen("tcp", "127.0.0.1:0") // the system takes connections, and nobody reads
		must(t, err)
		t.Cleanup(func() { _ = l.Close() })
		return l.Addr().String()
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if kind == "TLS" {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestSeedsThatSpeakSomethingElseAreUnavailable(t *testing.T) {
	for _, kind := range []string{"HTTP", "TLS", "silent"} {
		t.Run(kind, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, before) })
			c, err := client.Open(t.Context(), client.Config{Seeds: []string{stranger(t, kind)}})
			must(t, err)
			_, err = c.Keyspace("ks").Get(t.Context(), "k", client.WithTimeout(300*time.Millisecond))
			wantCode(t, err, store.Unavailable)
			_, err = c.Keyspace("ks").Put(t.Context(), "k", value, client.WithTimeout(300*time.Millisecond))
			wantCode(t, err, store.Unavailable)
			if store.AsError(err).MaybeApplied() {
				t.Errorf("nothing was sent, and %v", err)
			}
			must(t, c.Close())
		})
	}
}

// One seed that answers is enough, whatever the others are.
func TestOneGoodSeedIsEnough(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.nodes["n1"].unreachable(refused)
		c := w.open(func(cfg *client.Config) { cfg.Seeds = []string{"nosuch", "n1", "n3"} })
		_, err := c.Keyspace("ks").Get(t.Context(), "k")
		must(t, err)
	})
}

func TestDeadlineThatIsOverSendsNothing(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		asked := new(atomic.Int64)
		w.each(func(n *node) {
			n.read = func(context.Context, store.Query) (store.Page, error) {
				asked.Add(1)
				return store.Page{}, nil
			}
		})
		c := w.open(nil)
		_, err := c.Topology(t.Context())
		must(t, err)
		over, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		ks := c.Keyspace("ks")
		for what, call := range map[string]func() error{
			"get":   func() error { _, err := ks.Get(over, "k"); return err },
			"put":   func() error { _, err := ks.Put(over, "k", value); return err },
			"count": func() error { _, err := ks.Count(over, store.Query{}); return err },
			"lock":  func() error { _, err := ks.Lock(over, "k", time.Minute); return err },
			"watch": func() error { _, err := ks.Watch(over, store.WatchQuery{Key: "k"}); return err },
			"list":  func() error { _, err := ks.Get(over, "k", strongElseEventual); return err },
			"scan": func() error {
				for _, err := range ks.Scan(over, store.Query{}) {
					return err
				}
				return nil
			},
		} {
			if err := call(); !errors.Is(err, store.Unavailable) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if asked.Load() > 0 || len(w.writes()) > 0 {
			t.Errorf("%d reads and %d writes were sent", asked.Load(), len(w.writes()))
		}
	})
}

func TestTokenFromBeforeARestoreIsRefused(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.change(func(t *shard.Topology) { t.Epoch = 2 })
		old := token.Token{Cluster: clusterID, Epoch: 1}
		must(t, old.Read(group, revision(1)))
		c := w.open(nil)
		s, err := c.ResumeSession(old.String())
		must(t, err)
		_, err = c.Keyspace("ks").Put(t.Context(), "k", value, client.In(s))
		wantCode(t, err, store.TokenMismatch)
		_, err = c.AdmitSession(t.Context(), old.String())
		wantCode(t, err, store.TokenMismatch)
		if w.puts() != "" {
			t.Errorf("%s was written", w.puts())
		}
	})
}

// A list of which no step can be served ends with the error of the last, within the call's
// time; one whose first step can never be served at all says that.
func TestListThatCannotBeServedSaysWhy(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.each(func(n *node) {
			n.read = func(context.Context, store.Query) (store.Page, error) { return store.Page{}, store.Unavailable }
		})
		ks := w.keyspace()
		began := time.Now()
		_, err := ks.Get(t.Context(), "k", client.WithTimeout(time.Second), client.Prefer(
			client.Try(client.Strong, 100*time.Millisecond), client.Try(client.Eventual, 100*time.Millisecond), client.LastSeen(time.Minute)))
		wantCode(t, err, store.Unavailable)
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
		w.each(func(n *node) {
			n.read = func(context.Context, store.Query) (store.Page, error) { return store.Page{}, store.LevelUnsupported }
		})
		_, err = ks.Get(t.Context(), "k", strongElseEventual)
		wantCode(t, err, store.LevelUnsupported)
	})
}

// A node whose code fails while it serves a watch is left for another; one who follows
// changes and panics leaves nothing behind.
func TestPanicInAWatchLeavesNothingBehind(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		f := w.feed()
		w.nodes["n1"].watch = func(context.Context, store.WatchQuery) (store.Changes, error) { panic("a bug") }
		ks, _ := w.near(nil)
		watch, err := ks.Watch(t.Context(), store.WatchQuery{Prefix: "k"})
		must(t, err)
		defer watch.Close()
		f.write(1)
		change, err := watch.Next(within(t, 10*time.Second))
		must(t, err)
		if change.Revision != 4 {
			t.Errorf("it is %+v", change)
		}
		defer func() {
			if recover() == nil {
				t.Error("nobody heard of the panic")
			}
		}()
		for _, err := range ks.Observe(t.Context(), "job") {
			panic(err)
		}
	})
}
