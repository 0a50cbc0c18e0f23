package cp_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

// alone is a group of one replica on a real disk, so that what is measured is the
// log, the state machine and the storage.
type alone struct {
	engine  *engine.Engine
	ep      *link.Endpoint
	replica *cp.Replica
	stop    context.CancelFunc
	done    sync.WaitGroup
}

func startAlone(b *testing.B, dir string) *alone {
	b.Helper()
	a := new(alone)
	var err error
	network := link.NewNetwork(link.NetworkConfig{Seed: 1})
	if a.ep, err = network.Endpoint("n1"); err != nil {
		b.Fatal(err)
	}
	if a.engine, err = engine.Open(engine.Config{Dir: dir, FS: vfs.Default}); err != nil {
		b.Fatal(err)
	}
	mux := cp.NewMux(a.ep)
	if a.replica, err = cp.Open(cp.Config{Node: "n1", Group: group, Bootstrap: []string{"n1"}, Engine: a.engine, Mux: mux, Peers: peers{a.ep}, Timing: cp.Classroom}); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	a.stop = cancel
	a.done.Go(func() { _ = mux.Run(ctx) })
	a.done.Go(func() {
		if err := a.replica.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	return a
}

func (a *alone) close(b *testing.B) {
	b.Helper()
	a.stop()
	a.done.Wait()
	_ = a.ep.Close()
	if err := a.engine.Close(); err != nil {
		b.Error(err)
	}
}

// ready waits until the replica serves a strong read.
func (a *alone) ready(b *testing.B) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	if _, err := a.replica.Read(ctx, store.Query{Key: "k", Level: store.Strong}); err != nil {
		b.Fatal(err)
	}
}

// fill writes so many keys of 256 bytes with many writers.
func (a *alone) fill(b *testing.B, keys int) {
	b.Helper()
	const writers = 512
	value := make([]byte, 256)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := w; n < keys; n += writers {
				if _, err := a.replica.Write(b.Context(), store.Command{Op: store.Put, Key: fmt.Sprintf("%020d", n), Value: value}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkRestart is the time from opening a directory of a million keys until a
// strong read is served. Run it with -benchtime=1x.
func BenchmarkRestart(b *testing.B) {
	dir := b.TempDir()
	a := startAlone(b, dir)
	a.ready(b)
	a.fill(b, 1_000_000)
	a.close(b)
	b.ResetTimer()
	for range b.N {
		b.StartTimer()
		a = startAlone(b, dir)
		a.ready(b)
		b.StopTimer()
		a.close(b)
	}
}

// BenchmarkHistory writes the same keys again and again, and reports how much memory
// is in use after the first and the last tenth: it must not grow with history.
func BenchmarkHistory(b *testing.B) {
	a := startAlone(b, b.TempDir())
	a.ready(b)
	defer a.close(b)
	var in [10]float64
	for i := range in {
		a.fill(b, 20_000)
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		in[i] = float64(m.HeapInuse) / (1 << 20)
	}
	b.ReportMetric(in[0], "MiB-first")
	b.ReportMetric(in[len(in)-1], "MiB-last")
}

// BenchmarkWriteBesideSnapshot reports the 99th percentile of writes while snapshots
// of 200 000 keys are taken, and without any.
func BenchmarkWriteBesideSnapshot(b *testing.B) {
	a := startAlone(b, b.TempDir())
	a.ready(b)
	defer a.close(b)
	a.fill(b, 200_000)
	without := a.p99(b, nil)
	with := a.p99(b, func(ctx context.Context) {
		for ctx.Err() == nil {
			_ = a.replica.Snapshot(ctx) // its end may come in the middle
		}
	})
	b.ReportMetric(float64(without.Microseconds()), "µs-p99-without")
	b.ReportMetric(float64(with.Microseconds()), "µs-p99-with")
	b.ReportMetric(float64(with)/float64(without), "ratio")
}

// p99 measures writes of 16 writers for five seconds, beside something else.
func (a *alone) p99(b *testing.B, beside func(context.Context)) time.Duration {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	if beside != nil {
		wg.Go(func() { beside(ctx) })
	}
	var mu sync.Mutex
	var all []time.Duration
	for w := range 16 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				began := time.Now()
				_, err := a.replica.Write(b.Context(), store.Command{Op: store.Put, Key: fmt.Sprintf("%020d", (w*7919+n*31)%200_000), Value: make([]byte, 256)})
				if err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				all = append(all, time.Since(began))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(all)
	return all[len(all)*99/100]
}
