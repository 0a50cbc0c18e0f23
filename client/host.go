package client

import (
	"sync"
	"time"

	"github.com/dialkv/dialkv/store"
)

// hosts are nodes that have served what others had turned away lately: a session that they
// cannot cover, or a bound that they cannot prove. Who comes with the same again begins
// there, and not with a node that would let it wait and then send it on. A host is no
// longer one after the time for which a node that did not answer comes last: the others
// may have caught up.
type hosts struct {
	mu sync.Mutex
	of map[store.GroupID]host
}

type host struct {
	node  string
	until time.Time
}

// served notes that the node served a call of the group.
func (h *hosts) served(group store.GroupID, node string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = make(map[store.GroupID]host)
	}
	h.of[group] = host{node, time.Now().Add(suspicion)}
}

// host returns where a call of the group begins; "" if anywhere.
func (h *hosts) host(group store.GroupID) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	x, ok := h.of[group]
	if !ok || time.Now().Before(x.until) {
		return x.node
	}
	delete(h.of, group)
	return ""
}
