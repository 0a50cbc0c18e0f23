package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dialkv/dialkv/store"
)

var pageLaws = []law{
	{name: "a scan ends before its end, and goes backwards", check: func(g *group) {
		g.fill()
		for _, from := range []string{"", "p/0", "p/1", "zz"} {
			for _, to := range []string{"", "a", "p/", "p/1", "p/10", "p/é", "~", "\xff"} {
				for _, prefix := range []string{"", "p/", "é"} {
					want := slices.DeleteFunc(slices.Clone(scanKeys), func(k string) bool {
						return k < from || to != "" && k >= to || !strings.HasPrefix(k, prefix)
					})
					q := store.Query{Key: from, To: to, Prefix: prefix}
					for _, q.Limit = range []int{1, 4, 100} {
						q.Reverse = false
						g.scans(q, want)
						backwards := slices.Clone(want)
						slices.Reverse(backwards)
						q.Reverse = true
						g.scans(q, backwards)
					}
				}
			}
		}
	}},
	{name: "a count is of the whole range, whatever the limit", check: func(g *group) {
		g.fill()
		for _, limit := range []int{0, 1, 5, store.MaxPage} {
			for _, c := range []struct {
				query store.Query
				want  uint64
			}{
				{store.Query{}, uint64(len(scanKeys))},
				{store.Query{Prefix: "p/"}, 8},
				{store.Query{Prefix: "p/", Reverse: true}, 8},
				{store.Query{Key: "p/", To: "p/2"}, 5},
				{store.Query{Prefix: "none"}, 0},
			} {
				c.query.Count, c.query.Limit = true, limit
				page := g.read(g.home, c.query)
				if page.Count != c.want || len(page.Items) != 0 || page.Next != "" {
					g.Errorf("count %+v: %d, with %d items and next %q; want %d", c.query, page.Count, len(page.Items), page.Next, c.want)
				}
			}
		}
	}},
	{name: "a scan of keys only says all but the values", check: func(g *group) {
		g.fill()
		g.do(store.Command{Op: store.Put, Key: "a", Value: []byte("again"), Context: g.contextOf("a")})
		full := g.all(g.home, store.Query{Limit: 4, Level: g.freshest()})
		keys := g.all(g.home, store.Query{Limit: 4, Level: g.freshest(), KeysOnly: true})
		if len(keys) != len(full) {
			g.Fatalf("%d keys, %d items", len(keys), len(full))
		}
		for n, item := range keys {
			want := full[n]
			if item.Key != want.Key || item.Revision != want.Revision || item.Created != want.Created || item.Version != want.Version || len(item.Values) != 0 {
				g.Errorf("keys only: %+v, with values: %+v", item, want)
			}
		}
	}},
	{name: "the pages of a scan are one view, whatever is written between them", check: func(g *group) {
		for _, reverse := range []bool{false, true} {
			for n := range 10 {
				g.putRead("k"+strconv.Itoa(n), "old")
			}
			q := store.Query{Prefix: "k", Limit: 3, Reverse: reverse, Level: g.freshest()}
			page := g.read(g.home, q)
			view, items := page, page.Items
			for n := 0; page.Next != "" && n < 10; n++ {
				g.putRead("k"+strconv.Itoa(n), "new")
				g.deleteRead("k" + strconv.Itoa(9-n))
				g.put(fmt.Sprintf("k%d/new", n), "new")
				q.Page = page.Next
				page = g.read(g.home, q)
				if page.Revision != view.Revision || !bytes.Equal(page.Entry, view.Entry) {
					g.Errorf("a page is of revision %d and the entry %x, the first was of %d and %x", page.Revision, page.Entry, view.Revision, view.Entry)
				}
				items = append(items, page.Items...)
			}
			if len(items) != 10 {
				g.Errorf("the pages have %d keys, the view has 10: %q", len(items), keysOf(items))
			}
			for _, item := range items {
				if string(item.Values[0]) != "old" || item.Revision > view.Revision {
					g.Errorf("the view of %d shows %+v", view.Revision, item)
				}
			}
			for n := range 10 {
				g.deleteRead(fmt.Sprintf("k%d/new", n))
			}
		}
	}},
	{name: "a page can be read twice", check: func(g *group) {
		g.fill()
		q := store.Query{Limit: 4}
		q.Page = g.read(g.home, q).Next
		first := g.read(g.home, q)
		g.putRead("p/0", "new")
		second := g.read(g.home, q)
		if !slices.Equal(keysOf(first.Items), keysOf(second.Items)) || first.Revision != second.Revision || !bytes.Equal(first.Entry, second.Entry) {
			g.Errorf("the same page twice: %q at %d, then %q at %d", keysOf(first.Items), first.Revision, keysOf(second.Items), second.Revision)
		}
	}},
	{name: "a page that is asked for elsewhere is of the same view, or Compacted", check: func(g *group) {
		g.fill()
		q := store.Query{Limit: 4}
		first := g.read(g.home, q)
		gone := g.putRead("p", "new")
		q.Page, q.After = first.Next, gone.Entry
		for i := range g.replicas {
			switch page, err := g.readAt(i, q); {
			case err != nil:
				g.isCode(err, store.Compacted)
			case page.Revision != first.Revision || !bytes.Equal(page.Entry, first.Entry) || !slices.Equal(keysOf(page.Items), scanKeys[4:8]):
				g.Errorf("replica %d: %q at %d, the first page was at %d", i, keysOf(page.Items), page.Revision, first.Revision)
			}
		}
	}},
	{name: "a page of another query is Invalid, and one that is none too", check: func(g *group) {
		g.fill()
		q := store.Query{Prefix: "p", Limit: 2}
		next := g.read(g.home, q).Next
		if next == "" {
			g.Fatal("more than two keys and no next page")
		}
		for what, other := range map[string]store.Query{
			"another prefix": {Prefix: "p/", Limit: 2, Page: next},
			"no prefix":      {Limit: 2, Page: next},
			"a first key":    {Key: "p/", Prefix: "p", Limit: 2, Page: next},
			"an end":         {To: "p/1", Prefix: "p", Limit: 2, Page: next},
			"backwards":      {Prefix: "p", Limit: 2, Reverse: true, Page: next},
			"no values":      {Prefix: "p", Limit: 2, KeysOnly: true, Page: next},
			"no token":       {Prefix: "p", Limit: 2, Page: "no token"},
			"half a token":   {Prefix: "p", Limit: 2, Page: next[:len(next)/2]},
			"a long token":   {Prefix: "p", Limit: 2, Page: strings.Repeat("A", 5*store.MaxKey)},
		} {
			ctx, cancel := g.within(patience)
			page, err := g.replicas[g.home].Read(ctx, other)
			cancel()
			if err == nil || g.typed(err).Code != store.Invalid {
				g.Errorf("%s: got %q, %v; want Invalid", what, keysOf(page.Items), err)
			}
		}
		q.Page = next
		g.read(g.home, q) // and the page itself is none the worse
	}},
}
