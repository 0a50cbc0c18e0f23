package client_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// asked collects the entries that reads came with.
func (w *cluster) asked() *[]store.Entry {
	var entries []store.Entry
	w.each(func(n *node) {
		n.read = func(_ context.Context, q store.Query) (store.Page, error) {
			entries = append(entries, q.After)
			return store.Page{Revision: 9, Entry: revision(9)}, nil
		}
	})
	return &entries
}

func TestSessionCarriesWhatItSawAndWrote(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		c, asked := w.open(nil), w.asked()
		ks, s := c.Keyspace("ks"), c.NewSession()
		_, err := ks.Put(t.Context(), "k", value, client.In(s))
		must(t, err)
		for _, level := range []store.Level{client.Causal, client.Monotonic, client.ReadYourWrites, client.Eventual} {
			_, err := ks.Get(t.Context(), "k", client.In(s), client.At(level))
			must(t, err)
		}
		want := []store.Entry{revision(4), revision(9), revision(4), nil}
		for i, entry := range *asked {
			if !bytes.Equal(entry, want[i]) {
				t.Errorf("read %d asked for %v, want %v", i, entry, want[i])
			}
		}
		_, err = ks.Delete(t.Context(), "k", client.In(s))
		must(t, err)
		if after := w.writes()[1].After; !bytes.Equal(after, revision(9)) {
			t.Errorf("the write came after %v, want what was read", after)
		}
	})
}

func TestSessionTravelsAsAToken(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		c, asked := w.open(nil), w.asked()
		s := c.NewSession()
		_, err := c.Keyspace("ks").Put(t.Context(), "k", value, client.In(s))
		must(t, err)
		other := w.open(nil)
		resumed, err := other.ResumeSession(s.Token())
		must(t, err)
		_, err = other.Keyspace("ks").Get(t.Context(), "k", client.In(resumed))
		must(t, err)
		if got := (*asked)[0]; !bytes.Equal(got, revision(4)) {
			t.Errorf("the other process asked for %v", got)
		}
		if _, err := c.ResumeSession("x"); err == nil {
			t.Error("a damaged token was resumed")
		}
	})
}

func TestCallsWithoutASessionShareTheClients(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		ks, asked := w.keyspace(), w.asked()
		_, err := ks.Put(t.Context(), "k", value)
		must(t, err)
		_, err = ks.Get(t.Context(), "k")
		must(t, err)
		if got := (*asked)[0]; !bytes.Equal(got, revision(4)) {
			t.Errorf("the read asked for %v", got)
		}
	})
}

func TestTokenIsKeptWhenACallIsRepeated(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		ks := w.keyspace()
		_, err := ks.Put(t.Context(), "k", value)
		must(t, err)
		var entries []store.Entry
		w.each(func(n *node) {
			n.read = func(_ context.Context, q store.Query) (store.Page, error) {
				entries = append(entries, q.After)
				return store.Page{}, store.SessionUnreachable
			}
		})
		_, err = ks.Get(t.Context(), "k")
		wantCode(t, err, store.SessionUnreachable)
		for _, e := range entries {
			if !bytes.Equal(e, revision(4)) {
				t.Errorf("an attempt asked for %v", e)
			}
		}
		if len(entries) != 4 {
			t.Errorf("%d attempts", len(entries))
		}
	})
}

func TestFailedConditionIsARead(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.each(func(n *node) {
			n.write = func(_ context.Context, c store.Command) (store.Result, error) {
				if c.Op == store.OpenSession {
					return store.Result{Revision: 100}, nil
				}
				return store.Result{Entry: revision(12)}, store.Conflict
			}
		})
		c, asked := w.open(nil), w.asked()
		_, err := c.Keyspace("ks").Put(t.Context(), "k", value, client.IfRevision(3))
		wantCode(t, err, store.Conflict)
		_, err = c.Keyspace("ks").Get(t.Context(), "k", client.At(client.Monotonic))
		must(t, err)
		if got := (*asked)[0]; !bytes.Equal(got, revision(12)) {
			t.Errorf("the read asked for %v", got)
		}
	})
}

func TestTokenOfAnotherClusterIsRefused(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		foreign := token.Token{Cluster: clusterID, Epoch: 7}
		must(t, foreign.Read(group, revision(1)))
		c := w.open(nil)
		s, err := c.ResumeSession(foreign.String())
		must(t, err)
		_, err = c.Keyspace("ks").Get(t.Context(), "k", client.In(s))
		wantCode(t, err, store.TokenMismatch)
		if store.AsError(err).Try == "" {
			t.Error("it does not say what to try")
		}
	})
}

func TestSessionOfTooManyGroupsIsRefusedBeforeTheWrite(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		full := token.Token{Cluster: clusterID, Epoch: 1}
		for i := range uint64(token.MaxGroups) {
			must(t, full.Read(store.GroupID{Keyspace: 100 + i}, revision(1)))
		}
		c := w.open(nil)
		s, err := c.ResumeSession(full.String())
		must(t, err)
		_, err = c.Keyspace("ks").Put(t.Context(), "k", value, client.In(s))
		wantCode(t, err, store.TooLarge)
		if len(w.writes()) > 0 {
			t.Error("it was written")
		}
	})
}

func TestContextOfAReadReachesTheWrite(t *testing.T) {
	world(t, store.AP, func(t *testing.T, w *cluster) {
		w.each(func(n *node) {
			n.read = func(context.Context, store.Query) (store.Page, error) {
				return store.Page{Context: revision(6), Items: []store.Item{{Key: "k", Values: [][]byte{[]byte("a"), []byte("b")}}}}, nil
			}
		})
		ks := w.keyspace()
		item, err := ks.Get(t.Context(), "k")
		must(t, err)
		if !item.Found || len(item.Values) != 2 || item.Value != nil {
			t.Errorf("item is %+v", item)
		}
		_, err = ks.Put(t.Context(), "k", value, client.WithContext(item.Context))
		must(t, err)
		if got := w.writes()[0].Context; !bytes.Equal(got, revision(6)) {
			t.Errorf("the write follows %v", got)
		}
		w.change(func(top *shard.Topology) { top.Epoch = 2 })
		_, err = w.keyspace().Put(t.Context(), "k", value, client.WithContext(item.Context))
		wantCode(t, err, store.TokenMismatch)
	})
}

func TestAbsentKeyIsAnAnswer(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		item, err := w.keyspace().Get(t.Context(), "k")
		if err != nil || item.Found || item.Revision != 3 {
			t.Errorf("item is %+v, %v", item, err)
		}
	})
}

func TestPinnedCallsEnterAtTheirNode(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.led("n3")
		c, asked := w.open(func(cfg *client.Config) { cfg.At = "n2" }), w.asked()
		ks, s := c.Keyspace("ks"), c.NewSession()
		result, err := ks.Put(t.Context(), "k", value, client.In(s))
		must(t, err)
		if result.Revision != 4 || result.Proof.Node != "n3" {
			t.Errorf("result is %+v", result)
		}
		_, err = ks.Get(t.Context(), "k", client.In(s), client.At(client.ReadYourWrites))
		must(t, err)
		if got := (*asked)[0]; !bytes.Equal(got, revision(4)) {
			t.Errorf("the session lost its write on the way: %v", got)
		}
	})
}

func TestPinnedCallsFailWithTheirNode(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		_, err := w.open(func(cfg *client.Config) { cfg.At = "n9" }).Keyspace("ks").Get(t.Context(), "k")
		wantCode(t, err, store.Invalid)

		ks := w.open(func(cfg *client.Config) { cfg.At = "n2" }).Keyspace("ks")
		_, err = ks.Get(t.Context(), "k")
		must(t, err)
		w.each(func(n *node) {
			n.write = func(context.Context, store.Command) (store.Result, error) {
				return store.Result{}, &store.Error{Code: store.Unavailable, Msg: "no majority"}
			}
		})
		_, err = ks.Put(t.Context(), "k", value)
		wantCode(t, err, store.Unavailable)

		w.nodes["n2"].unreachable(refused)
		_, err = ks.Put(t.Context(), "k", value)
		wantCode(t, err, store.Unavailable)
		if store.AsError(err).Node != "n2" {
			t.Errorf("the error does not name the node: %v", err)
		}
	})
}

func TestPinnedWriteWhoseAnswerIsLostIsUnknown(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.each(func(n *node) {
			n.write = func(_ context.Context, c store.Command) (store.Result, error) {
				if c.Op == store.Put {
					w.nodes["n2"].cut()
				}
				return store.Result{Revision: 100}, nil
			}
		})
		_, err := w.open(func(cfg *client.Config) { cfg.At = "n2" }).Keyspace("ks").Put(t.Context(), "k", value)
		wantCode(t, err, store.Unknown)
	})
}

// A group keeps only so many sessions, so a client that ends closes its own.
func TestClosedClientLeavesNoExactlyOnceSession(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		c := w.open(nil)
		_, err := c.Keyspace("ks").Put(t.Context(), "k", []byte("v"))
		must(t, err)
		must(t, c.Close())
		calls := w.writes()
		last := calls[len(calls)-1]
		if last.Op != store.CloseSession || last.Request.Session != 100 || last.Request.Named() {
			t.Errorf("the last of %d commands is %v of session %d", len(calls), last.Op, last.Request.Session)
		}
	})
}
