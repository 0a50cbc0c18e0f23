package rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

const clusterID = "00112233445566778899aabbccddeeff"

var group = store.GroupID{Keyspace: 7, Shard: 1}

// fake is node n1 of two, with replicas of both groups of one keyspace that do
// what the test says.
type fake struct {
	proved   token.Deps // that it was asked to prove last
	open     token.Deps
	unproved error
	settled  store.Entry
	call     func(ctx context.Context, payload []byte) // what a call does before it is answered
	topology shard.Topology
	query    store.Query
	command  store.Command
	page     store.Page
	result   store.Result
	err      error
	wait     bool // until the context ends
	absent   bool // no replica here
	serve    func(ctx context.Context, from string, s Stream) error
}

func newFake() *fake {
	return &fake{topology: shard.Topology{
		Cluster: clusterID, Epoch: 1, Revision: 9, Node: "n1", Nodes: []shard.Node{{Name: "n1"}, {Name: "n2"}},
		Keyspaces: []shard.Keyspace{{ID: 7, Name: "ks", Mode: store.AP, Groups: 2, Placement: [][]string{{"n1"}, {"n1"}}}},
	}}
}

func (f *fake) Topology() shard.Topology                    { return f.topology }
func (f *fake) Replica(store.GroupID) (store.Replica, bool) { return replica{f}, !f.absent }
func (f *fake) Peer(store.GroupID) (PeerReplica, bool)      { return f, !f.absent }
func (f *fake) Prove(_ context.Context, group store.GroupID, seen token.Deps) (token.Deps, error) {
	f.proved = seen
	return f.open, f.unproved
}
func (f *fake) Settled(context.Context, store.Entry, time.Duration) (store.Entry, error) {
	return f.settled, nil
}
func (f *fake) ServeStream(ctx context.Context, from string, s Stream) error {
	return f.serve(ctx, from, s)
}

func (f *fake) ServeCall(ctx context.Context, from string, payload []byte) ([]byte, error) {
	if f.call != nil {
		f.call(ctx, payload)
	}
	return append([]byte(from+" said "), payload...), f.err
}

func (f *fake) Keyspace(_ context.Context, id uint64, name string) (shard.Keyspace, error) {
	switch {
	case id == 7 || id == 0 && name == "ks":
		return f.topology.Keyspaces[0], nil
	case name == "new":
		return shard.Keyspace{ID: 8, Name: "new", Mode: store.CP}, nil
	}
	return shard.Keyspace{}, store.NoSuchKeyspace
}

type replica struct{ *fake }

func (r replica) Watch(context.Context, store.WatchQuery) (store.Changes, error) {
	return nil, store.Unsupported
}

func (r replica) Read(ctx context.Context, q store.Query) (store.Page, error) {
	r.query = q
	return r.page, r.end(ctx)
}

func (r replica) Write(ctx context.Context, c store.Command) (store.Result, error) {
	r.command = c
	return r.result, r.end(ctx)
}

func (r replica) end(ctx context.Context) error {
	if !r.wait {
		return r.err
	}
	<-ctx.Done()
	return store.Expired(ctx, "a majority")
}

func (r replica) Status() store.Status          { return store.Status{} }
func (r replica) Run(ctx context.Context) error { return nil }

// admins answer one call with what they are.
type admins struct {
	Admin
	err error
}

func (a admins) Status(context.Context, *kvpb.StatusRequest) (*kvpb.StatusResponse, error) {
	return &kvpb.StatusResponse{Node: "n1"}, a.err
}

// named is a listener on which everybody is one node, as the link's is.
type named struct {
	net.Listener
	node string
}

func (l named) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return from{conn, l.node}, err
}

type from struct {
	net.Conn
	node string
}

func (c from) RemoteAddr() net.Addr { return c }
func (c from) Network() string      { return "link" }
func (c from) String() string       { return c.node }

// served runs a test in a bubble, with the services on a listener in memory.
func served(t *testing.T, f Node, a Admin, test func(t *testing.T, dial func(context.Context, string) (net.Conn, error))) {
	t.Helper()
	linktest.Bubble(t, func(t *testing.T) {
		listener := bufconn.Listen(1 << 20)
		s := NewServer(Config{Node: f, Admin: a})
		go func() { _ = s.Serve(named{listener, "n2"}) }()
		test(t, func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) })
		s.Stop()
	})
}

// onKV runs a test against the KV service.
func onKV(t *testing.T, f Node, test func(t *testing.T, kv kvpb.KVClient)) {
	t.Helper()
	served(t, f, nil, func(t *testing.T, dial func(context.Context, string) (net.Conn, error)) {
		cc, err := kvpb.Dial("n1", dial)
		if err != nil {
			t.Fatal(err)
		}
		test(t, kvpb.NewKVClient(cc))
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
	})
}

// keyOf is a key of the shard.
func keyOf(f *fake, n uint32) string {
	for _, key := range strings.Split("abcdefghijklmnop", "") {
		if f.topology.Keyspaces[0].Shard(key) == n {
			return key
		}
	}
	panic("no key")
}

func entry(n uint64) store.Entry { return token.EncodeEntry([]token.Component{{ID: 5, N: n}}) }

func session(t *testing.T, epoch uint64) []byte {
	tok := token.Token{Cluster: clusterID, Epoch: epoch}
	err := errors.Join(tok.Read(group, entry(3)), tok.Wrote(group, entry(2)))
	b, encodeErr := tok.Encode()
	if err != nil || encodeErr != nil {
		t.Fatal(err, encodeErr)
	}
	return b
}

func TestReadOpensTheTokenAndSealsTheContext(t *testing.T) {
	f := newFake()
	f.page = store.Page{Context: entry(6), Entry: entry(7), Items: []store.Item{{Key: "k"}}}
	onKV(t, f, func(t *testing.T, kv kvpb.KVClient) {
		r, err := kv.Read(t.Context(), &kvpb.ReadRequest{Keyspace: "ks", Shard: 1, Key: keyOf(f, 1), Level: "read-your-writes", Token: session(t, 1)})
		if err != nil || r.Error != nil {
			t.Fatal(err, r.GetError())
		}
		if !bytes.Equal(f.query.After, entry(2)) || f.query.Level != store.ReadYourWrites {
			t.Errorf("the replica was asked %+v", f.query)
		}
		if r.Mode != "ap" || r.KeyspaceId != 7 || r.Shard != 1 || !bytes.Equal(r.Entry, entry(7)) {
			t.Errorf("the answer is %v", r)
		}
		w, err := kv.Write(t.Context(), &kvpb.WriteRequest{KeyspaceId: 7, Shard: 1, Key: keyOf(f, 1), Op: kvpb.Op_OP_PUT, Context: r.Context, Token: session(t, 1)})
		if err != nil || w.Error != nil {
			t.Fatal(err, w.GetError())
		}
		if !bytes.Equal(f.command.Context, entry(6)) || !bytes.Equal(f.command.After, entry(3)) {
			t.Errorf("the replica was told %+v", f.command)
		}
	})
}

func TestRequestsThatCannotBeServedAreAnsweredInBand(t *testing.T) {
	f := newFake()
	onKV(t, f, func(t *testing.T, kv kvpb.KVClient) {
		good := func() *kvpb.ReadRequest { return &kvpb.ReadRequest{Keyspace: "ks", Shard: 1, Key: keyOf(f, 1)} }
		for what, broken := range map[string]struct {
			change func(*kvpb.ReadRequest)
			code   store.Code
		}{
			"as it is":        {func(*kvpb.ReadRequest) {}, ""},
			"keyspace":        {func(r *kvpb.ReadRequest) { r.Keyspace = "nope" }, store.NoSuchKeyspace},
			"id that is gone": {func(r *kvpb.ReadRequest) { r.KeyspaceId = 6 }, store.NoSuchKeyspace},
			"shard":           {func(r *kvpb.ReadRequest) { r.Shard = 9 }, store.Invalid},
			"key elsewhere":   {func(r *kvpb.ReadRequest) { r.Key = keyOf(f, 0) }, store.Invalid},
			"level":           {func(r *kvpb.ReadRequest) { r.Level = "good" }, store.Invalid},
			"token":           {func(r *kvpb.ReadRequest) { r.Token = []byte("x") }, store.Invalid},
			"epoch":           {func(r *kvpb.ReadRequest) { r.Token = session(t, 2) }, store.TokenMismatch},
			"page":            {func(r *kvpb.ReadRequest) { r.Limit = 1 << 30 }, store.Invalid},
			"no key":          {func(r *kvpb.ReadRequest) { r.Key = "" }, store.Invalid},
		} {
			r := good()
			broken.change(r)
			response, err := kv.Read(t.Context(), r)
			if err != nil || store.Code(response.GetError().GetCode()) != broken.code {
				t.Errorf("%s: %v, %v, want %s", what, response.GetError(), err, broken.code)
			}
		}
	})
}

func TestErrorSaysWhereItComesFrom(t *testing.T) {
	f := newFake()
	f.err = store.Unavailable
	onKV(t, f, func(t *testing.T, kv kvpb.KVClient) {
		r, err := kv.Read(t.Context(), &kvpb.ReadRequest{Keyspace: "ks", Shard: 1, Key: keyOf(f, 1)})
		if err != nil {
			t.Fatal(err)
		}
		got := kvpb.FromError(r.Error)
		if got.Op != "get" || got.Keyspace != "ks" || got.Group != group || got.Node != "n1" {
			t.Errorf("the error is %+v", got)
		}
		f.absent = true
		r, err = kv.Read(t.Context(), &kvpb.ReadRequest{Keyspace: "ks", Shard: 1, Key: keyOf(f, 1)})
		if err != nil || r.Error.Code != string(store.Unavailable) || !strings.Contains(r.Error.Msg, "no replica") {
			t.Errorf("%v, %v", r, err)
		}
	})
}

func TestConflictComesWithWhatItSaw(t *testing.T) {
	f := newFake()
	f.result, f.err = store.Result{Value: []byte("seen"), Entry: entry(4)}, store.Conflict
	onKV(t, f, func(t *testing.T, kv kvpb.KVClient) {
		r, err := kv.Write(t.Context(), &kvpb.WriteRequest{Keyspace: "ks", Shard: 1, Key: keyOf(f, 1), Op: kvpb.Op_OP_PUT})
		if err != nil || r.Error.Code != string(store.Conflict) || string(r.Value) != "seen" || len(r.Entry) == 0 {
			t.Errorf("%v, %v", r, err)
		}
	})
}

func TestWhatIsDecidedAtTheDeadlineStillArrives(t *testing.T) {
	f := newFake()
	f.wait = true
	onKV(t, f, func(t *testing.T, kv kvpb.KVClient) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := kv.Write(ctx, &kvpb.WriteRequest{Keyspace: "ks", Shard: 1, Key: keyOf(f, 1), Op: kvpb.Op_OP_PUT})
		if err != nil || r.Error.Code != string(store.Unavailable) {
			t.Errorf("%v, %v", r, err)
		}
	})
}

func TestAnswerThatDoesNotFitIsTooLarge(t *testing.T) {
	f := newFake()
	for range 6 {
		f.page.Items = append(f.page.Items, store.Item{Values: [][]byte{make([]byte, store.MaxValue)}})
	}
	onKV(t, f, func(t *testing.T, kv kvpb.KVClient) {
		r, err := kv.Read(t.Context(), &kvpb.ReadRequest{Keyspace: "ks", Shard: 1, Limit: 6})
		if err != nil || r.Error.GetCode() != string(store.TooLarge) {
			t.Errorf("%v, %v", r.GetError(), err)
		}
	})
}

func TestTopologyKnowsTheKeyspaceAskedFor(t *testing.T) {
	f := newFake()
	onKV(t, f, func(t *testing.T, kv kvpb.KVClient) {
		r, err := kv.Topology(t.Context(), &kvpb.TopologyRequest{Keyspace: "new"})
		if err != nil || r.Error != nil || len(r.Keyspaces) != 2 || len(f.topology.Keyspaces) != 1 {
			t.Errorf("%v, %v", r, err)
		}
		r, err = kv.Topology(t.Context(), &kvpb.TopologyRequest{Keyspace: "nope"})
		if err != nil || r.Error.GetCode() != string(store.NoSuchKeyspace) || len(r.Nodes) != 2 {
			t.Errorf("%v, %v", r, err)
		}
		f.topology.Cluster = ""
		_, err = kv.Topology(t.Context(), &kvpb.TopologyRequest{})
		if !errors.Is(kvpb.FromStatus(err), store.Unavailable) {
			t.Errorf("before it has joined: %v", err)
		}
	})
}

// onPeers runs a test with a pool of node n2.
func onPeers(t *testing.T, f Node, cluster string, test func(t *testing.T, p *Pool)) {
	t.Helper()
	served(t, f, nil, func(t *testing.T, dial func(context.Context, string) (net.Conn, error)) {
		calls := bufconn.Listen(1 << 20)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- ServeCalls(ctx, named{calls, "n2"}, Config{Node: f}) }()
		p := NewPool(t.Context(), Dials{Server: dial, Calls: func(ctx context.Context, _ string) (net.Conn, error) { return calls.DialContext(ctx) }}, "n2", cluster)
		test(t, p)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestPeersCallEachOther(t *testing.T) {
	f := newFake()
	onPeers(t, f, clusterID, func(t *testing.T, p *Pool) {
		got, err := p.Call(t.Context(), "n1", group, []byte("hello"))
		if err != nil || string(got) != "n2 said hello" {
			t.Errorf("%q, %v", got, err)
		}
		f.err = &store.Error{Code: store.NotLeader, Leader: "n2"}
		if _, err = p.Call(t.Context(), "n1", group, nil); store.AsError(err).Leader != "n2" {
			t.Errorf("the error lost its leader: %v", err)
		}
		if _, err := p.Call(t.Context(), "n3", group, nil); !errors.Is(err, store.Denied) {
			t.Errorf("n1 answered for n3: %v", err)
		}
		f.absent = true
		if _, err := p.Call(t.Context(), "n1", group, nil); !errors.Is(err, store.Unavailable) {
			t.Errorf("without a replica: %v", err)
		}
	})
	onPeers(t, newFake(), strings.Repeat("00", 16), func(t *testing.T, p *Pool) {
		_, call := p.Call(t.Context(), "n1", group, nil)
		_, stream := p.Stream(t.Context(), "n1", group)
		if !errors.Is(call, store.Denied) || !errors.Is(stream, store.Denied) {
			t.Errorf("from another cluster: %v, %v", call, stream)
		}
	})
}

func TestStreamCarriesMessagesBothWays(t *testing.T) {
	f := newFake()
	f.serve = func(_ context.Context, from string, s Stream) error {
		for {
			payload, err := s.Recv()
			if err != nil {
				return err
			}
			if string(payload) == "bye" {
				return nil
			}
			if err := s.Send(append([]byte(from+" "), payload...)); err != nil {
				return err
			}
		}
	}
	onPeers(t, f, clusterID, func(t *testing.T, p *Pool) {
		s, err := p.Stream(t.Context(), "n1", group)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for _, word := range []string{"one", ""} {
			err := s.Send([]byte(word))
			got, recvErr := s.Recv()
			if err != nil || recvErr != nil || string(got) != "n2 "+word {
				t.Errorf("%q, %v, %v", got, err, recvErr)
			}
		}
		err = s.Send([]byte("bye"))
		if _, end := s.Recv(); err != nil || !errors.Is(end, io.EOF) {
			t.Errorf("the end is %v, %v", err, end)
		}
	})
}

func TestClosedStreamEndsOnTheOtherSide(t *testing.T) {
	f, ended := newFake(), make(chan error, 1)
	f.serve = func(_ context.Context, _ string, s Stream) error {
		_, err := s.Recv()
		ended <- err
		return err
	}
	onPeers(t, f, clusterID, func(t *testing.T, p *Pool) {
		s, err := p.Stream(t.Context(), "n1", group)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if err := <-ended; err == nil {
			t.Error("it goes on")
		}
	})
}

func TestPoolInAHoleEndsWithTheCaller(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		hole := func(ctx context.Context, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		p := NewPool(t.Context(), Dials{Server: hole, Calls: hole}, "n2", clusterID)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := p.Call(ctx, "n1", group, nil)
		if !errors.Is(err, store.Unknown) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if _, err := p.Call(t.Context(), "n1", group, nil); !errors.Is(err, store.Unavailable) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestAdminErrorsArriveWhole(t *testing.T) {
	refused := &store.Error{Code: store.Denied, Msg: "no", Try: "--allow-faults"}
	served(t, newFake(), admins{err: refused}, func(t *testing.T, dial func(context.Context, string) (net.Conn, error)) {
		p := NewPool(t.Context(), Dials{Server: dial}, "n2", "")
		admin, err := p.Admin("n1")
		if err != nil {
			t.Fatal(err)
		}
		_, err = admin.Status(t.Context(), &kvpb.StatusRequest{})
		if got := store.AsError(kvpb.FromStatus(err)); got.Code != store.Denied || got.Try != "--allow-faults" {
			t.Errorf("the error is %+v", got)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestPanicEndsOneCallAsUnknown(t *testing.T) {
	var heard any
	cfg := Config{Panicked: func(_ context.Context, value any, stack []byte) { heard = value }}
	_, err := cfg.answerUnary(t.Context(), nil, nil, func(context.Context, any) (any, error) { panic("a bug") })
	if got := kvpb.FromStatus(err); !errors.Is(got, store.Unknown) || heard != "a bug" || strings.Contains(err.Error(), "goroutine") {
		t.Errorf("%v, heard %v", got, heard)
	}
	err = Config{}.answerStream(nil, contextOnly{ctx: t.Context()}, nil, func(any, grpc.ServerStream) error { panic("a bug") })
	if !errors.Is(kvpb.FromStatus(err), store.Unknown) {
		t.Errorf("%v", err)
	}
}

// contextOnly is a stream on which nothing is sent.
type contextOnly struct {
	grpc.ServerStream
	ctx context.Context
}

func (s contextOnly) Context() context.Context { return s.ctx }
