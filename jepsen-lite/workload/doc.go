// Package workload asks a cluster the questions that a checker can judge.
//
// A client is a process with one operation at a time and one session. What it does
// next is its script's to say, from a seeded draw: a [Config] with the same seed is
// the same plan, though not the same interleaving. Three habits make histories worth
// judging. No value is ever written twice, so that a value names its write. Keys are
// shared by a few clients and replaced after a few hundred operations, so that there
// is concurrency and a search can end. The rate does not wait for answers: when all
// clients are busy, what was due is dropped and counted, and not done later.
//
// The workloads:
//
//	register  get, put, cas, delete and incr at strong on a cp keyspace, by clients
//	          that stay at a node and clients that move; some gets ask a replica itself,
//	          which need not be the leader's
//	roaming   sessions that move to a random node before every operation with their
//	          token as a string, as if it came from another process; on lww, siblings
//	          and cp keyspaces, at read-your-writes, monotonic and causal
//	causal    chains over two keys on an lww keyspace: somebody posts, another reads
//	          the post and replies, a third reads the reply and must see the post
//	bank      transfers between the accounts of small banks by txn, that compare what was
//	          last seen by value or revision, and views of all accounts by txn and scan
//	scan      puts, deletes and txns in small directories, and scans of them in pages
//	watch     the same without scans, and in each team one client that only watches,
//	          from where its last watch ended, at changing nodes
//	exactly-once  incrs and reads of counters, and in each team one client that sends
//	          its requests again, at any node, soon or long after
//	lock      locks, writes under their fences, and writes with fences that are over
//	ttl       keys that end, are kept alive, put again, revoked, and looked for
//	bounded   writes and, for the most part, bounded and quorum reads of ap keyspaces
//	counter   increments, up and down, deletes and reads of ap counters
//	set       members that come and go; map the same with fields and their values
//	delete    what was read on ap is deleted, and made again
//	across    causality that passes from an ap keyspace to a cp one, and back
//	ap-watch  writes to lww and siblings keyspaces, and in each team one client that only
//	          watches, behind all that it was told, at changing nodes
//	ap-scan   the same, and scans in pages, each of one view
//	ap-ttl    values that end, are refreshed, deleted and looked for
//
// Everything is recorded: the call before its first byte can leave, the answer after
// its last byte was read, an outcome nobody classified as unknown.
package workload
