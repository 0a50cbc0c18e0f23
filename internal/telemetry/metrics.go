package telemetry

import (
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/store"
)

// Metrics are one node's, in a registry of its own: a process may hold many nodes. What a
// node knows of itself is asked for when somebody reads the metrics; only what nobody
// knows afterwards is counted as it happens.
type Metrics struct {
	Requests *Requests
	Events   Events
	registry *prometheus.Registry
}

// Events are counted by those who hear of them.
type Events struct {
	Seats                       Seats
	Panics                      atomic.Uint64
	Commits, Writes             atomic.Uint64 // of ap groups
	Committing                  atomic.Int64  // nanoseconds
	SnapshotsSent, SnapshotsGot atomic.Uint64
	Scrubs, Unreadable          atomic.Uint64
}

// Committed is in the shape of ap's event.
func (e *Events) Committed(writes, _ int, took time.Duration) {
	e.Commits.Add(1)
	e.Writes.Add(uint64(writes))
	e.Committing.Add(int64(took))
}

// Figures is what a node says of itself.
type Figures struct {
	Node, Cluster, Zone, Version string
	Ready, Draining              bool
	Reasons                      int // not to be ready
	Members                      int // alive
	FaultRules                   int
	Busy                         Busy
	Groups                       []Group
	Keyspaces                    []string // that there are
	Disk, Memory                 engine.Figures
}

// Busy is what its doors are busy with.
type Busy struct{ Requests, Streams, Watches, PeerStreams, Connections int }

// Group is a replica.
type Group struct {
	Keyspace string
	Status   store.Status
	CP       *CP // of a cp group that is open
	AP       *AP // of an ap group that is open
}

// CP are cp.Figures, and AP are ap.Figures: only the node knows those.
type CP struct {
	Entries, Commands, Rounds, Reads, Failed uint64
	Queued                                   int64
	Last, Commit                             uint64
	Heard                                    time.Duration
	Followed                                 bool
}

// AP are ap.Figures.
type AP struct {
	Actors, Closed int
	Queued         int64
	Age            time.Duration
	Proved         bool
}

// maxGroups is how many groups have metrics of their own; a scrape must not grow without
// a limit. Which are left out follows from their ids.
const maxGroups = 512

// NewMetrics returns the metrics of a node that says figures of itself; false if it is not
// far enough for that.
func NewMetrics(figures func() (Figures, bool)) *Metrics {
	m := &Metrics{Requests: newRequests(), registry: prometheus.NewRegistry()}
	m.registry.MustRegister(
		&collector{m, figures},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler answers those who scrape, a few at a time.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, EnableOpenMetrics: true})
}

// Gather is what Handler shows.
func (m *Metrics) Gather() prometheus.Gatherer { return m.registry }

// collector asks a node for its figures.
type collector struct {
	*Metrics
	figures func() (Figures, bool)
}

// Describe is called when the collector is registered.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, f := range families() {
		out <- f.desc
	}
}

// Collect is called at each scrape.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	out := emitter(to)
	f, ok := c.figures()
	if ok {
		c.Requests.keep(func(name string) bool { return slices.Contains(f.Keyspaces, name) })
		out.node(f)
		out.storage(f.Disk, f.Memory)
		out.put(held, float64(len(f.Groups)))
		out.put(unlisted, float64(max(0, len(f.Groups)-maxGroups)))
		for _, g := range f.Groups[:min(len(f.Groups), maxGroups)] {
			out.group(g)
		}
		c.Events.Seats.keep(f.Groups)
	} else {
		out.put(ready, 0)
	}
	c.Requests.collect(out)
	c.Events.collect(out)
}

func (e *Events) collect(out emitter) {
	losses, without := e.Seats.sum(time.Now())
	out.put(leaderLosses, float64(losses))
	out.put(leaderless, without.Seconds())
	out.put(panics, float64(e.Panics.Load()))
	out.put(apCommits, float64(e.Commits.Load()))
	out.put(apCommitted, float64(e.Writes.Load()))
	out.put(apTook, time.Duration(e.Committing.Load()).Seconds())
	out.put(apSent, float64(e.SnapshotsSent.Load()))
	out.put(apInstalled, float64(e.SnapshotsGot.Load()))
	out.put(scrubs, float64(e.Scrubs.Load()))
	out.put(unreadable, float64(e.Unreadable.Load()))
}
