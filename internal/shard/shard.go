// Package shard says where keys live: key → group → nodes. It is pure; client and
// node share it, so both find the same group for the same key.
//
// The number of groups of a keyspace is fixed when it is made, and a key's group
// follows from its bytes alone. Keys that belong together share a {tag}: only what
// stands in the braces is hashed, so "{u42}/cart" and "{u42}/name" are in one
// group, where one transaction or one scan can see both.
package shard

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/dialkv/dialkv/store"
)

// Node is one member of the cluster, as the catalog describes it.
type Node struct {
	Name   string
	Addr   string // host:port of its API and peers
	Gossip string // host:port of memberlist
	Admin  string // host:port of its HTTP door, if it has one
	Zone   string
	Disk   uint64 // drawn at random when its data directory was made
	State  State  // known to nodes only
}

// Keyspace describes a keyspace, as the catalog does.
type Keyspace struct {
	ID         uint64
	Name       string
	Mode       store.Mode
	Groups     uint32
	Policy     store.Policy     // ap
	W          store.W          // ap
	Durability store.Durability // ap
	Placement  [][]string       // names of the nodes of each group, by shard
	Replicas   int              // members that each group shall have; known to nodes only
	Moves      []Move           // by shard; nil or shorter: nothing moves there; known to nodes only
}

// Shard returns the number of the group that holds the key: XXH64 (seed 0) of the
// key's tag, or of the whole key if it has none, modulo the number of groups. The
// tag is what stands between the first '{' and the next '}', unless that is empty.
//
// This is a durable format: another hash would leave every stored key where
// nobody looks for it.
func (k Keyspace) Shard(key string) uint32 {
	if k.Groups <= 1 {
		return 0
	}
	return uint32(xxhash.Sum64String(tag(key)) % uint64(k.Groups))
}

func tag(key string) string {
	_, rest, ok := strings.Cut(key, "{")
	if !ok {
		return key
	}
	inner, _, ok := strings.Cut(rest, "}")
	if !ok || inner == "" {
		return key
	}
	return inner
}

// Group returns the id of the group that holds the key.
func (k Keyspace) Group(key string) store.GroupID {
	return store.GroupID{Keyspace: k.ID, Shard: k.Shard(key)}
}

// Members returns the names of the nodes that hold the shard, none if there is no
// such shard.
func (k Keyspace) Members(shard uint32) []string {
	if uint64(shard) >= uint64(len(k.Placement)) {
		return nil
	}
	return k.Placement[shard]
}

// Topology is what one node knows of the cluster. It is not changed once made.
type Topology struct {
	Cluster   string // 32 hex digits
	Epoch     uint64
	Revision  uint64 // of the catalog; a larger one is newer
	Node      string // whose view it is
	Nodes     []Node
	Keyspaces []Keyspace
	Leaders   map[store.GroupID]string // cp, as far as Node knows
}

// ByName returns the node of that name.
func (t Topology) ByName(node string) (Node, bool) {
	return find(t.Nodes, func(n Node) bool { return n.Name == node })
}

// Keyspace returns the keyspace that has the name now.
func (t Topology) Keyspace(name string) (Keyspace, bool) {
	return find(t.Keyspaces, func(k Keyspace) bool { return k.Name == name })
}

// KeyspaceByID returns the keyspace of that id.
func (t Topology) KeyspaceByID(id uint64) (Keyspace, bool) {
	return find(t.Keyspaces, func(k Keyspace) bool { return k.ID == id })
}

func find[T any](list []T, match func(T) bool) (T, bool) {
	if i := slices.IndexFunc(list, match); i >= 0 {
		return list[i], true
	}
	var none T
	return none, false
}

// Place spreads groups of so many replicas over the nodes: group g begins at node
// g and goes round, so no node holds more than one group above another. The order
// of the nodes is the caller's, and with it who comes first.
func Place(nodes []string, replicas, groups int) ([][]string, error) {
	switch {
	case replicas < 1 || groups < 1:
		return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("%d replicas of %d groups were asked for, both must be at least 1", replicas, groups)}
	case replicas > len(nodes):
		return nil, &store.Error{
			Code: store.Invalid,
			Msg:  fmt.Sprintf("%d replicas were asked for, the cluster has %d nodes", replicas, len(nodes)),
			Try:  fmt.Sprintf("at most %d replicas, or more nodes first", len(nodes)),
		}
	}
	placement := make([][]string, groups)
	for g := range placement {
		for i := range replicas {
			placement[g] = append(placement[g], nodes[(g+i)%len(nodes)])
		}
	}
	return placement, nil
}
