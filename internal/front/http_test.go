package front

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

// open serves the door until the test ends, and returns its address.
func open(t *testing.T, w Watched) string {
	t.Helper()
	h, err := ListenHTTP("--admin", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Serve(ctx, w.Handler(), log.New(io.Discard, "", 0)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if conn, err := net.Dial("tcp", h.Addr()); err == nil {
			_ = conn.Close()
			t.Error("the address is still served")
		}
	})
	return h.Addr()
}

func get(t *testing.T, url, accept string) (status int, kind, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
}

func TestReadyzSaysWhyNot(t *testing.T) {
	health := Health{Node: "n1", Reasons: []string{"group 7/0 has no leader", "the cluster has 2 of 3 nodes"}, Groups: []GroupHealth{{Group: "7/0", Keyspace: "orders", Mode: "cp"}}}
	at := "http://" + open(t, Watched{Health: func() Health { return health }})
	status, _, body := get(t, at+"/readyz", "*/*")
	if want := "n1 is not ready\ngroup 7/0 has no leader\nthe cluster has 2 of 3 nodes\n"; status != 503 || body != want {
		t.Errorf("%d %q, want 503 %q", status, body, want)
	}
	for _, as := range [][2]string{{"/readyz?format=json", "*/*"}, {"/readyz", "application/json"}} {
		status, kind, body := get(t, at+as[0], as[1])
		var got Health
		if err := json.Unmarshal([]byte(body), &got); err != nil || status != 503 || kind != "application/json" || !reflect.DeepEqual(got, health) {
			t.Errorf("%v: %d %s %s, %v", as, status, kind, body, err)
		}
	}
	if status, _, body := get(t, at+"/readyz?format=yaml", ""); status != 400 || !strings.Contains(body, "yaml") {
		t.Errorf("%d %q", status, body)
	}
	if status, _, body := get(t, at+"/livez", ""); status != 200 || body != "alive\n" {
		t.Errorf("a node that is not ready is alive: %d %q", status, body)
	}
	health = Health{Node: "n1", Ready: true}
	if status, _, body := get(t, at+"/readyz", ""); status != 200 || body != "n1 is ready\n" {
		t.Errorf("%d %q", status, body)
	}
}

func TestOtherPathsAndMethodsAreRefused(t *testing.T) {
	at := "http://" + open(t, Watched{Health: func() Health { return Health{} }})
	if status, _, _ := get(t, at+"/debug/pprof/", ""); status != 404 {
		t.Errorf("an unknown path: %d", status)
	}
	resp, err := http.Post(at+"/readyz", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a POST: %d", resp.StatusCode)
	}
}

// The answer may be lost behind what the node did not read of the request.
func TestAHeaderThatIsTooLargeIsRefused(t *testing.T) {
	at := "http://" + open(t, Watched{Health: func() Health { return Health{} }})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at+"/livez", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", strings.Repeat("x", 2*httpHeader))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%d", resp.StatusCode)
	}
}

// One connection more than there may be waits until another is closed.
func TestConnectionsAreBounded(t *testing.T) {
	at := open(t, Watched{Health: func() Health { return Health{} }})
	ask := func() (net.Conn, error) {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, err = io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
		return conn, err
	}
	answer := func(conn net.Conn, within time.Duration) error {
		_ = conn.SetReadDeadline(time.Now().Add(within))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	var held []net.Conn
	for range httpConns {
		conn, err := ask()
		if err == nil {
			err = answer(conn, time.Minute)
		}
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	late, err := ask()
	if err != nil {
		t.Fatal(err)
	}
	if err := answer(late, 100*time.Millisecond); err == nil {
		t.Fatalf("connection %d was served beside the others", httpConns+1)
	}
	_ = held[0].Close()
	if err := answer(late, time.Minute); err != nil {
		t.Errorf("after another was closed: %v", err)
	}
}

func TestAnAddressInUseIsNamed(t *testing.T) {
	at := open(t, Watched{Health: func() Health { return Health{} }})
	_, err := ListenHTTP("--admin", at)
	var e *store.Error
	if !errors.As(err, &e) || e.Code != store.Invalid || !strings.Contains(e.Error(), at) || e.Try == "" {
		t.Errorf("%v", err)
	}
}
