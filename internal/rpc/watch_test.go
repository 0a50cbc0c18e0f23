package rpc

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// changes is a watch that returns what it is given.
type changes struct {
	next   chan store.Change
	err    error // once next is closed
	closed chan struct{}
}

func newChanges() *changes {
	return &changes{next: make(chan store.Change, 10), closed: make(chan struct{})}
}

func (c *changes) Next(ctx context.Context) (store.Change, error) {
	select {
	case change, ok := <-c.next:
		if !ok {
			return change, c.err
		}
		if change.Revision == 666 {
			panic("a bug")
		}
		return change, nil
	case <-ctx.Done():
		return store.Change{}, store.Expired(ctx, "a change")
	}
}

func (c *changes) Close() { close(c.closed) }

// watches makes every watch of the node be c, and returns what was asked for last.
func (a *acting) watches(c *changes) *store.WatchQuery {
	asked := new(store.WatchQuery)
	a.watch = func(_ context.Context, q store.WatchQuery) (store.Changes, error) {
		*asked = q
		return c, nil
	}
	return asked
}

func TestWatchStreamsChangesAndEndsWithTheirError(t *testing.T) {
	a := newActing()
	onKV(t, a, func(t *testing.T, kv kvpb.KVClient) {
		c := newChanges()
		c.err = &store.Error{Code: store.Compacted, Msg: "the oldest is 12"}
		asked := a.watches(c)
		w, err := kv.Watch(t.Context(), &kvpb.WatchRequest{Keyspace: "ks", Shard: 1, Prefix: "p", From: 9, Token: session(t, 1)})
		if err != nil {
			t.Fatal(err)
		}
		first, err := w.Recv()
		if err != nil || first.Revision != 8 || len(first.Events) > 0 || first.Mode != "ap" || first.KeyspaceId != 7 || first.Shard != 1 || first.Node != "n1" {
			t.Fatalf("it is established with %v, %v", first, err)
		}
		if asked.Prefix != "p" || asked.From != 9 || string(asked.After) != string(entry(3)) {
			t.Errorf("the replica was asked %+v", asked)
		}
		c.next <- store.Change{Revision: 10, Events: []store.Event{{Key: "p1", Value: []byte("v"), Version: 1}}, Entry: entry(10)}
		c.next <- store.Change{Revision: 11}
		close(c.next)
		change, err := w.Recv()
		if err != nil || change.Revision != 10 || len(change.Events) != 1 || change.Events[0].Key != "p1" || string(change.Entry) != string(entry(10)) {
			t.Errorf("got %v, %v", change, err)
		}
		if notice, err := w.Recv(); err != nil || notice.Revision != 11 || len(notice.Events) > 0 || notice.Error != nil {
			t.Errorf("got %v, %v", notice, err)
		}
		last, err := w.Recv()
		if e := kvpb.FromError(last.GetError()); err != nil || !errors.Is(e, store.Compacted) || e.Op != "watch" || e.Node != "n1" || e.Group != group {
			t.Errorf("the last is %v, %v", last, err)
		}
		if _, err := w.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("it goes on: %v", err)
		}
		<-c.closed
	})
}

// A token says what was seen of the group; one that has seen nothing of it begins with the
// first write.
func TestWatchGoesOnBehindAToken(t *testing.T) {
	a := newActing()
	onKV(t, a, func(t *testing.T, kv kvpb.KVClient) {
		seen, err := token.Decode(session(t, 1))
		if err != nil {
			t.Fatal(err)
		}
		read := token.Token{Cluster: seen.Cluster, Epoch: seen.Epoch}
		if err := read.Read(group, entry(5)); err != nil {
			t.Fatal(err)
		}
		for since, want := range map[string]struct {
			begin, from uint64
			since       store.Entry
		}{read.String(): {5, 0, entry(5)}, "": {0, 1, nil}} {
			asked := a.watches(newChanges())
			w, err := kv.Watch(t.Context(), &kvpb.WatchRequest{Keyspace: "ks", Shard: 1, All: true, Since: &since})
			if err != nil {
				t.Fatal(err)
			}
			if first, err := w.Recv(); err != nil || first.Revision != want.begin || first.Error != nil {
				t.Fatalf("it is established with %v, %v", first, err)
			}
			if asked.From != want.from || string(asked.Since) != string(want.since) {
				t.Errorf("the replica was asked %+v", asked)
			}
		}
	})
}

func TestWatchThatCannotBeServedSaysSo(t *testing.T) {
	a := newActing()
	onKV(t, a, func(t *testing.T, kv kvpb.KVClient) {
		c := newChanges()
		a.watches(c)
		for what, broken := range map[string]struct {
			r    *kvpb.WatchRequest
			code store.Code
		}{
			"of nothing":      {&kvpb.WatchRequest{Keyspace: "ks", Shard: 1}, store.Invalid},
			"no keyspace":     {&kvpb.WatchRequest{Keyspace: "nope", All: true}, store.NoSuchKeyspace},
			"another shard's": {&kvpb.WatchRequest{Keyspace: "ks", Key: keyOf(a.fake, 1)}, store.Invalid},
			"no shard":        {&kvpb.WatchRequest{Keyspace: "ks", Shard: 2, All: true}, store.Invalid},
			"no token":        {&kvpb.WatchRequest{Keyspace: "ks", All: true, Since: proto.String("no token")}, store.Invalid},
			"two beginnings":  {&kvpb.WatchRequest{Keyspace: "ks", All: true, From: 1, Since: proto.String("")}, store.Invalid},
			"another epoch":   {&kvpb.WatchRequest{Keyspace: "ks", All: true, Token: session(t, 2)}, store.TokenMismatch},
		} {
			w, err := kv.Watch(t.Context(), broken.r)
			if err != nil {
				t.Fatal(err)
			}
			if r, err := w.Recv(); err != nil || store.Code(r.GetError().GetCode()) != broken.code {
				t.Errorf("%s: %v, %v, want %s", what, r, err, broken.code)
			}
		}
	})
}

func TestWatchEndsWithItsStream(t *testing.T) {
	a := newActing()
	onKV(t, a, func(t *testing.T, kv kvpb.KVClient) {
		c := newChanges()
		a.watches(c)
		ctx, cancel := context.WithCancel(t.Context())
		w, err := kv.Watch(ctx, &kvpb.WatchRequest{Keyspace: "ks", All: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Recv(); err != nil {
			t.Fatal(err)
		}
		cancel()
		<-c.closed
	})
}

func TestPanicEndsOneWatch(t *testing.T) {
	a := newActing()
	onKV(t, a, func(t *testing.T, kv kvpb.KVClient) {
		c, sound := newChanges(), newChanges()
		a.watch = func(_ context.Context, q store.WatchQuery) (store.Changes, error) {
			if q.All {
				return c, nil
			}
			return sound, nil
		}
		open := func(r *kvpb.WatchRequest) kvpb.KV_WatchClient {
			w, err := kv.Watch(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Recv(); err != nil {
				t.Fatal(err)
			}
			return w
		}
		w, other := open(&kvpb.WatchRequest{Keyspace: "ks", All: true}), open(&kvpb.WatchRequest{Keyspace: "ks", Prefix: "p"})
		c.next <- store.Change{Revision: 666}
		if r, err := w.Recv(); !errors.Is(kvpb.FromStatus(err), store.Unknown) {
			t.Errorf("%v, %v", r, err)
		}
		<-c.closed
		sound.next <- store.Change{Revision: 1}
		if r, err := other.Recv(); err != nil || r.Revision != 1 {
			t.Errorf("the other one: %v, %v", r, err)
		}
	})
}

// A slow consumer makes the replica be asked later, and nothing pile up here.
func TestSlowWatcherIsNotReadAheadOf(t *testing.T) {
	a := newActing()
	onKV(t, a, func(t *testing.T, kv kvpb.KVClient) {
		c := newChanges()
		c.next = make(chan store.Change, 100)
		for i := range 40 {
			c.next <- store.Change{Revision: uint64(i), Events: []store.Event{{Key: "k", Value: make([]byte, store.MaxValue)}}}
		}
		a.watches(c)
		w, err := kv.Watch(t.Context(), &kvpb.WatchRequest{Keyspace: "ks", All: true})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(c.next); n < 20 {
			t.Errorf("%d of 40 changes were taken while nobody read", 40-n)
		}
		_, _ = w.Recv()
		for i := range 40 {
			if r, err := w.Recv(); err != nil || r.Revision != uint64(i) {
				t.Fatalf("%v, want revision %d", err, i)
			}
		}
	})
}

func TestNodeServesSoManyWatchesAndNoMore(t *testing.T) {
	s := &kv{node: newActing(), traffic: new(Traffic)}
	s.traffic.Watches.Store(maxWatches)
	err := s.watch(nil, &place{}, nil)
	if e := store.AsError(err); e.Code != store.Overloaded || e.RetryAfter == 0 || s.traffic.Watches.Load() != maxWatches {
		t.Errorf("%v, and %d watches", err, s.traffic.Watches.Load())
	}
}

func TestKeysOfATransactionMustShareItsGroup(t *testing.T) {
	a := newActing()
	onKV(t, a, func(t *testing.T, kv kvpb.KVClient) {
		a.write = func(context.Context, store.Command) (store.Result, error) { return store.Result{Held: true}, nil }
		here, there := keyOf(a.fake, 1), keyOf(a.fake, 0)
		write := func(txn store.Txn) *kvpb.WriteResponse {
			r := kvpb.ToCommand(store.Command{Op: store.Transact, Txn: &txn})
			r.Keyspace, r.Shard = "ks", 1
			response, err := kv.Write(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			return response
		}
		step := func(key string) store.Step { return store.Step{Op: store.Delete, Key: key} }
		compare := func(key string) store.Compare {
			return store.Compare{Key: key, Target: store.TargetVersion, Relation: store.Equal}
		}
		if r := write(store.Txn{If: []store.Compare{compare(here)}, Then: []store.Step{step(here)}, Else: []store.Step{step(here)}}); r.Error != nil || !r.Held {
			t.Errorf("of one group: %v", r)
		}
		for what, txn := range map[string]store.Txn{
			"in a comparison": {If: []store.Compare{compare(here), compare(there)}},
			"in then":         {If: []store.Compare{compare(here)}, Then: []store.Step{step(there)}},
			"in else":         {Then: []store.Step{step(here)}, Else: []store.Step{step(here), step(there)}},
		} {
			if e := write(txn).GetError(); e.GetCode() != string(store.Invalid) || !strings.Contains(e.GetMsg(), "must share a group") || !strings.Contains(e.GetTry(), "{tag}") {
				t.Errorf("%s: %v", what, e)
			}
		}
		if e := write(store.Txn{Then: []store.Step{step(there)}}).GetError(); e.GetCode() != string(store.Invalid) || !strings.Contains(e.GetMsg(), "does not hold") {
			t.Errorf("of another group: %v", e)
		}
	})
}
