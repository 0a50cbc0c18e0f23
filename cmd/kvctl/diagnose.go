package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/store"
)

// The severities of a finding.
const (
	fault   = "fault"
	warning = "warning"
)

// diagnosis is what doctor prints with -o json.
type diagnosis struct {
	Name     string    `json:"name"`
	Nodes    int       `json:"nodes"`
	Groups   int       `json:"groups"`
	Healthy  bool      `json:"healthy"` // there is no fault
	Findings []finding `json:"findings"`
	Unseen   []string  `json:"unseen"` // nodes whose metrics could not be read
}

type finding struct {
	Severity string `json:"severity"`
	Node     string `json:"node,omitempty"`
	Keyspace string `json:"keyspace,omitempty"`
	Group    string `json:"group,omitempty"`
	What     string `json:"what"`
	Try      string `json:"try"`
}

func (d diagnosis) count(severity string) (n int) {
	for _, f := range d.Findings {
		if f.Severity == severity {
			n++
		}
	}
	return n
}

// What is more than these is worth a warning, or a fault.
const (
	slowSync    = 50 * time.Millisecond // on the average: every write waits for one
	littleDisk  = 0.10                  // of a disk that is free
	noDisk      = 0.03
	farBehind   = 1000 // writes that a member which answers has not confirmed
	longUnheard = 10 * time.Second
	manyLosses  = 10 // of leaders, in an hour
)

// diagnose says what is wrong with a cluster.
func diagnose(e examined) diagnosis {
	d := diagnosis{Name: e.Name, Nodes: len(e.Nodes), Findings: []finding{}, Unseen: []string{}}
	for i := range e.Nodes {
		d.node(e, i)
	}
	d.versions(e)
	for _, k := range e.Keyspaces {
		d.Groups += len(k.Groups)
		for _, g := range k.Groups {
			d.group(e, k, g)
		}
	}
	slices.SortStableFunc(d.Findings, func(a, b finding) int { return cmp.Compare(a.Severity, b.Severity) })
	d.Healthy = d.count(fault) == 0
	return d
}

func (d *diagnosis) add(f finding) { d.Findings = append(d.Findings, f) }

// node looks at one node.
func (d *diagnosis) node(e examined, i int) {
	n := e.Nodes[i]
	say := func(severity, what, try string) { d.add(finding{Severity: severity, Node: n.ID, What: what, Try: try}) }
	again := "kvctl node restart " + n.ID
	if !e.ours && !e.memory {
		again = "kvnode on its machine, with the --id and --data it had"
	}
	switch n.State {
	case "ready":
		for _, detail := range n.reasons {
			say(warning, n.ID+" says: "+detail, "kvctl cluster status")
		}
	case "starting":
		say(fault, fmt.Sprintf("%s answers and does not serve: %s", n.ID, strings.Join(n.reasons, "; ")), "again in a moment; its log has more: kvctl cluster logs "+n.ID)
	case "paused":
		say(fault, n.ID+" is paused: its process was stopped, and has not ended", "kvctl node resume "+n.ID)
	case "unreachable":
		say(fault, n.ID+" does not answer", "is its machine up, and "+cmp.Or(n.GRPC, "its address")+" in reach from here? If it is gone for good: kvctl cluster remove "+n.ID+" --dead")
	default:
		say(fault, n.ID+" is down", again+"; if it is gone for good, kvctl cluster remove "+n.ID+" --dead")
	}
	if n.Drained {
		say(warning, n.ID+" is drained: it leads nothing until it is started again", again)
	}
	if f := e.faults[i]; len(f.GetRules()) > 0 {
		say(warning, fmt.Sprintf("links of %s are cut or slowed on purpose: %s in force", n.ID, count(len(f.GetRules()), "rule")), "kvctl net heal")
	}
	if f := e.faults[i]; f.GetSkewNs() != 0 {
		say(warning, fmt.Sprintf("the clock of %s is set wrong by %v on purpose", n.ID, time.Duration(f.GetSkewNs())), again)
	}
	switch {
	case e.statuses[i] == nil || e.memory:
	case e.metrics[i] == nil:
		d.Unseen = append(d.Unseen, n.ID)
	default:
		d.figures(n.ID, e.metrics[i], say)
	}
}

// figures looks at what a node measures.
func (d *diagnosis) figures(node string, m metrics, say func(severity, what, try string)) {
	if size := m.sum("kv_node_disk_size_bytes"); size > 0 {
		switch left := m.sum("kv_node_disk_free_bytes") / size; {
		case left < noDisk:
			say(fault, fmt.Sprintf("the disk of %s has %.1f %% left: a node whose disk is full stops", node, 100*left), "make room there, or add a node: kvctl cluster add")
		case left < littleDisk:
			say(warning, fmt.Sprintf("the disk of %s has %.1f %% left", node, 100*left), "make room there before it is full")
		}
	}
	if took := m.syncs(); took > slowSync {
		say(warning, fmt.Sprintf("the disk of %s takes %s for a sync on the average, and every write waits for one", node, rough(took)), "a faster disk, or one that nothing else writes to")
	}
	if n := m.sum("kv_node_scrub_unreadable_rows_total"); n > 0 {
		say(fault, fmt.Sprintf("the disk of %s does not give back what was written: a scrub found %s", node, count(int(n), "unreadable row")), "replace the node: kvctl cluster remove "+node+", then kvctl cluster add")
	}
	if n := m.sum("kv_node_panics_total"); n > 0 {
		say(fault, fmt.Sprintf("%s failed inside %s, which is a bug", count(int(n), "request"), node), "kvctl cluster logs "+node+": it has the stack")
	}
	if n := m.sum("kv_node_shed_total"); n > 0 {
		say(warning, fmt.Sprintf("%s refused %s as overloaded since it started", node, count(int(n), "request")), "fewer at a time, or more groups and nodes")
	}
	if n := m.sum("kv_node_write_stalls_total"); n > 0 {
		say(warning, fmt.Sprintf("the storage of %s stopped writes %s until it had caught up", node, times(int(n))), "a faster disk, or fewer writes")
	}
	up := time.Since(time.Unix(int64(m.sum("process_start_time_seconds")), 0))
	if n := m.sum("kv_node_raft_leader_losses_total"); n > manyLosses*max(1, up.Hours()) && m["process_start_time_seconds"] != nil {
		say(warning, fmt.Sprintf("%s lost sight of a leader %s in %v", node, times(int(n)), up.Round(time.Minute)), "look at its disk, its processor and its links: heartbeats come too late")
	}
	for _, x := range m["kv_node_ap_staleness_seconds"].GetMetric() {
		if age := time.Duration(value(x) * float64(time.Second)); age > longUnheard {
			d.add(finding{
				Severity: warning, Node: node, Keyspace: label(x, "keyspace"), Group: label(x, "group"),
				What: fmt.Sprintf("%s has not heard all members of %s group %s for %s: it cannot prove that it is younger", node, label(x, "keyspace"), label(x, "group"), rough(age)),
				Try:  "bring the member back that does not answer, or heal the link: kvctl net show",
			})
		}
	}
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// versions looks whether all nodes are of one release.
func (d *diagnosis) versions(e examined) {
	var all []string
	for _, s := range e.statuses {
		if v := s.GetVersion(); s != nil && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	if len(all) > 1 {
		slices.Sort(all)
		d.add(finding{Severity: warning, What: "the nodes are of different releases: " + strings.Join(all, ", "), Try: "the same one everywhere, when the upgrade is over"})
	}
}

// group looks at one group.
func (d *diagnosis) group(e examined, k keyspaceView, g groupView) {
	say := func(severity, node, what, try string) {
		d.add(finding{Severity: severity, Node: node, Keyspace: k.Name, Group: g.ID, What: fmt.Sprintf("%s group %s: %s", k.Name, g.ID, what), Try: try})
	}
	answer := 0
	for _, r := range g.Replicas {
		if r.Role != silent {
			answer++
		}
		switch {
		case r.Lost > 0:
			say(warning, r.Node, fmt.Sprintf("%s that %s held in memory went with a restart", count(int(r.Lost), "write"), r.Node), "durability fsync or os, for what must not be lost so")
		case r.Role != silent && r.Behind > farBehind:
			say(warning, r.Node, fmt.Sprintf("%s answers and lacks %s", r.Node, count(int(r.Behind), "write")), "wait; if it does not become less, look at its links and its disk")
		}
	}
	majority := len(g.members)/2 + 1
	switch {
	case k.Mode == store.CP.String() && g.Leader == "" && answer < majority:
		say(fault, "", fmt.Sprintf("no leader: %d of %d members answer and a majority is %d; no writes, no strong reads", answer, len(g.members), majority),
			"start the others again; if they are gone for good: kvctl node recover")
	case k.Mode == store.CP.String() && g.Leader == "":
		say(fault, "", fmt.Sprintf("no leader, though %d of %d members answer; no writes, no strong reads", answer, len(g.members)),
			"again in a moment, an election may be under way; then kvctl net show: can they reach each other?")
	case k.Mode == store.CP.String() && answer == majority && answer < len(g.members):
		say(warning, "", fmt.Sprintf("%d of %d members answer; with one less there is no majority", answer, len(g.members)), "bring the others back")
	case len(g.members) == 2 && len(e.Nodes) > 2 && k.Mode == store.CP.String():
		say(warning, "", "2 members, and it needs both", "kvctl keyspace alter "+k.Name+" --replicas 3")
	}
}

// list is names in a sentence.
func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
