package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	keys      = 10_000
	keySize   = 20
	valueSize = 256
	warmUp    = time.Second
)

// figures are what one run measured.
type figures struct {
	Ops float64 `json:"ops_per_s"`
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	CPU float64 `json:"server_cpu_us_per_op"` // of all three server processes
}

// load runs a closed loop of so many clients and counts after the warm-up.
func load(ctx context.Context, s system, op string, clients int, length time.Duration) (figures, error) {
	ops, err := s.connect(ctx, clients)
	if err != nil {
		return figures{}, err
	}
	defer ops.close()
	do := map[string]func(context.Context, int, string, []byte) error{"put": ops.put, "strong": ops.strong, "stale": ops.stale}[op]
	counts := time.Now().Add(warmUp)
	end := counts.Add(length)
	took := make([][]time.Duration, clients)
	failed := make(chan error, clients)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			value := bytes.Repeat([]byte("v"), valueSize)
			for began := time.Now(); began.Before(end); began = time.Now() {
				if err := do(ctx, c, key(rand.IntN(keys)), value); err != nil {
					failed <- err
					return
				}
				if began.After(counts) {
					took[c] = append(took[c], time.Since(began))
				}
			}
		})
	}
	select {
	case <-time.After(time.Until(counts)):
	case <-ctx.Done():
	}
	before := cpu(s.pids())
	wg.Wait()
	used := cpu(s.pids()) - before
	select {
	case err := <-failed:
		return figures{}, err
	default:
	}
	all := slices.Concat(took...)
	if len(all) == 0 {
		return figures{}, fmt.Errorf("not one operation in %v", length)
	}
	slices.Sort(all)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return figures{
		Ops: float64(len(all)) / length.Seconds(),
		P50: ms(all[len(all)/2]), P99: ms(all[len(all)*99/100]),
		CPU: float64(used.Microseconds()) / float64(len(all)),
	}, nil
}

func key(n int) string { return fmt.Sprintf("%0*d", keySize, n) }

// cpu is the time the processes have run, user and system, as Linux counts it; zero
// on systems that do not say so.
func cpu(pids []int) time.Duration {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	var sum time.Duration
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		for _, f := range fields[11:13] {
			n, _ := strconv.Atoi(f)
			sum += time.Duration(n) * tick
		}
	}
	return sum
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func medians(runs []figures) figures {
	of := func(f func(figures) float64) float64 {
		var all []float64
		for _, r := range runs {
			all = append(all, f(r))
		}
		return median(all)
	}
	return figures{
		Ops: of(func(f figures) float64 { return f.Ops }), P50: of(func(f figures) float64 { return f.P50 }),
		P99: of(func(f figures) float64 { return f.P99 }), CPU: of(func(f figures) float64 { return f.CPU }),
	}
}
