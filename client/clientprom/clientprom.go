// Package clientprom tells Prometheus what a client does, and what it does about what does
// not work.
//
//	observe, err := clientprom.Observe(prometheus.DefaultRegisterer)
//	c, err := client.Open(ctx, client.Config{Seeds: seeds, Observe: observe})
//
// It is a package of its own so that client does not bring Prometheus along.
package clientprom

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// Observe registers the metrics of one client and returns what tells them, for
// client.Config.Observe. Its labels are nodes, kinds and what is called: none of them is a
// key, a keyspace or a session. Where several clients share a registry, give each
// prometheus.WrapRegistererWith a label. An error says that nothing was registered.
func Observe(reg prometheus.Registerer) (client.Observer, error) {
	m := newMetrics()
	for i, c := range m.all() {
		if err := reg.Register(c); err != nil {
			for _, taken := range m.all()[:i] {
				reg.Unregister(taken)
			}
			return client.Observer{}, &store.Error{
				Code: store.Invalid, Msg: "the metrics of the client cannot be registered", Cause: err,
				Try: "prometheus.WrapRegistererWith a label for each client",
			}
		}
	}
	return m.observer(), nil
}

type metrics struct {
	calls                                *prometheus.HistogramVec
	route, failures, rejected, fallbacks *prometheus.CounterVec
	hedges, changes                      *prometheus.CounterVec
	retries, refused, joined             prometheus.Counter
	breaker                              *prometheus.GaugeVec
}

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	single := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &metrics{
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kv_client_call_seconds", Help: "How long a call took, over all its attempts",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"op", "outcome"}),
		route:     counter("kv_client_route_total", "Attempts, by the node that they went to", "node"),
		failures:  counter("kv_client_failures_total", "Attempts that failed, by what that means", "kind"),
		retries:   single("kv_client_retries_total", "Attempts after another that a node had taken up"),
		refused:   single("kv_client_retries_refused_total", "Retries that the budget did not allow, each the end of a call"),
		rejected:  counter("kv_client_bulkhead_rejections_total", "Attempts that found no place at a node, because too many of the keyspace were there", "node"),
		breaker:   prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kv_client_breaker_state", Help: "The circuit of a node: 0 closed, 1 half-open, 2 open; absent while it has never changed"}, []string{"node"}),
		changes:   counter("kv_client_breaker_changes_total", "Changes of a node's circuit, by what it became", "node", "to"),
		fallbacks: counter("kv_client_fallbacks_total", "Gets that a later step of their list answered, by its kind", "kind"),
		hedges:    counter("kv_client_hedges_total", "Reads that were sent a second time, by whether the second answer was the first to come", "won"),
		joined:    single("kv_client_joined_total", "Reads that got the answer of an identical one that was under way"),
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.calls, m.route, m.failures, m.retries, m.refused, m.rejected, m.breaker, m.changes, m.fallbacks, m.hedges, m.joined}
}

// states are the values of kv_client_breaker_state.
var states = map[client.CircuitState]float64{client.CircuitClosed: 0, client.CircuitHalfOpen: 1, client.CircuitOpen: 2}

func (m *metrics) observer() client.Observer {
	return client.Observer{
		Call: func(e client.CallEvent) {
			m.calls.WithLabelValues(e.Op, string(store.OutcomeOf(e.Err))).Observe(e.Took.Seconds())
		},
		Attempt: func(e client.AttemptEvent) {
			m.route.WithLabelValues(e.Node).Inc()
			if e.Failure != "" {
				m.failures.WithLabelValues(string(e.Failure)).Inc()
			}
		},
		Retry: func(e client.RetryEvent) {
			if e.Refused {
				m.refused.Inc()
			} else {
				m.retries.Inc()
			}
		},
		Rejected: func(node, _ string) { m.rejected.WithLabelValues(node).Inc() },
		Breaker: func(e client.BreakerEvent) {
			m.breaker.WithLabelValues(e.Node).Set(states[e.To])
			m.changes.WithLabelValues(e.Node, string(e.To)).Inc()
		},
		Fallback: func(e client.FallbackEvent) { m.fallbacks.WithLabelValues(string(e.Kind)).Inc() },
		Hedge:    func(e client.HedgeEvent) { m.hedges.WithLabelValues(strconv.FormatBool(e.Won)).Inc() },
		Joined:   func(string) { m.joined.Inc() },
	}
}
