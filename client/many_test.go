package client

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/rpc"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// trivial is a node whose one replica does what the test says, and answers at once if
// it says nothing.
type trivial struct {
	topology shard.Topology
	value    []byte
	write    func(ctx context.Context, c store.Command) (store.Result, error)
}

func newTrivial() *trivial {
	return &trivial{value: make([]byte, 256), topology: shard.Topology{
		Cluster: "00112233445566778899aabbccddeeff", Epoch: 1, Node: "n1",
		Keyspaces: []shard.Keyspace{{ID: 7, Name: "ks", Mode: store.CP, Groups: 1, Placement: [][]string{{"n1"}}}},
	}}
}

func (n *trivial) Topology() shard.Topology                    { return n.topology }
func (n *trivial) Replica(store.GroupID) (store.Replica, bool) { return n, true }
func (n *trivial) Peer(store.GroupID) (rpc.PeerReplica, bool)  { return nil, false }
func (n *trivial) Prove(_ context.Context, _ store.GroupID, seen token.Deps) (token.Deps, error) {
	return seen, nil
}
func (n *trivial) Status() store.Status          { return store.Status{} }
func (n *trivial) Run(ctx context.Context) error { return nil }
func (n *trivial) Keyspace(context.Context, uint64, string) (shard.Keyspace, error) {
	return n.topology.Keyspaces[0], nil
}

func (n *trivial) Watch(context.Context, store.WatchQuery) (store.Changes, error) {
	return nil, store.Unsupported
}

func (n *trivial) Read(_ context.Context, q store.Query) (store.Page, error) {
	return store.Page{
		Items: []store.Item{{Key: q.Key, Values: [][]byte{n.value}, Revision: 9, Created: 3, Version: 2}}, Revision: 12,
		Proof: store.Proof{Node: "n1", Group: store.GroupID{Keyspace: 7}, Role: "leader", Term: 3, Asked: store.Strong, Served: store.Strong, Fresh: true},
	}, nil
}

func (n *trivial) Write(ctx context.Context, c store.Command) (store.Result, error) {
	if n.write != nil {
		return n.write(ctx, c)
	}
	return store.Result{Revision: 12, Found: true, Replaced: 9, Proof: store.Proof{Node: "n1", Group: store.GroupID{Keyspace: 7}, Role: "leader", Term: 3}}, nil
}

// line is a connection to a trivial node in a bubble.
type line struct {
	*conn
	t      *testing.T
	node   *trivial
	conns  *conns
	server *grpc.Server

	mu  sync.Mutex
	raw []net.Conn
}

// onLine runs a test in virtual time.
func onLine(t *testing.T, test func(t *testing.T, l *line)) {
	t.Helper()
	linktest.Bubble(t, func(t *testing.T) {
		listener := bufconn.Listen(1 << 16)
		l := &line{t: t, node: newTrivial()}
		l.server = rpc.NewServer(rpc.Config{Node: l.node})
		go func() { _ = l.server.Serve(listener) }()
		l.conns = newConns(func(ctx context.Context, _, _ string) (net.Conn, error) {
			raw, err := listener.DialContext(ctx)
			l.mu.Lock()
			defer l.mu.Unlock()
			l.raw = append(l.raw, raw)
			return raw, err
		}, func(string) string { return "n1" })
		l.up()
		test(t, l)
		_ = l.conns.close()
		l.server.Stop()
	})
}

func (l *line) up() {
	l.t.Helper()
	cc, err := l.conns.ready(l.t.Context(), endpoint{node: "n1"})
	if err != nil {
		l.t.Fatal(err)
	}
	l.conn = cc
}

// cut breaks the connection.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, raw := range l.raw {
		_ = raw.Close()
	}
	l.raw = nil
}

func (l *line) put(ctx context.Context, value []byte) (reach, *kvpb.WriteResponse, error) {
	w, response := kvpb.ToCommand(store.Command{Op: store.Put, Key: "k", Value: value}), &kvpb.WriteResponse{}
	w.Keyspace = "ks"
	came, err := l.conn.write(ctx, endpoint{node: "n1"}, w, response)
	return came, response, err
}

func (l *line) get(ctx context.Context) (reach, *kvpb.ReadResponse, error) {
	r, response := kvpb.ToQuery(store.Query{Key: "k"}), &kvpb.ReadResponse{}
	r.Keyspace = "ks"
	came, err := l.conn.read(ctx, endpoint{node: "n1"}, r, response)
	return came, response, err
}

func (l *line) wantAnswer() {
	l.t.Helper()
	if came, r, err := l.put(l.t.Context(), []byte("v")); came != answered || err != nil || r.GetError() != nil {
		l.t.Errorf("%v, %v, %v", came, r, err)
	}
}

// wait makes every write wait until its caller gives up, and counts those that began.
func (l *line) wait(began *int) {
	var mu sync.Mutex
	l.node.write = func(ctx context.Context, _ store.Command) (store.Result, error) {
		mu.Lock()
		*began++
		mu.Unlock()
		<-ctx.Done()
		return store.Result{}, store.Expired(ctx, "a majority")
	}
}

func TestCallsOfAConnectionShareOneStream(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		l.node.write = func(_ context.Context, c store.Command) (store.Result, error) {
			return store.Result{Value: c.Value}, nil
		}
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				value := bytes.Repeat([]byte{byte(i)}, i)
				came, r, err := l.put(t.Context(), value)
				if came != answered || err != nil || !bytes.Equal(r.GetValue(), value) {
					t.Errorf("%v, %v, %v", came, r, err)
				}
				if came, r, err := l.get(t.Context()); came != answered || err != nil || r.GetItems()[0].GetKey() != "k" {
					t.Errorf("%v, %v, %v", came, r, err)
				}
			})
		}
		wg.Wait()
		first := l.lane.Load()
		if l.wantAnswer(); l.lane.Load() != first || len(first.waiting) > 0 || len(first.slots) > 0 {
			t.Errorf("something is left: %d calls, %d slots", len(first.waiting), len(first.slots))
		}
	})
}

func TestWhatWasSentOnABrokenStreamMayHaveArrived(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		began := 0
		l.wait(&began)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				came, _, err := l.put(t.Context(), nil)
				if came != unanswered || !errors.Is(err, store.Unknown) {
					t.Errorf("%v, %v", came, err)
				}
			})
		}
		synctest.Wait()
		if began != 50 {
			t.Errorf("%d writes began", began)
		}
		l.cut()
		wg.Wait()
		l.node.write = nil
		l.up() // a new stream of a new connection
		l.wantAnswer()
	})
}

// A node that stops ends the stream and not the process: the calls of a stream that
// the node ended without a word are no different from those of a broken one.
func TestWhatWasSentToANodeThatStopsMayHaveArrived(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		began := 0
		l.wait(&began)
		ended := make(chan reach)
		go func() {
			came, _, _ := l.put(t.Context(), nil)
			ended <- came
		}()
		synctest.Wait()
		l.server.Stop()
		if came := <-ended; came != unanswered || began != 1 {
			t.Errorf("%v, %d began", came, began)
		}
	})
}

func TestWhatWasNeverHandedToTheStreamWasNotSent(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		l.wantAnswer()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		// The stream's owner is told to send and cannot, because this test is in the
		// middle of it: nobody takes up what is queued.
		hold := newLane(l.lane.Load().stream)
		l.lane.Store(hold)
		came, _, err := l.put(ctx, nil)
		if came != unsent || !errors.Is(err, store.Unavailable) {
			t.Errorf("at the deadline: %v, %v", came, err)
		}
		ended := make(chan reach)
		go func() {
			came, _, _ := l.put(t.Context(), nil)
			ended <- came
		}()
		synctest.Wait()
		left := hold.finish()
		for _, x := range left {
			hold.fail(x, errors.New("broken"))
		}
		if came := <-ended; came != unsent || len(left) != 1 {
			t.Errorf("at the stream's end: %v, %d left", came, len(left))
		}
		l.wantAnswer() // the lane that is over was replaced
	})
}

func TestCallWithoutTimeIsNotSent(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		began := 0
		l.wait(&began)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 2 { // without a lane, and with one
			if came, _, err := l.put(ctx, nil); came != unsent || !errors.Is(err, store.Unavailable) || began > 0 {
				t.Errorf("%v, %v, %d began", came, err, began)
			}
			if _, _, err := l.get(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestCallerWhoLeavesEndsTheRequestAtTheNode(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		ended := make(chan error, 1)
		l.node.write = func(ctx context.Context, _ store.Command) (store.Result, error) {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return store.Result{}, store.Unavailable
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			synctest.Wait()
			cancel()
		}()
		came, _, err := l.put(ctx, nil)
		if came != unanswered || !errors.Is(err, store.Unknown) {
			t.Errorf("%v, %v", came, err)
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the request ended with %v", err)
		}
		l.node.write = nil
		l.wantAnswer() // the answer that comes too late disturbs nobody
	})
}

func TestDeadlineTravelsAndTheAnswerComesWithinIt(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		var left time.Duration
		l.node.write = func(ctx context.Context, _ store.Command) (store.Result, error) {
			deadline, _ := ctx.Deadline()
			left = time.Until(deadline)
			<-ctx.Done()
			return store.Result{}, store.Expired(ctx, "a majority")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		came, r, err := l.put(ctx, nil)
		if came != answered || err != nil || r.GetError().GetCode() != string(store.Unavailable) || left != 1900*time.Millisecond {
			t.Errorf("%v, %v, %v, the node had %v", came, r, err, left)
		}
	})
}

// The value is the caller's again when the call returns, however it ended.
func TestValueIsNotReadAfterTheCall(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		var mu sync.Mutex
		torn := 0
		l.node.write = func(_ context.Context, c store.Command) (store.Result, error) {
			mu.Lock()
			defer mu.Unlock()
			if bytes.ContainsRune(c.Value, 'x') {
				torn++
			}
			return store.Result{}, nil
		}
		for i := range 100 {
			value := make([]byte, 1<<14)
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i))
			_, _, _ = l.put(ctx, value)
			cancel()
			for i := range value {
				value[i] = 'x'
			}
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if torn > 0 {
			t.Errorf("%d values arrived as they were after the call", torn)
		}
	})
}

func TestMoreCallsThanAStreamTakesWaitForTheirTurn(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		began := 0
		l.wait(&began)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range maxInFlight {
			wg.Go(func() { _, _, _ = l.put(ctx, nil) })
		}
		synctest.Wait()
		short, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		if came, _, err := l.put(short, nil); came != unsent || !errors.Is(err, store.Unavailable) || began != maxInFlight {
			t.Errorf("%v, %v, while %d are in progress", came, err, began)
		}
		cancel()
		wg.Wait()
		if _, _, err := l.get(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// The connection holds 64 KiB here, and so does a stream at first: large values go
// through in pieces, both ways at the same time.
func TestLargeValuesPassEachOther(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		large := bytes.Repeat([]byte("v"), maxShared)
		l.node.value = bytes.Repeat(large, store.MaxValue/maxShared)
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if came, _, err := l.put(ctx, large); came != answered || err != nil {
					t.Errorf("put: %v, %v", came, err)
				}
				if came, r, err := l.get(ctx); came != answered || err != nil || !bytes.Equal(r.GetItems()[0].GetValues()[0], l.node.value) {
					t.Errorf("get: %v, %v", came, err)
				}
			})
		}
		wg.Wait()
	})
}

// Others would have to wait until it has passed.
func TestWhatIsLargeGoesAlone(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		var got store.Command
		l.node.write = func(_ context.Context, c store.Command) (store.Result, error) {
			got = c
			return store.Result{}, nil
		}
		large := make([]byte, store.MaxValue)
		if came, _, err := l.put(t.Context(), large); came != answered || err != nil || len(got.Value) != len(large) {
			t.Errorf("a put of %d bytes: %v, %v", len(got.Value), came, err)
		}
		txn := &store.Txn{}
		for range 3 {
			txn.Then = append(txn.Then, store.Step{Op: store.Put, Key: "k", Value: large[:store.MaxRequest/3-1]})
		}
		w := kvpb.ToCommand(store.Command{Op: store.Transact, Txn: txn})
		w.Keyspace = "ks"
		if came, err := l.conn.write(t.Context(), endpoint{node: "n1"}, w, &kvpb.WriteResponse{}); came != answered || err != nil || len(got.Txn.Then) != 3 {
			t.Errorf("a transaction at the limit: %v, %v", came, err)
		}
		r := &kvpb.ReadRequest{Keyspace: "ks", Limit: 10}
		if came, err := l.conn.read(t.Context(), endpoint{node: "n1"}, r, &kvpb.ReadResponse{}); came != answered || err != nil {
			t.Errorf("a scan: %v, %v", came, err)
		}
		if l.lane.Load() != nil {
			t.Error("they went by the shared stream")
		}
		l.wantAnswer()
		if l.lane.Load() == nil {
			t.Error("a small one did not")
		}
	})
}

func TestWhatIsTooLargeIsRefusedHere(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		r, w := &kvpb.ReadRequest{Token: make([]byte, kvpb.MaxMessage)}, &kvpb.WriteRequest{Context: make([]byte, kvpb.MaxMessage)}
		came, err := l.conn.read(t.Context(), endpoint{node: "n1"}, r, &kvpb.ReadResponse{})
		if came != unsent || !errors.Is(err, store.TooLarge) {
			t.Errorf("read: %v, %v", came, err)
		}
		if came, err = l.conn.write(t.Context(), endpoint{node: "n1"}, w, &kvpb.WriteResponse{}); came != unsent || !errors.Is(err, store.TooLarge) {
			t.Errorf("write: %v, %v", came, err)
		}
		if came, err = l.invoke(t.Context(), endpoint{node: "n1"}, kvpb.KV_Write_FullMethodName, w, &kvpb.WriteResponse{}); came != unsent || !errors.Is(err, store.TooLarge) {
			t.Errorf("alone: %v, %v", came, err)
		}
		l.wantAnswer()
	})
}

func TestNothingRunsAfterClose(t *testing.T) {
	onLine(t, func(t *testing.T, l *line) {
		began := 0
		l.wait(&began)
		ended := make(chan reach, 1)
		go func() {
			came, _, _ := l.put(t.Context(), nil)
			ended <- came
		}()
		synctest.Wait()
		if err := l.conns.close(); err != nil {
			t.Error(err)
		}
		if !l.lane.Load().isOver() || <-ended != unanswered {
			t.Error("the stream goes on")
		}
		if came, _, err := l.put(t.Context(), nil); came != unsent || !strings.Contains(err.Error(), "cannot be reached") {
			t.Errorf("after Close: %v, %v", came, err)
		}
	})
}
