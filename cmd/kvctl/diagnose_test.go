package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/dialkv/dialkv/internal/kvpb"
)

// well is a cluster of three nodes, with a cp and an ap keyspace, of which nothing is wrong.
func well(t *testing.T) examined {
	t.Helper()
	e := examined{clusterJSON: clusterJSON{Name: "dev"}, ours: true}
	var orders, carts groupView
	orders = groupView{ID: "2/0", Leader: "n1", Term: 2, members: []string{"n1", "n2", "n3"}}
	carts = groupView{ID: "3/0", members: []string{"n1", "n2", "n3"}}
	for i := range 3 {
		name := fmt.Sprintf("n%d", i+1)
		e.Nodes = append(e.Nodes, nodeJSON{ID: name, State: "ready", GRPC: "127.0.0.1:1"})
		e.statuses = append(e.statuses, &kvpb.StatusResponse{Node: name, Version: "v1"})
		e.faults = append(e.faults, new(kvpb.FaultsResponse))
		e.metrics = append(e.metrics, figures(t, ""))
		orders.Replicas = append(orders.Replicas, replicaView{Node: name, Role: "follower", Ready: true})
		carts.Replicas = append(carts.Replicas, replicaView{Node: name, Role: "replica", Ready: true})
	}
	e.Keyspaces = []keyspaceView{{"carts", "ap", []groupView{carts}}, {"orders", "cp", []groupView{orders}}}
	return e
}

// figures are what a healthy node that started a moment ago shows, and more.
func figures(t *testing.T, more string) metrics {
	t.Helper()
	text := "kv_node_disk_size_bytes 1000\nkv_node_disk_free_bytes 500\nkv_node_raft_leader_losses_total 1\n" +
		fmt.Sprintf("process_start_time_seconds %d\n", time.Now().Unix()-60) +
		"kv_node_shed_total 0\nkv_node_ap_staleness_seconds{keyspace=\"carts\",group=\"3/0\"} 0.4\n"
	parser := expfmt.NewTextParser(model.LegacyValidation)
	m, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	parser = expfmt.NewTextParser(model.LegacyValidation)
	own, err := parser.TextToMetricFamilies(strings.NewReader(more))
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range own {
		m[name] = f
	}
	return m
}

func TestNothingIsWrongWithAClusterThatIsWell(t *testing.T) {
	if d := diagnose(well(t)); !d.Healthy || len(d.Findings) > 0 || len(d.Unseen) > 0 || d.Nodes != 3 || d.Groups != 2 {
		t.Errorf("%+v", d)
	}
}

func TestDoctorFindsWhatIsWrong(t *testing.T) {
	orders := func(e *examined) *groupView { return &e.Keyspaces[1].Groups[0] }
	carts := func(e *examined) *groupView { return &e.Keyspaces[0].Groups[0] }
	silence := func(g *groupView, nodes ...int) {
		for _, i := range nodes {
			g.Replicas[i].Role = silent
		}
	}
	shows := func(i int, more string) func(*examined) {
		return func(e *examined) { e.metrics[i] = figures(t, more) }
	}
	for name, c := range map[string]struct {
		spoil          func(e *examined)
		severity, says string
		try            string
	}{
		"a node that is down":       {func(e *examined) { e.Nodes[2].State, e.statuses[2] = "down", nil }, fault, "n3 is down", "kvctl node restart n3"},
		"one of somebody else's":    {func(e *examined) { e.Nodes[2].State, e.statuses[2], e.ours = "down", nil, false }, fault, "n3 is down", "kvnode on its machine"},
		"one that is paused":        {func(e *examined) { e.Nodes[2].State, e.statuses[2] = "paused", nil }, fault, "n3 is paused", "node resume n3"},
		"one that is out of reach":  {func(e *examined) { e.Nodes[2].State, e.statuses[2] = "unreachable", nil }, fault, "n3 does not answer", "127.0.0.1:1 in reach"},
		"one that does not serve":   {func(e *examined) { e.Nodes[0].State, e.Nodes[0].reasons = "starting", []string{"a", "b"} }, fault, "n1 answers and does not serve: a; b", "cluster logs n1"},
		"one that has to say a lot": {func(e *examined) { e.Nodes[0].reasons = []string{"its clock is wrong"} }, warning, "n1 says: its clock is wrong", "status"},
		"one that is drained":       {func(e *examined) { e.Nodes[1].Drained = true }, warning, "n2 is drained", "restart n2"},
		"rules": {func(e *examined) {
			e.faults[0] = &kvpb.FaultsResponse{Rules: []*kvpb.LinkRule{{}, {}}}
		}, warning, "2 rules in force", "net heal"},
		"a clock":                     {func(e *examined) { e.faults[0] = &kvpb.FaultsResponse{SkewNs: 3e9} }, warning, "wrong by 3s on purpose", "restart n1"},
		"releases":                    {func(e *examined) { e.statuses[1].Version = "v2" }, warning, "different releases: v1, v2", "the same"},
		"an election":                 {func(e *examined) { orders(e).Leader = "" }, fault, "orders group 2/0: no leader, though 3 of 3", "net show"},
		"no majority":                 {func(e *examined) { orders(e).Leader = ""; silence(orders(e), 1, 2) }, fault, "1 of 3 members answer and a majority is 2", "node recover"},
		"a majority and no more":      {func(e *examined) { silence(orders(e), 2) }, warning, "2 of 3 members answer; with one less", "bring"},
		"two members":                 {func(e *examined) { orders(e).members = []string{"n1", "n2"} }, warning, "2 members, and it needs both", "--replicas 3"},
		"a member that is behind":     {func(e *examined) { carts(e).Replicas[1].Behind = 2000 }, warning, "n2 answers and lacks 2000 writes", "wait"},
		"writes that are lost":        {func(e *examined) { carts(e).Replicas[1].Lost = 1 }, warning, "1 write that n2 held in memory", "durability"},
		"a full disk":                 {shows(0, "kv_node_disk_free_bytes 20\n"), fault, "the disk of n1 has 2.0 % left", "room"},
		"a disk that is nearly full":  {shows(0, "kv_node_disk_free_bytes 80\n"), warning, "the disk of n1 has 8.0 % left", "room"},
		"a slow disk":                 {shows(1, "# TYPE kv_node_fsync_seconds histogram\nkv_node_fsync_seconds_bucket{le=\"+Inf\"} 10\nkv_node_fsync_seconds_sum 2\nkv_node_fsync_seconds_count 10\n"), warning, "the disk of n2 takes 200ms", "faster disk"},
		"a disk that forgets":         {shows(1, "kv_node_scrub_unreadable_rows_total 1\n"), fault, "1 unreadable row", "replace"},
		"a bug":                       {shows(1, "kv_node_panics_total 2\n"), fault, "2 requests failed inside n2", "logs n2"},
		"too much":                    {shows(1, "kv_node_shed_total{op=\"get\"} 2\nkv_node_shed_total{op=\"put\"} 3\n"), warning, "n2 refused 5 requests", "fewer"},
		"stalls":                      {shows(1, "kv_node_write_stalls_total 1\n"), warning, "stopped writes once", "disk"},
		"elections":                   {shows(1, "kv_node_raft_leader_losses_total 11\n"), warning, "lost sight of a leader 11 times", "heartbeats"},
		"a member that is not heard":  {shows(1, "kv_node_ap_staleness_seconds{keyspace=\"carts\",group=\"3/0\"} 12.5\n"), warning, "n2 has not heard all members of carts group 3/0 for 12.5s", "net show"},
		"ten elections in many hours": {shows(1, fmt.Sprintf("kv_node_raft_leader_losses_total 30\nprocess_start_time_seconds %d\n", time.Now().Unix()-3*3600-60)), "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := well(t)
			c.spoil(&e)
			d := diagnose(e)
			if c.severity == "" {
				if !d.Healthy || len(d.Findings) != 0 {
					t.Errorf("%+v, want nothing", d.Findings)
				}
				return
			}
			if len(d.Findings) != 1 || d.Healthy != (c.severity == warning) {
				t.Fatalf("%+v, want one %s", d.Findings, c.severity)
			}
			if f := d.Findings[0]; f.Severity != c.severity || !strings.Contains(f.What, c.says) || !strings.Contains(f.Try, c.try) {
				t.Errorf("%+v, want %s %q, try %q", f, c.severity, c.says, c.try)
			}
		})
	}
}

// A node without an admin address, or with one that cannot be reached from here, is not
// unwell for that.
func TestDoctorSaysWhatItCouldNotSee(t *testing.T) {
	e := well(t)
	e.metrics[0], e.metrics[2] = nil, nil
	if d := diagnose(e); !d.Healthy || len(d.Findings) != 0 || strings.Join(d.Unseen, " ") != "n1 n3" {
		t.Errorf("%+v", d)
	}
}
