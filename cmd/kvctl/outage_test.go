package main

import (
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

// BenchmarkOutage hurts three real processes while an application calls them, and says
// what its callers notice. What may not be it asserts: an answer that cannot be, an
// increment that is done twice. How long things take it only says:
//
//	go test ./cmd/kvctl -run xxx -bench Outage -benchtime 1x -timeout 20m
func BenchmarkOutage(b *testing.B) {
	b.Run("LeaderKilled", benchLeaderKilled)
	b.Run("FollowerHung", func(b *testing.B) { benchHung(b, false) })
	b.Run("LeaderHung", func(b *testing.B) { benchHung(b, true) })
	b.Run("AllHung", benchAllHung)
	b.Run("AllDown", benchAllDown)
}

// outageCluster is three processes with a cp keyspace "orders" and an ap keyspace "carts".
type outageCluster struct {
	*localcluster.Procs
	seeds []string
}

func startOutage(b *testing.B) *outageCluster {
	b.Helper()
	kvctl, err := exec.LookPath("kvctl") // this test, by TestMain
	need(b, err)
	dir := b.TempDir()
	home := map[string]string{"KV_HOME": filepath.Join(dir, "home")}
	r, err := localcluster.OpenRegistry(func(name string) string { return home[name] })
	need(b, err)
	p, err := r.Start(b.Context(), localcluster.StartConfig{Name: "outage", Dir: filepath.Join(dir, "data"), Nodes: 3, Command: []string{kvctl, runNode}})
	need(b, err)
	b.Cleanup(func() { need(b, p.Close()) })
	admin, err := p.Admin("n1")
	need(b, err)
	for _, r := range []*kvpb.CreateKeyspaceRequest{{Name: "orders", Mode: "cp"}, {Name: "carts", Mode: "ap"}} {
		_, err := admin.CreateKeyspace(b.Context(), r)
		need(b, kvpb.FromStatus(err))
	}
	e, err := p.Entry()
	need(b, err)
	c := &outageCluster{Procs: p}
	for _, n := range e.Nodes {
		c.seeds = append(c.seeds, n.Listen)
	}
	return c
}

func need(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// load begins to call the cluster. The client prefers the node near.
func (c *outageCluster) load(b *testing.B, near string, callers int) *outageLoad {
	b.Helper()
	counts := &outageLoad{}
	cl, err := client.Open(b.Context(), client.Config{
		Seeds: c.seeds, Near: near,
		Dial: func(ctx context.Context, _, addr string) (net.Conn, error) {
			counts.dials.Add(1)
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		},
		Observe: client.Observer{
			Call: func(client.CallEvent) { counts.calls.Add(1) },
			Retry: func(e client.RetryEvent) {
				if !e.Refused {
					counts.retries.Add(1)
				}
			},
		},
	})
	need(b, err)
	b.Cleanup(func() { need(b, cl.Close()) })
	counts.begin(b, cl, callers)
	return counts
}

// leader is who leads the cp keyspace.
func (c *outageCluster) leader(b *testing.B) string {
	b.Helper()
	cl, err := c.Client(b.Context(), "")
	need(b, err)
	defer cl.Close()
	_, err = cl.Keyspace("orders").Get(b.Context(), "k", client.WithTimeout(10*time.Second))
	need(b, err)
	for {
		t, err := cl.Topology(b.Context())
		need(b, err)
		ks, _ := t.Keyspace("orders")
		if leader := t.Leaders[ks.Group("")]; leader != "" {
			return leader
		}
		pass(b, 50*time.Millisecond)
	}
}

// pass lets time go by, and returns what was before and after.
func pass(b *testing.B, d time.Duration) (from, until time.Time) {
	b.Helper()
	from = time.Now()
	if !pause(b.Context(), d) {
		b.Fatal(b.Context().Err())
	}
	return from, time.Now()
}

func benchLeaderKilled(b *testing.B) {
	c := startOutage(b)
	l := c.load(b, "", 4)
	pass(b, 3*time.Second)
	var writes, strong []time.Duration
	for range 5 {
		leader := c.leader(b)
		killed := time.Now()
		need(b, c.Kill(b.Context(), leader))
		_, until := pass(b, 5*time.Second)
		writes = append(writes, l.flow("cp write").between(killed, until).gap)
		strong = append(strong, l.flow("cp strong").between(killed, until).gap)
		l.print(b, "leader killed", killed, until)
		need(b, c.Restart(b.Context(), leader))
		pass(b, 3*time.Second)
	}
	slices.Sort(writes)
	slices.Sort(strong)
	say(b, "gap of writes %v, of strong reads %v", writes, strong)
	b.ReportMetric(writes[2].Seconds(), "write-gap-s")
	b.ReportMetric(strong[2].Seconds(), "strong-gap-s")
}

// benchHung stops a node as SIGSTOP does: the one that the client prefers.
func benchHung(b *testing.B, leads bool) {
	c := startOutage(b)
	node := c.leader(b)
	if !leads {
		node = c.Nodes()[(slices.Index(c.Nodes(), node)+1)%3]
	}
	l := c.load(b, node, 4)
	pass(b, 2*time.Second)
	from, until := pass(b, 15*time.Second)
	l.print(b, "healthy", from, until)
	hung := time.Now()
	need(b, c.Pause(b.Context(), node))
	_, end := pass(b, 30*time.Second)
	l.print(b, node+" hung", hung, end)
	worst, reads, failed := 0.0, 0, 0
	for _, f := range l.flows {
		before, now := f.between(from, until), f.between(hung, end)
		if slices.Contains([]string{"cp write", "ap write", "ap new"}, f.name) || leads && f.name == "cp strong" {
			continue
		}
		worst = max(worst, float64(now.p99)/float64(before.p99))
		reads, failed = reads+now.calls, failed+now.failed
	}
	b.ReportMetric(100*float64(failed)/float64(reads), "%-reads-failed")
	b.ReportMetric(worst, "x-p99")
	b.ReportMetric(l.flow("cp write").between(hung, end).gap.Seconds(), "write-gap-s")
	b.ReportMetric(l.flow("cp strong").between(hung, end).gap.Seconds(), "strong-gap-s")
	need(b, c.Resume(b.Context(), node))
}

func benchAllHung(b *testing.B) {
	c := startOutage(b)
	l := c.load(b, "", 64)
	pass(b, 3*time.Second)
	for _, node := range c.Nodes() {
		need(b, c.Pause(b.Context(), node))
	}
	calls, retries := l.calls.Load(), l.retries.Load()
	from, until := pass(b, 20*time.Second)
	for _, node := range c.Nodes() {
		need(b, c.Resume(b.Context(), node))
	}
	l.print(b, "all hung", from, until)
	l.amplified(b, calls, retries)
	l.recovers(b, "the nodes went on", until)
}

func benchAllDown(b *testing.B) {
	c := startOutage(b)
	l := c.load(b, "", 64)
	pass(b, 3*time.Second)
	for _, node := range c.Nodes() {
		need(b, c.Kill(b.Context(), node))
	}
	calls, retries, dials := l.calls.Load(), l.retries.Load(), l.dials.Load()
	from, _ := pass(b, 10*time.Second)
	heap, goroutines := memoryOf()
	_, until := pass(b, 50*time.Second)
	heapNow, goroutinesNow := memoryOf()
	l.print(b, "all down", from, until)
	l.amplified(b, calls, retries)
	say(b, "connections tried: %.1f a second", float64(l.dials.Load()-dials)/until.Sub(from).Seconds())
	say(b, "after 10 s %.1f MiB and %d goroutines, after 60 s %.1f MiB and %d", heap, goroutines, heapNow, goroutinesNow)
	b.ReportMetric(heapNow-heap, "MiB-grown")
	b.ReportMetric(float64(goroutinesNow-goroutines), "goroutines-grown")

	c.back(b, "n1", "carts")
	first := time.Now()
	l.recovers(b, "the first replica was back", first, "ap eventual", "ap new", "cp eventual")
	c.back(b, "n2", "orders")
	l.recovers(b, "the majority was back", time.Now(), "cp write", "cp strong", "cp causal")
	need(b, c.Restart(b.Context(), "n3"))
}

// back starts a node and returns when its replica of the keyspace is open.
func (c *outageCluster) back(b *testing.B, node, keyspace string) {
	b.Helper()
	began := time.Now()
	restarted := make(chan error, 1)
	go func() { restarted <- c.Restart(b.Context(), node) }()
	b.Cleanup(func() { need(b, <-restarted) })
	for !c.holds(b, node, keyspace) {
		pass(b, 10*time.Millisecond)
	}
	say(b, "%s has its replica of %s %v after it was started", node, keyspace, time.Since(began).Round(time.Millisecond))
}

// holds asks over a new connection: an older one may be waiting before it tries again.
func (c *outageCluster) holds(b *testing.B, node, keyspace string) bool {
	e, err := c.Entry()
	need(b, err)
	at := e.Nodes[slices.IndexFunc(e.Nodes, func(p localcluster.Process) bool { return p.ID == node })]
	conn, err := kvpb.Dial(at.Listen, func(ctx context.Context, addr string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	})
	need(b, err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(b.Context(), glance)
	defer cancel()
	status, err := kvpb.NewAdminClient(conn).Status(ctx, &kvpb.StatusRequest{})
	return err == nil && slices.ContainsFunc(status.GetReplicas(), func(r *kvpb.ReplicaStatus) bool {
		return r.GetKeyspace() == keyspace && (r.GetReady() || r.GetMode() == store.CP.String())
	})
}

func memoryOf() (mib float64, goroutines int) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20), runtime.NumGoroutine()
}
