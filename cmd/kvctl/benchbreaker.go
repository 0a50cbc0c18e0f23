package main

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dialkv/dialkv/client"
)

// breakerChange is a change of the circuit that one of the bench's connections keeps for
// a node, with what came to the node since the change before.
type breakerChange struct {
	At        float64             `json:"at_s"` // since the bench began
	Conn      int                 `json:"connection"`
	Node      string              `json:"node"`
	From      client.CircuitState `json:"from"`
	To        client.CircuitState `json:"to"`
	Attempts  int                 `json:"attempts"`  // that went to the node
	Failed    int                 `json:"failed"`    // of which so many failed in a way that may pass
	Elsewhere int                 `json:"elsewhere"` // that went to other nodes
}

// maxChanges bounds what a bench keeps; later ones are told and not kept.
const maxChanges = 1000

// breakers hears what becomes of the circuits of a bench's connections.
type breakers struct {
	began time.Time
	told  func(breakerChange)

	mu      sync.Mutex
	changes []breakerChange
}

// circuits are those of one connection.
type circuits struct {
	of   *breakers
	conn int

	mu    sync.Mutex
	nodes map[string]*circuit
}

// circuit is what went to a node, and past it, since its breaker changed.
type circuit struct {
	since                       time.Time
	attempts, failed, elsewhere int
}

func newBreakers(told func(breakerChange)) *breakers {
	return &breakers{began: time.Now(), told: told, changes: []breakerChange{}}
}

// observe is what a connection tells.
func (b *breakers) observe(conn int) client.Observer {
	c := &circuits{of: b, conn: conn, nodes: make(map[string]*circuit)}
	return client.Observer{Attempt: c.attempt, Breaker: c.changed}
}

// attempt counts an attempt where it went. One that began before the breaker changed
// belongs to what was before, and that has been told.
func (c *circuits) attempt(e client.AttemptEvent) {
	began := time.Now().Add(-e.Took)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at(e.Node)
	for node, n := range c.nodes {
		switch {
		case began.Before(n.since):
		case node != e.Node:
			n.elsewhere++
		default:
			n.attempts++
			if e.Failure == client.Transient || e.Failure == client.Unclear {
				n.failed++
			}
		}
	}
}

// at is called with mu held.
func (c *circuits) at(node string) *circuit {
	if c.nodes[node] == nil {
		c.nodes[node] = &circuit{since: c.of.began}
	}
	return c.nodes[node]
}

func (c *circuits) changed(e client.BreakerEvent) {
	now := time.Now()
	c.mu.Lock()
	n := c.at(e.Node)
	change := breakerChange{
		At: now.Sub(c.of.began).Seconds(), Conn: c.conn, Node: e.Node, From: e.From, To: e.To,
		Attempts: n.attempts, Failed: n.failed, Elsewhere: n.elsewhere,
	}
	*n = circuit{since: now}
	c.mu.Unlock()
	c.of.add(change)
}

func (b *breakers) add(change breakerChange) {
	b.mu.Lock()
	if len(b.changes) < maxChanges {
		b.changes = append(b.changes, change)
	}
	b.mu.Unlock()
	b.told(change)
}

// kept are the changes so far.
func (b *breakers) kept() []breakerChange {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.changes)
}

// String says what changed, and what the node had to do with it.
func (c breakerChange) String() string {
	what := fmt.Sprintf("%5.1f s  connection %d, breaker of %s: %s to %s", c.At, c.Conn, c.Node, c.From, c.To)
	switch c.From {
	case client.CircuitClosed:
		return what + fmt.Sprintf(", %d of %d attempts failed", c.Failed, c.Attempts)
	case client.CircuitOpen:
		return what + fmt.Sprintf(", it was asked %d times and others %d times", c.Attempts, c.Elsewhere)
	}
	return what + ", as probes decided"
}
