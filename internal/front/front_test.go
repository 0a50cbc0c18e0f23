package front

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

// What goes through a front to replicas and back is tested with the client, whose
// pinned calls enter by it. Here are those that get no further.
func TestFrontAnswersInBand(t *testing.T) {
	c, err := client.Open(t.Context(), client.Config{
		Seeds: []string{"n1"},
		Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("connection refused")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	s := New(c, nil)
	for code, r := range map[store.Code]*kvpb.ReadRequest{
		store.Unavailable: {Keyspace: "ks", Key: "k"},
		store.Invalid:     {Keyspace: "ks", Key: "k", Token: []byte("x")},
	} {
		response, err := s.Read(t.Context(), r)
		if err != nil || store.Code(response.GetError().GetCode()) != code {
			t.Errorf("read: %v, %v, want %s", response.GetError(), err, code)
		}
	}
	for code, r := range map[store.Code]*kvpb.WriteRequest{
		store.Unavailable: {Keyspace: "ks", Key: "k", Op: kvpb.Op_OP_PUT},
		store.Invalid:     {Keyspace: "ks", Key: "k"},
	} {
		response, err := s.Write(t.Context(), r)
		if err != nil || store.Code(response.GetError().GetCode()) != code {
			t.Errorf("write: %v, %v, want %s", response.GetError(), err, code)
		}
	}
}
