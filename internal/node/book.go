package node

import (
	"maps"
	"sync"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/membership"
)

// book is the address book: where each node was last heard to be. What is wrong in
// it costs a dial, because a node refuses who meant another.
type book struct {
	mu    sync.Mutex
	addrs map[string]shard.Node
}

func newBook() *book { return &book{addrs: make(map[string]shard.Node)} }

// learn takes the addresses of the catalog's nodes. What gossip said is newer.
func (b *book) learn(nodes []shard.Node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range nodes {
		if _, ok := b.addrs[n.Name]; !ok {
			b.addrs[n.Name] = n
		}
	}
}

// heard takes the addresses that a node says of itself.
func (b *book) heard(m membership.Member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addrs[m.Name] = shard.Node{Name: m.Name, Addr: m.Addr, Gossip: m.Gossip}
}

// forget drops the nodes that are out.
func (b *book) forget(out func(name string) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.addrs, func(name string, _ shard.Node) bool { return out(name) })
}

func (b *book) resolve(name string) (addr, gossip string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, ok := b.addrs[name]
	return n.Addr, n.Gossip, ok
}

func (b *book) names() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := make([]string, 0, len(b.addrs))
	for name := range b.addrs {
		names = append(names, name)
	}
	return names
}
