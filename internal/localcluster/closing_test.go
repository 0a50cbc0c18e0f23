package localcluster_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

// reads reads the key once, in the desk's session.
func (d *desk) reads(keyspace string) error {
	_, err := d.c.Keyspace(keyspace).Read(within(d.t, 3*time.Second), store.Query{Key: "k", Level: store.Causal}, client.In(d.session))
	return err
}

func size(t *testing.T, tok string) int {
	b, err := base64.RawURLEncoding.DecodeString(tok)
	if err != nil {
		t.Fatal(err)
	}
	return len(b)
}

// A session that lives through many starts of all nodes has a short token again once what
// ended was closed, and so has one that begins. One of long ago is served.
func TestTokenIsShortAfterManyStarts(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		m := memoryOf(t, localcluster.MemoryConfig{Nodes: 3})
		create(t, m, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap"})
		tok, old := "", ""
		for i := range 8 {
			for _, name := range m.Nodes() {
				d := deskAt(t, m, name)
				d.resume(tok)
				d.put("carts", fmt.Sprint(name, i))
				tok = d.session.Token()
				if err := m.Kill(t.Context(), name); err != nil {
					t.Fatal(err)
				}
				if err := m.Restart(within(t, 30*time.Second), name); err != nil {
					t.Fatal(err)
				}
			}
			if i == 0 {
				old = tok
			}
		}
		d := deskAt(t, m, "n2")
		if n := size(t, tok); n < 250 {
			t.Fatalf("the token of a session that wrote before every start has %d bytes: nothing is shown", n)
		}
		reader, writer := tok, tok
		eventually(t, "the token of a session that goes on is short", func() bool {
			d.resume(reader)
			d.get("carts", store.Causal)
			reader = d.session.Token()
			return size(t, reader) <= 128
		})
		d.resume(writer)
		d.put("carts", "again")
		if n := size(t, d.session.Token()); n > 128 {
			t.Errorf("after a write it has %d bytes", n)
		}
		for _, name := range m.Nodes() {
			d := deskAt(t, m, name)
			d.resume(old)
			d.get("carts", store.Causal)
		}
	})
}

// What a member alone had that is given up for lost is told to the session that has seen it;
// while the member is merely away it is not.
func TestSessionIsToldWhatWentWithADeadNode(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		m := memoryOf(t, localcluster.MemoryConfig{Nodes: 3})
		create(t, m, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap"})
		create(t, m, &kvpb.CreateKeyspaceRequest{Name: "notes", Mode: "ap"})
		there := deskAt(t, m, "n3")
		there.put("carts", "before")
		before := there.session.Token()
		<-time.After(3 * time.Second)
		if err := m.SetFaults(t.Context(), link.Isolate("n3", m.Nodes())); err != nil {
			t.Fatal(err)
		}
		there.put("carts", "alone")
		alone := there.session.Token()
		if err := m.Kill(t.Context(), "n3"); err != nil {
			t.Fatal(err)
		}
		if err := m.SetFaults(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		here := deskAt(t, m, "n1")
		here.resume(alone)
		<-time.After(30 * time.Second)
		if err := here.reads("carts"); !errors.Is(err, store.SessionUnreachable) {
			t.Errorf("the member is away, and the session is told %v", err)
		}
		if _, err := m.Remove(within(t, time.Minute), "n3", true, func(string) {}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the session is told that its write is lost", func() bool {
			return errors.Is(here.reads("carts"), store.WritesLost)
		})
		_, err := here.c.Keyspace("notes").Put(within(t, 3*time.Second), "k", []byte("v"), client.In(here.session))
		if !errors.Is(err, store.WritesLost) {
			t.Errorf("a write elsewhere that would depend on it is told %v", err)
		}
		var e *store.Error
		if errors.As(err, &e) && e.Try == "" {
			t.Error("nothing is said of what to do")
		}
		here.resume(before)
		if value, _ := here.get("carts", store.Causal); value != "before" {
			t.Errorf("there is %q", value)
		}
	})
}
