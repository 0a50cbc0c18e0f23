package client_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// A whole Get, over connections in memory, of nodes that answer at once.
func BenchmarkGet(b *testing.B) {
	for _, level := range []store.Level{client.Eventual, client.Strong} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%v/%d", level, callers), func(b *testing.B) {
				w := newCluster(b, store.CP)
				defer w.stop()
				ks := w.keyspace()
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				for i := range callers {
					wg.Go(func() {
						key := fmt.Sprintf("k%d", i)
						for n := i; n < b.N; n += callers {
							if _, err := ks.Get(b.Context(), key, client.At(level)); err != nil {
								b.Error(err)
							}
						}
					})
				}
				wg.Wait()
				b.StopTimer()
			})
		}
	}
}
