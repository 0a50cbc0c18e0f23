package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// serving makes all nodes answer reads at these levels, and hang at any other.
func (w *cluster) serving(t *testing.T, levels ...store.Level) {
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	synctest.Wait() // for requests that nobody waits for any more
	w.each(func(n *node) {
		n.read = func(_ context.Context, q store.Query) (store.Page, error) {
			for _, l := range levels {
				if q.Level == l {
					return store.Page{
						Items: []store.Item{{Key: q.Key, Values: [][]byte{[]byte("at " + l.String())}}}, Entry: revision(3),
						Proof: store.Proof{Node: n.name, Group: group, Asked: q.Level, Served: q.Level},
					}, nil
				}
			}
			<-end
			return store.Page{}, store.Unavailable
		}
	})
}

var strongElseEventual = client.Prefer(client.Try(client.Strong, 20*time.Millisecond), client.Try(client.Eventual, 5*time.Millisecond))

func TestBestStepThatAnswersIsServedAndMarked(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		var told []string
		ks := w.open(func(cfg *client.Config) {
			cfg.Observe.Fallback = func(e client.FallbackEvent) { told = append(told, e.Keyspace+" "+string(e.Kind)) }
		}).Keyspace("ks")
		w.serving(t, client.Strong, client.Eventual)
		item, err := ks.Get(t.Context(), "k", strongElseEventual)
		must(t, err)
		if string(item.Value) != "at strong" || item.Degraded || item.Proof.Degraded || item.Fallback != "" {
			t.Errorf("the best: %+v", item)
		}
		w.serving(t, client.Eventual)
		began := time.Now()
		item, err = ks.Get(t.Context(), "k", strongElseEventual)
		must(t, err)
		p := item.Proof
		if string(item.Value) != "at eventual" || !item.Degraded || item.Fallback != client.FallbackLevel || !p.Degraded || p.Asked != client.Strong || p.Served != client.Eventual {
			t.Errorf("the second: %+v", item)
		}
		if time.Since(began) != 20*time.Millisecond || strings.Join(told, ",") != "ks level" {
			t.Errorf("after %v; told %v", time.Since(began), told)
		}
		w.serving(t)
		item, err = ks.Get(t.Context(), "k", strongElseEventual)
		wantCode(t, err, store.Unavailable)
		if time.Since(began) != 45*time.Millisecond || item.Found || item.Degraded {
			t.Errorf("nobody: %+v after %v", item, time.Since(began))
		}
	})
}

// A step that is no weaker than the first is no degradation.
func TestStepOfTheSameLevelIsNotDegraded(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.serving(t, client.Strong)
		item, err := w.keyspace().Get(t.Context(), "k", client.Prefer(client.Try(client.Causal, time.Millisecond), client.Try(client.Strong, 0)))
		must(t, err)
		if item.Degraded || item.Proof.Served != client.Strong {
			t.Errorf("it is %+v", item)
		}
	})
}

func TestWhatIsCertainIsNotHidden(t *testing.T) {
	for _, code := range []store.Code{store.TokenMismatch, store.LevelUnsupported, store.WritesLost, store.NoSuchKeyspace, store.Corrupt} {
		world(t, store.CP, func(t *testing.T, w *cluster) {
			w.each(func(n *node) {
				n.read = func(context.Context, store.Query) (store.Page, error) { return store.Page{}, code }
			})
			_, err := w.keyspace().Get(t.Context(), "k", client.Prefer(client.Try(client.Strong, 0), client.Static(value)))
			wantCode(t, err, code)
		})
	}
}

func TestLastSeenHasAnAge(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		list := client.Prefer(client.Try(client.Strong, 10*time.Millisecond), client.LastSeen(time.Minute))
		ks := w.keyspace()
		w.serving(t, client.Strong)
		item, err := ks.Get(t.Context(), "k", list)
		must(t, err)
		item.Value[0] = 'X' // it is the caller's
		w.serving(t)
		time.Sleep(30 * time.Second)
		item, err = ks.Get(t.Context(), "k", list)
		must(t, err)
		if string(item.Value) != "at strong" || item.Age != 30*time.Second+10*time.Millisecond || !item.Degraded || item.Fallback != client.FallbackLast {
			t.Errorf("it is %s, %+v", item.Value, item)
		}
		if item.Proof.Served != store.LevelDefault || item.Proof.Asked != client.Strong || !item.Proof.Degraded {
			t.Errorf("its proof is %+v", item.Proof)
		}
		_, err = ks.Get(t.Context(), "other", list)
		wantCode(t, err, store.Unavailable)
		time.Sleep(30 * time.Second)
		_, err = ks.Get(t.Context(), "k", list)
		wantCode(t, err, store.Unavailable)
	})
}

func TestLastSeenIsNotOfAKeyspaceThatHadTheName(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		list := client.Prefer(client.Try(client.Strong, 10*time.Millisecond), client.LastSeen(time.Hour))
		c := w.open(nil)
		w.serving(t, client.Strong)
		_, err := c.Keyspace("ks").Get(t.Context(), "k", list)
		must(t, err)
		w.serving(t)
		w.change(func(topology *shard.Topology) {
			topology.Revision++
			topology.Keyspaces = append(topology.Keyspaces[:0:0], topology.Keyspaces...)
			topology.Keyspaces[0].ID = 9
		})
		_, err = c.Topology(t.Context())
		must(t, err)
		_, err = c.Keyspace("ks").Get(t.Context(), "k", list)
		wantCode(t, err, store.Unavailable)
	})
}

func TestStaticAndFunctionAreMarked(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.serving(t)
		ks := w.keyspace()
		item, err := ks.Get(t.Context(), "k", client.Prefer(client.Try(client.Strong, 10*time.Millisecond), client.LastSeen(time.Hour), client.Static([]byte("none"))))
		must(t, err)
		if string(item.Value) != "none" || item.Key != "k" || !item.Found || item.Fallback != client.FallbackStatic || !item.Degraded || !item.Proof.Degraded {
			t.Errorf("it is %+v", item)
		}
		broken := errors.New("the function is broken, too")
		ask := func(_ context.Context, key string, cause error) ([]byte, error) {
			if key == "bad" {
				return nil, broken
			}
			return []byte(store.AsError(cause).Code), nil
		}
		list := client.Prefer(client.Try(client.Strong, 10*time.Millisecond), client.Ask(ask))
		item, err = ks.Get(t.Context(), "k", list)
		must(t, err)
		if string(item.Value) != "Unavailable" || item.Fallback != client.FallbackFunction || !item.Degraded {
			t.Errorf("it is %+v", item)
		}
		_, err = ks.Get(t.Context(), "bad", list)
		wantCode(t, err, store.Unavailable)
		if !errors.Is(err, broken) {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestWhoHasCancelledGetsNoFallback(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.serving(t)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		item, err := w.keyspace().Get(ctx, "k", client.Prefer(client.Try(client.Strong, time.Second), client.Static(value)))
		wantCode(t, err, store.Unavailable)
		if item.Found {
			t.Errorf("it is %+v", item)
		}
		// Whose deadline has come gets what needs nobody.
		item, err = w.keyspace().Get(t.Context(), "k", client.WithTimeout(time.Second), client.Prefer(client.Try(client.Strong, 0), client.Static(value)))
		if must(t, err); !item.Degraded {
			t.Errorf("it is %+v", item)
		}
	})
}

func TestListsThatMakeNoSenseAreRefused(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		c := w.open(nil)
		ks := c.Keyspace("ks")
		try := client.Try(client.Strong, 0)
		for i, opts := range [][]client.Option{
			{client.Prefer()},
			{client.Prefer(client.Static(value))},
			{client.Prefer(client.Try(store.LevelDefault, 0))},
			{client.Prefer(client.Try(client.Strong, -1))},
			{client.Prefer(try, client.Step{})},
			{client.Prefer(try, client.Ask(nil))},
			{client.Prefer(try, client.LastSeen(0))},
			{client.Prefer(try, try, try, try, try, try, try, try, try)},
			{client.Prefer(try), client.At(client.Causal)},
		} {
			if _, err := ks.Get(t.Context(), "k", opts...); store.AsError(err) == nil || store.AsError(err).Code != store.Invalid {
				t.Errorf("list %d: %v", i, err)
			}
		}
		_, err := ks.Put(t.Context(), "k", value, strongElseEventual)
		wantCode(t, err, store.Invalid)
		_, err = ks.Read(t.Context(), store.Query{Key: "k"}, strongElseEventual)
		wantCode(t, err, store.Invalid)
		_, err = ks.Count(t.Context(), store.Query{}, strongElseEventual)
		wantCode(t, err, store.Invalid)
		_, err = ks.Watch(t.Context(), store.WatchQuery{Key: "k"}, strongElseEventual)
		wantCode(t, err, store.Invalid)
	})
}
