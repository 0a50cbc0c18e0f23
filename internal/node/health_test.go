package node_test

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/internal/front"
	"github.com/dialkv/dialkv/internal/node"
	"github.com/dialkv/dialkv/store"
)

// ask asks a node over HTTP.
func ask(t *testing.T, addr, path string) (status int, body []byte) {
	t.Helper()
	resp, err := http.Get("http://" + addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

func TestANodeTellsOverHTTPHowItIs(t *testing.T) {
	cfg := onDisk(t, "n1", t.TempDir())
	cfg.Network.Admin = "127.0.0.1:0"
	n, stop := run(t, cfg)
	<-n.Ready()
	if status, body := ask(t, n.AdminAddr(), "/livez"); status != 200 {
		t.Errorf("livez: %d %s", status, body)
	}
	status, body := ask(t, n.AdminAddr(), "/readyz?format=json")
	var h front.Health
	if err := json.Unmarshal(body, &h); err != nil || status != 200 || !h.Ready || h.Node != "n1" || len(h.Reasons) != 0 ||
		len(h.Groups) != 1 || h.Groups[0].Keyspace != store.CatalogName || h.Groups[0].Leader != "n1" || !h.Groups[0].Ready {
		t.Errorf("readyz: %d %s, %v", status, body, err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", n.AdminAddr()); err == nil {
		_ = conn.Close()
		t.Error("the admin address is still served after the end")
	}
}

// Nobody answers at the seed, so the node belongs to no cluster: it is alive, and not
// ready.
func TestANodeThatCannotJoinIsAliveAndNotReady(t *testing.T) {
	cfg := onDisk(t, "n1", t.TempDir())
	cfg.Network.Admin, cfg.Join = "127.0.0.1:0", []string{"127.0.0.1:1"}
	n, stop := run(t, cfg)
	if status, body := ask(t, n.AdminAddr(), "/livez"); status != 200 {
		t.Errorf("livez: %d %s", status, body)
	}
	if status, body := ask(t, n.AdminAddr(), "/readyz"); status != 503 || !strings.Contains(string(body), "belongs to no cluster") {
		t.Errorf("readyz: %d %s", status, body)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestAnAdminAddressInUseIsNamedAndNothingIsWritten(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dir := filepath.Join(t.TempDir(), "data")
	cfg := onDisk(t, "n1", dir)
	cfg.Network.Admin = ln.Addr().String()
	_, err = node.Open(cfg)
	refused(t, err, store.Invalid, ln.Addr().String())
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data directory was made: %v", err)
	}
}
