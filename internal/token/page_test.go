package token

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dialkv/dialkv/store"
)

func TestScansWithOtherAnswersHaveOtherNames(t *testing.T) {
	names := map[uint64]string{}
	for _, group := range []store.GroupID{{Keyspace: 7}, {Keyspace: 7, Shard: 1}, {Keyspace: 8}} {
		for _, q := range []store.Query{
			{}, {Key: "a"}, {To: "a"}, {Prefix: "a"}, {Key: "a", To: "b"}, {Key: "ab"}, {Prefix: "ab"}, {Key: "a", Prefix: "b"},
			{Reverse: true}, {KeysOnly: true}, {Count: true}, {Leases: true}, {Siblings: true},
		} {
			what := fmt.Sprintf("%v %+v", group, q)
			name := QueryOf(group, q)
			if before, taken := names[name]; taken {
				t.Errorf("%s has the name of %s", what, before)
			}
			names[name] = what
			q.Limit, q.Level, q.After = 3, store.Causal, store.Entry("e")
			if QueryOf(group, q) != name {
				t.Errorf("%s: another limit, level or session is another scan", what)
			}
		}
	}
}

func TestPageIsOfOneNodeAndOneQuery(t *testing.T) {
	group := store.GroupID{Keyspace: 7}
	q := store.Query{Prefix: "a", Limit: 3}
	q.Page = Page{Node: "n1", View: 9, Query: QueryOf(group, q), Key: "ab"}.Encode()
	if at, err := OpenPage("n1", group, q); err != nil || at.View != 9 || at.Key != "ab" {
		t.Errorf("%+v, %v", at, err)
	}
	for what, c := range map[string]struct {
		node  string
		group store.GroupID
		make  func(*store.Query)
		code  store.Code
	}{
		"another node":  {"n2", group, func(*store.Query) {}, store.Compacted},
		"another group": {"n1", store.GroupID{Keyspace: 8}, func(*store.Query) {}, store.Invalid},
		"another query": {"n1", group, func(q *store.Query) { q.Reverse = true }, store.Invalid},
		"no page":       {"n1", group, func(q *store.Query) { q.Page = "?" }, store.Invalid},
	} {
		other := q
		c.make(&other)
		if _, err := OpenPage(c.node, c.group, other); !errors.Is(err, c.code) {
			t.Errorf("%s: %v, want %s", what, err, c.code)
		}
	}
}

func FuzzOpenPage(f *testing.F) {
	q := store.Query{Prefix: "a", Limit: 3}
	f.Add(Page{Node: "n1", View: 9, Query: QueryOf(group, q), Key: "ab"}.Encode())
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, page string) {
		q := q
		q.Page = page
		at, err := OpenPage("n1", group, q)
		switch {
		case err == nil && (at.Encode() != page || at.Node != "n1" || at.Query != QueryOf(group, q)):
			t.Errorf("%q is read as %+v", page, at)
		case err != nil && !errors.Is(err, store.Invalid) && !errors.Is(err, store.Compacted):
			t.Errorf("%q: %v", page, err)
		}
	})
}
