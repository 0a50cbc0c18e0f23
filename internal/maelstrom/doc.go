// Package maelstrom makes a node of this store one that Maelstrom can test: a process that
// speaks lines of JSON on its standard input and output.
//
// There is no other way out of the process. What replicas say to each other, Raft and
// gossip and all, travels in the same lines, as frames of a [link.Carrier], so a
// partition that Maelstrom makes cuts the cluster and not only its clients. Disks are in
// memory: Maelstrom neither kills nor restarts a node.
//
// The protocol is that of Maelstrom's doc/protocol.md and doc/workloads.md.
package maelstrom
