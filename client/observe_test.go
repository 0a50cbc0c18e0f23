package client_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

func TestObserverIsToldOfCallsAttemptsAndRetries(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		var mu sync.Mutex
		var told []string
		note := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprintf(format, args...))
		}
		ks, _ := w.near(func(cfg *client.Config) {
			cfg.Resilience.Budget = 0.2
			cfg.Resilience.Backoff = client.Backoff{Kind: client.Constant}
			cfg.Observe.Call = func(e client.CallEvent) { note("%s of %s after %v: %v", e.Op, e.Keyspace, e.Took, e.Err == nil) }
			cfg.Observe.Attempt = func(e client.AttemptEvent) { note("%s at %s %s", e.Op, e.Node, e.Failure) }
			cfg.Observe.Retry = func(e client.RetryEvent) { note("again after %v, refused: %v", e.Wait, e.Refused) }
		})
		answers := []error{store.Overloaded, store.Unavailable, nil}
		i := 0
		w.each(func(n *node) {
			n.read = func(context.Context, store.Query) (store.Page, error) {
				defer func() { i++ }()
				return store.Page{Entry: revision(3)}, answers[min(i, 2)]
			}
		})
		_, err := ks.Get(t.Context(), "k")
		must(t, err)
		want := []string{
			"get at n1 overload", "again after 10ms, refused: false", "get at n2 transient", "again after 10ms, refused: false",
			"get at n3 ", "get of ks after 20ms: true",
		}
		mu.Lock()
		got := fmt.Sprint(told)
		told = nil
		mu.Unlock()
		// Where it goes after the near node is the client's own draw.
		other := []string{want[0], want[1], "get at n3 transient", want[3], "get at n2 ", want[5]}
		if got != fmt.Sprint(want) && got != fmt.Sprint(other) {
			t.Errorf("it was told %s", got)
		}
		w.led("n2")
		_, err = ks.Put(t.Context(), "k", value)
		must(t, err)
		mu.Lock()
		defer mu.Unlock()
		if told[0] != "open-session at n1 not-leader" && told[0] != "open session at n1 not-leader" {
			t.Errorf("it was told %q", told)
		}
	})
}

func TestObserverIsToldOfRejections(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		full := make(chan string, 10)
		ks, _ := w.near(func(cfg *client.Config) {
			small(cfg)
			cfg.Observe.Rejected = func(node, keyspace string) { full <- node + " " + keyspace }
		})
		w.stuck(t, "n1")
		crowd(t, ks, 5, client.WithTimeout(200*time.Millisecond))
		if got := <-full; got != "n1 ks" {
			t.Errorf("it was told %s", got)
		}
	})
}
