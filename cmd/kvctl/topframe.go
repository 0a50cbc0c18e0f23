package main

import (
	"cmp"
	"slices"
	"time"

	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/store"
)

// frame is one look at a cluster, and what happened since the look before. It is what top
// prints with -o json.
type frame struct {
	Name       string      `json:"name"`
	At         time.Time   `json:"at"`
	IntervalMS float64     `json:"interval_ms"` // that rates are over; 0: nothing was seen before
	Nodes      []nodeLoad  `json:"nodes"`
	Groups     []groupLoad `json:"groups"`
	Links      []ruleJSON  `json:"links"` // rules in force, as the nodes have them
	Findings   []finding   `json:"findings"`
	Unseen     []string    `json:"unseen"` // nodes whose metrics could not be read

	rules []link.Rule // that Links are
}

type nodeLoad struct {
	ID      string   `json:"id"`
	State   string   `json:"state"`
	Reasons []string `json:"reasons,omitempty"` // why it is not ready, or what else it has to say
	Drained bool     `json:"drained,omitempty"`
	Groups  int      `json:"groups"`
	Leads   int      `json:"leads"` // of those
	Work    *work    `json:"work,omitempty"`

	lag uint64 // of its replicas, all together
}

type groupLoad struct {
	Keyspace     string        `json:"keyspace"`
	Mode         string        `json:"mode"`
	ID           string        `json:"group"`
	Leader       string        `json:"leader,omitempty"`
	Term         uint64        `json:"term,omitempty"`
	Commit       uint64        `json:"commit,omitempty"` // cp: as its leader's metrics say
	ChangesPerS  float64       `json:"changes_per_s"`
	Replicas     []replicaLoad `json:"replicas"`
	revisionSeen uint64
}

type replicaLoad struct {
	Node  string `json:"node"`
	Role  string `json:"role"`
	Ready bool   `json:"ready"`
	// Applied is the last log entry in the replica's state or, on ap, the writes it has.
	Applied uint64 `json:"applied"`
	// Lag is how many entries the state is behind the group's last commit or, on ap, how
	// many writes of others the replica has not confirmed. Absent where nobody can say.
	Lag *uint64 `json:"lag,omitempty"`
	// HeardMS is how long ago the leader or, on ap, the last of all members was heard.
	HeardMS *float64 `json:"heard_ms,omitempty"`
	Lags    bool     `json:"lags"` // so that it is worth a look
}

// deaf is how long a follower may not hear its leader before it is worth a look: an
// election has begun by then.
const deaf = time.Second

// compare makes a frame of two looks. The first may be the zero sight.
func compare(before, now sight) frame {
	d := diagnose(now.examined)
	f := frame{Name: now.Name, At: now.at.UTC().Round(time.Millisecond), Nodes: []nodeLoad{}, Groups: []groupLoad{}, Findings: d.Findings, Unseen: d.Unseen}
	var took time.Duration
	if !before.at.IsZero() {
		took = now.at.Sub(before.at)
		f.IntervalMS = milliseconds(took)
	}
	for _, k := range now.Keyspaces {
		for _, g := range k.Groups {
			f.Groups = append(f.Groups, now.group(k, g))
		}
	}
	f.pace(before, took)
	for i, n := range now.Nodes {
		l := nodeLoad{ID: n.ID, State: n.State, Reasons: n.reasons, Drained: n.Drained, Groups: n.Groups}
		if was, m := before.measured(n.ID, n.PID), now.metrics[i]; was != nil && m != nil && took > 0 {
			l.Work = m.since(was, took)
		}
		f.Nodes = append(f.Nodes, l)
	}
	f.credit()
	for _, faults := range now.faults {
		rules, err := rulesOf(faults)
		if err != nil {
			continue // of a later release: that there are rules is among the findings
		}
		for _, r := range rules {
			if !slices.Contains(f.rules, r) {
				f.rules = append(f.rules, r)
			}
		}
	}
	f.Links = rulesJSON(f.rules)
	return f
}

// measured are a node's metrics, if the process is the same.
func (l sight) measured(node string, pid int) metrics {
	for i, n := range l.Nodes {
		if n.ID == node && n.PID == pid {
			return l.metrics[i]
		}
	}
	return nil
}

// group is one group as it stands.
func (l sight) group(k keyspaceView, g groupView) groupLoad {
	out := groupLoad{Keyspace: k.Name, Mode: k.Mode, ID: g.ID, Leader: g.Leader, Term: g.Term, Replicas: []replicaLoad{}}
	out.Commit = uint64(l.of(g.Leader).group("kv_node_raft_commit_index", g.ID))
	for _, r := range g.Replicas {
		out.revisionSeen = max(out.revisionSeen, r.Revision)
		out.Replicas = append(out.Replicas, l.replica(k.Mode, g.ID, r))
	}
	last := out.Commit
	for _, r := range out.Replicas {
		last = max(last, r.Applied)
	}
	for i := range out.Replicas {
		r := &out.Replicas[i]
		if k.Mode == store.CP.String() && r.Role != silent {
			behind := last - r.Applied
			r.Lag = &behind
		}
		r.Lags = r.Role == silent || !r.Ready || r.Lag != nil && *r.Lag > farBehind ||
			k.Mode == store.CP.String() && r.HeardMS != nil && *r.HeardMS > milliseconds(deaf)
	}
	return out
}

func (l sight) replica(mode, group string, r replicaView) replicaLoad {
	out := replicaLoad{Node: r.Node, Role: r.Role, Ready: r.Ready, Applied: r.applied}
	m, heard := l.of(r.Node), "kv_node_raft_last_contact_seconds"
	if mode == store.AP.String() {
		out.Applied, out.Lag, heard = r.Revision, &r.Behind, "kv_node_ap_staleness_seconds"
	} else if applied := m.group("kv_node_raft_applied_index", group); applied > 0 {
		out.Applied = uint64(applied) // read with the commit index, and so later than the status
	}
	if m.hasGroup(heard, group) {
		ms := milliseconds(seconds(m.group(heard, group)))
		out.HeardMS = &ms
	}
	return out
}

// of are the metrics of a node, nil if they are not known.
func (l sight) of(node string) metrics {
	for i, n := range l.Nodes {
		if n.ID == node {
			return l.metrics[i]
		}
	}
	return nil
}

// pace says how fast groups changed since the look before.
func (f *frame) pace(before sight, took time.Duration) {
	if took <= 0 {
		return
	}
	for _, k := range before.Keyspaces {
		for _, was := range k.Groups {
			i := slices.IndexFunc(f.Groups, func(g groupLoad) bool { return g.ID == was.ID })
			if i < 0 {
				continue
			}
			revision := uint64(0)
			for _, r := range was.Replicas {
				revision = max(revision, r.Revision)
			}
			// Less than before are those of a restore, or of replicas that were not asked then.
			if seen := f.Groups[i].revisionSeen; revision > 0 && seen > revision {
				f.Groups[i].ChangesPerS = perSecond(float64(seen-revision), took)
			}
		}
	}
}

// credit gives each node what its replicas are.
func (f *frame) credit() {
	for i := range f.Nodes {
		n := &f.Nodes[i]
		for _, g := range f.Groups {
			if g.Leader == n.ID {
				n.Leads++
			}
			for _, r := range g.Replicas {
				if r.Node == n.ID && r.Lag != nil {
					n.lag += *r.Lag
				}
			}
		}
	}
}

// sort orders nodes and groups. Those that are equal stay in the order of their names.
func (f *frame) sort(order string) {
	switch order {
	case byLoad:
		slices.SortStableFunc(f.Nodes, func(a, b nodeLoad) int { return cmp.Compare(b.Work.sum(), a.Work.sum()) })
		slices.SortStableFunc(f.Groups, func(a, b groupLoad) int { return cmp.Compare(b.ChangesPerS, a.ChangesPerS) })
	case byLag:
		slices.SortStableFunc(f.Nodes, func(a, b nodeLoad) int { return cmp.Compare(b.lag, a.lag) })
		slices.SortStableFunc(f.Groups, func(a, b groupLoad) int { return cmp.Compare(b.lag(), a.lag()) })
	}
}

// lag is that of the replica that is furthest behind.
func (g groupLoad) lag() (most uint64) {
	for _, r := range g.Replicas {
		if r.Lag != nil {
			most = max(most, *r.Lag)
		}
	}
	return most
}
