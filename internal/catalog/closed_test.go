package catalog

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// shelf is a catalog's group of one: the node's replica, and the majority.
type shelf struct {
	values map[string][]byte
	epoch  uint64
}

func (s *shelf) Read(context.Context, store.Query) (page store.Page, err error) {
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		page.Items = append(page.Items, store.Item{Key: key, Values: [][]byte{s.values[key]}})
	}
	return page, nil
}

func (s *shelf) Changed(context.Context, uint64) (uint64, error) { return 1, nil }
func (s *shelf) Status() store.Status                            { return store.Status{Epoch: s.epoch} }

func (s *shelf) Get(_ context.Context, key string) ([]byte, uint64, error) {
	if value, ok := s.values[key]; ok {
		return value, 1, nil
	}
	return nil, 0, nil
}

func (s *shelf) Put(_ context.Context, key string, value []byte, cond store.Condition) error {
	if _, there := s.values[key]; there && cond.Kind == store.IfAbsent {
		return store.Conflict
	}
	s.values[key] = value
	return nil
}

func (s *shelf) Delete(_ context.Context, key string, _ uint64) error {
	delete(s.values, key)
	return nil
}

// look brings the view up to date.
func look(t *testing.T, c *Catalog) {
	t.Helper()
	v, err := c.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.view.Store(v)
}

func TestClosuresAreNumberedInOrderAndNoNumberIsUsedTwice(t *testing.T) {
	s := &shelf{values: map[string][]byte{}}
	c := New(s, s)
	carts, notes := store.GroupID{Keyspace: 2}, store.GroupID{Keyspace: 12, Shard: 3}
	after := uint64(0)
	for i := range 12 {
		if i == 10 {
			s.epoch = 2 // the catalog was forced to go on
		}
		value := []byte{byte(i)}
		if err := c.Close(t.Context(), carts, after, value); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(t.Context(), carts, after, value); !errors.Is(err, store.Conflict) {
			t.Fatalf("two come behind %d: %v", after, err)
		}
		look(t, c)
		closed := c.Closed(carts)
		last := closed[len(closed)-1]
		if len(closed) != i+1 || last.Number <= after || last.Value[0] != byte(i) || last.Group != carts {
			t.Fatalf("the %dth is %+v", i+1, closed)
		}
		after = last.Number
	}
	if after != 2<<32+2 {
		t.Errorf("the last number is %x", after)
	}
	if err := c.Close(t.Context(), notes, 0, nil); err != nil {
		t.Fatal(err)
	}
	if look(t, c); len(c.Closed(notes)) != 1 || len(c.Closed(store.GroupID{Keyspace: 1, Shard: 2})) != 0 {
		t.Errorf("notes have %v", c.Closed(notes))
	}
}

func TestClosuresOfADeletedKeyspaceAreForgotten(t *testing.T) {
	s := &shelf{values: map[string][]byte{}}
	c := New(s, s)
	k, err := encodeKeyspace(shard.Keyspace{ID: 2, Name: "carts", Mode: store.AP, Groups: 1, Policy: store.LWW, W: store.WLocal, Durability: store.Fsync, Placement: [][]string{{"n1"}}})
	if err != nil {
		t.Fatal(err)
	}
	s.values[keyspacePrefix+"carts"] = k
	for i := range uint64(mostForgotten + 5) {
		for _, id := range []uint64{2, 3} {
			if err := c.RecordClosed(t.Context(), Closure{store.GroupID{Keyspace: id}, i + 1, []byte{1}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, want := range []bool{true, false} {
		look(t, c)
		if more, err := c.ForgetClosed(t.Context()); more != want || err != nil {
			t.Fatalf("there are more: %t, %v", more, err)
		}
	}
	look(t, c)
	if there, gone := len(c.Closed(store.GroupID{Keyspace: 2})), len(c.Closed(store.GroupID{Keyspace: 3})); there != mostForgotten+5 || gone != 0 {
		t.Errorf("%d are left of the keyspace that is there, %d of the one that is not", there, gone)
	}
}

func TestKeyOfNoClosureIsRefused(t *testing.T) {
	for _, key := range []string{"closed/", "closed/2/0", "closed/x/0/1", "closed/2/4294967296/1", "closed/2/0/z", "closed/2/0/1/1"} {
		if c, err := decodeClosure(store.Item{Key: key, Values: [][]byte{{1}}}); err == nil {
			t.Errorf("%s is %+v", key, c)
		}
	}
}
