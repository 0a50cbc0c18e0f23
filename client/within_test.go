package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

func TestCallsInAContextArePartOfItsSession(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		c, other := w.open(nil), w.open(nil)
		session, named := c.NewSession(), c.NewSession()
		ctx := c.Within(t.Context(), session)
		_, err := c.Keyspace("ks").Put(ctx, "k", nil, client.In(named))
		must(t, err)
		_, err = other.Keyspace("ks").Put(ctx, "k", nil)
		must(t, err)
		if session.Token() != "" || other.SessionOf(ctx) != nil {
			t.Error("a call that names a session, or one of another client, is in the context's")
		}
		_, err = c.Keyspace("ks").Put(ctx, "k", nil)
		must(t, err)
		if session.Token() == "" || session.Token() != named.Token() {
			t.Errorf("the context's session is %q after a write, and one that was named %q", session.Token(), named.Token())
		}
		for name, read := range map[string]func(ctx context.Context) error{
			"get":   func(ctx context.Context) error { _, err := c.Keyspace("ks").Get(ctx, "k"); return err },
			"count": func(ctx context.Context) error { _, err := c.Keyspace("ks").Count(ctx, store.Query{}); return err },
		} {
			session := c.NewSession()
			must(t, read(c.Within(t.Context(), session)))
			if session.Token() == "" {
				t.Errorf("%s has not read in the context's session", name)
			}
		}
	})
}

// tokenOf is the token of a session that has read one entry.
func tokenOf(t *testing.T, cluster string, epoch uint64, group store.GroupID, n uint64) string {
	t.Helper()
	tok := token.Token{Cluster: cluster, Epoch: epoch}
	must(t, tok.Read(group, revision(n)))
	return tok.String()
}

func TestTokenThatSomebodySendsIsAdmittedOrRefusedAtOnce(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.change(func(t *shard.Topology) { t.Epoch = 3 })
		c := w.open(nil) // it knows nothing of the cluster yet
		for name, try := range map[string]struct {
			token string
			want  store.Code
		}{
			"none":                     {"", ""},
			"its own":                  {tokenOf(t, clusterID, 3, group, 5), ""},
			"of a later epoch":         {tokenOf(t, clusterID, 4, group, 5), ""},
			"from before a restore":    {tokenOf(t, clusterID, 2, group, 5), store.TokenMismatch},
			"of another cluster":       {tokenOf(t, strings.Repeat("ab", 16), 3, group, 5), store.TokenMismatch},
			"broken":                   {tokenOf(t, clusterID, 3, group, 5)[1:], store.Invalid},
			"not base64":               {"a b", store.Invalid},
			"as long as may be":        {strings.Repeat("A", client.MaxToken), store.Invalid},
			"longer than any token is": {strings.Repeat("A", client.MaxToken+1), store.TooLarge},
		} {
			s, err := c.AdmitSession(t.Context(), try.token)
			switch {
			case try.want != "":
				wantCode(t, err, try.want)
			case err != nil || s.Token() != try.token:
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestTokenIsAdmittedWhereNobodyKnowsTheCluster(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		w.each(func(n *node) { n.unreachable(refused) })
		tok := tokenOf(t, strings.Repeat("ab", 16), 3, group, 5)
		if s, err := w.open(nil).AdmitSession(t.Context(), tok); err != nil || s.Token() != tok {
			t.Errorf("%v", err)
		}
	})
}

func TestSessionJoinsWhatComesBack(t *testing.T) {
	c, err := client.Open(t.Context(), client.Config{Seeds: []string{"nowhere"}})
	must(t, err)
	defer c.Close()
	other := store.GroupID{Keyspace: 8}
	s := c.NewSession()
	for _, tok := range []string{"", tokenOf(t, clusterID, 1, group, 5), tokenOf(t, clusterID, 1, other, 2), tokenOf(t, clusterID, 1, group, 4)} {
		must(t, s.Join(tok))
	}
	want := token.Token{Cluster: clusterID, Epoch: 1}
	must(t, errors.Join(want.Read(group, revision(5)), want.Read(other, revision(2))))
	for _, tok := range []string{tokenOf(t, clusterID, 2, group, 9), tokenOf(t, strings.Repeat("ab", 16), 1, group, 9), "x"} {
		if s.Join(tok) == nil {
			t.Errorf("%q is joined", tok)
		}
	}
	if s.Token() != want.String() {
		t.Errorf("the session is %q, want %q", s.Token(), want.String())
	}
}
