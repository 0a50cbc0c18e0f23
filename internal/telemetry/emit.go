package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/store"
)

// emitter is where a scrape's metrics go.
type emitter chan<- prometheus.Metric

func (out emitter) put(f family, value float64, labels ...string) {
	kind := prometheus.GaugeValue
	if f.kind == "counter" {
		kind = prometheus.CounterValue
	}
	out <- prometheus.MustNewConstMetric(f.desc, kind, value, labels...)
}

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func (out emitter) node(f Figures) {
	out.put(info, 1, f.Node, f.Cluster, f.Zone, f.Version)
	out.put(ready, truth(f.Ready))
	out.put(reasons, float64(f.Reasons))
	out.put(draining, truth(f.Draining))
	out.put(members, float64(f.Members))
	out.put(faults, float64(f.FaultRules))
	out.put(inFlight, float64(f.Busy.Requests))
	out.put(streams, float64(f.Busy.Streams))
	out.put(watches, float64(f.Busy.Watches))
	out.put(peerStreams, float64(f.Busy.PeerStreams))
	out.put(connections, float64(f.Busy.Connections))
}

func (out emitter) group(g Group) {
	labels := []string{g.Keyspace, g.Status.Group.String()}
	put := func(f family, value float64) { out.put(f, value, labels...) }
	switch {
	case g.CP != nil:
		out.raft(put, g.Status, *g.CP)
	case g.AP != nil:
		put(apWrites, float64(g.Status.Revision))
		for peer, writes := range g.Status.Backlog {
			out.put(apBacklog, float64(writes), append(labels, peer)...)
		}
		if g.AP.Proved {
			put(apStale, g.AP.Age.Seconds())
		}
		put(apActors, float64(g.AP.Actors))
		put(apClosed, float64(g.AP.Closed))
		put(apQueued, float64(g.AP.Queued))
		put(apEmptied, float64(g.Status.Emptied))
		put(apLost, float64(g.Status.Lost))
	}
}

func (out emitter) raft(put func(family, float64), s store.Status, f CP) {
	put(raftLeader, truth(s.Role == "leader"))
	put(raftLed, truth(s.Leader != ""))
	put(raftTerm, float64(s.Term))
	put(raftLast, float64(f.Last))
	put(raftCommit, float64(f.Commit))
	put(raftApplied, float64(s.Applied))
	if f.Followed {
		put(raftContact, f.Heard.Seconds())
	}
	put(raftEntries, float64(f.Entries))
	put(raftCommands, float64(f.Commands))
	put(raftQueued, float64(f.Queued))
	put(indexRounds, float64(f.Rounds))
	put(indexFailed, float64(f.Failed))
	put(indexReads, float64(f.Reads))
}

func (out emitter) storage(disk, memory engine.Figures) {
	out.put(diskUsed, float64(disk.Bytes))
	if disk.Disk.Total > 0 {
		out.put(diskFree, float64(disk.Disk.Free))
		out.put(diskSize, float64(disk.Disk.Total))
	}
	out <- prometheus.MustNewConstHistogram(fsyncs.desc, disk.Syncs.Count, disk.Syncs.Took.Seconds(), disk.Syncs.Within)
	out.put(logWritten, float64(disk.Written))
	out.put(memtables, float64(disk.MemTable))
	out.put(inMemory, float64(memory.Bytes+memory.MemTable))
	out.put(cacheHits, float64(disk.Hits))
	out.put(cacheMisses, float64(disk.Misses))
	out.put(debt, float64(disk.Debt))
	out.put(sublevels, float64(disk.Sublevels))
	out.put(stalls, float64(disk.Stalls))
}
