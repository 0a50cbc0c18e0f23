package client

import (
	"bytes"
	"container/list"
	"slices"
	"sync"
	"time"
)

const (
	maxSeen      = 1024     // answers
	maxSeenBytes = 16 << 20 // of their keys and values
)

// seen keeps the answers that a client has got last, those that were asked for lately.
type seen struct {
	mu     sync.Mutex
	items  map[seenKey]*list.Element // of *sight
	recent list.List                 // the latest in front
	bytes  int
}

type seenKey struct{ keyspace, key string }

// sight is an answer, and when it was asked for.
type sight struct {
	seenKey
	item Item
	at   time.Time
}

func (s *sight) size() int {
	n := len(s.key) + len(s.keyspace) + len(s.item.Context)
	for _, v := range s.item.Values {
		n += len(v)
	}
	for _, f := range s.item.Fields {
		n += len(f)
	}
	return n
}

// own makes the item one whose bytes nobody else has.
func own(item Item) Item {
	item.Values = slices.Clone(item.Values)
	for i, v := range item.Values {
		item.Values[i] = bytes.Clone(v)
	}
	if item.Value != nil && len(item.Values) == 1 {
		item.Value = item.Values[0]
	}
	item.Fields, item.Context, item.Remaining = slices.Clone(item.Fields), bytes.Clone(item.Context), slices.Clone(item.Remaining)
	return item
}

func (s *seen) keep(keyspace, key string, item Item, at time.Time) {
	now := &sight{seenKey{keyspace, key}, own(item), at}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.items == nil {
		s.items = make(map[seenKey]*list.Element)
	}
	if e := s.items[now.seenKey]; e != nil {
		if e.Value.(*sight).at.After(at) {
			return
		}
		s.drop(e)
	}
	if now.size() > maxSeenBytes {
		return
	}
	s.items[now.seenKey] = s.recent.PushFront(now)
	s.bytes += now.size()
	for len(s.items) > maxSeen || s.bytes > maxSeenBytes {
		s.drop(s.recent.Back())
	}
}

// drop is called with mu held.
func (s *seen) drop(e *list.Element) {
	x := s.recent.Remove(e).(*sight)
	delete(s.items, x.seenKey)
	s.bytes -= x.size()
}

// last returns the answer, if it is not older. One of a keyspace that had the name before
// is not an answer.
func (s *seen) last(c *Client, keyspace, key string, age time.Duration) (Item, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.items[seenKey{keyspace, key}]
	if e == nil {
		return Item{}, false
	}
	x := e.Value.(*sight)
	if t, _ := c.router.known(); t.Cluster != "" {
		if ks, ok := t.Keyspace(keyspace); !ok || ks.ID != x.item.Proof.Group.Keyspace {
			s.drop(e)
			return Item{}, false
		}
	}
	old := time.Since(x.at)
	if old > age {
		return Item{}, false
	}
	s.recent.MoveToFront(e)
	item := own(x.item)
	item.Age = old
	return item, true
}
