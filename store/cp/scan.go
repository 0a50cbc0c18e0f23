package cp

import (
	"context"
	"fmt"
	"iter"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

const (
	// maxPage bounds a page in bytes; it is cut short behind that, with Next. One
	// item is always in it.
	maxPage = 1 << 20
	// countStride is how many rows are counted between two looks at the context.
	countStride = 1024
)

// rows is the part of a view that a query is of: the rows of one kind from lo up to,
// not including, hi, where an empty hi is the end of the kind.
type rows struct {
	view   *view
	kind   byte
	lo, hi string
	back   bool // from the last to the first
}

// rowsOf is what q asks for: the leases, or the keys that begin with Prefix, from Key
// on and below To.
func rowsOf(v *view, q store.Query) rows {
	s := rows{view: v, kind: keyRecord, lo: max(q.Key, q.Prefix), hi: q.To, back: q.Reverse}
	if q.Leases {
		s.kind, s.lo, s.hi = keyLease, "", ""
	}
	if end := prefixEnd(q.Prefix); end != "" && (s.hi == "" || end < s.hi) {
		s.hi = end
	}
	return s
}

// prefixEnd is the first string behind all that begin with prefix, "" if there is none.
func prefixEnd(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return string(b[:i+1])
		}
	}
	return ""
}

// from is what is left of the rows where a page token says to go on. A made-up key
// never widens them.
func (s rows) from(key string) rows {
	switch {
	case !s.back:
		s.lo = max(s.lo, key)
	case s.hi == "" || key < s.hi:
		s.hi = key
	}
	return s
}

// all yields the rows' names and values, which are valid until the next step. An error
// ends them and is left in *failed.
func (s rows) all(failed *error) iter.Seq2[[]byte, []byte] {
	lo, hi := s.view.key(s.kind, s.lo), s.view.key(s.kind, s.hi)
	if s.hi == "" {
		hi = s.view.key(s.kind+1, "")
	}
	scan := s.view.Scan
	if s.back {
		scan = s.view.ScanBack
	}
	skip := len(s.view.key(s.kind, ""))
	return func(yield func(name, value []byte) bool) {
		for key, value := range scan(lo, hi, failed) {
			if !yield(key[skip:], value) {
				return
			}
		}
	}
}

// count is how many rows there are. It keeps none of them and ends with ctx.
func (s rows) count(ctx context.Context) (n uint64, err error) {
	for range s.all(&err) {
		if n++; n%countStride == 0 && ctx.Err() != nil {
			return n, store.Expired(ctx, fmt.Sprintf("the count, which had come to %d", n))
		}
	}
	return n, err
}

// page collects rows until the page is full. more is where the next page begins, as a
// page token says it, or "" at the end.
func (s rows) page(q store.Query, add func(page *store.Page, name string, value []byte) error) (page store.Page, more string, err error) {
	size, last := 0, ""
	for name, value := range s.all(&err) {
		if size += len(name); !q.KeysOnly {
			size += len(value)
		}
		if n := len(page.Items) + len(page.Leases); n == q.Limit || n > 0 && size > maxPage {
			if more = last; !s.back {
				more = string(name)
			}
			break
		}
		last = string(name)
		if err := add(&page, last, value); err != nil {
			return store.Page{}, "", err
		}
	}
	return page, more, err
}

// pageOf is one page of q, from the rows that are left of it.
func (r *Replica) pageOf(ctx context.Context, q store.Query, s rows) (store.Page, string, error) {
	if q.Count {
		n, err := s.count(ctx)
		return store.Page{Count: n}, "", err
	}
	if q.Leases {
		return s.page(q, r.addLease)
	}
	return s.page(q, func(page *store.Page, name string, value []byte) error {
		rec, err := decodeRecord(value)
		if err == nil {
			page.Items = append(page.Items, itemOf(q, name, rec))
		}
		return err
	})
}

func itemOf(q store.Query, key string, rec *logpb.Record) store.Item {
	item := store.Item{Key: key, Revision: rec.ModifyRevision, Created: rec.CreateRevision, Version: rec.Version, Lease: rec.Lease}
	if !q.KeysOnly {
		item.Values = [][]byte{rec.Value}
	}
	return item
}

func (r *Replica) addLease(page *store.Page, name string, value []byte) error {
	l := new(logpb.Lease)
	if err := proto.Unmarshal(value, l); err != nil {
		return fmt.Errorf("%w: cp lease: %w", engine.ErrCorrupt, err)
	}
	lease := store.Lease{ID: l.Id, TTL: time.Duration(l.TtlMs) * time.Millisecond, Keys: l.Keys}
	if r.leads(r.raft.Load()) {
		lease.Remaining = r.machine.leases.remaining(l.Id)
	}
	page.Leases = append(page.Leases, lease)
	return nil
}

// firstPage begins a scan. If more pages follow, its view is kept for them.
func (r *Replica) firstPage(ctx context.Context, q store.Query, began time.Time) (basis, store.Page, error) {
	b, err := r.basisFor(ctx, q, began)
	if err != nil {
		return b, store.Page{}, err
	}
	defer b.view.Close()
	page, more, err := r.pageOf(ctx, q, rowsOf(b.view, q))
	if err == nil && more != "" {
		page.Next = token.Page{Node: r.cfg.Node, View: r.pins.Keep(b.kept()), Query: token.QueryOf(r.cfg.Group, q), Key: more}.Encode()
	}
	return b, page, err
}

// nextPage continues a scan on the view of its first page.
func (r *Replica) nextPage(ctx context.Context, q store.Query) (basis, store.Page, error) {
	at, err := token.OpenPage(r.cfg.Node, r.cfg.Group, q)
	if err != nil {
		return basis{}, store.Page{}, err
	}
	b, err := r.pinned(ctx, at)
	if err != nil {
		return b, store.Page{}, err
	}
	defer b.view.Close()
	page, more, err := r.pageOf(ctx, q, rowsOf(b.view, q).from(at.Key))
	switch {
	case err != nil:
	case more == "":
		r.pins.Finish(at.View)
	default:
		at.Key = more
		page.Next = at.Encode()
	}
	return b, page, err
}

// pinned is what an earlier page left for this one.
func (r *Replica) pinned(ctx context.Context, at token.Page) (basis, error) {
	b, ok := r.pins.Take(at.View)
	if !ok {
		return basis{}, at.Gone(engine.MaxPins, engine.PinIdle)
	}
	if now := r.machine.views.Load(); now != nil && now.epoch != b.view.epoch {
		// What the view shows is of the past for good, and so would be a session that
		// had read it.
		b.view.Close()
		r.pins.Finish(at.View)
		return basis{}, &store.Error{Code: store.Compacted, Msg: "the group was restored from a snapshot since the scan began", Try: "start the scan again"}
	}
	return r.moved(ctx, b)
}
