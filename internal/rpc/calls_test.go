package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
)

// ask makes one call of at most d.
func ask(t *testing.T, p *Pool, d time.Duration, payload string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	got, err := p.Call(ctx, "n1", group, []byte(payload))
	return string(got), err
}

func TestCallThatWaitsHoldsUpNoOther(t *testing.T) {
	f := newFake()
	f.call = func(ctx context.Context, payload []byte) {
		if string(payload) == "slow" {
			<-ctx.Done()
		}
	}
	onPeers(t, f, clusterID, func(t *testing.T, p *Pool) {
		var slow sync.WaitGroup
		began := time.Now()
		slow.Go(func() {
			// The node's own share of the deadline is a little less, so it still answers.
			if got, err := ask(t, p, time.Second, "slow"); err != nil || got != "n2 said slow" || time.Since(began) > time.Second {
				t.Errorf("%q, %v after %v", got, err, time.Since(began))
			}
		})
		for range 100 {
			if got, err := ask(t, p, time.Second, "fast"); err != nil || got != "n2 said fast" {
				t.Fatalf("%q, %v", got, err)
			}
		}
		if d := time.Since(began); d > 500*time.Millisecond {
			t.Errorf("100 calls waited %v for another", d)
		}
		slow.Wait()
	})
}

func TestPanickingCallEndsNoOther(t *testing.T) {
	f := newFake()
	f.call = func(_ context.Context, payload []byte) {
		if string(payload) == "bug" {
			panic("a bug")
		}
	}
	onPeers(t, f, clusterID, func(t *testing.T, p *Pool) {
		if _, err := ask(t, p, time.Second, "bug"); !errors.Is(err, store.Unknown) {
			t.Errorf("%v", err)
		}
		if got, err := ask(t, p, time.Second, "next"); err != nil || got != "n2 said next" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// prompt answers at once what asks for that.
type prompt struct{ *fake }

func (p prompt) Peer(store.GroupID) (PeerReplica, bool) { return p, !p.absent }

func (p prompt) ServeAtOnce(from string, payload []byte) ([]byte, bool) {
	switch string(payload) {
	case "bug":
		panic("a bug")
	case "at once":
		return []byte(from + " was told at once"), true
	}
	return nil, false
}

func TestCallThatNeedsNoWaitingIsAnsweredWhereItIsRead(t *testing.T) {
	f := newFake()
	f.call = func(ctx context.Context, payload []byte) {
		if string(payload) == "slow" {
			<-ctx.Done()
		}
	}
	onPeers(t, prompt{f}, clusterID, func(t *testing.T, p *Pool) {
		var slow sync.WaitGroup
		slow.Go(func() {
			if got, err := ask(t, p, time.Second, "slow"); err != nil || got != "n2 said slow" {
				t.Errorf("%q, %v", got, err)
			}
		})
		for range 3 {
			if got, err := ask(t, p, time.Second, "at once"); err != nil || got != "n2 was told at once" {
				t.Errorf("%q, %v", got, err)
			}
			if got, err := ask(t, p, time.Second, "bug"); err != nil || got != "n2 said bug" {
				t.Errorf("what panics is asked again in a goroutine of its own: %q, %v", got, err)
			}
		}
		slow.Wait()
	})
}

// doors are the far ends of a pool's lines, as they are dialled.
type doors struct {
	listener *bufconn.Listener
	dials    atomic.Int32
	refuse   atomic.Bool
}

func (d *doors) dial(ctx context.Context, _ string) (net.Conn, error) {
	d.dials.Add(1)
	if d.refuse.Load() {
		return nil, errors.New("refused")
	}
	return d.listener.DialContext(ctx)
}

// behindDoors runs a test with a pool whose calls nobody answers but serve.
func behindDoors(t *testing.T, serve func(n int, conn net.Conn), test func(t *testing.T, d *doors, p *Pool)) {
	t.Helper()
	linktest.Bubble(t, func(t *testing.T) {
		d := &doors{listener: bufconn.Listen(1 << 20)}
		var work sync.WaitGroup
		work.Go(func() {
			for n := 1; ; n++ {
				conn, err := d.listener.Accept()
				if err != nil {
					return
				}
				work.Go(func() {
					defer conn.Close()
					serve(n, conn)
				})
			}
		})
		p := NewPool(t.Context(), Dials{Calls: d.dial}, "n2", clusterID)
		test(t, d, p)
		if err := errors.Join(p.Close(), d.listener.Close()); err != nil {
			t.Error(err)
		}
		work.Wait()
	})
}

// answerAll answers every call on conn with its own payload.
func answerAll(conn net.Conn) {
	for {
		r := new(kvpb.CallRequest)
		if readFrame(conn, r) != nil {
			return
		}
		_ = writeFrame(conn, &kvpb.CallResponse{Node: "n1", Id: r.GetId(), Payload: r.GetPayload()})
	}
}

// A node may vanish without a word, while its callers have little time, or leave as soon
// as others have answered.
func TestSilentLineIsReplaced(t *testing.T) {
	serve := func(n int, conn net.Conn) {
		if n == 1 {
			_, _ = io.Copy(io.Discard, conn)
			return
		}
		answerAll(conn)
	}
	for name, call := range map[string]func(t *testing.T, p *Pool) error{
		"a second each": func(t *testing.T, p *Pool) error {
			_, err := ask(t, p, time.Second, "x")
			return err
		},
		"short deadlines": func(t *testing.T, p *Pool) error {
			_, err := ask(t, p, 300*time.Millisecond, "x")
			return err
		},
		"callers that leave": func(t *testing.T, p *Pool) error {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(200*time.Millisecond, cancel)
			_, err := p.Call(ctx, "n1", group, nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			behindDoors(t, serve, func(t *testing.T, d *doors, p *Pool) {
				began := time.Now()
				for call(t, p) != nil {
					if time.Since(began) > 5*silence {
						t.Fatalf("the line is still up after %v, %d dials", time.Since(began), d.dials.Load())
					}
				}
				if d.dials.Load() != 2 {
					t.Errorf("%d dials", d.dials.Load())
				}
			})
		})
	}
}

func TestSlowCallsEndNoLine(t *testing.T) {
	f := newFake()
	f.call = func(ctx context.Context, payload []byte) {
		if string(payload) == "slow" {
			<-ctx.Done()
		}
	}
	behindDoors(t, func(_ int, conn net.Conn) {
		serveCaller(context.WithoutCancel(t.Context()), from{conn, "n2"}, Config{Node: f})
	}, func(t *testing.T, d *doors, p *Pool) {
		for range 10 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(2*silence, cancel)
			if _, err := p.Call(ctx, "n1", group, []byte("slow")); !errors.Is(err, store.Unknown) {
				t.Errorf("%v", err)
			}
		}
		if got, err := ask(t, p, time.Second, "x"); err != nil || got != "n2 said x" || d.dials.Load() != 1 {
			t.Errorf("%q, %v, %d dials", got, err, d.dials.Load())
		}
	})
}

func TestCallerThatLeavesEndsNoLine(t *testing.T) {
	behindDoors(t, func(_ int, conn net.Conn) {
		for {
			r := new(kvpb.CallRequest)
			if readFrame(conn, r) != nil {
				return
			}
			if r.GetId() > 2 { // the first two are left alone, and so is the question whether we are there
				_ = writeFrame(conn, &kvpb.CallResponse{Node: "n1", Id: r.GetId(), Payload: r.GetPayload()})
			}
		}
	}, func(t *testing.T, d *doors, p *Pool) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(2*time.Second, cancel)
		if _, err := p.Call(ctx, "n1", group, nil); !errors.Is(err, store.Unknown) {
			t.Errorf("cancelled: %v", err)
		}
		if _, err := ask(t, p, 100*time.Millisecond, "x"); !errors.Is(err, store.Unknown) {
			t.Errorf("a short deadline: %v", err)
		}
		if got, err := ask(t, p, time.Second, "x"); err != nil || got != "x" || d.dials.Load() != 1 {
			t.Errorf("%q, %v, %d dials", got, err, d.dials.Load())
		}
	})
}

func TestDialIsNobodysOwnAndAFailedOneIsNotRepeatedAtOnce(t *testing.T) {
	behindDoors(t, func(_ int, conn net.Conn) { answerAll(conn) }, func(t *testing.T, d *doors, p *Pool) {
		d.refuse.Store(true)
		for range 50 {
			if _, err := ask(t, p, time.Second, "x"); !errors.Is(err, store.Unknown) {
				t.Errorf("refused: %v", err)
			}
		}
		if n := d.dials.Load(); n != 1 {
			t.Errorf("%d dials", n)
		}
		d.refuse.Store(false)
		<-time.After(dialPause)
		gone, leave := context.WithCancel(t.Context())
		leave()
		if _, err := p.Call(gone, "n1", group, nil); err == nil {
			t.Error("a call of one who has left was answered")
		}
		if got, err := ask(t, p, time.Second, "x"); err != nil || got != "x" || d.dials.Load() != 2 {
			t.Errorf("%q, %v, %d dials", got, err, d.dials.Load())
		}
	})
}

func TestGarbageEndsALineAndNothingElse(t *testing.T) {
	for name, garbage := range map[string]string{
		"a length beyond the limit": "\xff\xff\xff\xff",
		"no message":                "\x00\x00\x00\x02\xff\xff",
		"a number nobody has asked": "\x00\x00\x00\x02\x18\x63",
		"half a frame":              "\x00\x00\x00\x09\x18",
	} {
		t.Run(name, func(t *testing.T) {
			serve := func(n int, conn net.Conn) {
				if n == 1 {
					_, _ = io.WriteString(conn, garbage)
					return
				}
				answerAll(conn)
			}
			behindDoors(t, serve, func(t *testing.T, d *doors, p *Pool) {
				got, err := ask(t, p, time.Second, "x")
				if errors.Is(err, store.Unknown) { // it had left by then
					got, err = ask(t, p, time.Second, "x")
				}
				if err != nil || got != "x" || d.dials.Load() != 2 {
					t.Errorf("%q, %v, %d dials", got, err, d.dials.Load())
				}
			})
		})
		t.Run("asked with "+name, func(t *testing.T) {
			linktest.Bubble(t, func(t *testing.T) {
				l := bufconn.Listen(1 << 20)
				ctx, cancel := context.WithCancel(t.Context())
				served := make(chan error, 1)
				go func() { served <- ServeCalls(ctx, named{l, "n2"}, Config{Node: newFake()}) }()
				conn, err := l.DialContext(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.WriteString(conn, garbage)
				if name != "half a frame" && name != "a number nobody has asked" {
					if _, err := conn.Read(make([]byte, 1)); err == nil {
						t.Error("it was answered")
					}
				}
				cancel()
				if err := <-served; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func BenchmarkCall(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	served := make(chan error, 1)
	go func() { served <- ServeCalls(ctx, named{l, "n2"}, Config{Node: newFake()}) }()
	p := NewPool(b.Context(), Dials{Calls: func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}}, "n2", clusterID)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Call(ctx, "n1", group, []byte("what is your term")); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		b.Error(err)
	}
	cancel()
	if err := <-served; err != nil {
		b.Error(err)
	}
}
