package storetest

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
)

var kinds = []struct {
	name   string
	mode   store.Mode
	policy store.Policy
}{
	{"cp", store.CP, 0},
	{"ap lww", store.AP, store.LWW},
	{"ap siblings", store.AP, store.Siblings},
	{"ap counter", store.AP, store.Counter},
	{"ap set", store.AP, store.Set},
	{"ap map", store.AP, store.Map},
}

func TestModelKeepsTheLaw(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			Run(t, Config{Mode: kind.mode, Policy: kind.policy, In: linktest.Bubble, Open: func(t *testing.T) []store.Replica {
				return running(t, NewModel(kind.mode, kind.policy))
			}})
		})
	}
}

// Three doors to one map are the best group there can be: the laws between replicas
// must not ask for more.
func TestThreeDoorsToTheModelKeepTheLaw(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			Run(t, Config{Mode: kind.mode, Policy: kind.policy, In: linktest.Bubble, Depose: depose, Open: func(t *testing.T) []store.Replica {
				one, leader := NewModel(kind.mode, kind.policy), new(atomic.Int32)
				return running(t, door{one, 0, leader}, door{one, 1, leader}, door{one, 2, leader})
			}})
		})
	}
}

var doors = []string{"n1", "n2", "n3"}

// door is a node through which a model is reached. Writes go through one of them.
type door struct {
	store.Replica
	n      int32
	leader *atomic.Int32
}

func depose(_ *testing.T, leader store.Replica) {
	d := leader.(door)
	d.leader.Store((d.n + 1) % int32(len(doors)))
}

func (d door) Status() store.Status {
	s := d.Replica.Status()
	s.Node, s.Members = doors[d.n], doors
	if s.Mode == store.CP {
		s.Leader = doors[d.leader.Load()]
	}
	return s
}

func (d door) Read(ctx context.Context, q store.Query) (store.Page, error) {
	page, err := d.Replica.Read(ctx, q)
	page.Proof.Node = doors[d.n]
	return page, err
}

func (d door) Write(ctx context.Context, c store.Command) (store.Result, error) {
	if s := d.Status(); s.Mode == store.CP && s.Leader != s.Node {
		return store.Result{}, &store.Error{Code: store.NotLeader, Op: c.Op.String(), Node: s.Node, Leader: s.Leader}
	}
	r, err := d.Replica.Write(ctx, c)
	r.Proof.Node = doors[d.n]
	r.Acked, r.Wanted = 3, c.W.Of(3)
	return r, err
}

// running runs replicas until the test ends.
func running(t *testing.T, replicas ...store.Replica) []store.Replica {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, len(replicas))
	for _, r := range replicas {
		go func() { ended <- r.Run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		for range replicas {
			if err := <-ended; err != nil {
				t.Errorf("run: %v", err)
			}
		}
	})
	return replicas
}
