package node_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/node"
)

// tell sends a command to a node's page.
func tell(t *testing.T, addr, name, body string) (status int, answer string) {
	t.Helper()
	resp, err := http.Post("http://"+addr+"/api/"+name, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// stateOf waits until a page's state has all of the texts.
func stateOf(t *testing.T, addr string, texts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/api/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReaderSize(resp.Body, 1<<20)
	for kind := ""; ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if name, ok := strings.CutPrefix(line, "event: "); ok {
			kind = strings.TrimSpace(name)
		}
		all := strings.HasPrefix(line, "data: ") && kind == "state"
		for _, text := range texts {
			all = all && strings.Contains(line, text)
		}
		if all {
			return
		}
	}
}

func TestANodeShowsTheClusterAsItSeesIt(t *testing.T) {
	network := link.NewNetwork(link.NetworkConfig{})
	open := func(cfg node.Config) (*node.Node, func() error) {
		door, err := network.Endpoint(cfg.Node)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Network.Endpoint, cfg.Network.DialSeed, cfg.Timing = door, network.DialClient, node.Classroom
		cfg.Data, cfg.Storage.FS = "/"+cfg.Node, vfs.NewMem()
		n, stop := run(t, cfg)
		select {
		case <-n.Ready():
		case <-time.After(20 * time.Second):
			t.Fatalf("%s is not ready: %v", cfg.Node, stop())
		}
		return n, stop
	}
	n, stop := open(node.Config{Node: "n1", AllowFaults: true, Network: node.Network{Web: "127.0.0.1:0"}})
	_, stopOther := open(node.Config{Node: "n2", Join: []string{"n1"}})
	stateOf(t, n.WebAddr(), `"from":"n1"`, `"id":"n1","state":"ready"`, `"id":"n2","state":"ready"`)

	cc, err := kvpb.Dial("n1", network.DialClient)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	if _, err := kvpb.NewAdminClient(cc).CreateKeyspace(t.Context(), &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap", Replicas: 2}); err != nil {
		t.Fatal(kvpb.FromStatus(err))
	}
	for _, c := range []struct {
		name, body string
		status     int
		says       string
	}{
		{"node", `{"do":"kill","node":"n2"}`, 400, "does not end processes"},
		{"op", `{"do":"put","keyspace":"carts","key":"k","value":"milk","client":"c","at":"n2"}`, 200, `"node":"n2"`},
		{"op", `{"do":"get","keyspace":"carts","key":"k","client":"c"}`, 200, `"node":"n1"`},
		{"key", `{"keyspace":"carts","key":"k"}`, 200, `"node":"n2","answers":true`},
		{"links", `{"do":"cut","what":"n1<->n2"}`, 200, ""},
	} {
		if status, answer := tell(t, n.WebAddr(), c.name, c.body); status != c.status || !strings.Contains(answer, c.says) {
			t.Errorf("%s %s: %d %s", c.name, c.body, status, answer)
		}
	}
	if status, answer := tell(t, n.WebAddr(), "op", `{"do":"put","keyspace":"carts","key":"k","value":"bread","client":"c","at":"n2","timeout_ms":500}`); status != 200 || strings.Contains(answer, `"outcome":"ok"`) {
		t.Errorf("n2 is entered across the cut: %d %s", status, answer)
	}
	stateOf(t, n.WebAddr(), `"id":"n2","state":"unreachable"`, `"net":"n1 | n2"`)
	if status, answer := tell(t, n.WebAddr(), "links", `{"do":"heal"}`); status != 200 {
		t.Errorf("heal: %d %s", status, answer)
	}
	stateOf(t, n.WebAddr(), `"id":"n2","state":"ready"`, `"net":""`)
	for _, end := range []func() error{stopOther, stop} {
		if err := end(); err != nil {
			t.Error(err)
		}
	}
	if _, err := http.Get("http://" + n.WebAddr() + "/"); err == nil {
		t.Error("the page is still served after the end")
	}
}

func TestAPageOfANodeWithoutFaultsCutsNothing(t *testing.T) {
	cfg := onDisk(t, "n1", t.TempDir())
	cfg.Network.Web = "127.0.0.1:0"
	n, stop := run(t, cfg)
	<-n.Ready()
	if status, answer := tell(t, n.WebAddr(), "links", `{"do":"isolate","what":"n1"}`); status != 400 || !strings.Contains(answer, "--allow-faults") {
		t.Errorf("%d %s", status, answer)
	}
	if status, answer := tell(t, n.WebAddr(), "node", `{"do":"skew","node":"n1","skew_ms":1000}`); status != 400 || !strings.Contains(answer, "--allow-faults") {
		t.Errorf("%d %s", status, answer)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
