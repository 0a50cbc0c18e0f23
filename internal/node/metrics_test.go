package node_test

import (
	"bytes"
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/node"
	"github.com/dialkv/dialkv/store"
)

// metrics are what a node shows at an instant.
type metrics map[string]*dto.MetricFamily

func scrape(t *testing.T, n *node.Node) metrics {
	t.Helper()
	status, body := ask(t, n.AdminAddr(), "/metrics")
	if status != 200 {
		t.Fatalf("%d: %s", status, body)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	all, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// sum adds up the metrics of a name that have the labels.
func (m metrics) sum(name string, labels ...string) (sum float64) {
	for _, x := range m[name].GetMetric() {
		if has(x, labels) {
			sum += x.GetCounter().GetValue() + x.GetGauge().GetValue() + float64(x.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

func has(x *dto.Metric, labels []string) bool {
	found := 0
	for _, l := range x.GetLabel() {
		for _, want := range labels {
			if l.GetName()+"="+l.GetValue() == want {
				found++
			}
		}
	}
	return found == len(labels)
}

// trio runs three nodes in this process that are watched over real sockets.
func trio(t *testing.T) (network *link.Network, nodes []*node.Node) {
	t.Helper()
	network = link.NewNetwork(link.NetworkConfig{})
	for i := range 3 {
		name := "n" + strconv.Itoa(i+1)
		door, err := network.Endpoint(name)
		if err != nil {
			t.Fatal(err)
		}
		cfg := node.Config{
			Node: name, Data: t.TempDir(), Expect: 3, AllowFaults: true, Timing: node.Classroom,
			Network: node.Network{Endpoint: door, DialSeed: network.DialClient, Admin: "127.0.0.1:0"},
		}
		if i > 0 {
			cfg.Join = []string{"n1"}
		}
		n, stop := run(t, cfg)
		t.Cleanup(func() {
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		<-n.Ready()
	}
	return network, nodes
}

func TestMetricsSayWhatTheNodesDo(t *testing.T) {
	network, nodes := trio(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for name, mode := range map[string]string{"orders": "cp", "carts": "ap"} {
		if _, err := nodes[0].CreateKeyspace(ctx, &kvpb.CreateKeyspaceRequest{Name: name, Mode: mode}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.Open(ctx, client.Config{
		Seeds: []string{"n1", "n2", "n3"},
		Dial:  func(ctx context.Context, _, addr string) (net.Conn, error) { return network.DialClient(ctx, addr) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const times = 20
	orders, carts := c.Keyspace("orders"), c.Keyspace("carts")
	for i := range times {
		_, err := orders.Put(ctx, strconv.Itoa(i), []byte("v"))
		if err == nil {
			_, err = orders.Get(ctx, strconv.Itoa(i), client.At(store.Strong))
		}
		if err == nil {
			_, err = carts.Put(ctx, strconv.Itoa(i), []byte("v"), client.WithW(store.WAll))
		}
		if err == nil {
			_, err = carts.Get(ctx, strconv.Itoa(i), client.At(store.Eventual))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	over := func(name string, labels ...string) (sum float64) {
		for _, n := range nodes {
			sum += scrape(t, n).sum(name, labels...)
		}
		return sum
	}
	for _, want := range []struct {
		name, labels string
		least, most  float64
	}{
		{"kv_node_info", "", 3, 3},
		{"kv_node_ready", "", 3, 3},
		{"kv_node_members", "", 9, 9},
		{"kv_node_requests_total", "keyspace=orders op=put level= outcome=ok", times, times},
		{"kv_node_requests_total", "keyspace=orders op=get level=strong outcome=ok", times, times},
		{"kv_node_requests_total", "keyspace=carts op=get level=eventual outcome=ok", 1, times}, // equal ones may share an answer
		{"kv_node_request_seconds", "op=get level=strong", times, 1e6},                          // with those of the catalog
		{"kv_node_raft_leader", "keyspace=orders", 1, 1},
		{"kv_node_raft_leader_known", "keyspace=orders", 3, 3},
		{"kv_node_raft_term", "keyspace=orders", 6, 1e6},
		{"kv_node_raft_applied_index", "keyspace=orders", times, 1e6},
		{"kv_node_raft_entries_total", "keyspace=orders", 2, times + 10},
		{"kv_node_raft_commands_total", "keyspace=orders", times + 1, times + 10},
		{"kv_node_read_index_rounds_total", "keyspace=orders", 1, 1e6},
		{"kv_node_read_index_reads_total", "keyspace=orders", times, 1e6},
		{"kv_node_ap_writes", "keyspace=carts", 3 * times, 3 * times},
		{"kv_node_ap_backlog_writes", "keyspace=carts", 0, 6 * times},
		{"kv_node_ap_committed_writes_total", "", 3 * times, 3 * times},
		{"kv_node_ap_actors", "keyspace=carts", 3, 9},
		{"kv_node_fsync_seconds", "", times, 1e6},
		{"kv_node_disk_free_bytes", "", 1, 1e18},
		{"kv_node_connections", "", 6, 1e3},
		{"kv_node_fault_rules", "", 0, 0},
		{"go_goroutines", "", 10, 1e6},
	} {
		got := over(want.name, strings.Fields(want.labels)...)
		for (got < want.least || got > want.most) && ctx.Err() == nil { // a leader may just be changing
			<-time.After(50 * time.Millisecond)
			got = over(want.name, strings.Fields(want.labels)...)
		}
		if got < want.least || got > want.most {
			t.Errorf("%s{%s} is %v, want %v to %v", want.name, want.labels, got, want.least, want.most)
		}
	}
	if n := len(scrape(t, nodes[0])["kv_node_ap_backlog_writes"].GetMetric()); n != 2 {
		t.Errorf("the backlog of %d peers is shown, there are 2", n)
	}
}

// A leader that is cut off is missed by the others, for so long.
func TestMetricsMeasureTheTimeWithoutALeader(t *testing.T) {
	network, nodes := trio(t)
	var leader string
	for _, n := range nodes {
		for _, g := range n.Health().Groups {
			leader = g.Leader
		}
	}
	if err := network.Rules().Set(link.Isolate(leader, []string{"n1", "n2", "n3"})); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		for m := scrape(t, n); m.sum("kv_node_raft_leader_losses_total") == 0; m = scrape(t, n) {
			if t.Context().Err() != nil {
				t.Fatal("no loss of a leader is counted")
			}
		}
		if m := scrape(t, n); m.sum("kv_node_raft_leaderless_seconds_total") <= 0 || m.sum("kv_node_fault_rules") == 0 {
			t.Errorf("a loss without a time, or no rules: %v", m["kv_node_raft_leaderless_seconds_total"])
		}
	}
}

func TestMetricsBeforeTheNodeBelongsToACluster(t *testing.T) {
	cfg := onDisk(t, "n1", t.TempDir())
	cfg.Network.Admin, cfg.Join = "127.0.0.1:0", []string{"127.0.0.1:1"}
	n, stop := run(t, cfg)
	m := scrape(t, n)
	if len(m["kv_node_ready"].GetMetric()) != 1 || m.sum("kv_node_ready") != 0 || m["go_goroutines"] == nil {
		t.Errorf("it shows %d families, ready is %v", len(m), m["kv_node_ready"])
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
