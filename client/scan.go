package client

import (
	"context"
	"iter"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// scanPage is how many items with their values a Scan asks for at a time. A node cuts
// a page short that has too many bytes.
const scanPage = 256

// Scan goes through a range in the order of its keys: what begins with q.Prefix, from
// q.Key on, below q.To, and with q.Reverse from the last key down. q.Limit is the most
// items in all, 0 for no limit. q.KeysOnly leaves the values away.
//
// Pages are fetched as the loop goes, one in memory for each group. All pages of a group
// show one view of it, at one revision or, on ap, one vector, whatever is written
// meanwhile. Several groups are merged in key order; each is shown at an instant of its
// own, and those instants are not aligned. What one transaction wrote is in one group, so
// it is seen whole.
//
// Each page is a call with a timeout of its own; the level and the session count for the
// first page of each group. An error is the sequence's last element. Compacted says that
// the node does not keep the view any more, and Unavailable may say that the node is gone:
// start again. A loop may break off at any time.
func (k *Keyspace) Scan(ctx context.Context, q store.Query, opts ...Option) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		s := &scan{k: k, q: q}
		if err := s.begin(ctx, opts); err != nil {
			yield(Item{}, err)
			return
		}
		for n := 0; q.Limit == 0 || n < q.Limit; n++ {
			item, ok, err := s.next(ctx)
			if err != nil {
				yield(Item{}, err)
				return
			}
			if !ok || !yield(item, nil) {
				return
			}
		}
	}
}

// Count counts the keys of a range, as Scan delimits it, without its limit. Over several
// groups it is the sum of what each had at one instant of its own.
func (k *Keyspace) Count(ctx context.Context, q store.Query, opts ...Option) (uint64, error) {
	q.Count, q.Limit, q.KeysOnly = true, 0, false
	s := &scan{k: k, q: q}
	if err := s.begin(ctx, opts); err != nil {
		return 0, err
	}
	sum := uint64(0)
	for _, p := range s.parts {
		sum += p.page.Count
	}
	return sum, nil
}

// scan is a scan in progress. It belongs to the goroutine of its loop, but for the
// parts, which are filled at the same time.
type scan struct {
	k     *Keyspace
	q     store.Query // of every page, but for its Page
	o     options
	ks    shard.Keyspace
	parts []*part
}

// part is one group of a scan: what is left of its current page.
type part struct {
	shard uint32
	page  store.Page
}

// begin fetches the first page of every group.
func (s *scan) begin(ctx context.Context, opts []Option) (err error) {
	ctx, traced := s.k.begin(ctx, "scan")
	defer func() { spans.End(traced, err) }()
	if s.o, err = s.k.c.readOptions(ctx, opts); err != nil {
		return err
	}
	if s.o.level != store.LevelDefault {
		s.q.Level, s.q.Bound = s.o.level, s.o.bound
	}
	if s.q.Page != "" || s.q.Limit < 0 || s.q.Leases {
		return invalid("a scan has no page, no leases, and no limit below 0", "Read, for one page; Leases")
	}
	if !s.q.Count {
		s.q.Limit = pageSize(s.q)
	}
	if err := s.q.Check(); err != nil {
		return err
	}
	ctx, cancel := s.k.c.bounded(ctx, s.o.timeout)
	defer cancel()
	return s.k.routed(ctx, func(ks shard.Keyspace) error {
		list, err := shards(ks, s.q.Prefix, s.o.shard)
		if err != nil {
			return err
		}
		s.ks, s.parts = ks, make([]*part, len(list))
		return parallel(len(list), func(i int) (err error) {
			s.parts[i] = &part{shard: list[i]}
			s.parts[i].page, err = s.k.page(ctx, ks, list[i], s.q, s.o.session)
			return err
		})
	})
}

// pageSize is the same for all pages of a scan: it belongs to the query of the view.
func pageSize(q store.Query) int {
	most := scanPage
	if q.KeysOnly {
		most = store.MaxPage
	}
	if q.Limit > 0 {
		return min(most, q.Limit)
	}
	return most
}

// next takes the first item of all parts; there is none at the end.
func (s *scan) next(ctx context.Context) (Item, bool, error) {
	var first *part
	for _, p := range s.parts {
		if err := s.fill(ctx, p); err != nil {
			return Item{}, false, err
		}
		if len(p.page.Items) > 0 && (first == nil || (p.page.Items[0].Key < first.page.Items[0].Key) != s.q.Reverse) {
			first = p
		}
	}
	if first == nil {
		return Item{}, false, nil
	}
	item := itemOf(first.page, first.page.Items[0])
	first.page.Items = first.page.Items[1:]
	return item, true, nil
}

// fill fetches the group's next page if the current one is used up.
func (s *scan) fill(ctx context.Context, p *part) error {
	for len(p.page.Items) == 0 && p.page.Next != "" {
		q := s.q
		q.Page = p.page.Next
		ctx, traced := s.k.begin(ctx, "scan")
		ctx, cancel := s.k.c.bounded(ctx, s.o.timeout)
		page, err := s.k.page(ctx, s.ks, p.shard, q, s.o.session)
		cancel()
		spans.End(traced, err)
		if err != nil {
			return s.k.explain(err)
		}
		p.page = page
	}
	return nil
}

// keeper returns the route of a page: the node that keeps its view, and no other.
func (c *Client) keeper(ctx context.Context, page string) (func([]string) []string, error) {
	p, err := token.ParsePage(page)
	if err != nil || p.Node == "" {
		return nil, err
	}
	if c.router.addr(p.Node) == "" {
		if err := c.fetch(ctx, ""); err != nil {
			return nil, err
		}
	}
	if c.router.addr(p.Node) == "" {
		return nil, &store.Error{Code: store.Compacted, Node: p.Node, Msg: "the node that kept the view is not in the cluster", Try: "the scan from its beginning"}
	}
	return func([]string) []string { return []string{p.Node} }, nil
}

// ledBest reports whether the leader serves the level with one message less.
func ledBest(l store.Level, m store.Mode) bool {
	return l == store.Strong || l == store.Quorum && m == store.CP
}
