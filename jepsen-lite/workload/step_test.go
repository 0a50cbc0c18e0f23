package workload

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

var cpSpace = &shard.Keyspace{Name: "orders", Mode: store.CP, Groups: 1}

func TestOutcomesAreRecordedAsTheContractHasThem(t *testing.T) {
	for _, c := range []struct {
		err     error
		outcome store.Outcome
		code    store.Code
	}{
		{nil, store.OK, ""},
		{&store.Error{Code: store.Conflict}, store.Failed, store.Conflict},
		{&store.Error{Code: store.Unavailable}, store.Failed, store.Unavailable},
		{&store.Error{Code: store.Unknown}, store.Unclear, store.Unknown},
		{&store.Error{Code: store.NotReplicated}, store.Unclear, store.NotReplicated},
		{errors.New("nobody classified this"), store.Unclear, store.Unknown},
	} {
		a, _ := step{kind: history.Put, space: cpSpace}.wrote(store.Result{}, c.err)
		if a.Outcome != c.outcome || a.Code != c.code {
			t.Errorf("%v is recorded as %s %s", c.err, a.Outcome, a.Code)
		}
	}
}

func TestAFailedCASTellsWhatItSaw(t *testing.T) {
	cas := step{kind: history.CAS, space: cpSpace, key: "k", expect: "v1", value: "v2"}
	a, saw := cas.wrote(store.Result{Found: true, Value: []byte("v7"), Revision: 9}, &store.Error{Code: store.Conflict})
	if a.Found == nil || !*a.Found || a.Value != "v7" || *a.Revision != 9 || !saw.told || saw.values[0] != "v7" {
		t.Errorf("%+v, %+v", a, saw)
	}
	a, saw = cas.wrote(store.Result{Revision: 9}, &store.Error{Code: store.Conflict})
	if a.Found == nil || *a.Found || a.Value != "" || !saw.told || len(saw.values) != 0 {
		t.Errorf("absent: %+v, %+v", a, saw)
	}
}

func TestAWriteTellsItsRevisions(t *testing.T) {
	a, _ := step{kind: history.Put, space: cpSpace}.wrote(store.Result{Revision: 9}, nil)
	if *a.Revision != 9 || *a.Replaced != 0 {
		t.Errorf("%+v", a)
	}
}

func TestAReadTellsRevisionLevelAndNode(t *testing.T) {
	get := step{kind: history.Get, space: cpSpace, key: "k"}
	page := store.Page{Revision: 30, Proof: store.Proof{Node: "n2", Served: store.Strong}}
	a, _ := get.read(page, nil)
	if *a.Found || *a.Revision != 30 || a.Served != "strong" || a.ServedBy != "n2" {
		t.Errorf("absent: %+v", a)
	}
	page.Items = []store.Item{{Key: "k", Values: [][]byte{[]byte("v1")}, Revision: 12}}
	if a, _ = get.read(page, nil); !*a.Found || a.Value != "v1" || *a.Revision != 12 {
		t.Errorf("there: %+v", a)
	}
}

// The context of a read on lww covers the siblings that lost, so a write that follows
// it says so.
func TestAWriteCoversAllThatItsReadWasGiven(t *testing.T) {
	lww := &shard.Keyspace{Name: "lww", Mode: store.AP, Policy: store.LWW, Groups: 1}
	get := step{kind: history.Get, space: lww, key: "k"}
	a, saw := get.read(store.Page{Context: store.Entry("c"), Items: []store.Item{{
		Key: "k", Values: [][]byte{[]byte("v2")},
		Siblings: []store.Sibling{{Value: []byte("v1")}, {Value: []byte("v2")}},
	}}}, nil)
	if a.Value != "v2" || len(a.Values) != 1 || a.Revision != nil || a.Context == "" {
		t.Errorf("read: %+v", a)
	}
	put := step{kind: history.Put, space: lww, key: "k", value: "v3", after: &saw}
	if c := put.call(); len(c.Covers) != 2 || c.Conflict != "lww" || string(put.command().Context) != "c" {
		t.Errorf("write: %+v", c)
	}
}

// A write's context is its own dot; the token of its session says of which cluster.
func TestAWriteOnAPTellsItsName(t *testing.T) {
	group := store.GroupID{Keyspace: 7}
	lww := &shard.Keyspace{Name: "lww", ID: 7, Mode: store.AP, Policy: store.LWW, Groups: 1}
	cluster := strings.Repeat("ab", 16)
	tok := token.Token{Cluster: cluster, Epoch: 2}
	entry := token.EncodeEntry([]token.Component{{ID: 0x1f, N: 9}})
	if err := errors.Join(tok.Wrote(group, entry), tok.Read(group, entry)); err != nil {
		t.Fatal(err)
	}
	sealed, err := token.SealContext(cluster, 2, group, token.OfKey("k"), token.EncodeEntry([]token.Component{{ID: 0, N: 1}, {ID: 0x1f, N: 9}}))
	if err != nil {
		t.Fatal(err)
	}
	put := step{kind: history.Put, space: lww, key: "k"}
	a, saw := put.wrote(store.Result{Found: true, Context: sealed}, nil)
	if got := put.dot(saw.name, tok.String()); got != "000000000000001f:9" || !*a.Found {
		t.Errorf("the write is %q, %+v", got, a)
	}
	if got := vectorOf(tok.String(), group); got != "000000000000001f:9" {
		t.Errorf("the session has seen %q", got)
	}
	for _, wrong := range []string{"", "no token"} {
		if got := put.dot(saw.name, wrong); got != "" {
			t.Errorf("with the token %q it is %q", wrong, got)
		}
	}
}

func TestAReadOfAMapTellsItsFields(t *testing.T) {
	space := &shard.Keyspace{Name: "m", Mode: store.AP, Policy: store.Map, Groups: 1}
	a, _ := step{kind: history.Get, space: space, key: "k"}.read(store.Page{Items: []store.Item{{
		Key: "k", Fields: []string{"f", "g"}, Values: [][]byte{[]byte("v1"), []byte("v2")},
	}}}, nil)
	if !slices.Equal(a.Fields, []string{"f", "g"}) || !slices.Equal(a.Values, []string{"v1", "v2"}) {
		t.Errorf("%+v", a)
	}
	remove := step{kind: history.Remove, space: space, key: "k", field: "f", value: "d1"}
	if c := remove.call(); c.Field != "f" || c.Value != "d1" || remove.command().Field != "f" || remove.command().Op != store.Delete {
		t.Errorf("%+v, %+v", c, remove.command())
	}
}
