package telemetry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"

	"github.com/dialkv/dialkv/store"
)

func with(keyspaces ...string) func() (Figures, bool) {
	return func() (Figures, bool) { return Figures{Keyspaces: keyspaces}, true }
}

// lines are those of the metrics of a name, in order.
func lines(t *testing.T, m *Metrics, name string) (out []string) {
	t.Helper()
	families, err := m.Gather().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		var text strings.Builder
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text.String()) {
			if !strings.HasPrefix(line, "#") {
				out = append(out, strings.TrimPrefix(strings.TrimSpace(line), name))
			}
		}
	}
	return out
}

func same(t *testing.T, m *Metrics, name string, want ...string) {
	t.Helper()
	if got := lines(t, m, name); !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEachRequestIsCountedOnce(t *testing.T) {
	m := NewMetrics(with("orders", "carts"))
	overloaded := fmt.Errorf("wrapped: %w", &store.Error{Code: store.Overloaded})
	for range 3 {
		m.Requests.Served("orders", "get", store.Strong, nil, time.Millisecond)
	}
	m.Requests.Served("orders", "put", store.LevelDefault, overloaded, time.Millisecond)
	m.Requests.Served("carts", "cas", store.LevelDefault, store.Unknown, time.Millisecond)
	m.Requests.Served("", "", store.Level(200), store.NoSuchKeyspace, time.Millisecond)
	m.Requests.Served("carts", "scan", store.Causal, errors.New("a stranger"), time.Millisecond)
	same(t, m, "kv_node_requests_total",
		`{keyspace="_none",level="",op="other",outcome="fail"} 1`,
		`{keyspace="carts",level="",op="cas",outcome="unknown"} 1`,
		`{keyspace="carts",level="causal",op="scan",outcome="unknown"} 1`,
		`{keyspace="orders",level="",op="put",outcome="fail"} 1`,
		`{keyspace="orders",level="strong",op="get",outcome="ok"} 3`)
	same(t, m, "kv_node_shed_total", `{keyspace="orders",op="put"} 1`)
	same(t, m, "kv_node_errors_total",
		`{code="NoSuchKeyspace",keyspace="_none"} 1`, `{code="Overloaded",keyspace="orders"} 1`, `{code="Unknown",keyspace="carts"} 2`)
	counts := slices.DeleteFunc(lines(t, m, "kv_node_request_seconds"), func(line string) bool { return !strings.HasPrefix(line, "_count") })
	if want := `_count{level="strong",op="get"} 3`; len(counts) != 5 || !slices.Contains(counts, want) {
		t.Errorf("the histograms count %q, want %s and four more", counts, want)
	}
}

// Names come from outside, so their number has a limit. A keyspace that is deleted makes
// room at the next scrape.
func TestKeyspacesOfMetricsAreBounded(t *testing.T) {
	there := []string{"ks0"}
	m := NewMetrics(func() (Figures, bool) { return Figures{Keyspaces: there}, true })
	for i := range 3 * maxKeyspaces {
		m.Requests.Served(fmt.Sprintf("ks%d", i), "get", store.Strong, nil, time.Millisecond)
	}
	if n := len(*m.Requests.keyspaces.Load()); n != maxKeyspaces {
		t.Errorf("%d keyspaces have numbers of their own, want %d", n, maxKeyspaces)
	}
	line := func(keyspace string, n int) string {
		return fmt.Sprintf(`{keyspace="%s",level="strong",op="get",outcome="ok"} %d`, keyspace, n)
	}
	same(t, m, "kv_node_requests_total", line("_other", 2*maxKeyspaces), line("ks0", 1))
	there = append(there, "new")
	m.Requests.Served("new", "get", store.Strong, nil, time.Millisecond)
	same(t, m, "kv_node_requests_total", line("_other", 2*maxKeyspaces), line("ks0", 1), line("new", 1))
}

func TestEveryCodeAndLevelIsCounted(t *testing.T) {
	if numCodes != len(store.Codes) {
		t.Errorf("numCodes is %d, there are %d codes", numCodes, len(store.Codes))
	}
	if numLevels != len(store.LevelNames)+1 {
		t.Errorf("numLevels is %d, there are %d levels beside the default", numLevels, len(store.LevelNames))
	}
	for op := store.Put; !strings.HasPrefix(op.String(), "op("); op++ {
		if !slices.Contains(ops[:], op.String()) {
			t.Errorf("the op %s is counted as another", op)
		}
	}
}

func TestCountingARequestAllocatesNothing(t *testing.T) {
	r := newRequests()
	r.Served("orders", "get", store.Strong, nil, time.Millisecond)
	if n := testing.AllocsPerRun(1000, func() { r.Served("orders", "get", store.Strong, nil, time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestLatenciesFallIntoTheirBuckets(t *testing.T) {
	m := NewMetrics(with("orders"))
	for _, took := range []time.Duration{0, 50 * time.Microsecond, 51 * time.Microsecond, time.Second, time.Minute} {
		m.Requests.Served("orders", "get", store.Strong, nil, took)
	}
	got := lines(t, m, "kv_node_request_seconds")
	for _, want := range []string{`{level="strong",op="get",le="5e-05"} 2`, `le="0.0001"} 3`, `le="0.5"} 3`, `le="1"} 4`, `le="10"} 4`, `le="+Inf"} 5`, `_count{level="strong",op="get"} 5`, `_sum{level="strong",op="get"} 61.000101`} {
		if !slices.ContainsFunc(got, func(line string) bool { return strings.HasSuffix(line, want) }) {
			t.Errorf("no line ends with %s in\n%s", want, strings.Join(got, "\n"))
		}
	}
}

// What a request costs more because it is counted: two looks at the clock as well.
func BenchmarkServed(b *testing.B) {
	r := newRequests()
	epoch := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		began := time.Since(epoch)
		r.Served("orders", "get", store.Strong, nil, time.Since(epoch)-began)
	}
}

func BenchmarkServedInParallel(b *testing.B) {
	r := newRequests()
	epoch := time.Now()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			began := time.Since(epoch)
			r.Served("orders", "get", store.Strong, nil, time.Since(epoch)-began)
		}
	})
}
