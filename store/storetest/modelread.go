package storetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// keptViews is how many views the model keeps for pages that go on.
const keptViews = 100

// view is a state that a page was taken of, and of what query.
type view struct {
	state *state
	of    string
}

func (m *model) Read(ctx context.Context, q store.Query) (store.Page, error) {
	if err := q.Check(); err != nil {
		return store.Page{}, err
	}
	level := q.Level.Or(m.mode)
	if m.mode == store.AP {
		if level == store.Strong || level == store.Quorum && q.Scan() {
			return store.Page{}, refusal(store.LevelUnsupported, "the model of an ap keyspace has no strong reads and no quorum scans", "causal")
		}
		if q.Leases {
			return store.Page{}, refusal(store.Unsupported, "the model of an ap keyspace has no leases", "a cp keyspace")
		}
	}
	if level == store.Eventual {
		q.After = nil
	}
	if err := m.lockCovering(ctx, q.After); err != nil {
		return store.Page{}, err
	}
	defer m.mu.Unlock()
	page, err := m.page(q)
	if err != nil {
		return store.Page{}, err
	}
	page.Proof = m.proof(level)
	return page, nil
}

// page reads what q asks for from the present state, or from that of an earlier page.
func (m *model) page(q store.Query) (store.Page, error) {
	s, names, err := m.selected(q)
	if err != nil {
		return store.Page{}, err
	}
	page := store.Page{Entry: entry(s.number), Deps: s.deps.Encode()}
	if m.mode == store.CP {
		page.Revision = s.number
	}
	switch {
	case q.Count:
		page.Count = uint64(len(names))
		return page, nil
	case q.Scan() && len(names) > q.Limit:
		names = names[:q.Limit]
		page.Next = m.keep(s, q, names[q.Limit-1])
	}
	var read []cell
	for _, name := range names {
		if q.Leases {
			page.Leases = append(page.Leases, s.listed(name))
			continue
		}
		read = append(read, s.keys[name]...)
		page.Items = append(page.Items, m.item(s, name, q))
	}
	if m.mode == store.AP {
		page.Context = writeContext(dots(read))
	}
	return page, nil
}

// selected lists the keys, or the leases, that q asks for and the state has, in the
// order of q.
func (m *model) selected(q store.Query) (*state, []string, error) {
	s, after, err := m.viewOf(q)
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for key := range s.keys {
		inside := key >= q.Key && (q.To == "" || key < q.To) && strings.HasPrefix(key, q.Prefix)
		if !q.Leases && (q.Scan() && inside || !q.Scan() && key == q.Key) {
			names = append(names, key)
		}
	}
	for id := range s.leases {
		if q.Leases {
			names = append(names, fmt.Sprintf("%020d", id))
		}
	}
	slices.Sort(names)
	if q.Reverse {
		slices.Reverse(names)
	}
	return s, names[slices.Index(names, after)+1:], nil
}

// viewOf is the state that q reads and the name that its earlier pages ended with.
func (m *model) viewOf(q store.Query) (s *state, after string, err error) {
	if q.Page == "" {
		return m.state, "", nil
	}
	at, err := token.ParsePage(q.Page)
	if err != nil {
		return nil, "", err
	}
	v, kept := m.views[at.View]
	switch {
	case !kept:
		return nil, "", refusal(store.Compacted, "the view of the page is not kept any more", "scan again from the start")
	case v.of != sameQuery(q):
		return nil, "", refusal(store.Invalid, "the page is of another query", "the next of an earlier page of the same query")
	}
	return v.state, at.Key, nil
}

// keep keeps s for the page of q that follows the name.
func (m *model) keep(s *state, q store.Query, last string) (next string) {
	m.viewed++
	m.views[m.viewed] = view{s, sameQuery(q)}
	delete(m.views, m.viewed-keptViews)
	return token.Page{Node: modelNode, View: m.viewed, Key: last}.Encode()
}

// sameQuery is equal for the queries whose pages may follow each other.
func sameQuery(q store.Query) string {
	return fmt.Sprintf("%q %q %q %v %v %v %v %v", q.Key, q.Prefix, q.To, q.Reverse, q.KeysOnly, q.Count, q.Leases, q.Siblings)
}

func (m *model) item(s *state, key string, q store.Query) store.Item {
	cells := s.keys[key]
	item := store.Item{Key: key}
	shown := cells
	if m.mode == store.CP {
		item.Revision, item.Created, item.Version, item.Lease = cells[0].number, cells[0].created, cells[0].version, cells[0].lease
	} else if m.policy == store.LWW {
		shown = cells[len(cells)-1:] // one node's clock agrees with its numbers
	}
	if dataType(m.policy) {
		showType(&item, cells, m.policy)
		shown = nil
	}
	for _, c := range shown {
		item.Values = append(item.Values, bytes.Clone(c.value))
	}
	if slices.ContainsFunc(shown, func(c cell) bool { return !c.ends.IsZero() }) {
		for _, c := range shown {
			left := time.Duration(0)
			if !c.ends.IsZero() {
				left = max(time.Until(c.ends), time.Millisecond)
			}
			item.Remaining = append(item.Remaining, left)
		}
	}
	if q.KeysOnly {
		item.Values, item.Fields, item.Remaining = nil, nil, nil
	}
	if m.mode == store.AP && q.Siblings {
		for _, c := range cells {
			item.Siblings = append(item.Siblings, store.Sibling{Dot: dotName(c.number), Stamp: c.number, Field: c.field, Value: bytes.Clone(c.value)})
		}
	}
	return item
}

// listed is the lease of that name.
func (s *state) listed(name string) store.Lease {
	id, _ := strconv.ParseUint(name, 10, 64) // it was written as one
	l := s.leases[id]
	return store.Lease{ID: id, TTL: l.ttl, Remaining: time.Until(l.ends), Keys: s.attached(id)}
}
