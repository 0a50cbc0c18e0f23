package ap

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

const (
	// pageBytes bounds a page, which is cut short behind that, with Next; a page of one
	// key may exceed it.
	pageBytes = 1 << 20
	// countStride is how many rows are counted between two looks at the context.
	countStride = 1024
)

// pinned is a view that is kept for the further pages of a scan, and what it was worth
// to the first one.
type pinned struct {
	views *views
	view  *view
	proof store.Proof
	taken time.Time
}

// Retain adds a holder of the view.
func (p pinned) Retain() bool { return p.views.retain(p.view) }

// Close gives the view up.
func (p pinned) Close() { p.views.release(p.view) }

// span is the keys of a view that a scan goes through: from lo up to, not including,
// hi, where an empty hi is the end of all keys.
type span struct {
	lo, hi string
	back   bool // from the last to the first
}

// spanOf is what q asks for: the keys that begin with Prefix, from Key on, below To.
func spanOf(q store.Query) span {
	s := span{lo: max(q.Key, q.Prefix), hi: q.To, back: q.Reverse}
	if end := behind(q.Prefix); end != "" && (s.hi == "" || end < s.hi) {
		s.hi = end
	}
	return s
}

// behind is the first string behind all that begin with prefix, "" if there is none.
func behind(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return string(b[:i+1])
		}
	}
	return ""
}

// from is what is left of the span where a page token says to go on. A made-up key
// never widens it.
func (s span) from(key string) span {
	switch {
	case !s.back:
		s.lo = max(s.lo, key)
	case s.hi == "" || key < s.hi:
		s.hi = key
	}
	return s
}

// rows yields the keys of the span with their rows, which are valid until the next
// step. An error ends them and is left in *failed.
func (s span) rows(v *view, failed *error) iter.Seq2[[]byte, []byte] {
	lo, hi := keyRow(s.lo), keyRow(s.hi)
	if s.hi == "" {
		hi = []byte{rowKey + 1}
	}
	if s.back {
		return v.snap.ScanBack(lo, hi, failed)
	}
	return v.snap.Scan(lo, hi, failed)
}

// scan is one page of the span. more is where the next one begins, as a page token says
// it, or "" at the end.
func (r *Replica) scan(ctx context.Context, v *view, q store.Query, s span) (page store.Page, more string, err error) {
	if q.Count {
		page.Count, err = r.countKeys(ctx, v, s)
		return page, "", err
	}
	size, last := 0, ""
	for key, row := range s.rows(v, &err) {
		key := string(key[1:])
		if size += len(key); !q.KeysOnly {
			size += len(row)
		}
		if n := len(page.Items); n == q.Limit || n > 0 && size > pageBytes {
			if more = last; !s.back {
				more = key
			}
			break
		}
		last = key
		item, found, err := r.item(key, row, q.Siblings)
		if err != nil {
			return store.Page{}, "", err
		}
		if q.KeysOnly {
			item.Values, item.Fields, item.Remaining = nil, nil, nil
		}
		if found {
			page.Items = append(page.Items, item)
		}
	}
	return page, more, err
}

// countKeys is how many keys there are. It keeps none of them and ends with ctx.
func (r *Replica) countKeys(ctx context.Context, v *view, s span) (n uint64, err error) {
	looked := 0
	for key, row := range s.rows(v, &err) {
		if looked++; looked%countStride == 0 && ctx.Err() != nil {
			return n, store.Expired(ctx, fmt.Sprintf("the count, which had come to %d", n))
		}
		if r.cfg.Policy == store.Counter { // the row of a deleted one may still be there
			if _, found, err := r.item(string(key[1:]), row, false); err != nil {
				return n, err
			} else if !found {
				continue
			}
		}
		n++
	}
	return n, err
}

// keep pins the view of a scan's first page, which the caller holds, and returns the
// token of the next one.
func (r *Replica) keep(v *view, q store.Query, more string, proof store.Proof, taken time.Time) string {
	proof.Waited, proof.WaitedFor = 0, "" // later pages wait for nothing
	name := r.pins.Keep(pinned{r.views, v, proof, taken})
	return token.Page{Node: r.cfg.Node, View: name, Query: token.QueryOf(r.cfg.Group, q), Key: more}.Encode()
}

// nextPage continues a scan on the view of its first page, whatever was applied since.
func (r *Replica) nextPage(ctx context.Context, q store.Query, taken time.Time) (store.Page, error) {
	at, err := token.OpenPage(r.cfg.Node, r.cfg.Group, q)
	if err != nil {
		return store.Page{}, err
	}
	p, kept := r.pins.Take(at.View)
	if !kept {
		return store.Page{}, at.Gone(engine.MaxPins, engine.PinIdle)
	}
	defer func() { p.Close() }()
	if mutant.M18 {
		p.Close()
		if p.view, _, err = r.views.acquire(); err != nil {
			return store.Page{}, err
		}
	}
	page, more, err := r.scan(ctx, p.view, q, spanOf(q).from(at.Key))
	if err != nil {
		return store.Page{}, err
	}
	if at.Key = more; more == "" {
		r.pins.Finish(at.View)
	} else {
		page.Next = at.Encode()
	}
	p.view.sign(&page, true)
	if page.Proof = p.proof; p.proof.Fresh {
		page.Proof.Staleness += taken.Sub(p.taken)
	}
	return page, nil
}
