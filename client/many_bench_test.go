//go:build unix

package client

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/rpc"
	"github.com/dialkv/dialkv/store"
)

// overTCP serves a trivial node on the loopback.
func overTCP(b *testing.B) *conn {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := rpc.NewServer(rpc.Config{Node: newTrivial()})
	go func() { _ = s.Serve(listener) }()
	cs := newConns(Config{}.withDefaults().Dial, func(string) string { return listener.Addr().String() })
	b.Cleanup(func() {
		_ = cs.close()
		s.Stop()
	})
	cc, err := cs.ready(b.Context(), endpoint{node: "n1"})
	if err != nil {
		b.Fatal(err)
	}
	return cc
}

func BenchmarkUnary(b *testing.B) {
	wires(b, func(ctx context.Context, cc *conn, w *kvpb.WriteRequest) (reach, error) {
		return cc.invoke(ctx, endpoint{node: "n1"}, kvpb.KV_Write_FullMethodName, w, &kvpb.WriteResponse{})
	}, func(ctx context.Context, cc *conn, r *kvpb.ReadRequest) (reach, error) {
		return cc.invoke(ctx, endpoint{node: "n1"}, kvpb.KV_Read_FullMethodName, r, &kvpb.ReadResponse{})
	})
}

func BenchmarkMany(b *testing.B) {
	wires(b, func(ctx context.Context, cc *conn, w *kvpb.WriteRequest) (reach, error) {
		return cc.write(ctx, endpoint{node: "n1"}, w, &kvpb.WriteResponse{})
	}, func(ctx context.Context, cc *conn, r *kvpb.ReadRequest) (reach, error) {
		return cc.read(ctx, endpoint{node: "n1"}, r, &kvpb.ReadResponse{})
	})
}

func wires(b *testing.B, put func(context.Context, *conn, *kvpb.WriteRequest) (reach, error), get func(context.Context, *conn, *kvpb.ReadRequest) (reach, error)) {
	value := make([]byte, 256)
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("put/%d", callers), func(b *testing.B) {
			crowd(b, callers, func(ctx context.Context, cc *conn) (reach, error) {
				w := kvpb.ToCommand(store.Command{Op: store.Put, Key: "key-0123456789abcdef", Value: value, Request: store.Request{Session: 9, Number: 77, Lowest: 70}})
				w.Keyspace, w.KeyspaceId = "ks", 7
				return put(ctx, cc, w)
			})
		})
		b.Run(fmt.Sprintf("get/%d", callers), func(b *testing.B) {
			crowd(b, callers, func(ctx context.Context, cc *conn) (reach, error) {
				r := kvpb.ToQuery(store.Query{Key: "key-0123456789abcdef", Level: store.Strong})
				r.Keyspace, r.KeyspaceId = "ks", 7
				return get(ctx, cc, r)
			})
		})
	}
}

// crowd makes b.N calls from so many goroutines. Client and node are one process
// here, so the CPU time is that of both ends.
func crowd(b *testing.B, callers int, do func(context.Context, *conn) (reach, error)) {
	cc := overTCP(b)
	b.ReportAllocs()
	before := cpu()
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for n := i; n < b.N; n += callers {
				ctx, cancel := context.WithTimeout(b.Context(), 2*time.Second)
				if came, err := do(ctx, cc); came != answered || err != nil {
					b.Errorf("%v, %v", came, err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
