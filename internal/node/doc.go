// Package node is the composition root: it opens the rooms of a node, joins them,
// runs them, and closes them in order. It is the only room that knows both engines.
//
// A node founds a cluster or joins one, keeps a replica of the catalog, and opens
// and closes replicas of groups as the catalog says. The same node runs as a
// process, among others in one process, and in virtual time; nothing in it knows
// which.
package node
