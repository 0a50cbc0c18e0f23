package client_test

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/rpc"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

var value = []byte("v")

func TestWriteFollowsTheHintAtOnce(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.led("n3")
		ks, began := w.keyspace(), time.Now()
		result, err := ks.Put(t.Context(), "k", value)
		must(t, err)
		if result.Proof.Node != "n3" || time.Since(began) > 0 {
			t.Errorf("written at %s after %v", result.Proof.Node, time.Since(began))
		}
		_, err = ks.Put(t.Context(), "k", value)
		must(t, err)
		if got := w.puts(); got != "n3:1 n3:2" {
			t.Errorf("puts went to %s; the leader is known once the session is open", got)
		}
	})
}

func TestLeaderIsSoughtUntilThereIsOne(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		elected := time.Now().Add(1200 * time.Millisecond)
		w.each(func(n *node) {
			n.write = func(_ context.Context, c store.Command) (store.Result, error) {
				if n.name != "n2" || time.Now().Before(elected) {
					return store.Result{}, store.NotLeader
				}
				return store.Result{Revision: 9}, nil
			}
		})
		_, err := w.keyspace().Put(t.Context(), "k", value)
		must(t, err)
	})
}

func TestUnknownThenUnavailableIsUnknown(t *testing.T) {
	for _, mode := range []store.Mode{store.CP, store.AP} {
		world(t, mode, func(t *testing.T, w *cluster) {
			attempts := 0
			w.each(func(n *node) {
				n.write = func(_ context.Context, c store.Command) (store.Result, error) {
					if c.Op == store.OpenSession {
						return store.Result{Revision: 100}, nil
					}
					if attempts++; attempts == 1 {
						n.cut() // it arrived, and nobody heard how it went
					}
					return store.Result{}, store.Unavailable
				}
			})
			_, err := w.keyspace().Put(t.Context(), "k", value)
			wantCode(t, err, store.Unknown)
			if errors.Is(err, store.Unavailable) || store.OutcomeOf(err) != store.Unclear {
				t.Errorf("it can be mistaken for a failure: %v", err)
			}
			if !strings.Contains(err.Error(), "Unavailable put at n") {
				t.Errorf("it does not say what came last: %v", err)
			}
		})
	}
}

func TestLostAnswerIsFetchedByTheSameNumber(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.each(func(n *node) {
			n.write = func(_ context.Context, c store.Command) (store.Result, error) {
				if c.Op == store.OpenSession {
					return store.Result{Revision: 100}, nil
				}
				if !c.Request.Retry {
					n.cut()
				}
				return store.Result{Revision: 5}, nil
			}
		})
		result, err := w.keyspace().Put(t.Context(), "k", value)
		must(t, err)
		last := w.writes()[len(w.writes())-1]
		if result.Revision != 5 || !strings.HasSuffix(w.puts(), ":1r") || last.Request.Session != 100 {
			t.Errorf("result %+v after %s in session %d", result, w.puts(), last.Request.Session)
		}
	})
}

func TestConflictIsTheAnswerToItsNumber(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.each(func(n *node) {
			n.write = func(_ context.Context, c store.Command) (store.Result, error) {
				if c.Op == store.OpenSession {
					return store.Result{Revision: 100}, nil
				}
				if !c.Request.Retry {
					n.cut()
				}
				return store.Result{Revision: 8, Found: true, Value: []byte("seen")}, store.Conflict
			}
		})
		result, err := w.keyspace().CompareAndSwap(t.Context(), "k", []byte("a"), []byte("b"))
		wantCode(t, err, store.Conflict)
		if string(result.Value) != "seen" || result.Revision != 8 || !result.Found {
			t.Errorf("result is %+v", result)
		}
	})
}

func TestAPWriteIsRepeatedOnlyWhereItMayBe(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		w.each(func(n *node) {
			n.write = func(_ context.Context, c store.Command) (store.Result, error) {
				if !c.Request.Retry {
					n.cut()
				}
				return store.Result{Acked: 1, Wanted: 1}, nil
			}
		})
		_, err := w.keyspace().Put(t.Context(), "k", value)
		must(t, err)
		first := w.writes()[0].node
		if got := w.puts(); got != first+":1 "+first+":1r" {
			t.Errorf("puts went to %s", got)
		}
	})
}

func TestAPWriteThatItsNodeDoesNotFindIsUnknown(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		w.each(func(n *node) {
			n.write = func(_ context.Context, c store.Command) (store.Result, error) {
				if c.Request.Retry {
					return store.Result{}, store.Unknown
				}
				n.cut()
				return store.Result{}, nil
			}
		})
		_, err := w.keyspace().Put(t.Context(), "k", value)
		wantCode(t, err, store.Unknown)
		if len(w.writes()) != 2 {
			t.Errorf("puts went to %s", w.puts())
		}
	})
}

func TestAPWriteGoesElsewhereWhileNothingWasDone(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		w.nodes["n1"].unreachable(refused)
		w.nodes["n2"].write = func(context.Context, store.Command) (store.Result, error) {
			return store.Result{}, store.SessionUnreachable
		}
		for range 5 { // whatever node the clients begin with
			result, err := w.keyspace().Put(t.Context(), "k", value)
			must(t, err)
			if result.Proof.Node != "n3" {
				t.Errorf("written at %s", result.Proof.Node)
			}
		}
	})
}

// A node that gives its groups away and ends is left alone before it ends: a write that
// is under way to it then would be Unknown.
func TestNodeThatHasGivenItsGroupsAwayIsLeftAlone(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		k := w.keyspace()
		result, err := k.Put(t.Context(), "k", value)
		must(t, err)
		left := result.Proof.Node
		w.nodes[left].write = func(context.Context, store.Command) (store.Result, error) {
			return store.Result{}, store.Unavailable
		}
		w.change(func(t *shard.Topology) {
			k := t.Keyspaces[0]
			k.Placement = [][]string{slices.DeleteFunc([]string{"n1", "n2", "n3"}, func(n string) bool { return n == left })}
			t.Keyspaces = []shard.Keyspace{k}
		})
		time.Sleep(2 * time.Second)
		for range 5 {
			_, err := k.Put(t.Context(), "k", value)
			must(t, err)
			time.Sleep(100 * time.Millisecond)
		}
		came := 0
		for _, c := range w.writes() {
			if c.node == left {
				came++
			}
		}
		if came != 2 { // one before, and the one that was refused
			t.Errorf("%d writes came to %s, want 2: %s", came, left, w.puts())
		}
	})
}

func TestNotReplicatedIsNotRepeated(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		w.each(func(n *node) {
			n.write = func(context.Context, store.Command) (store.Result, error) {
				return store.Result{Acked: 1, Wanted: 2}, store.NotReplicated
			}
		})
		result, err := w.keyspace().Put(t.Context(), "k", value, client.WithW(store.WMajority))
		wantCode(t, err, store.NotReplicated)
		if len(w.writes()) != 1 || result.Acked != 1 || result.Wanted != 2 || w.writes()[0].W != store.WMajority {
			t.Errorf("%+v after %s", result, w.puts())
		}
	})
}

func TestNothingSentIsAFailureAtTheDeadline(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		ks := w.keyspace()
		_, err := ks.Put(t.Context(), "k", value)
		must(t, err)
		w.each(func(n *node) { n.unreachable(hole) })
		began := time.Now()
		_, err = ks.Put(t.Context(), "k", value)
		wantCode(t, err, store.Unavailable)
		if took := time.Since(began); took > 2*time.Second || took < 1500*time.Millisecond {
			t.Errorf("it took %v, the deadline is 2 s", took)
		}
	})
}

func TestWriteToASilentNodeIsUnknownAtTheDeadline(t *testing.T) {
	for _, mode := range []store.Mode{store.CP, store.AP} {
		world(t, mode, func(t *testing.T, w *cluster) {
			w.each(func(n *node) {
				n.write = func(ctx context.Context, c store.Command) (store.Result, error) {
					if c.Op == store.OpenSession {
						return store.Result{Revision: 100}, nil
					}
					time.Sleep(10 * time.Second)
					return store.Result{}, nil
				}
			})
			began := time.Now()
			_, err := w.keyspace().Put(t.Context(), "k", value, client.WithTimeout(time.Second))
			wantCode(t, err, store.Unknown)
			if took := time.Since(began); took > time.Second {
				t.Errorf("%s: it took %v, the deadline is 1 s", mode, took)
			}
		})
	}
}

func TestReadGoesRoundASilentNode(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		ks := w.keyspace()
		item, err := ks.Get(t.Context(), "k")
		must(t, err)
		silent := item.Proof.Node
		w.nodes[silent].read = func(ctx context.Context, _ store.Query) (store.Page, error) {
			time.Sleep(time.Minute)
			return store.Page{}, nil
		}
		item, err = ks.Get(t.Context(), "k")
		must(t, err)
		began := time.Now()
		_, err = ks.Get(t.Context(), "k")
		must(t, err)
		if item.Proof.Node == silent || time.Since(began) > 0 {
			t.Errorf("served by %s, the next read after %v", item.Proof.Node, time.Since(began))
		}
	})
}

func TestReadWithoutAnAnswerFails(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		w.each(func(n *node) {
			n.read = func(context.Context, store.Query) (store.Page, error) { panic("a bug") }
		})
		_, err := w.keyspace().Get(t.Context(), "k")
		wantCode(t, err, store.Unavailable)
		if e := store.AsError(err); e.Op != "get" || e.Keyspace != "ks" || e.Group != group || e.Node == "" {
			t.Errorf("the error does not say where: %+v", e)
		}
	})
}

func TestExpiredSessionEndsItsCallAndTheNextOpensAnother(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		var session uint64 = 100
		w.each(func(n *node) {
			n.write = func(_ context.Context, c store.Command) (store.Result, error) {
				switch {
				case c.Op == store.OpenSession:
					session++
					return store.Result{Revision: session}, nil
				case c.Request.Session == 101:
					return store.Result{}, store.SessionExpired
				}
				return store.Result{Revision: 300}, nil
			}
		})
		ks := w.keyspace()
		_, err := ks.Put(t.Context(), "k", value)
		wantCode(t, err, store.SessionExpired)
		_, err = ks.Put(t.Context(), "k", value)
		must(t, err)
		if last := w.writes()[len(w.writes())-1].Request; last.Session != 102 || last.Number != 1 {
			t.Errorf("the second put was %+v", last)
		}
	})
}

func TestWriteWhoseSessionCannotBeOpenedHasFailed(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.each(func(n *node) {
			n.write = func(context.Context, store.Command) (store.Result, error) { return store.Result{}, store.Unknown }
		})
		_, err := w.keyspace().Put(t.Context(), "k", value)
		if store.OutcomeOf(err) != store.Failed || w.puts() != "" {
			t.Errorf("%v after puts at %q", err, w.puts())
		}
	})
}

func TestWritesInProgressHoldTheLowestNumber(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		release := make(chan struct{})
		w.each(func(n *node) {
			n.write = func(_ context.Context, c store.Command) (store.Result, error) {
				if c.Key == "slow" {
					<-release
				}
				return store.Result{Revision: 100}, nil
			}
		})
		ks, done := w.keyspace(), make(chan error)
		go func() {
			_, err := ks.Put(t.Context(), "slow", value)
			done <- err
		}()
		time.Sleep(time.Millisecond)
		_, err := ks.Put(t.Context(), "fast", value)
		must(t, err)
		close(release)
		must(t, <-done)
		_, err = ks.Put(t.Context(), "last", value)
		must(t, err)
		calls := w.writes()
		fast, last := calls[len(calls)-2].Request, calls[len(calls)-1].Request
		if fast.Number != 2 || fast.Lowest != 1 || last.Number != 3 || last.Lowest != 3 {
			t.Errorf("requests are %+v and %+v", fast, last)
		}
	})
}

func TestOverloadedNodeIsLeftAlone(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		busy, began := time.Now().Add(700*time.Millisecond), time.Now()
		w.each(func(n *node) {
			n.write = func(context.Context, store.Command) (store.Result, error) {
				if time.Now().Before(busy) {
					return store.Result{}, &store.Error{Code: store.Overloaded, RetryAfter: time.Until(busy)}
				}
				return store.Result{}, nil
			}
		})
		ks := w.keyspace()
		_, err := ks.Put(t.Context(), "k", value)
		must(t, err)
		if len(w.writes()) != 2 || time.Since(began) < 700*time.Millisecond {
			t.Errorf("%s in %v", w.puts(), time.Since(began))
		}
		busy, began = time.Now().Add(time.Hour), time.Now()
		_, err = ks.Put(t.Context(), "k", value)
		wantCode(t, err, store.Overloaded)
		if time.Since(began) > 0 {
			t.Errorf("it waited %v for what could not come in time", time.Since(began))
		}
	})
}

func TestAttemptsAreLimited(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		w.each(func(n *node) {
			n.write = func(context.Context, store.Command) (store.Result, error) { return store.Result{}, store.Unavailable }
		})
		_, err := w.open(func(c *client.Config) { c.Attempts = 3 }).Keyspace("ks").Put(t.Context(), "k", value)
		wantCode(t, err, store.Unavailable)
		if len(w.writes()) != 3 {
			t.Errorf("puts went to %s", w.puts())
		}
	})
}

func TestNodesThatComeBackAreFound(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		ks := w.keyspace()
		_, err := ks.Put(t.Context(), "k", value)
		must(t, err)
		w.each(func(n *node) { n.unreachable(refused) })
		for range 20 {
			_, err := ks.Put(t.Context(), "k", value)
			if store.OutcomeOf(err) == store.OK {
				t.Error("written where nobody is")
			}
			time.Sleep(time.Second)
		}
		w.each(func(n *node) { n.unreachable(nil) })
		began := time.Now()
		_, err = ks.Put(t.Context(), "k", value)
		must(t, err)
		if time.Since(began) > 2*time.Second {
			t.Errorf("found after %v", time.Since(began))
		}
	})
}

func TestKeyspaceThatNobodyKnows(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		c := w.open(nil)
		_, err := c.Keyspace("nope").Get(t.Context(), "k")
		wantCode(t, err, store.NoSuchKeyspace)
		w.each(func(n *node) {
			n.catalog = func(string) error { return &store.Error{Code: store.Unavailable, Msg: "no catalog majority"} }
		})
		_, err = c.Keyspace("nope").Get(t.Context(), "k")
		wantCode(t, err, store.Unavailable)
	})
}

func TestKeyspaceMadeAgainIsFound(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		ks := w.keyspace()
		_, err := ks.Put(t.Context(), "k", value)
		must(t, err)
		w.change(func(top *shard.Topology) {
			again := top.Keyspaces[0]
			again.ID = 12
			top.Revision, top.Keyspaces = 12, []shard.Keyspace{again}
		})
		_, err = ks.Put(t.Context(), "k", value)
		must(t, err)
	})
}

func TestClosedClientSaysSo(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		c := w.open(nil)
		must(t, c.Close())
		_, err := c.Keyspace("ks").Get(t.Context(), "k")
		wantCode(t, err, store.Unavailable)
	})
}

func TestBadCallsAreRefusedBeforeAnythingIsSent(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		ks := w.keyspace()
		_, level := ks.Put(t.Context(), "k", value, client.At(client.Causal))
		_, conditions := ks.CompareAndSwap(t.Context(), "k", nil, value, client.Create())
		_, blind := ks.Get(t.Context(), "k", client.Blind())
		_, session := ks.Get(t.Context(), "k", client.In(nil))
		_, empty := ks.Put(t.Context(), "", value)
		for _, err := range []error{level, conditions, blind, session, empty} {
			wantCode(t, err, store.Invalid)
		}
		_, large := ks.Put(t.Context(), "k", make([]byte, store.MaxValue+1))
		wantCode(t, large, store.TooLarge)
		if len(w.writes()) > 0 {
			t.Errorf("sent were %s", w.puts())
		}
	})
	if _, err := client.Open(t.Context(), client.Config{}); !errors.Is(err, store.Invalid) {
		t.Errorf("no seeds: %v", err)
	}
}

func TestSeedsAreTCPAddressesByDefault(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("not on this machine: %v", err)
			continue
		}
		w := &cluster{t: t}
		w.topology = shard.Topology{
			Cluster: clusterID, Revision: 10, Nodes: []shard.Node{{Name: "n1", Addr: listener.Addr().String()}},
			Keyspaces: []shard.Keyspace{{ID: 7, Name: "ks", Mode: store.AP, Groups: 1, Placement: [][]string{{"n1"}}}},
		}
		s := rpc.NewServer(rpc.Config{Node: &node{cluster: w, name: "n1"}})
		go func() { _ = s.Serve(listener) }()
		c, err := client.Open(t.Context(), client.Config{Seeds: []string{listener.Addr().String()}})
		must(t, err)
		_, err = c.Keyspace("ks").Put(t.Context(), "k", value)
		must(t, err)
		must(t, c.Close())
		s.Stop()
	}
}

func TestDependenciesHoldNoEngine(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, heavy := range []string{"hashicorp", "pebble", "bbolt", "memberlist", "dialkv/store/", "dialkv/internal/engine", "dialkv/internal/link"} {
		if strings.Contains(string(out), heavy) {
			t.Errorf("the client pulls in %s", heavy)
		}
	}
}

func TestWhyAReplicaRefusesIsWorthMoreThanThatOthersAreSilent(t *testing.T) {
	for _, silent := range []func(context.Context) error{refused, hole} {
		world(t, store.CP, func(t *testing.T, w *cluster) {
			ks := w.keyspace()
			_, err := ks.Get(t.Context(), "k")
			must(t, err)
			w.nodes["n1"].read = func(context.Context, store.Query) (store.Page, error) {
				return store.Page{}, &store.Error{Code: store.TooStale, Node: "n1", Msg: "the last proof is old"}
			}
			w.nodes["n2"].unreachable(silent)
			w.nodes["n3"].unreachable(silent)
			_, err = ks.Get(t.Context(), "k", client.Bounded(time.Second))
			wantCode(t, err, store.TooStale)
			if e := store.AsError(err); e.Node != "n1" || e.Op != "get" {
				t.Errorf("error is %+v", e)
			}
		})
	}
}
