package storetest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dialkv/dialkv/store"
)

// scanKeys are in byte order, with neighbours of the prefix "p/" on both sides.
var scanKeys = []string{
	"a", "p", "p.", "p/", "p/0", "p/00", "p/1", "p/10", "p/2", "p/é", "p/日本", "p0", "pp/", "q", "é",
}

var scanLaws = []law{
	{name: "a scan returns every key once, in byte order, whatever the page", check: func(g *group) {
		g.fill()
		for limit := 1; limit <= len(scanKeys)+1; limit++ {
			g.scans(store.Query{Limit: limit}, scanKeys)
		}
		g.scans(store.Query{Limit: store.MaxPage}, scanKeys)
	}},
	{name: "a scan with a prefix returns nothing beside it", check: func(g *group) {
		g.fill()
		for _, prefix := range []string{"p/", "p/1", "p", "q", "z", "é"} {
			want := slices.DeleteFunc(slices.Clone(scanKeys), func(k string) bool { return !strings.HasPrefix(k, prefix) })
			for _, limit := range []int{1, 3, 100} {
				g.scans(store.Query{Prefix: prefix, Limit: limit}, want)
			}
		}
	}},
	{name: "a scan begins at its key, that one included", check: func(g *group) {
		g.fill()
		for _, from := range []string{"", "a", "p/00", "p/01", "p/3", "zz", "ÿ"} {
			for _, prefix := range []string{"", "p/"} {
				want := slices.DeleteFunc(slices.Clone(scanKeys), func(k string) bool { return k < from || !strings.HasPrefix(k, prefix) })
				g.scans(store.Query{Key: from, Prefix: prefix, Limit: 2}, want)
			}
		}
	}},
	{name: "a scan at any replica covers its session", check: func(g *group) {
		var last store.Result
		for n := range 10 {
			last = g.put(fmt.Sprintf("k%d", n), "v")
		}
		for i := range g.replicas {
			if got := g.read(i, store.Query{Limit: 100, Level: store.ReadYourWrites, After: last.Entry}); len(got.Items) != 10 {
				g.Errorf("replica %d: %d of 10 keys", i, len(got.Items))
			}
		}
	}},
	{name: "a scan shows what a get shows", check: func(g *group) {
		g.fill()
		for _, item := range g.all(g.home, store.Query{Limit: 4, Level: g.freshest()}) {
			page := g.holds(item.Key, "value of "+item.Key)
			if got := page.Items[0]; got.Revision != item.Revision || got.Created != item.Created || got.Version != item.Version || got.Lease != item.Lease || !slices.EqualFunc(got.Values, item.Values, slices.Equal) {
				g.Errorf("%q: the scan shows %+v, the get %+v", item.Key, item, got)
			}
		}
	}},
}

func (g *group) fill() {
	g.Helper()
	for n := range scanKeys {
		key := scanKeys[(n*7)%len(scanKeys)] // 7 and 15 have no common factor: every key once, out of order
		g.put(key, "value of "+key)
	}
}

// scans wants the keys of all pages of q to be want.
func (g *group) scans(q store.Query, want []string) {
	g.Helper()
	q.Level = g.freshest()
	var got []string
	for _, item := range g.all(g.home, q) {
		got = append(got, item.Key)
	}
	if !slices.Equal(got, want) {
		g.Errorf("scan from %q to %q, prefix %q, limit %d, backwards %v: got %q, want %q", q.Key, q.To, q.Prefix, q.Limit, q.Reverse, got, want)
	}
}
