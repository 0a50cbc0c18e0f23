package node

import (
	"github.com/dialkv/dialkv/internal/telemetry"
)

// figures is what the node says of itself to those who read its metrics; false as long as
// it belongs to no cluster.
func (n *Node) figures() (telemetry.Figures, bool) {
	if !n.joined.Load() {
		return telemetry.Figures{}, false
	}
	why := n.Health().Reasons
	f := telemetry.Figures{
		Node: n.cfg.Node, Cluster: n.id.Cluster, Zone: n.cfg.Zone, Version: version(),
		Ready: len(why) == 0, Reasons: len(why), Draining: n.draining.Load(),
		Members: len(n.members.List()), FaultRules: len(n.door.Rules().List()),
		Disk: n.engine.Figures(), Memory: n.memory.figures(),
		Busy: telemetry.Busy{
			Requests: int(n.traffic.Requests.Load()), Streams: int(n.traffic.Streams.Load()), Watches: int(n.traffic.Watches.Load()),
			PeerStreams: int(n.traffic.PeerStreams.Load()), Connections: n.door.Connections(),
		},
	}
	for _, k := range n.Topology().Keyspaces {
		f.Keyspaces = append(f.Keyspaces, k.Name)
	}
	for _, g := range n.placed() {
		f.Groups = append(f.Groups, n.groupFigures(g))
	}
	return f, true
}

func (n *Node) groupFigures(g placedGroup) telemetry.Group {
	out := telemetry.Group{Keyspace: g.keyspace, Status: g.status}
	found, ok := n.find(g.status.Group)
	if !ok {
		return out
	}
	switch r := found.(type) {
	case consensus:
		f := telemetry.CP(r.Figures())
		out.CP = &f
	case causal:
		f := telemetry.AP(r.Figures())
		out.AP = &f
	}
	return out
}
