//go:build unix

package client

import (
	"context"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// What a call costs beside the request itself: the node answers at once.
func BenchmarkCall(b *testing.B) {
	cc := overTCP(b)
	c, err := Open(b.Context(), Config{Seeds: []string{"n1"}})
	if err != nil {
		b.Fatal(err)
	}
	ks := shard.Keyspace{ID: 7, Name: "ks", Mode: store.CP, Groups: 1, Placement: [][]string{{"n1", "n2", "n3"}}}
	for _, node := range ks.Placement[0] {
		c.conns.open[endpoint{node: node}] = cc
	}
	one := func() {
		ctx, cancel := context.WithTimeout(b.Context(), 2*time.Second)
		defer cancel()
		k := &call{c: c, op: "get", keyspace: ks, group: store.GroupID{Keyspace: 7}, toLeader: true}
		k.send = func(context.Context, *conn, bool) (reach, error) { return answered, nil }
		if err := k.run(ctx); err != nil {
			b.Error(err)
		}
	}
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			one()
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				one()
			}
		})
	})
}
