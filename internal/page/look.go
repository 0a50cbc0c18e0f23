package page

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// state is the cluster as its nodes say it is.
type state struct {
	Name      string            `json:"name"`
	From      string            `json:"from,omitempty"`
	Cannot    map[string]string `json:"cannot"`
	Nodes     []nodeState       `json:"nodes"`
	Rules     []rule            `json:"rules"`
	Net       string            `json:"net"` // the rules in words
	Keyspaces []keyspaceState   `json:"keyspaces"`
}

type nodeState struct {
	ID      string   `json:"id"`
	State   string   `json:"state"` // ready, waiting for Reasons, unreachable
	Reasons []string `json:"reasons,omitempty"`
	SkewMS  float64  `json:"skew_ms,omitempty"`
}

type rule struct {
	From    string  `json:"from"`
	To      string  `json:"to"`
	Action  string  `json:"action"`
	DelayMS float64 `json:"delay_ms,omitempty"`
	Loss    float64 `json:"loss,omitempty"`
}

type keyspaceState struct {
	ID        uint64       `json:"id"`
	Name      string       `json:"name"`
	Mode      string       `json:"mode"`
	Groups    []groupState `json:"groups"`
	Differ    int          `json:"differ"`    // ap: keys that the replicas which answer hold differently
	Conflicts int          `json:"conflicts"` // ap: keys that hold several values
	Partly    bool         `json:"partly,omitempty"`
}

type groupState struct {
	ID     string `json:"id"`
	Shard  uint32 `json:"shard"`
	Leader string `json:"leader,omitempty"`
	Term   uint64 `json:"term,omitempty"`
	// Serving are the replicas that serve what the mode promises: on cp those that
	// follow the leader of the latest term, on ap all that are ready.
	Serving  []string       `json:"serving"`
	Replicas []replicaState `json:"replicas"`
}

type replicaState struct {
	Node     string `json:"node"`
	Role     string `json:"role"`
	Ready    bool   `json:"ready"`
	Leader   string `json:"leader,omitempty"` // as it believes
	Term     uint64 `json:"term,omitempty"`
	Revision uint64 `json:"revision,omitempty"`
	Vector   string `json:"vector,omitempty"`
	Detail   string `json:"detail,omitempty"`
}

// glimpse is what one node says of itself; its status is nil if it does not answer.
type glimpse struct {
	status *kvpb.StatusResponse
	faults *kvpb.FaultsResponse
}

// looks is what earlier looks have shown, by which news are told from what was so
// before.
type looks struct {
	before   *state
	compared map[uint64]comparison // ap keyspaces, by id
	placed   string                // which replicas there were
}

func newLooks() looks { return looks{compared: make(map[uint64]comparison)} }

// look asks every node how it is, shows that, and tells what is new.
func (p *Page) look(ctx context.Context) {
	nodes := p.cfg.Cluster.Nodes()
	seen := p.glimpses(ctx, nodes)
	if ctx.Err() != nil {
		return
	}
	s := &state{Name: p.cfg.Name, From: p.cfg.From, Cannot: p.cfg.Cannot, Rules: []rule{}, Keyspaces: keyspacesOf(seen)}
	for i, name := range nodes {
		s.Nodes = append(s.Nodes, nodeOf(name, seen[i]))
	}
	rules, known := p.rulesOf(seen)
	for _, r := range rules {
		s.Rules = append(s.Rules, rule{r.From, r.To, r.Action.String(), r.Delay.Seconds() * 1000, r.Loss})
	}
	s.Net = describe(rules, nodes)
	if was := p.looks.before; !known && was != nil { // what was in force has not ended by that
		s.Rules, s.Net = was.Rules, was.Net
	}
	for i := range s.Keyspaces {
		p.compare(ctx, &s.Keyspaces[i])
	}
	if placed := placement(s); placed != p.looks.placed {
		p.topology.set(shard.Topology{}) // it is asked for again
		p.looks.placed = placed
	}
	p.news(s)
	p.looks.before = s
	p.feed.show("state", s)
}

func (p *Page) glimpses(ctx context.Context, nodes []string) []glimpse {
	ctx, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	seen := make([]glimpse, len(nodes))
	var asking sync.WaitGroup
	for i, name := range nodes {
		asking.Go(func() {
			admin, err := p.cfg.Cluster.Admin(name)
			if err != nil {
				return
			}
			if s, err := admin.Status(ctx, &kvpb.StatusRequest{}); err == nil {
				seen[i].status = s
				seen[i].faults, _ = admin.Faults(ctx, &kvpb.FaultsRequest{}) // nil: none are known
			}
		})
	}
	asking.Wait()
	return seen
}

func nodeOf(name string, g glimpse) nodeState {
	switch {
	case g.status == nil:
		return nodeState{ID: name, State: "unreachable"}
	case g.status.GetReady():
		return nodeState{ID: name, State: "ready", SkewMS: float64(g.faults.GetSkewNs()) / 1e6}
	}
	return nodeState{ID: name, State: "waiting", Reasons: g.status.GetReasons(), SkewMS: float64(g.faults.GetSkewNs()) / 1e6}
}

// rulesOf is the table of the node that the page stands on or, outside of all, of the
// first that answers.
// known is false if it did not answer in time.
func (p *Page) rulesOf(seen []glimpse) (rules []link.Rule, known bool) {
	for _, g := range seen {
		if g.faults == nil || p.cfg.From != "" && g.status.GetNode() != p.cfg.From {
			continue
		}
		for _, r := range g.faults.GetRules() {
			action, err := link.ParseAction(r.GetAction())
			if err != nil {
				continue // of a later release
			}
			rules = append(rules, link.Rule{
				From: r.GetFrom(), To: r.GetTo(), Action: action,
				Delay: time.Duration(r.GetDelayNs()), Jitter: time.Duration(r.GetJitterNs()), Loss: r.GetLoss(),
				Duplicate: r.GetDuplicate(), Reorder: r.GetReorder(), Bandwidth: int64(min(r.GetBandwidth(), math.MaxInt64)),
			})
		}
		return rules, true
	}
	return nil, false
}

// keyspacesOf puts together what the nodes say of their replicas.
func keyspacesOf(seen []glimpse) []keyspaceState {
	keyspaces := []keyspaceState{}
	for _, g := range seen {
		for _, r := range g.status.GetReplicas() {
			id, err := store.ParseGroupID(r.GetGroup())
			if err != nil || r.GetKeyspace() == store.CatalogName {
				continue
			}
			i := slices.IndexFunc(keyspaces, func(k keyspaceState) bool { return k.ID == id.Keyspace })
			if i < 0 {
				i = len(keyspaces)
				keyspaces = append(keyspaces, keyspaceState{ID: id.Keyspace, Name: r.GetKeyspace(), Mode: r.GetMode()})
			}
			keyspaces[i].add(g.status.GetNode(), id, r)
		}
	}
	slices.SortFunc(keyspaces, func(a, b keyspaceState) int {
		return cmp.Or(cmp.Compare(b.Mode, a.Mode), cmp.Compare(a.Name, b.Name)) // cp first
	})
	for i := range keyspaces {
		groups := keyspaces[i].Groups
		slices.SortFunc(groups, func(a, b groupState) int { return cmp.Compare(a.Shard, b.Shard) })
		for j := range groups {
			groups[j].complete(keyspaces[i].Mode)
		}
	}
	return keyspaces
}

func (k *keyspaceState) add(node string, id store.GroupID, r *kvpb.ReplicaStatus) {
	i := slices.IndexFunc(k.Groups, func(g groupState) bool { return g.Shard == id.Shard })
	if i < 0 {
		i = len(k.Groups)
		k.Groups = append(k.Groups, groupState{ID: r.GetGroup(), Shard: id.Shard, Serving: []string{}})
	}
	g := &k.Groups[i]
	g.Replicas = append(g.Replicas, replicaState{
		Node: node, Role: r.GetRole(), Ready: r.GetReady(), Leader: r.GetLeader(), Term: r.GetTerm(),
		Revision: r.GetRevision(), Vector: r.GetVector(), Detail: r.GetDetail(),
	})
	// Of two that say they lead, the one with the later term does.
	if r.GetRole() == "leader" && r.GetTerm() >= g.Term {
		g.Leader, g.Term = node, r.GetTerm()
	}
}

func (g *groupState) complete(mode string) {
	for _, r := range g.Replicas {
		if r.Ready && (mode == store.AP.String() || g.Leader != "" && r.Leader == g.Leader && r.Term == g.Term) {
			g.Serving = append(g.Serving, r.Node)
		}
	}
}

// placement names all replicas.
func placement(s *state) string {
	var all strings.Builder
	for _, k := range s.Keyspaces {
		for _, g := range k.Groups {
			for _, r := range g.Replicas {
				all.WriteString(g.ID + "@" + r.Node + " ")
			}
		}
	}
	return all.String()
}

// comparison is how the replicas of an ap keyspace differ, as of their vectors.
type comparison struct {
	vectors           string
	differ, conflicts int
	partly            bool
}

// compareKeys is how many keys of each group are compared at most.
const compareKeys = 500

// compare counts the keys that the replicas hold differently, and those that hold
// several values. It reads them only when a vector has changed.
func (p *Page) compare(ctx context.Context, k *keyspaceState) {
	if k.Mode != store.AP.String() {
		return
	}
	var vectors strings.Builder
	for _, g := range k.Groups {
		for _, r := range g.Replicas {
			vectors.WriteString(r.Node + "=" + r.Vector + ";")
		}
	}
	c, known := p.looks.compared[k.ID]
	if !known || c.vectors != vectors.String() {
		c = comparison{vectors: vectors.String()}
		for _, g := range k.Groups {
			p.compareGroup(ctx, k.ID, g, &c)
		}
		p.looks.compared[k.ID] = c
	}
	k.Differ, k.Conflicts, k.Partly = c.differ, c.conflicts, c.partly
}

func (p *Page) compareGroup(ctx context.Context, keyspace uint64, g groupState, c *comparison) {
	ctx, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	held := make(map[string]map[string]string) // key → node → what it holds
	var conflicts = make(map[string]bool)
	asked := 0
	for _, r := range g.Replicas {
		admin, err := p.cfg.Cluster.Admin(r.Node)
		if err != nil || !r.Ready {
			continue
		}
		dump, err := admin.Dump(ctx, &kvpb.DumpRequest{KeyspaceId: keyspace, Shard: g.Shard, Limit: compareKeys})
		if err != nil {
			continue
		}
		asked++
		c.partly = c.partly || dump.GetNext() != ""
		for _, item := range dump.GetItems() {
			if held[item.GetKey()] == nil {
				held[item.GetKey()] = make(map[string]string)
			}
			held[item.GetKey()][r.Node] = dotsOf(item)
			if len(item.GetSiblings()) > 1 {
				conflicts[item.GetKey()] = true
			}
		}
	}
	c.conflicts += len(conflicts)
	for _, by := range held {
		views := make(map[string]bool)
		for _, view := range by {
			views[view] = true
		}
		if len(views) > 1 || len(by) < asked {
			c.differ++
		}
	}
}

// dotsOf names all that is there of a key: a dot names one write.
func dotsOf(item *kvpb.Item) string {
	var dots []string
	for _, s := range item.GetSiblings() {
		dots = append(dots, s.GetDot()+"/"+s.GetField())
	}
	slices.Sort(dots)
	return strings.Join(dots, " ")
}
