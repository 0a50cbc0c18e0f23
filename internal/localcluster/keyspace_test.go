package localcluster_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

func tryCreate(t *testing.T, c localcluster.Cluster, at string, r *kvpb.CreateKeyspaceRequest) error {
	t.Helper()
	admin, err := c.Admin(at)
	if err != nil {
		t.Fatal(err)
	}
	_, err = admin.CreateKeyspace(within(t, 3*time.Second), r)
	return kvpb.FromStatus(err)
}

func TestKeyspacesThatCannotBeAreRefused(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 3)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "taken", Mode: "cp"})
		for name, want := range map[string]struct {
			r    *kvpb.CreateKeyspaceRequest
			code store.Code
		}{
			"a name that is taken":       {&kvpb.CreateKeyspaceRequest{Name: "taken", Mode: "ap"}, store.AlreadyExists},
			"no mode":                    {&kvpb.CreateKeyspaceRequest{Name: "a"}, store.Invalid},
			"an unknown mode":            {&kvpb.CreateKeyspaceRequest{Name: "a", Mode: "ca"}, store.Invalid},
			"more replicas than nodes":   {&kvpb.CreateKeyspaceRequest{Name: "a", Mode: "cp", Replicas: 4}, store.Invalid},
			"too many groups":            {&kvpb.CreateKeyspaceRequest{Name: "a", Mode: "cp", Groups: 17}, store.Invalid},
			"a conflict policy on cp":    {&kvpb.CreateKeyspaceRequest{Name: "a", Mode: "cp", Conflict: "lww"}, store.Unsupported},
			"an unknown conflict policy": {&kvpb.CreateKeyspaceRequest{Name: "a", Mode: "ap", Conflict: "first"}, store.Invalid},
			"an unknown w":               {&kvpb.CreateKeyspaceRequest{Name: "a", Mode: "ap", W: "two"}, store.Invalid},
			"a slash in the name":        {&kvpb.CreateKeyspaceRequest{Name: "a/b", Mode: "cp"}, store.Invalid},
			"the catalog's name":         {&kvpb.CreateKeyspaceRequest{Name: store.CatalogName, Mode: "cp"}, store.Invalid},
		} {
			if err := tryCreate(t, c, "n2", want.r); !errors.Is(err, want.code) {
				t.Errorf("%s: %v, want %s", name, err, want.code)
			}
		}
		if status := statusOf(t, c, "n1"); len(status.GetReplicas()) != 2 {
			t.Errorf("refused keyspaces left replicas: %v", status.GetReplicas())
		}
	})
}

func statusOf(t *testing.T, c localcluster.Cluster, name string) *kvpb.StatusResponse {
	t.Helper()
	admin, err := c.Admin(name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := admin.Status(within(t, time.Second), &kvpb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDeletedKeyspaceIsGoneAndItsSuccessorIsEmpty(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 3)
		cl, err := c.Client(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		for _, mode := range []string{"cp", "ap"} {
			create(t, c, &kvpb.CreateKeyspaceRequest{Name: "k", Mode: mode})
			ks := cl.Keyspace("k")
			if _, err := ks.Put(within(t, 5*time.Second), "key", []byte(mode)); err != nil {
				t.Fatal(err)
			}
			admin, err := c.Admin("n3")
			if err == nil {
				_, err = admin.DeleteKeyspace(within(t, 5*time.Second), &kvpb.DeleteKeyspaceRequest{Name: "k"})
			}
			if err != nil {
				t.Fatal(kvpb.FromStatus(err))
			}
			<-time.After(time.Second) // every node hears of it
			if _, err := ks.Get(within(t, 5*time.Second), "key"); !errors.Is(err, store.NoSuchKeyspace) {
				t.Errorf("%s: a read after the delete: %v", mode, err)
			}
			for _, name := range c.Nodes() {
				if s := statusOf(t, c, name); len(s.GetReplicas()) != 1 {
					t.Errorf("%s: %s still has %v", mode, name, s.GetReplicas())
				}
			}
		}
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "k", Mode: "cp"})
		if item, err := cl.Keyspace("k").Get(within(t, 5*time.Second), "key"); err != nil || item.Found {
			t.Errorf("the keyspace made again: %+v, %v", item, err)
		}
	})
}

func TestCutOffSideKnowsItsKeyspacesAndCannotMakeOrDenyOthers(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 3)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap"})
		rules, err := link.ParsePartition("n1|n2,n3", c.Nodes())
		if err == nil {
			err = c.SetFaults(t.Context(), rules)
		}
		if err != nil {
			t.Fatal(err)
		}
		alone, err := c.Client(t.Context(), "n1")
		if err != nil {
			t.Fatal(err)
		}
		defer alone.Close()
		if _, err := alone.Keyspace("carts").Put(within(t, 2*time.Second), "k", []byte("v")); err != nil {
			t.Errorf("an ap write on the cut-off side: %v", err)
		}
		if _, err := alone.Keyspace("unheard").Get(within(t, 2*time.Second), "k"); !errors.Is(err, store.Unavailable) {
			t.Errorf("a keyspace that n1 cannot ask for: %v, want Unavailable", err)
		}
		if err := tryCreate(t, c, "n1", &kvpb.CreateKeyspaceRequest{Name: "more", Mode: "ap"}); err == nil || store.OutcomeOf(err) == store.OK {
			t.Errorf("a keyspace made without the majority: %v", err)
		}
	})
}

func TestTheCatalogIsForNodes(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 1)
		cl, err := c.Client(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		_, err = cl.Keyspace(store.CatalogName).Put(within(t, 2*time.Second), "node/n1", []byte("?"))
		if !errors.Is(err, store.Denied) {
			t.Errorf("a write to the catalog from outside: %v", err)
		}
	})
}

func TestTokenOfAnotherClusterIsRefused(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		var token string
		for range 2 {
			c := memory(t, 1)
			create(t, c, &kvpb.CreateKeyspaceRequest{Name: "k", Mode: "cp"})
			cl, err := c.Client(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			if token != "" {
				sess, err := cl.ResumeSession(token)
				if err == nil {
					_, err = cl.Keyspace("k").Get(within(t, 2*time.Second), "key", client.In(sess))
				}
				if !errors.Is(err, store.TokenMismatch) || !strings.Contains(store.AsError(err).Msg, "cluster") {
					t.Errorf("%v", err)
				}
			}
			sess := cl.NewSession()
			if _, err := cl.Keyspace("k").Put(within(t, 5*time.Second), "key", []byte("v"), client.In(sess)); err != nil {
				t.Fatal(err)
			}
			token = sess.Token()
			if err := cl.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// A keyspace that was created serves: each group, on each member, and not only the first
// that a member has opened.
func TestANewKeyspaceServesInEveryGroup(t *testing.T) {
	for _, mode := range []string{"cp", "ap"} {
		t.Run(mode, func(t *testing.T) {
			linktest.Bubble(t, func(t *testing.T) {
				c := memory(t, 3)
				for _, keyspace := range []string{"a", "b", "c", "d", "e"} {
					if err := tryCreate(t, c, "n1", &kvpb.CreateKeyspaceRequest{Name: keyspace, Mode: mode, Groups: 16, Replicas: 1}); err != nil {
						t.Fatal(err)
					}
					serving := 0
					for _, name := range c.Nodes() {
						for _, r := range statusOf(t, c, name).GetReplicas() {
							if r.GetKeyspace() == keyspace && r.GetReady() {
								serving++
							}
						}
					}
					if serving != 16 {
						t.Errorf("%d of the 16 groups of %s serve", serving, keyspace)
					}
				}
			})
		})
	}
}
