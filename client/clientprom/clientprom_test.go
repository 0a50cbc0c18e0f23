package clientprom_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/client/clientprom"
	"github.com/dialkv/dialkv/client/clienttest"
	"github.com/dialkv/dialkv/store"
)

// sums adds up what is counted under each name: values, and of histograms how many.
func sums(t *testing.T, reg prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			out[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

func TestMetricsAreOfWhatTheClientDoes(t *testing.T) {
	clienttest.Bubble(t, func(t *testing.T) {
		c := clienttest.Start(t, clienttest.Config{Nodes: 3})
		c.Create(clienttest.Keyspace{Name: "orders", Mode: store.CP})
		reg := prometheus.NewRegistry()
		cfg := c.Config()
		observe, err := clientprom.Observe(reg)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Observe = observe
		own, err := client.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer own.Close()
		orders := own.Keyspace("orders")
		if _, err := orders.Put(t.Context(), "o17", []byte("paid")); err != nil {
			t.Fatal(err)
		}
		well := sums(t, reg)
		if well["kv_client_call_seconds"] < 1 || well["kv_client_route_total"] < 1 || well["kv_client_retries_total"] != 0 {
			t.Errorf("after one put: %v", well)
		}
		for _, node := range c.Nodes() {
			c.Isolate(node)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for ctx.Err() == nil {
			_, _ = orders.Get(ctx, "o17", client.At(client.Strong), client.WithTimeout(time.Second)) // they fail
		}
		item, err := orders.Get(t.Context(), "o17", client.WithTimeout(5*time.Second), client.Prefer(client.Try(client.Strong, time.Second), client.Static([]byte("unknown"))))
		if err != nil || !item.Degraded {
			t.Errorf("%+v, %v", item, err)
		}
		ill := sums(t, reg)
		for _, name := range []string{"kv_client_failures_total", "kv_client_retries_total", "kv_client_fallbacks_total"} {
			if ill[name] <= well[name] {
				t.Errorf("%s is %v after nobody answered, and %v before", name, ill[name], well[name])
			}
		}
	})
}

func TestClientsOfOneRegistryNeedLabels(t *testing.T) {
	reg := prometheus.NewRegistry()
	for range 2 {
		if _, err := clientprom.Observe(prometheus.WrapRegistererWith(prometheus.Labels{"client": "a"}, reg)); err == nil {
			continue
		} else if !errors.Is(err, store.Invalid) {
			t.Errorf("%v", err)
		}
		if _, err := clientprom.Observe(prometheus.WrapRegistererWith(prometheus.Labels{"client": "b"}, reg)); err != nil {
			t.Errorf("another label: %v", err)
		}
		return
	}
	t.Error("the names were taken twice")
}

func TestWhatCannotBeRegisteredIsNotByHalves(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "kv_client_joined_total"}))
	if _, err := clientprom.Observe(reg); !errors.Is(err, store.Invalid) {
		t.Fatal(err)
	}
	if left := sums(t, reg); len(left) != 1 {
		t.Errorf("%v is left", left)
	}
}

func TestEveryMetricIsInTheReference(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", "resilience.md"))
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	observe, err := clientprom.Observe(reg)
	if err != nil {
		t.Fatal(err)
	}
	observe.Call(client.CallEvent{Op: "get"})
	observe.Attempt(client.AttemptEvent{Node: "n1", Failure: client.Transient})
	observe.Retry(client.RetryEvent{})
	observe.Retry(client.RetryEvent{Refused: true})
	observe.Rejected("n1", "orders")
	observe.Breaker(client.BreakerEvent{Node: "n1", To: client.CircuitOpen})
	observe.Fallback(client.FallbackEvent{Kind: client.FallbackLast})
	observe.Hedge(client.HedgeEvent{Won: true})
	observe.Joined("orders")
	told := sums(t, reg)
	if len(told) != 11 || told["kv_client_breaker_state"] != 2 {
		t.Errorf("%v", told)
	}
	for name, n := range told {
		if n == 0 {
			t.Errorf("%s was not told", name)
		}
		if !strings.Contains(string(page), "`"+name) {
			t.Errorf("%s is not in docs/reference/resilience.md", name)
		}
	}
}
