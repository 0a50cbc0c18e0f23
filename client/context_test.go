package client_test

import (
	"testing"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

// A context of another key would let a write supersede what its writer has not read.
func TestContextOfAnotherKeyIsRefused(t *testing.T) {
	whole(t, 1, func(t *testing.T, m *localcluster.Memory, _ *client.Keyspace) {
		admin, err := m.Admin("n1")
		must(t, err)
		_, err = admin.CreateKeyspace(t.Context(), &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap", Conflict: "siblings"})
		must(t, kvpb.FromStatus(err))
		c := join(t, m, "n1")
		for _, name := range []string{"ap", "carts"} {
			ks := c.Keyspace(name)
			for _, key := range []string{"a", "b"} {
				_, err := ks.Put(t.Context(), key, []byte(key), client.Blind())
				must(t, err)
			}
			a, err := ks.Get(t.Context(), "a")
			must(t, err)
			_, err = ks.Put(t.Context(), "b", []byte("unread"), client.WithContext(a.Context))
			wantCode(t, err, store.Invalid)
			_, err = ks.Delete(t.Context(), "b", client.WithContext(a.Context))
			wantCode(t, err, store.Invalid)
			b, err := ks.Get(t.Context(), "b")
			must(t, err)
			if string(b.Value) != "b" {
				t.Errorf("%s: b holds %q", name, b.Values)
			}
			// A scan has read all the keys that it showed, a write the one it wrote.
			for item, err := range ks.Scan(t.Context(), store.Query{Prefix: "b"}) {
				must(t, err)
				_, err = ks.Put(t.Context(), "a", []byte("unread"), client.WithContext(item.Context))
				wantCode(t, err, store.Invalid)
				r, err := ks.Put(t.Context(), item.Key, []byte("read"), client.WithContext(item.Context))
				must(t, err)
				_, err = ks.Put(t.Context(), "a", []byte("unread"), client.WithContext(r.Context))
				wantCode(t, err, store.Invalid)
			}
		}
	})
}
