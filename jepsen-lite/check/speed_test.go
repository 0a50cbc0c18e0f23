//go:build unix

package check

import (
	"bytes"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// What docs/reference/harness-speed.md says is measured by these:
//
//	go test ./jepsen-lite/check -run - -bench Speed -benchtime 1x

// processorTime adds what an operation took of the processors, all threads together: on a
// machine that is shared that says more than the clock.
func processorTime(b *testing.B) (done func()) {
	used := func() (s float64) {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		for _, t := range []syscall.Timeval{u.Utime, u.Stime} {
			s += float64(t.Sec) + float64(t.Usec)/1e6
		}
		return s
	}
	before := used()
	return func() { b.ReportMetric((used()-before)/float64(b.N), "cpu-s/op") }
}

// judged runs one checker on a history that was read before, as Run does.
func judged(b *testing.B, h *history.History, claim string) {
	b.Helper()
	b.ReportAllocs()
	defer processorTime(b)()
	for b.Loop() {
		rep := Run(h, Options{Claims: []string{claim}})
		for _, res := range rep.Checkers {
			if res.Verdict != Pass {
				b.Fatalf("%s: %s: %s", res.Name, res.Verdict, res.Sentence)
			}
		}
	}
	b.ReportMetric(float64(len(h.Ops)), "operations")
}

// registerHistory is of an honest register: ten clients, five writes of a hundred
// without an outcome.
func registerHistory(b *testing.B, ops, keys int) *history.History {
	b.Helper()
	s := sim{r: rand.New(rand.NewPCG(3, 3)), clients: 10, lose: 0.05, keys: keys}
	return script(b, "cp", s.run(ops))
}

func BenchmarkSpeedLinearizable100kOnOneKey(b *testing.B) {
	judged(b, registerHistory(b, 100_000, 1), "linearizable")
}

func BenchmarkSpeedLinearizable100kOn400Keys(b *testing.B) {
	judged(b, registerHistory(b, 100_000, 400), "linearizable")
}

// Without revisions there is no proof by exhibit, and every key is searched.
func BenchmarkSpeedLinearizable100kWithoutRevisions(b *testing.B) {
	h := registerHistory(b, 100_000, 400)
	for i := range h.Ops {
		h.Ops[i].Revision, h.Ops[i].Replaced = nil, nil
	}
	judged(b, h, "linearizable")
}

// causalHistory is of twenty sessions that lose nothing: each write without an outcome
// that was read counts as a session.
func causalHistory(b *testing.B, ops int) *history.History {
	b.Helper()
	s := sim{r: rand.New(rand.NewPCG(3, 4)), clients: 20, keys: ops / 250}
	return script(b, "cp", s.run(ops))
}

func BenchmarkSpeedCausal100k(b *testing.B) { judged(b, causalHistory(b, 100_000), "causal") }
func BenchmarkSpeedCausal1M(b *testing.B)   { judged(b, causalHistory(b, 1_000_000), "causal") }

// replicated is a history of a causal store of three replicas, with lww.
func replicated(b *testing.B, ops int) *history.History {
	b.Helper()
	c := newCluster(rand.New(rand.NewPCG(5, 6)), "lww", "", 8)
	c.keys = ops / 250
	return script(b, "lww", c.run(ops))
}

func BenchmarkSpeedCausalConvergence1M(b *testing.B) {
	judged(b, replicated(b, 1_000_000), "causal-convergence")
}

// All that kvctl check replay does but drawing: read the lines, and ask every checker
// that the history promises something to.
func BenchmarkSpeedReplay1M(b *testing.B) {
	var file bytes.Buffer
	if _, err := causalHistory(b, 1_000_000).WriteTo(&file); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	defer processorTime(b)()
	for b.Loop() {
		h, err := history.Read(bytes.NewReader(file.Bytes()))
		if err != nil {
			b.Fatal(err)
		}
		if rep := Run(h, Options{}); rep.Verdict != Pass {
			b.Fatalf("%s: %+v", rep.Verdict, rep.Checkers)
		}
	}
	b.SetBytes(int64(file.Len()))
}
