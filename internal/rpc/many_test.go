package rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

// acting is a node whose replicas do what the test says, also at the same time.
type acting struct {
	*fake
	read  func(ctx context.Context, q store.Query) (store.Page, error)
	write func(ctx context.Context, c store.Command) (store.Result, error)
	watch func(ctx context.Context, q store.WatchQuery) (store.Changes, error)
}

func newActing() *acting { return &acting{fake: newFake()} }

func (a *acting) Replica(store.GroupID) (store.Replica, bool) { return actor{replica{a.fake}, a}, true }

type actor struct {
	replica
	acting *acting
}

func (a actor) Read(ctx context.Context, q store.Query) (store.Page, error) {
	return a.acting.read(ctx, q)
}

func (a actor) Write(ctx context.Context, c store.Command) (store.Result, error) {
	return a.acting.write(ctx, c)
}

func (a actor) Watch(ctx context.Context, q store.WatchQuery) (store.Changes, error) {
	return a.acting.watch(ctx, q)
}

// stream is the client's end of Many, as the generated code makes it.
type stream struct {
	t *testing.T
	kvpb.KV_ManyClient
}

func many(t *testing.T, kv kvpb.KVClient) stream {
	s, err := kv.Many(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return stream{t, s}
}

func (s stream) send(r *kvpb.ManyRequest) {
	s.t.Helper()
	if err := s.Send(r); err != nil {
		s.t.Fatal(err)
	}
}

func (s stream) get(id uint64, timeout time.Duration) {
	s.t.Helper()
	s.send(&kvpb.ManyRequest{Id: id, TimeoutNs: int64(timeout), Call: &kvpb.ManyRequest_Read{
		Read: &kvpb.ReadRequest{Keyspace: "ks", Shard: 1, Key: keyOf(newFake(), 1)},
	}})
}

func (s stream) put(id uint64, value string) {
	s.t.Helper()
	s.send(&kvpb.ManyRequest{Id: id, Call: &kvpb.ManyRequest_Write{
		Write: &kvpb.WriteRequest{Keyspace: "ks", Shard: 1, Key: keyOf(newFake(), 1), Op: kvpb.Op_OP_PUT, Value: []byte(value)},
	}})
}

// answer is the next answer, which must have this id.
func (s stream) answer(id uint64) *kvpb.ManyResponse {
	s.t.Helper()
	r, err := s.Recv()
	if err != nil || r.GetId() != id {
		s.t.Fatalf("%v, %v, want an answer to %d", r, err, id)
	}
	return r
}

func code(r *kvpb.ManyResponse) store.Code {
	if e := r.GetWrite().GetError(); e != nil {
		return store.Code(e.GetCode())
	}
	return store.Code(r.GetRead().GetError().GetCode())
}

// forever waits for the end of the call.
func forever(ctx context.Context, _ store.Query) (store.Page, error) {
	<-ctx.Done()
	return store.Page{}, store.Expired(ctx, "a majority")
}

func TestManyAnswersAsTheyAreDone(t *testing.T) {
	a := newActing()
	onKV(t, a, func(t *testing.T, kv kvpb.KVClient) {
		slow := make(chan struct{})
		a.read = func(context.Context, store.Query) (store.Page, error) {
			<-slow
			return store.Page{Revision: 5}, nil
		}
		a.write = func(_ context.Context, c store.Command) (store.Result, error) {
			return store.Result{Value: c.Value}, store.Conflict
		}
		s := many(t, kv)
		s.get(1, 0)
		s.put(2, "two")
		if r := s.answer(2); string(r.GetWrite().GetValue()) != "two" || code(r) != store.Conflict || r.GetWrite().GetMode() != "ap" {
			t.Errorf("got %v", r)
		}
		close(slow)
		if r := s.answer(1); r.GetRead().GetRevision() != 5 || code(r) != "" || r.GetRead().GetShard() != 1 {
			t.Errorf("got %v", r)
		}
		if err := s.CloseSend(); err != nil {
			t.Error(err)
		}
		if r, err := s.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("%v, %v", r, err)
		}
	})
}

func TestManyAnswersWhatWasAskedBeforeTheClientEnded(t *testing.T) {
	a := newActing()
	onKV(t, a, func(t *testing.T, kv kvpb.KVClient) {
		slow := make(chan struct{})
		a.read = func(context.Context, store.Query) (store.Page, error) { <-slow; return store.Page{}, nil }
		s := many(t, kv)
		s.get(1, 0)
		if err := s.CloseSend(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		close(slow)
		if r := s.answer(1); code(r) != "" {
			t.Errorf("got %v", r)
		}
	})
}

// What is decided at the deadline arrives within it, as with the unary calls.
func TestManyKeepsTheDeadlineOfEachRequest(t *testing.T) {
	a := newActing()
	onKV(t, a, func(t *testing.T, kv kvpb.KVClient) {
		a.read = forever
		s, began := many(t, kv), time.Now()
		s.get(1, 2*time.Second)
		s.get(2, 80*time.Millisecond)
		if r := s.answer(2); code(r) != store.Unavailable || time.Since(began) != 70*time.Millisecond {
			t.Errorf("%v after %v", r, time.Since(began))
		}
		if r := s.answer(1); code(r) != store.Unavailable || time.Since(began) != 1900*time.Millisecond {
			t.Errorf("%v after %v", r, time.Since(began))
		}
	})
}

func TestManyEndsWhatIsCancelled(t *testing.T) {
	a := newActing()
	onKV(t, a, func(t *testing.T, kv kvpb.KVClient) {
		ended := make(chan error, 1)
		a.read = func(ctx context.Context, q store.Query) (store.Page, error) {
			page, err := forever(ctx, q)
			ended <- context.Cause(ctx)
			return page, err
		}
		s, began := many(t, kv), time.Now()
		s.get(1, time.Hour)
		s.send(&kvpb.ManyRequest{Id: 1, Call: &kvpb.ManyRequest_Cancel{Cancel: &kvpb.Cancel{}}})
		s.send(&kvpb.ManyRequest{Id: 9, Call: &kvpb.ManyRequest_Cancel{Cancel: &kvpb.Cancel{}}}) // of nothing
		if err := <-ended; !errors.Is(err, context.Canceled) || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		s.answer(1)
	})
}

func TestRequestsEndWithTheirStream(t *testing.T) {
	a := newActing()
	onKV(t, a, func(t *testing.T, kv kvpb.KVClient) {
		ended := make(chan struct{}, 100)
		a.read = func(ctx context.Context, q store.Query) (store.Page, error) {
			defer func() { ended <- struct{}{} }()
			return forever(ctx, q)
		}
		ctx, cancel := context.WithCancel(t.Context())
		raw, err := kv.Many(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s := stream{t, raw}
		for id := range uint64(100) {
			s.get(id, 0)
		}
		synctest.Wait()
		cancel()
		for range 100 {
			<-ended
		}
	})
}

func TestPanicEndsOneRequestOfMany(t *testing.T) {
	a := newActing()
	onKV(t, a, func(t *testing.T, kv kvpb.KVClient) {
		a.read = func(context.Context, store.Query) (store.Page, error) { panic("a bug") }
		a.write = func(context.Context, store.Command) (store.Result, error) { return store.Result{}, nil }
		s := many(t, kv)
		for range 3 {
			s.get(1, 0)
			if r := s.answer(1); code(r) != store.Unknown {
				t.Errorf("got %v", r)
			}
			s.put(2, "v")
			if r := s.answer(2); code(r) != "" {
				t.Errorf("got %v", r)
			}
		}
	})
}

func TestManyRefusesWhatItCannotRead(t *testing.T) {
	a := newActing()
	onKV(t, a, func(t *testing.T, kv kvpb.KVClient) {

		s := many(t, kv)
		s.send(&kvpb.ManyRequest{Id: 1, Call: &kvpb.ManyRequest_Read{Read: &kvpb.ReadRequest{Keyspace: "ks", Key: "k", Level: "good"}}})
		if r := s.answer(1); code(r) != store.Invalid {
			t.Errorf("got %v", r)
		}
		s.send(&kvpb.ManyRequest{Id: 2})
		if r := s.answer(2); r.GetAnswer() != nil {
			t.Errorf("an answer to nothing: %v", r)
		}
	})
}

// Neither breaks the stream for the others; and that a write was applied is not
// taken back because what it read is too much.
func TestAnswersOfManyThatDoNotFit(t *testing.T) {
	a := newActing()
	onKV(t, a, func(t *testing.T, kv kvpb.KVClient) {
		large := make([]byte, store.MaxValue)
		a.read = func(context.Context, store.Query) (store.Page, error) {
			return store.Page{Items: []store.Item{{Values: [][]byte{large, large, large, large, large, large}}}}, nil
		}
		a.write = func(context.Context, store.Command) (store.Result, error) {
			r := store.Result{Revision: 8, Held: true}
			for range 6 {
				r.Steps = append(r.Steps, store.StepResult{Value: large})
			}
			return r, nil
		}
		s := many(t, kv)
		for range 2 {
			s.get(1, 0)
			if r := s.answer(1); code(r) != store.TooLarge || r.GetRead().GetError().GetTry() == "" {
				t.Errorf("got %v", r)
			}
			s.put(2, "v")
			if r := s.answer(2); code(r) != store.Unknown || r.GetWrite().GetRevision() != 8 || len(r.GetWrite().GetSteps()) > 0 {
				t.Errorf("got %.200v", r)
			}
		}
		w, err := kv.Write(t.Context(), &kvpb.WriteRequest{Keyspace: "ks", Shard: 1, Key: keyOf(a.fake, 1), Op: kvpb.Op_OP_PUT})
		if err != nil || w.GetError().GetCode() != string(store.Unknown) || w.GetRevision() != 8 {
			t.Errorf("%.200v, %v", w, err)
		}
	})
}

func TestStreamServesSoManyRequestsAndNoMore(t *testing.T) {
	a := newActing()
	onKV(t, a, func(t *testing.T, kv kvpb.KVClient) {
		var serving, most atomic.Int32
		end := make(chan struct{})
		a.read = func(context.Context, store.Query) (store.Page, error) {
			most.Store(max(most.Load(), serving.Add(1)))
			defer serving.Add(-1)
			<-end
			return store.Page{}, nil
		}
		s, extra := many(t, kv), 50
		for id := range uint64(maxInFlight + extra) {
			s.get(id, 0)
		}
		synctest.Wait()
		if n := serving.Load(); n != maxInFlight {
			t.Errorf("%d requests are served at a time", n)
		}
		close(end)
		for range maxInFlight + extra {
			if r, err := s.Recv(); err != nil || code(r) != "" {
				t.Fatal(r, err)
			}
		}
		if n := most.Load(); n > maxInFlight {
			t.Errorf("%d requests were served at a time", n)
		}
	})
}

// A client that does not read makes the node stop taking requests, not fill its memory.
func TestUnreadAnswersHoldUpTheirStreamOnly(t *testing.T) {
	a := newActing()
	onKV(t, a, func(t *testing.T, kv kvpb.KVClient) {
		var served atomic.Int32
		large := bytes.Repeat([]byte("x"), store.MaxValue)
		a.read = func(context.Context, store.Query) (store.Page, error) {
			served.Add(1)
			return store.Page{Items: []store.Item{{Values: [][]byte{large}}}}, nil
		}
		s, n := many(t, kv), 60
		for id := range uint64(n) {
			s.get(id, 0)
		}
		synctest.Wait()
		taken := served.Load()
		for id := range uint64(n) {
			s.get(uint64(n)+id, 0)
		}
		synctest.Wait()
		if got := served.Load(); got > taken {
			t.Errorf("%d more requests were served while nobody read the answers to %d", got-taken, taken)
		}
		other := many(t, kv)
		other.get(1, 0)
		other.answer(1)
		for range 2 * n {
			if r, err := s.Recv(); err != nil || !bytes.Equal(r.GetRead().GetItems()[0].GetValues()[0], large) {
				t.Fatal(err)
			}
		}
	})
}

func TestTwoRequestsOfOneNumberEndTheirStream(t *testing.T) {
	a := newActing()
	onKV(t, a, func(t *testing.T, kv kvpb.KVClient) {
		a.read = forever
		s := many(t, kv)
		s.get(1, 0)
		s.get(1, 0)
		for {
			r, err := s.Recv()
			if err == nil && code(r) == store.Unavailable {
				continue // the first, whose context has ended with the stream
			}
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("%v, %v", r, err)
			}
			return
		}
	})
}
