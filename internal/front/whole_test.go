package front

import (
	"context"
	"errors"
	"io"
	"net"
	"reflect"
	"testing"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/rpc"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// node is a whole node as far as a front goes: it has the KV service, a front, and one
// replica that remembers what it was asked and answers what the test says.
type node struct {
	query   store.Query
	command store.Command
	watched store.WatchQuery
	group   store.GroupID // that was asked last
	page    store.Page
	result  store.Result
	changes []store.Change
}

func (n *node) Topology() shard.Topology {
	return shard.Topology{
		Cluster: "00112233445566778899aabbccddeeff", Epoch: 1, Revision: 9, Node: "n1", Nodes: []shard.Node{{Name: "n1", Addr: "n1"}},
		Keyspaces: []shard.Keyspace{{ID: 7, Name: "ks", Mode: store.CP, Groups: 2, Placement: [][]string{{"n1"}, {"n1"}}}},
	}
}

func (n *node) Keyspace(context.Context, uint64, string) (shard.Keyspace, error) {
	return n.Topology().Keyspaces[0], nil
}

func (n *node) Replica(group store.GroupID) (store.Replica, bool) {
	n.group = group
	return n, true
}

func (n *node) Peer(store.GroupID) (rpc.PeerReplica, bool) { return nil, false }
func (n *node) Prove(_ context.Context, _ store.GroupID, seen token.Deps) (token.Deps, error) {
	return seen, nil
}
func (n *node) Status() store.Status      { return store.Status{Revision: 9} }
func (n *node) Run(context.Context) error { return nil }

func (n *node) Read(_ context.Context, q store.Query) (store.Page, error) {
	n.query = q
	return n.page, nil
}

func (n *node) Write(_ context.Context, c store.Command) (store.Result, error) {
	if c.Op == store.OpenSession {
		return store.Result{Revision: 100}, nil
	}
	n.command = c
	return n.result, nil
}

func (n *node) Watch(_ context.Context, q store.WatchQuery) (store.Changes, error) {
	n.watched = q
	return &said{n.changes}, nil
}

// said is a watch that says what it has and then falls too far behind.
type said struct{ left []store.Change }

func (s *said) Close() {}
func (s *said) Next(context.Context) (store.Change, error) {
	if len(s.left) == 0 {
		return store.Change{}, store.Compacted
	}
	c := s.left[0]
	s.left = s.left[1:]
	return c, nil
}

func revision(n uint64) store.Entry { return token.EncodeEntry([]token.Component{{N: n}}) }

// entering runs a test with a client of the node's front.
func entering(t *testing.T, n *node, test func(t *testing.T, front kvpb.FrontClient)) {
	linktest.Bubble(t, func(t *testing.T) {
		listener := bufconn.Listen(1 << 20)
		dial := func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }
		own, err := client.Open(t.Context(), client.Config{Seeds: []string{"n1"}, Dial: func(ctx context.Context, name, _ string) (net.Conn, error) { return dial(ctx, name) }})
		if err != nil {
			t.Fatal(err)
		}
		s := rpc.NewServer(rpc.Config{Node: n})
		kvpb.RegisterFrontServer(s, New(own, nil))
		go func() { _ = s.Serve(listener) }()
		cc, err := kvpb.Dial("n1", dial)
		if err != nil {
			t.Fatal(err)
		}
		test(t, kvpb.NewFrontClient(cc))
		if err := errors.Join(cc.Close(), own.Close()); err != nil {
			t.Error(err)
		}
		s.Stop()
	})
}

func TestTransactionEntersAndItsAnswerLeavesWhole(t *testing.T) {
	txn := &store.Txn{
		If: []store.Compare{
			{Key: "{u}a", Target: store.TargetValue, Relation: store.NotEqual, Value: []byte{}},
			{Key: "{u}b", Target: store.TargetLease, Relation: store.Greater, Number: 7},
		},
		Then: []store.Step{{Op: store.Put, Key: "{u}a", Value: []byte("v"), Lease: 5}, {Op: store.Get, Key: "{u}b"}},
		Else: []store.Step{{Op: store.Increment, Key: "{u}c", Delta: -3}},
	}
	want := store.Result{
		Revision: 12, Held: true, Entry: revision(12), Lease: 3, TTL: time.Minute,
		Steps: []store.StepResult{{Found: true, Replaced: 4, Revision: 12}, {Found: true, Value: []byte("b"), Revision: 8}},
	}
	n := &node{result: want}
	entering(t, n, func(t *testing.T, front kvpb.FrontClient) {
		r := kvpb.ToCommand(store.Command{Op: store.Transact, Txn: txn})
		r.Keyspace = "ks"
		response, err := front.Write(t.Context(), r)
		if err != nil || response.GetError() != nil || response.GetMode() != "cp" || len(response.GetToken()) == 0 {
			t.Fatalf("%v, %v", response, err)
		}
		if !reflect.DeepEqual(n.command.Txn, txn) || n.group.Shard != n.Topology().Keyspaces[0].Shard("{u}") {
			t.Errorf("group %v was told %+v", n.group, n.command.Txn)
		}
		got, err := kvpb.FromResult(response)
		if got.Entry = want.Entry; err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("the answer is %+v, %v\nwant %+v", got, err, want)
		}
	})
}

func TestPageOfAScanEntersAndLeavesWhole(t *testing.T) {
	query := store.Query{Key: "a", Level: store.Strong, Limit: 10, Prefix: "a", To: "b", Reverse: true, KeysOnly: true, Count: true}
	want := store.Page{
		Items: []store.Item{{Key: "a1", Revision: 8, Created: 3, Version: 4, Lease: 5}}, Count: 20, Next: token.Page{Node: "n1"}.Encode(),
		Revision: 12, Entry: revision(12), Leases: []store.Lease{{ID: 5, TTL: time.Minute, Remaining: time.Second, Keys: 1}},
	}
	n := &node{page: want}
	entering(t, n, func(t *testing.T, front kvpb.FrontClient) {
		for _, page := range []string{"", want.Next} {
			query.Page = page
			r := kvpb.ToQuery(query)
			r.Keyspace, r.Shard = "ks", 1
			response, err := front.Read(t.Context(), r)
			if err != nil || response.GetError() != nil {
				t.Fatalf("%v, %v", response, err)
			}
			asked := n.query
			if asked.After = nil; !reflect.DeepEqual(asked, query) || n.group != (store.GroupID{Keyspace: 7, Shard: 1}) {
				t.Errorf("group %v was asked %+v, want %+v", n.group, asked, query)
			}
			got, err := kvpb.FromPage(response)
			if got.Entry = want.Entry; err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("the answer is %+v, %v\nwant %+v", got, err, want)
			}
		}
	})
}

func TestLeasesEnterByTheirGroup(t *testing.T) {
	n := &node{result: store.Result{Lease: 5, TTL: time.Minute}}
	entering(t, n, func(t *testing.T, front kvpb.FrontClient) {
		for _, c := range []store.Command{{Op: store.Grant, TTL: time.Minute}, {Op: store.KeepAlive, Lease: 5}, {Op: store.Revoke, Lease: 5}} {
			r := kvpb.ToCommand(c)
			r.Keyspace, r.Shard = "ks", 1
			response, err := front.Write(t.Context(), r)
			if err != nil || response.GetError() != nil || response.GetLease() != 5 || n.group.Shard != 1 || n.command.Op != c.Op || n.command.Lease != c.Lease {
				t.Errorf("%v: %v, %v; group %v was told %+v", c.Op, response, err, n.group, n.command)
			}
		}
	})
}

func TestWatchEntersAndItsChangesLeaveInOrder(t *testing.T) {
	events := []store.Event{{Key: "a1", Deleted: true, Expired: true, Replaced: 4}, {Key: "a2", Value: []byte("v"), Version: 3, Lease: 5}}
	n := &node{changes: []store.Change{{Revision: 10, Events: events, Entry: revision(10)}, {Revision: 11, Entry: revision(11)}}}
	entering(t, n, func(t *testing.T, front kvpb.FrontClient) {
		w, err := front.Watch(t.Context(), &kvpb.WatchRequest{Keyspace: "ks", Shard: 1, Prefix: "a", From: 10})
		if err != nil {
			t.Fatal(err)
		}
		if first, err := w.Recv(); err != nil || first.Revision != 9 || len(first.Events) > 0 || first.Mode != "cp" || first.KeyspaceId != 7 || first.Shard != 1 {
			t.Fatalf("it is established with %v, %v", first, err)
		}
		if n.watched.Prefix != "a" || n.watched.From != 10 || n.group.Shard != 1 {
			t.Errorf("group %v was asked %+v", n.group, n.watched)
		}
		r, err := w.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if c, err := kvpb.FromChange(r); err != nil || c.Revision != 10 || !reflect.DeepEqual(c.Events, events) || len(r.Token) == 0 {
			t.Errorf("%+v, %v", c, err)
		}
		if r, err := w.Recv(); err != nil || r.Revision != 11 || len(r.Events) > 0 || r.Error != nil {
			t.Errorf("no notice of progress: %v, %v", r, err)
		}
		if r, err := w.Recv(); err != nil || r.GetError().GetCode() != string(store.Compacted) {
			t.Errorf("the last is %v, %v", r, err)
		}
		if _, err := w.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("it goes on: %v", err)
		}
	})
}

func TestWatchThatCannotEnterSaysSo(t *testing.T) {
	entering(t, &node{}, func(t *testing.T, front kvpb.FrontClient) {
		for what, r := range map[string]*kvpb.WatchRequest{
			"of nothing": {Keyspace: "ks"}, "a bad token": {Keyspace: "ks", All: true, Token: []byte("x")}, "no shard": {Keyspace: "ks", All: true, Shard: 2},
		} {
			w, err := front.Watch(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if last, err := w.Recv(); err != nil || last.GetError().GetCode() != string(store.Invalid) {
				t.Errorf("%s: %v, %v", what, last, err)
			}
		}
	})
}
