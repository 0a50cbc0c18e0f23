package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// answers makes every replica open sessions and answer all other writes so.
func (w *cluster) answers(f func(c store.Command) (store.Result, error)) {
	w.each(func(n *node) {
		n.write = func(_ context.Context, c store.Command) (store.Result, error) {
			if c.Op == store.OpenSession {
				return store.Result{Revision: 100}, nil
			}
			return f(c)
		}
	})
}

// commands lists what arrived, without the opening of sessions.
func (w *cluster) commands() (out []called) {
	for _, c := range w.writes() {
		if c.Op != store.OpenSession {
			out = append(out, c)
		}
	}
	return out
}

// Every operation that changes something is repeated under one number.
func TestLostAnswersOfAllWritesAreFetchedByTheirNumbers(t *testing.T) {
	for name, do := range map[string]func(ctx context.Context, ks *client.Keyspace) error{
		"increment": func(ctx context.Context, ks *client.Keyspace) error {
			sum, _, err := ks.Increment(ctx, "k", 5)
			if err == nil && sum != 42 {
				err = fmt.Errorf("sum is %d", sum)
			}
			return err
		},
		"txn": func(ctx context.Context, ks *client.Keyspace) error {
			_, err := ks.Txn(ctx, store.Txn{Then: []store.Step{client.PutStep("k", value)}})
			return err
		},
		"grant": func(ctx context.Context, ks *client.Keyspace) error {
			_, err := ks.Grant(ctx, "k", time.Second)
			return err
		},
		"keep alive": func(ctx context.Context, ks *client.Keyspace) error { return ks.Lease("k", 7).KeepAlive(ctx) },
		"revoke":     func(ctx context.Context, ks *client.Keyspace) error { return ks.Lease("k", 7).Revoke(ctx) },
	} {
		world(t, store.CP, func(t *testing.T, w *cluster) {
			w.answers(func(c store.Command) (store.Result, error) {
				if !c.Request.Retry {
					w.each(func(n *node) { n.cut() })
				}
				return store.Result{Revision: 5, Lease: 7, TTL: time.Second, Value: []byte("42")}, nil
			})
			if err := do(t.Context(), w.keyspace()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			got := w.commands()
			if len(got) != 2 || got[0].Request.Number != 1 || got[1].Request.Number != 1 || !got[1].Request.Retry || got[1].Request.Session != 100 {
				t.Errorf("%s: sent was %+v", name, got)
			}
		})
	}
}

func TestTxnThatDoesNotHoldIsNoError(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.answers(func(store.Command) (store.Result, error) {
			return store.Result{Revision: 9, Entry: revision(9), Steps: []store.StepResult{{Found: true, Value: value, Revision: 4}}}, nil
		})
		r, err := w.keyspace().Txn(t.Context(), store.Txn{If: []store.Compare{client.Absent("k")}, Else: []store.Step{client.GetStep("k")}})
		must(t, err)
		if r.Held || r.Revision != 9 || len(r.Steps) != 1 || string(r.Steps[0].Value) != "v" {
			t.Errorf("result is %+v", r)
		}
	})
}

func TestTxnOverTwoGroupsIsRefusedBeforeAnythingIsSent(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.sharded(3)
		ks := w.keyspace()
		far := "b"
		for k := w.topology.Keyspaces[0]; k.Shard(far) == k.Shard("a"); {
			far += "b"
		}
		for name, txn := range map[string]store.Txn{
			"if and then": {If: []store.Compare{client.Present("a")}, Then: []store.Step{client.DeleteStep(far)}},
			"two steps":   {Then: []store.Step{client.PutStep("a", value), client.IncrementStep(far, 1)}},
			"else":        {If: []store.Compare{client.ValueIs("a", value)}, Else: []store.Step{client.GetStep(far)}},
		} {
			_, err := ks.Txn(t.Context(), txn)
			wantCode(t, err, store.Invalid)
			if e := store.AsError(err); e == nil || !strings.Contains(e.Try, "{tag}") {
				t.Errorf("%s: it does not say what to try: %v", name, err)
			}
		}
		if got := w.writes(); len(got) > 0 {
			t.Errorf("sent was %+v", got)
		}
		_, err := ks.Txn(t.Context(), store.Txn{If: []store.Compare{client.ChangedAt("{a}/x", 3)}, Then: []store.Step{client.PutStep("{a}/y", value)}})
		must(t, err)
		if got := w.commands()[0].group; got != w.topology.Keyspaces[0].Group("{a}") {
			t.Errorf("it went to group %v", got)
		}
	})
}

// fence is of a lock whose group is that of the keys tagged {a}.
var fence = client.Fence{Key: "lock/{a}/1", Revision: 7}

func TestFencedWriteAsksForTheFenceFirst(t *testing.T) {
	held := client.CreatedAt(fence.Key, 7)
	for name, want := range map[string]struct {
		do   func(ctx context.Context, ks *client.Keyspace) error
		ifs  []store.Compare
		then store.Step
	}{
		"put": {
			do: func(ctx context.Context, ks *client.Keyspace) error {
				_, err := ks.Put(ctx, "{a}/x", value, client.Fenced(fence), client.Create(), client.WithLease(ks.Lease("{a}", 3)))
				return err
			},
			ifs:  []store.Compare{held, client.Absent("{a}/x")},
			then: store.Step{Op: store.Put, Key: "{a}/x", Value: value, Lease: 3},
		},
		"swap": {
			do: func(ctx context.Context, ks *client.Keyspace) error {
				_, err := ks.CompareAndSwap(ctx, "{a}/x", []byte("old"), value, client.Fenced(fence))
				return err
			},
			ifs:  []store.Compare{held, client.ValueIs("{a}/x", []byte("old"))},
			then: client.PutStep("{a}/x", value),
		},
		"delete": {
			do: func(ctx context.Context, ks *client.Keyspace) error {
				_, err := ks.Delete(ctx, "{a}/x", client.Fenced(fence), client.IfRevision(4))
				return err
			},
			ifs:  []store.Compare{held, client.Present("{a}/x"), client.ChangedAt("{a}/x", 4)},
			then: client.DeleteStep("{a}/x"),
		},
		"increment": {
			do: func(ctx context.Context, ks *client.Keyspace) error {
				_, _, err := ks.Increment(ctx, "{a}/x", 2, client.Fenced(fence))
				return err
			},
			ifs:  []store.Compare{held},
			then: client.IncrementStep("{a}/x", 2),
		},
		"txn": {
			do: func(ctx context.Context, ks *client.Keyspace) error {
				_, err := ks.Txn(ctx, store.Txn{If: []store.Compare{client.Present("{a}/y")}, Then: []store.Step{client.DeleteStep("{a}/x")}}, client.Fenced(fence))
				return err
			},
			ifs:  []store.Compare{held, client.Present("{a}/y")},
			then: client.DeleteStep("{a}/x"),
		},
	} {
		world(t, store.CP, func(t *testing.T, w *cluster) {
			w.sharded(3)
			w.answers(func(store.Command) (store.Result, error) {
				return store.Result{Revision: 9, Held: true, Steps: []store.StepResult{{Value: []byte("3"), Replaced: 4, Found: true, Revision: 9}}}, nil
			})
			must(t, want.do(t.Context(), w.keyspace()))
			got := w.commands()[0]
			if got.Op != store.Transact || fmt.Sprint(got.Txn.If) != fmt.Sprint(want.ifs) || fmt.Sprint(got.Txn.Then) != fmt.Sprint([]store.Step{want.then}) {
				t.Errorf("%s: sent was %v %+v", name, got.Op, got.Txn)
			}
		})
	}
}

func TestFenceThatIsNotCurrentIsAConflict(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		there := store.StepResult{Found: true, Value: []byte("seen"), Revision: 6}
		steps := []store.StepResult{there, {}}
		w.answers(func(c store.Command) (store.Result, error) {
			return store.Result{Revision: 9, Entry: revision(9), Steps: steps}, nil
		})
		ks := w.keyspace()
		_, err := ks.Put(t.Context(), "{a}/x", value, client.Fenced(fence))
		wantCode(t, err, store.Conflict)
		if !strings.Contains(err.Error(), "fence 7 is not current") {
			t.Errorf("it does not say so: %v", err)
		}
		_, err = ks.Txn(t.Context(), store.Txn{Then: []store.Step{client.PutStep("{a}/x", value)}}, client.Fenced(fence))
		wantCode(t, err, store.Conflict)

		steps = []store.StepResult{there, there} // the fence is, the condition is not
		r, err := ks.CompareAndSwap(t.Context(), "{a}/x", []byte("other"), value, client.Fenced(fence))
		wantCode(t, err, store.Conflict)
		if strings.Contains(err.Error(), "fence 7") || string(r.Value) != "seen" || r.Revision != 6 || !r.Found {
			t.Errorf("result %+v, error %v", r, err)
		}
		steps = []store.StepResult{there}
		txn, err := ks.Txn(t.Context(), store.Txn{If: []store.Compare{client.Absent("{a}/x")}, Then: []store.Step{client.PutStep("{a}/x", value)}}, client.Fenced(fence))
		if must(t, err); txn.Held || len(txn.Steps) != 0 {
			t.Errorf("a transaction of a current fence: %+v", txn)
		}
	})
}

func TestFencedWritesThatCannotBeAreRefusedBeforeAnythingIsSent(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.sharded(3)
		ks, ctx := w.keyspace(), t.Context()
		far := "{b}"
		for k := w.topology.Keyspaces[0]; k.Shard(far) == k.Shard("{a}"); {
			far = "{b" + far[1:]
		}
		_, another := ks.Put(ctx, far, value, client.Fenced(fence))
		_, empty := ks.Put(ctx, "{a}/x", value, client.Fenced(client.Fence{}))
		_, ttl := ks.Put(ctx, "{a}/x", value, client.Fenced(fence), client.WithTTL(time.Second))
		_, otherwise := ks.Txn(ctx, store.Txn{If: []store.Compare{client.Present("{a}/x")}, Else: []store.Step{client.PutStep("{a}/x", value)}}, client.Fenced(fence))
		_, grant := ks.Grant(ctx, "{a}", time.Second, client.Fenced(fence))
		_, read := ks.Get(ctx, "{a}/x", client.Fenced(fence))
		for name, err := range map[string]error{"another group": another, "empty": empty, "ttl": ttl, "else": otherwise, "grant": grant, "read": read} {
			if !errors.Is(err, store.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := w.writes(); len(got) > 0 {
			t.Errorf("sent was %+v", got)
		}
	})
}
