package sessionhttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/client/clienttest"
	"github.com/dialkv/dialkv/client/sessionhttp"
	"github.com/dialkv/dialkv/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func carrier(t *testing.T, c *client.Client, cookie *http.Cookie) *sessionhttp.Carrier {
	t.Helper()
	carry, err := sessionhttp.New(c, sessionhttp.Config{Cookie: cookie})
	must(t, err)
	return carry
}

// desk is a service over a keyspace: PUT writes what the body says, GET reads, at the level
// and within the time of the query.
func desk(c *client.Client, keyspace string) http.Handler {
	ks := c.Keyspace(keyspace)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := strings.TrimPrefix(r.URL.Path, "/")
		if r.Method == http.MethodPut {
			value, err := io.ReadAll(r.Body)
			if err == nil {
				_, err = ks.Put(r.Context(), key, value)
			}
			answer(w, nil, err)
			return
		}
		level, err := store.ParseLevel(r.URL.Query().Get("level"))
		var item client.Item
		if err == nil {
			item, err = ks.Get(r.Context(), key, client.At(level), client.WithTimeout(wait(r)))
		}
		answer(w, item.Value, err)
	})
}

func wait(r *http.Request) time.Duration {
	d, _ := time.ParseDuration(r.URL.Query().Get("wait"))
	return d
}

func answer(w http.ResponseWriter, value []byte, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write(value)
}

// serve serves a handler on a socket.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func ask(t *testing.T, c *http.Client, ctx context.Context, method, url, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	must(t, err)
	response, err := c.Do(r)
	must(t, err)
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	must(t, err)
	return response.StatusCode, string(said)
}

// unseen reports whether a read was refused because what the session has seen is not there:
// said by the node or, on a machine that is busy, by the deadline.
func unseen(err error) bool {
	return errors.Is(err, store.SessionUnreachable) || errors.Is(err, store.Unavailable)
}

// browser is an HTTP client with, or without, cookies.
func browser(t *testing.T, base http.RoundTripper, cookies bool) *http.Client {
	t.Helper()
	own := &http.Transport{}
	t.Cleanup(own.CloseIdleConnections)
	c := &http.Client{Transport: own}
	if base != nil {
		c.Transport = base
	}
	if cookies {
		jar, err := cookiejar.New(nil)
		must(t, err)
		c.Jar = jar
	}
	return c
}

func carts(t *testing.T) *clienttest.Cluster {
	t.Helper()
	c := clienttest.Start(t, clienttest.Config{Nodes: 3, Seed: 1})
	c.Create(clienttest.Keyspace{Name: "carts", Mode: store.AP})
	return c
}

// The write is where the second service's node cannot have it. With its session the read
// waits for it, and without it reads what is there.
func TestSecondServiceSeesWhatTheFirstOneWrote(t *testing.T) {
	c := carts(t)
	first, second, caller := c.At("n1"), c.At("n2"), c.Client()
	writes := serve(t, carrier(t, first, nil).Handler(desk(first, "carts")))
	reads := serve(t, carrier(t, second, nil).Handler(desk(second, "carts")))

	own := &http.Transport{}
	defer own.CloseIdleConnections()
	web := browser(t, carrier(t, caller, nil).Transport(own), false)
	ctx := caller.Within(t.Context(), caller.NewSession())
	c.Cut("n1|n2,n3")
	if status, said := ask(t, web, ctx, http.MethodPut, writes+"/u", "tea"); status != http.StatusOK {
		t.Fatal(status, said)
	}
	if status, said := ask(t, web, t.Context(), http.MethodGet, reads+"/u?level=read-your-writes&wait=10s", ""); status != http.StatusOK || said != "" {
		t.Errorf("without a session the second service says %d %q", status, said)
	}
	if status, said := ask(t, web, ctx, http.MethodGet, reads+"/u?level=read-your-writes&wait=300ms", ""); status != http.StatusServiceUnavailable {
		t.Errorf("while the write cannot come the second service says %d %q", status, said)
	}
	c.Heal()
	if status, said := ask(t, web, ctx, http.MethodGet, reads+"/u?level=read-your-writes&wait=20s", ""); status != http.StatusOK || said != "tea" {
		t.Errorf("the second service says %d %q", status, said)
	}
}

func TestBrowserKeepsItsSessionInACookie(t *testing.T) {
	c := carts(t)
	first, second := c.At("n1"), c.At("n2")
	cookie := &http.Cookie{Name: "seen", Path: "/", HttpOnly: true}
	mux := http.NewServeMux()
	mux.Handle("/first/", http.StripPrefix("/first", carrier(t, first, cookie).Handler(desk(first, "carts"))))
	mux.Handle("/second/", http.StripPrefix("/second", carrier(t, second, cookie).Handler(desk(second, "carts"))))
	site := serve(t, mux)
	web := browser(t, nil, true)
	c.Cut("n1|n2,n3")
	ask(t, web, t.Context(), http.MethodPut, site+"/first/u", "tea")
	if status, said := ask(t, web, t.Context(), http.MethodGet, site+"/second/u?level=causal&wait=300ms", ""); status != http.StatusServiceUnavailable {
		t.Errorf("a session that cannot be shown is told %d %q", status, said)
	}
	c.Heal()
	if _, said := ask(t, web, t.Context(), http.MethodGet, site+"/second/u?level=causal&wait=20s", ""); said != "tea" {
		t.Errorf("the browser is shown %q", said)
	}
}

// Of two that go at the same time, both are in the session afterwards.
func TestRequestsAtTheSameTimeAreJoined(t *testing.T) {
	c := carts(t)
	left, right, caller := c.At("n1"), c.At("n2"), c.Client()
	var came sync.WaitGroup // each is answered when both have come
	came.Add(2)
	together := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			came.Done()
			came.Wait()
			h.ServeHTTP(w, r)
		})
	}
	sites := []string{
		serve(t, together(carrier(t, left, nil).Handler(desk(left, "carts")))),
		serve(t, together(carrier(t, right, nil).Handler(desk(right, "carts")))),
	}
	own := &http.Transport{}
	defer own.CloseIdleConnections()
	web := browser(t, carrier(t, caller, nil).Transport(own), false)
	session := caller.NewSession()
	ctx := caller.Within(t.Context(), session)
	c.Cut("n1|n2|n3")
	var both sync.WaitGroup
	for i, site := range sites {
		both.Go(func() {
			if status, said := ask(t, web, ctx, http.MethodPut, fmt.Sprintf("%s/k%d", site, i), "v"); status != http.StatusOK {
				t.Error(status, said)
			}
		})
	}
	both.Wait()
	for i, at := range []*client.Client{left, right} {
		key := fmt.Sprintf("k%d", 1-i) // the other's
		if _, err := at.Keyspace("carts").Get(t.Context(), key, client.In(session), client.WithTimeout(300*time.Millisecond)); !unseen(err) {
			t.Errorf("the session was shown a replica that lacks %s: %v", key, err)
		}
	}
	c.Heal()
	for i := range sites {
		item, err := c.At("n3").Keyspace("carts").Get(t.Context(), fmt.Sprintf("k%d", i), client.In(session), client.WithTimeout(20*time.Second))
		if err != nil || !item.Found {
			t.Errorf("k%d: %+v, %v", i, item, err)
		}
	}
}

// A service that calls another on behalf of its caller hands on what that has seen.
func TestSessionGoesOnFromServiceToService(t *testing.T) {
	c := carts(t)
	back, middle := c.At("n1"), c.At("n2")
	writes := serve(t, carrier(t, back, nil).Handler(desk(back, "carts")))
	own := &http.Transport{}
	defer own.CloseIdleConnections()
	carry := carrier(t, middle, nil)
	behind := browser(t, carry.Transport(own), false)
	site := serve(t, carry.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ask(t, behind, r.Context(), http.MethodPut, writes+"/u", "tea")
	})))
	c.Cut("n1|n2,n3")
	session := c.Client().NewSession()
	response, err := browser(t, nil, false).Get(site)
	must(t, err)
	must(t, response.Body.Close())
	must(t, session.Join(response.Header.Get(sessionhttp.Header)))
	if _, err := middle.Keyspace("carts").Get(t.Context(), "u", client.In(session), client.WithTimeout(300*time.Millisecond)); !unseen(err) {
		t.Errorf("the answer does not tell what the service behind has written: %v", err)
	}
}
