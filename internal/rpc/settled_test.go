package rpc

import (
	"bytes"
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// A node that has no replica says so only of a catalog that it knows, and only if that
// gives it none: else it may be about to open one.
func TestNodeSaysThatItHasNoReplicaOnlyIfItWillNot(t *testing.T) {
	f := newFake()
	behindDoors(t, func(_ int, conn net.Conn) {
		serveCaller(context.WithoutCancel(t.Context()), from{conn, "n2"}, Config{Node: f})
	}, func(t *testing.T, _ *doors, p *Pool) {
		settled := func(revision uint64) ([]byte, error) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return p.Settled(ctx, "n1", group, nil, 0, revision)
		}
		f.settled = store.Entry("held by all")
		if got, err := settled(9); err != nil || string(got) != "held by all" {
			t.Errorf("%q, %v", got, err)
		}
		f.absent = true
		if _, err := settled(9); !errors.Is(err, store.Unavailable) {
			t.Errorf("one that is to have a replica: %v", err)
		}
		f.topology.Keyspaces[0].Placement = [][]string{{"n2"}, {"n2"}}
		if _, err := settled(9); !errors.Is(err, store.NotFound) {
			t.Errorf("one that is to have none: %v", err)
		}
		if _, err := settled(10); !errors.Is(err, store.Unavailable) {
			t.Errorf("one that has not heard of that catalog: %v", err)
		}
	})
}

// What a token says of other groups reaches a replica only as far as the node has proved it.
func TestWriteBringsWhatWasProvedOfOtherGroups(t *testing.T) {
	f := newFake()
	elsewhere := func(keyspace uint64) token.Deps {
		d, err := token.DepsOf(store.GroupID{Keyspace: keyspace}, token.EncodeEntry([]token.Component{{N: 5}}))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	tok := token.Token{Cluster: clusterID, Epoch: 1}
	for _, id := range []uint64{group.Keyspace, 20, 21} {
		seen := store.GroupID{Keyspace: id}
		if id == group.Keyspace {
			seen = group
		}
		if err := tok.Read(seen, token.EncodeEntry([]token.Component{{N: 5}})); err != nil {
			t.Fatal(err)
		}
	}
	encoded, err := tok.Encode()
	if err != nil {
		t.Fatal(err)
	}
	f.open = elsewhere(20)
	s := &kv{node: f, traffic: new(Traffic)}
	key := "k"
	for i := 0; f.topology.Keyspaces[0].Shard(key) != group.Shard; i++ {
		key += "k"
	}
	request := &kvpb.WriteRequest{Keyspace: "ks", KeyspaceId: 7, Shard: 1, Op: kvpb.Op_OP_PUT, Key: key, Token: encoded}
	if r := s.write(t.Context(), request); r.GetError() != nil {
		t.Fatal(r.GetError())
	}
	if want := elsewhere(20).Join(elsewhere(21)); !bytes.Equal(f.proved.Encode(), want.Encode()) {
		t.Errorf("it was asked to prove %x, want %x", f.proved.Encode(), want.Encode())
	}
	if !bytes.Equal(f.command.Deps, elsewhere(20).Encode()) {
		t.Errorf("the replica was told %x", f.command.Deps)
	}
	f.command, f.unproved = store.Command{}, store.SessionUnreachable
	if r := s.write(t.Context(), request); r.GetError().GetCode() != string(store.SessionUnreachable) || f.command.Key != "" {
		t.Errorf("%v, and the replica was told %+v", r.GetError(), f.command)
	}
}
