package workload

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// copies is two nodes that hold a key each; n2 has the value of n1 from a time on.
type copies struct {
	began time.Time
	equal time.Duration
	fails bool
}

func (c copies) Admin(name string) (kvpb.AdminClient, error) {
	return copyAdmin{copies: c, node: name}, nil
}

type copyAdmin struct {
	kvpb.AdminClient
	copies
	node string
}

// Dump serves two pages of one key each.
func (a copyAdmin) Dump(_ context.Context, r *kvpb.DumpRequest, _ ...grpc.CallOption) (*kvpb.DumpResponse, error) {
	if a.fails && a.node == "n2" {
		return nil, kvpb.Status(&store.Error{Code: store.Unavailable})
	}
	if r.From == "" {
		return &kvpb.DumpResponse{Items: []*kvpb.Item{{Key: "a", Values: [][]byte{[]byte("v1")}, Revision: 3}}, Next: "b"}, nil
	}
	value := "v2"
	if a.node == "n2" && time.Since(a.began) < a.equal {
		value = "old"
	}
	return &kvpb.DumpResponse{Items: []*kvpb.Item{{Key: "b", Values: [][]byte{[]byte(value)}, Revision: 4}}, Revision: 4}, nil
}

var twoCopies = []shard.Keyspace{{Name: "orders", ID: 7, Mode: store.CP, Groups: 1, Placement: [][]string{{"n1", "n2"}}}}

func TestDumpWaitsUntilReplicasAreEqual(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		var lines bytes.Buffer
		took, equal, err := Dump(t.Context(), copies{began: time.Now(), equal: time.Second}, twoCopies, time.Minute, history.NewRecorder(&lines))
		if err != nil || !equal || took < time.Second || took > 1200*time.Millisecond {
			t.Errorf("equal %v after %v, %v", equal, took, err)
		}
		h, err := history.Read(&lines)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range h.Replicas {
			if !r.Whole || len(r.Keys) != 2 || *r.Keys[1].Value != "v2" || *r.Keys[1].Revision != 4 || *r.Revision != 4 {
				t.Errorf("%+v", r)
			}
		}
		if len(h.Replicas) != 2 {
			t.Errorf("%d replicas", len(h.Replicas))
		}
	})
}

func TestDumpShowsReplicasThatStayUnequal(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		var lines bytes.Buffer
		_, equal, err := Dump(t.Context(), copies{began: time.Now(), equal: time.Hour}, twoCopies, 5*time.Second, history.NewRecorder(&lines))
		if equal || err != nil {
			t.Errorf("equal %v, %v", equal, err)
		}
		if h, err := history.Read(&lines); err != nil || len(h.Replicas) != 2 {
			t.Errorf("%+v, %v", h, err)
		}
	})
}

// Half of the replicas must not be judged as if they were all.
func TestDumpFailsIfAReplicaCannotBeRead(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		var lines bytes.Buffer
		_, _, err := Dump(t.Context(), copies{fails: true}, twoCopies, 5*time.Second, history.NewRecorder(&lines))
		if !errors.Is(err, store.Unavailable) || lines.Len() > 0 {
			t.Errorf("%v, recorded %q", err, lines.String())
		}
	})
}

func TestAKeyspaceThatHoldsSomethingIsNotEmpty(t *testing.T) {
	if err := Empty(t.Context(), copies{}, twoCopies); !errors.Is(err, store.AlreadyExists) {
		t.Errorf("got %v", err)
	}
}
