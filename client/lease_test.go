package client_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// What a client believes of a lease begins when it asked, not when it heard: the group's
// own count begins somewhere between.
func TestLeaseIsCountedFromBeforeTheRequestWasSent(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.answers(func(c store.Command) (store.Result, error) {
			time.Sleep(300 * time.Millisecond)
			return store.Result{Revision: 5, Lease: 5, TTL: 2 * time.Second}, nil
		})
		ks, asked := w.keyspace(), time.Now()
		l, err := ks.Grant(t.Context(), "", 2*time.Second)
		must(t, err)
		if got := l.Expires().Sub(asked); got != 2*time.Second || l.TTL() != 2*time.Second || l.ID() != 5 {
			t.Errorf("the lease %d ends %v after it was asked for", l.ID(), got)
		}
		time.Sleep(time.Second)
		asked = time.Now()
		must(t, l.KeepAlive(t.Context()))
		if got := l.Expires().Sub(asked); got != 2*time.Second {
			t.Errorf("it ends %v after the renewal was asked for", got)
		}
	})
}

// A renewal that had to be repeated may have been done by its first attempt.
func TestRepeatedRenewalIsCountedFromTheFirstAttempt(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.answers(func(c store.Command) (store.Result, error) {
			if c.Op == store.KeepAlive && !c.Request.Retry {
				time.Sleep(500 * time.Millisecond)
				w.each(func(n *node) { n.cut() })
			}
			return store.Result{Revision: 5, Lease: 5, TTL: 2 * time.Second}, nil
		})
		l, err := w.keyspace().Grant(t.Context(), "", 2*time.Second)
		must(t, err)
		asked := time.Now()
		must(t, l.KeepAlive(t.Context()))
		if got := l.Expires().Sub(asked); got != 2*time.Second || time.Since(asked) < 500*time.Millisecond {
			t.Errorf("it ends %v after the renewal was asked for", got)
		}
	})
}

func TestRenewalThatFailsRenewsNothing(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		code := store.Code("")
		w.answers(func(c store.Command) (store.Result, error) {
			if code != "" {
				return store.Result{}, code
			}
			return store.Result{Revision: 5, Lease: 5, TTL: 2 * time.Second}, nil
		})
		l, err := w.keyspace().Grant(t.Context(), "", 2*time.Second)
		must(t, err)
		before := l.Expires()
		for _, code = range []store.Code{store.NotFound, store.Unknown, store.Unavailable} {
			time.Sleep(100 * time.Millisecond)
			wantCode(t, l.KeepAlive(t.Context()), code)
			if !l.Expires().Equal(before) {
				t.Errorf("%v: it ends at %v, not %v", code, l.Expires(), before)
			}
		}
	})
}

func TestThatALeaseHasEndedIsTheAnswerToItsNumber(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.answers(func(c store.Command) (store.Result, error) {
			if !c.Request.Retry {
				w.each(func(n *node) { n.cut() })
			}
			return store.Result{Entry: revision(6)}, store.NotFound
		})
		wantCode(t, w.keyspace().Lease("", 7).Revoke(t.Context()), store.NotFound)
	})
}

func TestLeaseIsOfTheGroupOfItsKey(t *testing.T) {
	for _, at := range []string{"", "n2"} {
		world(t, store.CP, func(t *testing.T, w *cluster) {
			w.sharded(3)
			w.answers(func(c store.Command) (store.Result, error) {
				return store.Result{Revision: 5, Lease: 5, TTL: time.Second}, nil
			})
			ks := w.open(func(cfg *client.Config) { cfg.At = at }).Keyspace("ks")
			want := w.topology.Keyspaces[0].Group("{u1}")
			l, err := ks.Grant(t.Context(), "{u1}", time.Second)
			must(t, err)
			must(t, l.KeepAlive(t.Context()))
			_, err = ks.Put(t.Context(), "{u1}/x", value, client.WithLease(l))
			must(t, err)
			must(t, l.Revoke(t.Context()))
			for _, c := range w.commands() {
				if c.group != want || c.Op != store.Grant && c.Lease != 5 {
					t.Errorf("%v of lease %d went to group %v, want %v", c.Op, c.Lease, c.group, want)
				}
			}
			n := len(w.writes())
			far := "{b}"
			for k := w.topology.Keyspaces[0]; k.Group(far) == want; {
				far = "{b" + far[1:]
			}
			_, apart := ks.Put(t.Context(), far, value, client.WithLease(l))
			_, nowhere := ks.Grant(t.Context(), "", time.Second)
			for name, err := range map[string]error{"apart": apart, "nowhere": nowhere} {
				if !errors.Is(err, store.Invalid) || store.AsError(err).Try == "" {
					t.Errorf("%s: %v", name, err)
				}
			}
			if len(w.writes()) != n {
				t.Errorf("something was sent: %+v", w.writes()[n:])
			}
		})
	}
}

func TestPutWithATTLTellsItsLease(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.answers(func(c store.Command) (store.Result, error) { return store.Result{Revision: 5, Lease: 5}, nil })
		ks := w.keyspace()
		r, err := ks.Put(t.Context(), "k", value, client.WithTTL(time.Minute))
		must(t, err)
		if got := w.commands()[0].TTL; got != time.Minute || r.Lease != 5 {
			t.Errorf("sent was %v, the lease is %d", got, r.Lease)
		}
		_, del := ks.Delete(t.Context(), "k", client.WithTTL(time.Minute))
		_, short := ks.Put(t.Context(), "k", value, client.WithTTL(time.Millisecond))
		_, both := ks.Put(t.Context(), "k", value, client.WithTTL(time.Minute), client.WithLease(ks.Lease("", 5)))
		for name, err := range map[string]error{"delete": del, "short": short, "both": both} {
			if !errors.Is(err, store.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestLeasesAreListedGroupByGroup(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.sharded(2)
		w.each(func(n *node) {
			n.scan = func(group store.GroupID, q store.Query) (store.Page, error) {
				if !q.Leases || q.Limit == 0 {
					t.Errorf("query is %+v", q)
				}
				return store.Page{Leases: []store.Lease{{ID: 3}, {ID: 9}}, Proof: store.Proof{Group: group}}, nil
			}
		})
		var got []client.LeaseItem
		for l, err := range w.keyspace().Leases(t.Context()) {
			must(t, err)
			got = append(got, l)
		}
		if len(got) != 4 || got[1].ID != 9 || got[1].Group.Shard != 0 || got[2].Group.Shard != 1 {
			t.Errorf("leases are %+v", got)
		}
	})
}

// A session that cannot take in what a failed condition has read must not be silent: a
// later read in it would miss that.
func TestConflictThatCannotBeRememberedSaysSo(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.answers(func(c store.Command) (store.Result, error) {
			return store.Result{Found: true, Value: []byte("seen"), Entry: store.Entry{0xff, 0xff}}, store.Conflict
		})
		r, err := w.keyspace().Put(t.Context(), "k", value, client.Create())
		wantCode(t, err, store.Corrupt)
		if !errors.Is(err, store.Conflict) || store.OutcomeOf(err) != store.Failed || !bytes.Equal(r.Value, []byte("seen")) {
			t.Errorf("outcome %v, result %+v, error %v", store.OutcomeOf(err), r, err)
		}
	})
}
