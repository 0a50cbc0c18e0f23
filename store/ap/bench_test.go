package ap

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/store"
)

// single is a running group of one on the real disk.
func single(b *testing.B, d store.Durability) *Replica {
	e, err := engine.Open(engine.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	r, err := Open(Config{Node: "n1", Placement: Placement{Members: []string{"n1"}}, Engine: e, Durability: d})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
		if err := e.Close(); err != nil {
			b.Error(err)
		}
	})
	return r
}

func BenchmarkPut(b *testing.B) {
	for _, d := range []store.Durability{store.Fsync, store.OS} {
		for _, clients := range []int{1, 64, 256} {
			b.Run(fmt.Sprintf("%s/clients=%d", d, clients), func(b *testing.B) {
				r := single(b, d)
				value := make([]byte, 256)
				var n atomic.Uint64
				b.SetParallelism(clients)
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						key := fmt.Sprintf("key-%016d", n.Add(1)%10_000)
						if _, err := r.Write(b.Context(), store.Command{Op: store.Put, Key: key, Value: value}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

func BenchmarkGet(b *testing.B) {
	r := single(b, store.OS)
	for i := range 10_000 {
		if _, err := r.Write(b.Context(), store.Command{Op: store.Put, Key: fmt.Sprintf("key-%016d", i), Value: make([]byte, 256)}); err != nil {
			b.Fatal(err)
		}
	}
	var n atomic.Uint64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			key := fmt.Sprintf("key-%016d", n.Add(1)%10_000)
			if _, err := r.Read(b.Context(), store.Query{Key: key}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
