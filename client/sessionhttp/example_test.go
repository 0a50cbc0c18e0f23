package sessionhttp_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/client/clienttest"
	"github.com/dialkv/dialkv/client/sessionhttp"
	"github.com/dialkv/dialkv/store"
)

// lab stands in for a test.
type lab struct{ cleanups []func() }

func (*lab) Helper()                      {}
func (*lab) Context() context.Context     { return context.Background() }
func (l *lab) Cleanup(f func())           { l.cleanups = append(l.cleanups, f) }
func (*lab) Errorf(f string, args ...any) { log.Printf(f, args...) }
func (*lab) Fatalf(f string, args ...any) { log.Fatalf(f, args...) }

func (l *lab) end() {
	for _, f := range slices.Backward(l.cleanups) {
		f()
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Two services, each with a client of its own. Who calls them has a session, and the second
// shows it what it wrote at the first.
func Example() {
	l := new(lab)
	defer l.end()
	cluster := clienttest.Start(l, clienttest.Config{Nodes: 3})
	cluster.Create(clienttest.Keyspace{Name: "carts", Mode: store.AP})

	// The services. Nothing in a handler is about sessions but the request's context.
	service := func(c *client.Client, h func(http.ResponseWriter, *http.Request)) *httptest.Server {
		carry, err := sessionhttp.New(c, sessionhttp.Config{})
		check(err)
		return httptest.NewServer(carry.Handler(http.HandlerFunc(h)))
	}
	shop, desk := cluster.At("n1"), cluster.At("n2")
	add := service(shop, func(_ http.ResponseWriter, r *http.Request) {
		_, err := shop.Keyspace("carts").Put(r.Context(), "u42", []byte("tea"))
		check(err)
	})
	defer add.Close()
	show := service(desk, func(w http.ResponseWriter, r *http.Request) {
		item, err := desk.Keyspace("carts").Get(r.Context(), "u42", client.At(client.ReadYourWrites))
		check(err)
		fmt.Fprintf(w, "%s", item.Value)
	})
	defer show.Close()

	// Who calls them.
	c := cluster.Client()
	carry, err := sessionhttp.New(c, sessionhttp.Config{})
	check(err)
	sockets := &http.Transport{}
	defer sockets.CloseIdleConnections()
	web := &http.Client{Transport: carry.Transport(sockets)}
	ctx := c.Within(context.Background(), c.NewSession())
	for _, url := range []string{add.URL, show.URL} {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
		check(err)
		response, err := web.Do(request)
		check(err)
		said, err := io.ReadAll(response.Body)
		check(err)
		_ = response.Body.Close()
		fmt.Printf("%d %q\n", response.StatusCode, said)
	}
	// Output:
	// 200 ""
	// 200 "tea"
}
