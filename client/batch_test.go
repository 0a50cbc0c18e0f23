package client_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/client/clienttest"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

func keys(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("k%d", i))
	}
	return out
}

func putsOf(keys []string, value string) (out []store.Command) {
	for _, key := range keys {
		out = append(out, store.Command{Op: store.Put, Key: key, Value: []byte(value)})
	}
	return out
}

// halves is a keyspace of six groups, each on one node, of which n3 is cut off; and which
// keys it holds.
func halves(t *testing.T, mode store.Mode, keys []string) (c *clienttest.Cluster, away func(key string) bool) {
	t.Helper()
	c = clienttest.Start(t, clienttest.Config{Nodes: 3, Seed: 1})
	all := c.Create(clienttest.Keyspace{Name: "ks", Mode: mode, Groups: 6, Replicas: 1})
	done, err := all.Batch(t.Context(), putsOf(keys, "old"))
	must(t, err)
	for i, d := range done {
		if d.Err != nil {
			t.Fatalf("%s: %v", keys[i], d.Err)
		}
	}
	topology, err := c.Client().Topology(t.Context())
	must(t, err)
	ks, _ := topology.Keyspace("ks")
	away = func(key string) bool { return ks.Members(ks.Shard(key))[0] == "n3" }
	c.Isolate("n3")
	return c, away
}

// The keys that n3 holds would take every place of a batch, if a group had no share of its
// own.
func TestDuringACutEachKeyOfABatchHasItsOwnOutcome(t *testing.T) {
	for _, mode := range []store.Mode{store.CP, store.AP} {
		t.Run(mode.String(), func(t *testing.T) {
			clienttest.Bubble(t, func(t *testing.T) {
				keys := keys(900)
				c, away := halves(t, mode, keys)
				here := c.At("n1").Keyspace("ks")
				began := time.Now()
				got, err := here.GetMulti(t.Context(), keys, client.WithTimeout(time.Second), client.At(client.Eventual))
				must(t, err)
				count := map[bool]int{}
				for i, g := range got {
					count[away(keys[i])]++
					if g.Key != keys[i] {
						t.Fatalf("place %d is of %s, want %s", i, g.Key, keys[i])
					}
					if away(keys[i]) && store.AsError(g.Err) == nil || !away(keys[i]) && string(g.Value) != "old" {
						t.Fatalf("%s, held by n3 %v: %+v", keys[i], away(keys[i]), g)
					}
				}
				if count[true] < 150 || count[false] < 150 || time.Since(began) > 1100*time.Millisecond {
					t.Errorf("n3 holds %d of the keys, the others %d; it took %v", count[true], count[false], time.Since(began))
				}
				session := c.Client().NewSession()
				done, err := here.Batch(t.Context(), putsOf(keys, "new"), client.WithTimeout(time.Second), client.In(session))
				must(t, err)
				for i, d := range done {
					if away(keys[i]) != (d.Err != nil) {
						t.Fatalf("%s, held by n3 %v: %+v", keys[i], away(keys[i]), d)
					}
				}
				c.Heal()
				c.Settle()
				got, err = c.Client().Keyspace("ks").GetMulti(t.Context(), keys, client.WithTimeout(10*time.Second), client.In(session))
				must(t, err)
				for i, g := range got {
					if value := string(g.Value); g.Err != nil || done[i].Err == nil && value != "new" || store.OutcomeOf(done[i].Err) == store.Failed && value != "old" {
						t.Fatalf("%s is %q (%v) after a write that ended with %v", keys[i], value, g.Err, done[i].Err)
					}
				}
			})
		})
	}
}

func TestBatchIsBoundedInNumberAtATime(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		var now, most atomic.Int64
		w.each(func(n *node) {
			n.read = func(_ context.Context, q store.Query) (store.Page, error) {
				if here := now.Add(1); here > most.Load() {
					most.Store(here)
				}
				time.Sleep(10 * time.Millisecond)
				now.Add(-1)
				return store.Page{Items: []store.Item{{Key: q.Key, Values: [][]byte{[]byte("of " + q.Key)}}}, Proof: store.Proof{Node: n.name}}, nil
			}
		})
		keys := keys(client.MaxBatch)
		got, err := w.keyspace().GetMulti(t.Context(), keys)
		must(t, err)
		for i, g := range got {
			if string(g.Value) != "of "+keys[i] || g.Err != nil {
				t.Fatalf("place %d: %+v", i, g)
			}
		}
		if most.Load() != 128 {
			t.Errorf("%d were under way at the same time", most.Load())
		}
	})
}

func TestGetMultiIsBoundedInBytes(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		value := make([]byte, 128<<10) // 128 of them are as much as may be found
		w.each(func(n *node) {
			n.read = func(_ context.Context, q store.Query) (store.Page, error) {
				return store.Page{Items: []store.Item{{Key: q.Key, Values: [][]byte{value}}}}, nil
			}
		})
		got, err := w.keyspace().GetMulti(t.Context(), keys(400), client.WithTimeout(time.Minute))
		must(t, err)
		found, refused := 0, 0
		for _, g := range got {
			switch {
			case g.Err == nil:
				found++
			case store.AsError(g.Err).Code == store.TooLarge:
				refused++
			default:
				t.Fatal(g.Err)
			}
		}
		if found <= 128 || found > 2*128 || found+refused != 400 {
			t.Errorf("%d were found, and %d refused", found, refused)
		}
	})
}

func TestBatchThatCannotBeSentIsRefusedAsAWhole(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		put := func(key string) store.Command { return store.Command{Op: store.Put, Key: key} }
		field := func(key, field string) store.Command {
			return store.Command{Op: store.Put, Key: key, Field: field}
		}
		large := putsOf(keys(17), strings.Repeat("x", 1<<20))
		ks := w.keyspace()
		for name, try := range map[string]struct {
			commands []store.Command
			opts     []client.Option
			want     store.Code
		}{
			"too many":           {putsOf(keys(client.MaxBatch+1), ""), nil, store.TooLarge},
			"too large":          {large, nil, store.TooLarge},
			"a value too large":  {[]store.Command{put("a"), {Op: store.Put, Key: "b", Value: make([]byte, store.MaxValue+1)}}, nil, store.TooLarge},
			"a bad key":          {[]store.Command{put("a"), put("\xff")}, nil, store.Invalid},
			"no key":             {[]store.Command{put("a"), {Op: store.Grant, TTL: time.Minute}}, nil, store.Invalid},
			"a transaction":      {[]store.Command{{Op: store.Transact, Txn: &store.Txn{Then: []store.Step{client.PutStep("k", nil)}}}}, nil, store.Invalid},
			"a key twice":        {[]store.Command{put("a"), put("b"), put("a")}, nil, store.Invalid},
			"a field twice":      {[]store.Command{field("a", "f"), field("a", "g"), field("a", "f")}, nil, store.Invalid},
			"a key and a field":  {[]store.Command{field("a", "f"), put("a")}, nil, store.Invalid},
			"a field and a key":  {[]store.Command{put("a"), field("a", "f")}, nil, store.Invalid},
			"two conditions":     {[]store.Command{{Op: store.Put, Key: "k", If: store.Condition{Kind: store.IfAbsent}}}, []client.Option{client.IfRevision(3)}, store.Invalid},
			"a read's option":    {[]store.Command{put("a")}, []client.Option{client.At(client.Strong)}, store.Invalid},
			"a range's option":   {[]store.Command{put("a")}, []client.Option{client.InGroup(0)}, store.Invalid},
			"an unknown command": {[]store.Command{{Op: 99, Key: "k"}}, nil, store.Invalid},
		} {
			done, err := ks.Batch(t.Context(), try.commands, try.opts...)
			if store.AsError(err) == nil || store.AsError(err).Code != try.want || done != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for name, try := range map[string]struct {
			keys []string
			opts []client.Option
			want store.Code
		}{
			"too many":   {keys(client.MaxBatch + 1), nil, store.TooLarge},
			"a bad key":  {[]string{"a", ""}, nil, store.Invalid},
			"a w":        {[]string{"a"}, []client.Option{client.WithW(store.WAll)}, store.Invalid},
			"of a range": {[]string{"a"}, []client.Option{client.InGroup(0)}, store.Invalid},
		} {
			got, err := ks.GetMulti(t.Context(), try.keys, try.opts...)
			if store.AsError(err) == nil || store.AsError(err).Code != try.want || got != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if len(w.writes()) > 0 {
			t.Errorf("%v were sent", w.writes())
		}
		done, err := ks.Batch(t.Context(), nil)
		if err != nil || len(done) != 0 {
			t.Errorf("an empty batch is %v, %v", done, err)
		}
	})
}

// One value past the limit costs the whole batch, and says which it was.
func TestBatchWithAValuePastTheLimitWritesNothing(t *testing.T) {
	for _, mode := range []store.Mode{store.CP, store.AP} {
		t.Run(mode.String(), func(t *testing.T) {
			clienttest.Bubble(t, func(t *testing.T) {
				c := clienttest.Start(t, clienttest.Config{Nodes: 3, Seed: 1})
				ks := c.Create(clienttest.Keyspace{Name: "ks", Mode: mode})
				large := store.Command{Op: store.Put, Key: "large", Value: make([]byte, store.MaxValue+1)}
				done, err := ks.Batch(t.Context(), []store.Command{{Op: store.Put, Key: "small"}, large, {Op: store.Put, Key: "last"}})
				wantCode(t, err, store.TooLarge)
				if done != nil || !strings.Contains(err.Error(), "command 1 of the batch") {
					t.Errorf("%v, %v", done, err)
				}
				c.Settle()
				for _, node := range c.Nodes() {
					got, err := c.At(node).Keyspace("ks").GetMulti(t.Context(), []string{"small", "large", "last"})
					must(t, err)
					for _, g := range got {
						if g.Err != nil || g.Found {
							t.Errorf("%s at %s: found %v, %v", g.Key, node, g.Found, g.Err)
						}
					}
				}
				large.Value = large.Value[1:]
				done, err = ks.Batch(t.Context(), []store.Command{{Op: store.Put, Key: "small"}, large})
				must(t, err)
				if done[0].Err != nil || done[1].Err != nil {
					t.Errorf("at the limit: %+v", done)
				}
			})
		})
	}
}

// A batch that meets a keyspace which is not there says so once.
func TestBatchOnAKeyspaceThatIsNotThere(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.change(func(t *shard.Topology) { t.Keyspaces = nil })
		_, err := w.keyspace().Batch(t.Context(), putsOf(keys(3), "v"))
		wantCode(t, err, store.NoSuchKeyspace)
		_, err = w.keyspace().GetMulti(t.Context(), keys(3))
		wantCode(t, err, store.NoSuchKeyspace)
	})
}

func TestBatchIsPartOfItsSession(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		w.sharded(4)
		c := w.open(nil)
		session := c.NewSession()
		_, err := c.Keyspace("ks").Batch(c.Within(t.Context(), session), putsOf(keys(40), "v"))
		must(t, err)
		each := c.NewSession()
		for _, key := range keys(40) {
			_, err := c.Keyspace("ks").Put(t.Context(), key, nil, client.In(each))
			must(t, err)
		}
		if session.Token() == "" || session.Token() != each.Token() {
			t.Errorf("the session is %q, and one of single puts %q", session.Token(), each.Token())
		}
	})
}

// More groups than a session has room for are refused before anything is done in them.
func TestBatchThatItsSessionHasNoRoomForIsNotSent(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		w.sharded(64)
		c := w.open(nil)
		ks := c.Keyspace("ks")
		_, err := ks.Batch(t.Context(), putsOf(keys(400), "v"))
		wantCode(t, err, store.TooLarge)
		_, err = ks.GetMulti(t.Context(), keys(400))
		wantCode(t, err, store.TooLarge)
		if len(w.writes()) > 0 {
			t.Errorf("%d writes were sent", len(w.writes()))
		}
		_, err = ks.Batch(t.Context(), putsOf(keys(10), "v"))
		must(t, err)
	})
}
