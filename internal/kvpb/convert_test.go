package kvpb

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

var levels = []store.Level{store.LevelDefault, store.Eventual, store.Monotonic, store.ReadYourWrites, store.Causal, store.Strong}

// wire sends a message through its bytes.
func wire[M proto.Message](t *testing.T, m M) M {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	out := m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	return out.(M)
}

func same(t *testing.T, got, want any, err error) {
	t.Helper()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v (%v)\nwant %+v", got, err, want)
	}
}

func TestQueriesCrossTheWire(t *testing.T) {
	for _, level := range levels {
		want := store.Query{Key: "k", Level: level, Limit: 7, Prefix: "p", Siblings: true}
		got, err := FromQuery(wire(t, ToQuery(want)))
		same(t, got, want, err)
	}
}

func TestCommandsCrossTheWire(t *testing.T) {
	for op := range ops {
		for kind := range conditions {
			for _, w := range []store.W{store.WDefault, store.WLocal, store.WMajority, store.WAll} {
				want := store.Command{Op: op, Key: "k", Value: []byte("v"), Context: store.Entry("c"), Blind: true, W: w,
					Request: store.Request{Session: 1, Number: 2, Lowest: 3, Retry: true}}
				if want.If.Kind = kind; kind != store.Always {
					want.If.Value, want.If.Revision = []byte("x"), 9
				}
				got, err := FromCommand(wire(t, ToCommand(want)))
				same(t, got, want, err)
			}
		}
	}
}

func proof() store.Proof {
	return store.Proof{Node: "n1", Group: store.GroupID{Keyspace: 7, Shard: 2}, Role: "leader", Term: 3, Vector: "a:1",
		Asked: store.Strong, Served: store.Eventual, Waited: time.Millisecond, WaitedFor: "read index",
		Staleness: time.Second, Fresh: true, Degraded: true}
}

func TestAnswersCrossTheWire(t *testing.T) {
	page := store.Page{Next: "n", Revision: 4, Context: store.Entry("c"), Entry: store.Entry("e"), Proof: proof(), Items: []store.Item{{
		Key: "k", Values: [][]byte{[]byte("a"), []byte("b")}, Revision: 3,
		Siblings: []store.Sibling{{Dot: "a:1", Stamp: 1 << 60, Value: []byte("a")}},
	}}}
	gotPage, err := FromPage(wire(t, ToPage(page)))
	same(t, gotPage, page, err)
	gotPage, err = FromPage(wire(t, ToPage(store.Page{})))
	same(t, gotPage, store.Page{}, err)

	result := store.Result{Revision: 1, Replaced: 2, Found: true, Value: []byte("v"), Context: store.Entry("c"),
		Acked: 2, Wanted: 3, Entry: store.Entry("e"), Proof: proof()}
	gotResult, err := FromResult(wire(t, ToResult(result)))
	same(t, gotResult, result, err)
}

func TestConflictBringsWhatItSaw(t *testing.T) {
	response := ToResult(store.Result{Value: []byte("seen"), Found: true, Revision: 4})
	response.Error = ToError(&store.Error{Code: store.Conflict})
	result, err := FromResult(wire(t, response))
	if !errors.Is(err, store.Conflict) || string(result.Value) != "seen" || !result.Found || result.Revision != 4 {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestErrorsCrossTheWireUnchanged(t *testing.T) {
	for _, code := range store.Codes {
		want := &store.Error{Code: code, Op: "put", Keyspace: "carts", Group: store.GroupID{Keyspace: 7, Shard: 2}, Node: "n1",
			Leader: "n2", RetryAfter: time.Second, Msg: "no", Try: "again", Cause: errors.New("why")}
		same(t, FromError(wire(t, ToError(want))), want, nil)
		same(t, FromStatus(Status(fmt.Errorf("wrapped: %w", want))), want, nil)
	}
	if FromError(ToError(nil)) != nil || Status(nil) != nil || FromStatus(nil) != nil {
		t.Error("no error became one")
	}
}

func TestEveryCodeHasAStatusOfItsKind(t *testing.T) {
	for _, code := range store.Codes {
		if _, ok := statusCodes[code]; !ok && code != store.Unknown {
			t.Errorf("%s has no status code", code)
		}
	}
	refused := status.Error(codes.ResourceExhausted, "too large")
	if got := Status(refused); status.Code(got) != codes.ResourceExhausted {
		t.Errorf("a status became %v", got)
	}
}

func TestWhatNoNodeSaidIsUnknown(t *testing.T) {
	for _, err := range []error{
		context.DeadlineExceeded,
		status.Error(codes.Unavailable, "connection reset"),
		status.Error(codes.ResourceExhausted, "message too large"),
	} {
		if got := FromStatus(err); !errors.Is(got, store.Unknown) {
			t.Errorf("%v is %v, want Unknown", err, got)
		}
	}
	if got := FromStatus(status.Error(codes.Unimplemented, "no method")); !errors.Is(got, store.Unsupported) {
		t.Errorf("a missing method is %v", got)
	}
	if got := FromError(&Error{Code: "Tired"}); got.Code != store.Unknown || !strings.Contains(got.Msg, "Tired") {
		t.Errorf("an unknown code is %v", got)
	}
}

func TestUnknownNamesAreRefused(t *testing.T) {
	good := func() *Keyspace {
		return &Keyspace{Id: 7, Mode: "ap", Groups: 1, Placement: []*Group{{Members: []string{"n1"}}}}
	}
	broken := func(change func(*Keyspace)) error {
		k := good()
		change(k)
		_, err := FromKeyspace(k)
		return err
	}
	_, level := FromQuery(&ReadRequest{Level: "string"})
	_, op := FromCommand(&WriteRequest{Op: 99})
	_, none := FromCommand(&WriteRequest{})
	_, condition := FromCommand(&WriteRequest{Op: Op_OP_PUT, Condition: &Condition{Kind: 99}})
	_, w := FromCommand(&WriteRequest{Op: Op_OP_PUT, W: "most"})
	_, sent := FromCommand(wire(t, ToCommand(store.Command{Op: store.Put, If: store.Condition{Kind: 99}})))
	_, served := FromPage(&ReadResponse{Proof: &Proof{Served: "nearly"}})
	_, group := FromPage(&ReadResponse{Proof: &Proof{Group: "7"}})
	_, node := FromNode(&Node{Name: "../n1"})
	_, cluster := FromTopology(&TopologyResponse{Cluster: "c"})
	for what, err := range map[string]error{
		"level": level, "operation": op, "no operation": none, "condition": condition, "w": w, "condition sent": sent,
		"served": served, "group": group, "node": node, "cluster": cluster,
		"mode":       broken(func(k *Keyspace) { k.Mode = "ca" }),
		"conflict":   broken(func(k *Keyspace) { k.Conflict = "fight" }),
		"durability": broken(func(k *Keyspace) { k.Durability = "hope" }),
		"keyspace w": broken(func(k *Keyspace) { k.W = "some" }),
		"groups":     broken(func(k *Keyspace) { k.Groups = 1 << 31 }),
		"shards":     broken(func(k *Keyspace) { k.Placement[0].Shard = 1 }),
	} {
		if !errors.Is(err, store.Invalid) {
			t.Errorf("%s: error is %v, want Invalid", what, err)
		}
	}
	if _, err := FromKeyspace(good()); err != nil {
		t.Error(err)
	}
	if _, err := FromResult(&WriteResponse{Proof: &Proof{Served: "nearly"}}); !errors.Is(err, store.Unknown) {
		t.Errorf("an unreadable answer to a write is %v, want Unknown", err)
	}
}

func TestTopologyCrossesTheWire(t *testing.T) {
	want := shard.Topology{
		Cluster: strings.Repeat("ab", 16), Epoch: 2, Revision: 9, Node: "n1",
		Nodes: []shard.Node{{Name: "n1", Addr: "a:1", Gossip: "a:2", Admin: "a:3", Zone: "z", Disk: 1 << 63}, {Name: "n2"}},
		Keyspaces: []shard.Keyspace{
			{ID: 7, Name: "orders", Mode: store.CP, Groups: 2, Placement: [][]string{{"n1", "n2"}, {"n2", "n1"}}},
			{ID: 8, Name: "carts", Mode: store.AP, Groups: 1, Policy: store.Siblings, W: store.WMajority, Durability: store.OS, Placement: [][]string{{"n1"}}},
		},
		Leaders: map[store.GroupID]string{{Keyspace: 7, Shard: 1}: "n2"},
	}
	got, err := FromTopology(wire(t, ToTopology(want)))
	same(t, got, want, err)
}

func TestAnswerLeavesTimeForItself(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		for left, want := range map[time.Duration]time.Duration{
			2 * time.Second:       1900 * time.Millisecond,
			80 * time.Millisecond: 70 * time.Millisecond,
		} {
			ctx, cancel := context.WithTimeout(t.Context(), left)
			inner, cancelInner := ToAnswer(ctx)
			if deadline, _ := inner.Deadline(); time.Until(deadline) != want {
				t.Errorf("of %v remain %v, want %v", left, time.Until(deadline), want)
			}
			cancelInner()
			cancel()
		}
	})
}
