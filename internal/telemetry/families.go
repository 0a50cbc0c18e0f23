package telemetry

import "github.com/prometheus/client_golang/prometheus"

// family is all metrics of one name. docs/reference/metrics.md has a row for each.
type family struct {
	name, kind, help string
	labels           []string
	desc             *prometheus.Desc
}

func gauge(name, help string, labels ...string) family { return newFamily(name, "gauge", help, labels) }
func counter(name, help string, labels ...string) family {
	return newFamily(name, "counter", help, labels)
}
func histogram(name, help string, labels ...string) family {
	return newFamily(name, "histogram", help, labels)
}

func newFamily(name, kind, help string, labels []string) family {
	return family{name, kind, help, labels, prometheus.NewDesc(name, help, labels, nil)}
}

// Of the node.
var (
	info     = gauge("kv_node_info", "1; what the node is stands in the labels.", "node", "cluster", "zone", "version")
	ready    = gauge("kv_node_ready", "1 if the node serves, as /readyz says.")
	reasons  = gauge("kv_node_not_ready_reasons", "How many reasons the node has not to be ready.")
	draining = gauge("kv_node_draining", "1 if the node leads nothing any more, as it was told to.")
	members  = gauge("kv_node_members", "Nodes that gossip counts as alive, with this one.")
	faults   = gauge("kv_node_fault_rules", "Rules in force that cut or slow this node's links on purpose.")
	held     = gauge("kv_node_groups", "Groups of which the node holds a replica, or shall hold one.")
	unlisted = gauge("kv_node_groups_unlisted", "Groups that are left out of the metrics by group, because there are too many.")
)

// Of what is served.
var (
	requests       = counter("kv_node_requests_total", "Reads and writes that were answered.", "keyspace", "op", "level", "outcome")
	requestSeconds = histogram("kv_node_request_seconds", "How long the node took to serve a read or a write.", "op", "level")
	shed           = counter("kv_node_shed_total", "Reads and writes that were refused as Overloaded.", "keyspace", "op")
	failures       = counter("kv_node_errors_total", "Reads and writes that were answered with an error, by its code.", "keyspace", "code")
	panics         = counter("kv_node_panics_total", "Requests that ended because the code that served them failed; each is a bug.")
	inFlight       = gauge("kv_node_requests_in_flight", "Reads and writes that are being served.")
	streams        = gauge("kv_node_streams", "Streams by which clients send many requests.")
	watches        = gauge("kv_node_watches", "Watches that are open.")
	peerStreams    = gauge("kv_node_peer_streams", "Streams that other nodes have opened to replicas here.")
	connections    = gauge("kv_node_connections", "Connections that are open, of clients and between nodes, either way.")
)

// Of cp groups.
var (
	raftLeader   = gauge("kv_node_raft_leader", "1 if this replica leads its group.", "keyspace", "group")
	raftLed      = gauge("kv_node_raft_leader_known", "1 if the replica knows a leader of its group.", "keyspace", "group")
	raftTerm     = gauge("kv_node_raft_term", "The term the replica is at.", "keyspace", "group")
	raftLast     = gauge("kv_node_raft_last_index", "Index of the last entry in the replica's log.", "keyspace", "group")
	raftCommit   = gauge("kv_node_raft_commit_index", "Index up to which the replica knows the log to be committed.", "keyspace", "group")
	raftApplied  = gauge("kv_node_raft_applied_index", "Index of the last entry in the replica's state.", "keyspace", "group")
	raftContact  = gauge("kv_node_raft_last_contact_seconds", "How long ago a replica that does not lead heard its leader.", "keyspace", "group")
	raftEntries  = counter("kv_node_raft_entries_total", "Log entries that this replica proposed as leader.", "keyspace", "group")
	raftCommands = counter("kv_node_raft_commands_total", "Commands in those entries.", "keyspace", "group")
	raftQueued   = gauge("kv_node_raft_queue_bytes", "Commands that wait to be proposed.", "keyspace", "group")
	indexRounds  = counter("kv_node_read_index_rounds_total", "Read-index rounds that the replica ran.", "keyspace", "group")
	indexFailed  = counter("kv_node_read_index_failed_total", "Of those, the ones that confirmed no leader.", "keyspace", "group")
	indexReads   = counter("kv_node_read_index_reads_total", "Reads, and questions of other replicas, that those rounds served.", "keyspace", "group")
	leaderLosses = counter("kv_node_raft_leader_losses_total", "How often a replica here ceased to know a leader.")
	leaderless   = counter("kv_node_raft_leaderless_seconds_total", "How long replicas here knew no leader, all together.")
)

// Of ap groups.
var (
	apWrites    = gauge("kv_node_ap_writes", "Writes that the replica has, with those that were superseded or lost since.", "keyspace", "group")
	apBacklog   = gauge("kv_node_ap_backlog_writes", "Of the writes that are here, those that a peer has not confirmed to hold.", "keyspace", "group", "peer")
	apStale     = gauge("kv_node_ap_staleness_seconds", "How old the replica's state is at most, by what all members have proved; absent while one was never heard.", "keyspace", "group")
	apActors    = gauge("kv_node_ap_actors", "Actors that the replica's vector names: lives of replicas that took writes.", "keyspace", "group")
	apClosed    = gauge("kv_node_ap_closed_actors", "Actors that have ended and were closed.", "keyspace", "group")
	apQueued    = gauge("kv_node_ap_queue_bytes", "Writes that wait to be applied.", "keyspace", "group")
	apEmptied   = counter("kv_node_ap_emptied_total", "In memory: how often the end of its process emptied the replica.", "keyspace", "group")
	apLost      = gauge("kv_node_ap_lost_writes", "In memory: writes that the replica held and that are gone, at least.", "keyspace", "group")
	apCommits   = counter("kv_node_ap_commits_total", "Batches of writes that were committed, over all groups.")
	apCommitted = counter("kv_node_ap_committed_writes_total", "Writes in those batches, own and of peers.")
	apTook      = counter("kv_node_ap_commit_seconds_total", "How long those commits took, all together.")
	apSent      = counter("kv_node_ap_snapshots_sent_total", "Snapshots that were sent to peers behind the log.")
	apInstalled = counter("kv_node_ap_snapshots_merged_total", "Snapshots of peers that were merged.")
	scrubs      = counter("kv_node_scrubs_total", "Replicas that were digested for a scrub.")
	unreadable  = counter("kv_node_scrub_unreadable_rows_total", "Rows that scrubs found not to read as they were written.")
)

// Of the storage. The catalog's log on a bolt file is not part of it.
var (
	diskUsed    = gauge("kv_node_disk_used_bytes", "Size of the storage's files.")
	diskFree    = gauge("kv_node_disk_free_bytes", "What is left of the disk they are on; absent where nobody can say.")
	diskSize    = gauge("kv_node_disk_size_bytes", "Size of that disk.")
	fsyncs      = histogram("kv_node_fsync_seconds", "Syncs of the storage's log.")
	logWritten  = counter("kv_node_log_written_bytes_total", "Written to the storage's log.")
	memtables   = gauge("kv_node_memtable_bytes", "In memory, to be written to tables on disk.")
	inMemory    = gauge("kv_node_memory_keyspaces_bytes", "What keyspaces with durability memory hold.")
	cacheHits   = counter("kv_node_cache_hits_total", "Blocks of tables that were found in the cache.")
	cacheMisses = counter("kv_node_cache_misses_total", "Blocks of tables that had to be read.")
	debt        = gauge("kv_node_compaction_debt_bytes", "What is to be compacted, an estimate.")
	sublevels   = gauge("kv_node_level0_sublevels", "Layers of tables that are not compacted yet; writes are stopped at twelve.")
	stalls      = counter("kv_node_write_stalls_total", "How often writes were stopped until something was flushed or compacted.")
)

// families are all of them.
func families() []family {
	return []family{
		info, ready, reasons, draining, members, faults, held, unlisted,
		requests, requestSeconds, shed, failures, panics, inFlight, streams, watches, peerStreams, connections,
		raftLeader, raftLed, raftTerm, raftLast, raftCommit, raftApplied, raftContact, raftEntries, raftCommands, raftQueued,
		indexRounds, indexFailed, indexReads, leaderLosses, leaderless,
		apWrites, apBacklog, apStale, apActors, apClosed, apQueued, apEmptied, apLost, apCommits, apCommitted, apTook, apSent, apInstalled, scrubs, unreadable,
		diskUsed, diskFree, diskSize, fsyncs, logWritten, memtables, inMemory, cacheHits, cacheMisses, debt, sublevels, stalls,
	}
}
