package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

// As TestBadInputIsStatus2, of the commands on data.
func TestBadDataInputIsStatus2(t *testing.T) {
	for _, line := range []string{
		"incr", "incr orders", "incr orders/k x", "incr orders/k 1 2", "incr orders/k 99999999999999999999", "put orders/k v --ttl soon",
		"put orders/k v --fence x", "get orders/k --level bounded", "get orders/k --level bounded:-1s", "get orders/k --level strong:1s", "get orders/k --timeout 0s",
		"scan", "scan /k", "scan orders --limit -1", "scan orders --count --reverse", "scan orders --level fast",
		"watch", "watch orders", "watch orders/k --prefix p", "watch orders --all --count -1", "watch orders --all --timeout -1s",
		"txn", "txn o@rders", "txn orders --if x", "txn orders -f nosuch.txt", "txn orders --fence x",
		"lease grant orders", "lease grant orders 1ms", "lease keepalive orders x", "lease revoke orders 0", "lease list",
		"lock orders", "lock orders n --ttl 0s", "lock orders n --", "elect orders n", "elect --observe orders n v",
		"snapshot save orders", "snapshot restore nosuch.snap", "snapshot verify nosuch.snap", "bench b --op fly", "bench b --op get --mix r100",
		"explain bounded:2s:3s extra",
	} {
		a, stdout, stderr := quiet(map[string]string{"KV_HOME": t.TempDir()})
		status := a.execute(context.Background(), strings.Fields(line))
		if status != 2 || stdout.Len() > 0 || !strings.Contains(lastLine(stderr.String()), "try: ") {
			t.Errorf("kvctl %s: status %d\n%s%s", line, status, stdout, stderr)
		}
		a, stdout, stderr = quiet(map[string]string{"KV_HOME": t.TempDir()})
		words := strings.Fields(line)
		status = a.execute(context.Background(), append(words[:1:1], append([]string{"-o", "json"}, words[1:]...)...))
		if status != 2 || !strings.HasPrefix(stdout.String(), `{"outcome":"fail","error":{"code":"Invalid"`) {
			t.Errorf("kvctl %s -o json: status %d\n%s%s", line, status, stdout, stderr)
		}
	}
}

func TestEveryLevelHasACostAndACommand(t *testing.T) {
	for _, name := range append([]string{"bounded:2s"}, store.LevelNames...) {
		a, stdout, stderr := quiet(nil)
		var text levelText
		if status := a.execute(t.Context(), []string{"explain", name, "-o", "json"}); status != 0 {
			t.Fatalf("%s: status %d\n%s", name, status, stderr)
		}
		if err := json.Unmarshal([]byte(stdout.String()), &text); err != nil {
			t.Fatal(err)
		}
		level, _, _ := strings.Cut(name, ":")
		if text.Level != level || text.Cost == "" || text.AP == "" || !strings.Contains(text.Show, "kvctl get orders/k") || !strings.Contains(text.Show, level) {
			t.Errorf("%s: %+v", name, text)
		}
	}
}

func TestFenceTextIsReadBack(t *testing.T) {
	for _, f := range []client.Fence{{Key: "lock/{a}/1", Revision: 1}, {Key: "a:b:7", Revision: 1<<64 - 1}} {
		if _, err := addFence(nil, fenceText(f)); err != nil {
			t.Errorf("%v: %v", f, err)
		}
	}
	for _, text := range []string{"a", ":", ":1", "a:", "a:0", "a:-1", "a:1x", "a:18446744073709551616"} {
		if _, err := addFence(nil, text); !errors.Is(err, store.Invalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestShownIsOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "v": "v", "grün, ✓": "grün, ✓", "two\nlines": `"two\nlines"`, "\xff": `"\xff"`, "tab\t": `"tab\t"`, "\x1b[31m": `"\x1b[31m"`,
	} {
		if got := shown([]byte(in)); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

// inMemory is a cluster in this process with a cp keyspace "orders" of two groups.
func inMemory(t *testing.T, nodes int) localcluster.Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := localcluster.NewMemory(ctx, memoryConfig(nodes, 1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := create(ctx, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp", Groups: 2}); err != nil {
		t.Fatal(err)
	}
	return c
}

// kvctl runs a command line against the cluster and returns what it printed.
func kvctl(t *testing.T, c localcluster.Cluster, want int, words ...string) string {
	t.Helper()
	a, stdout, stderr := quiet(nil)
	a.shell = c
	if status := a.execute(t.Context(), words); status != want {
		t.Fatalf("kvctl %s: status %d, want %d\n%s%s", strings.Join(words, " "), status, want, stdout, stderr)
	}
	return stdout.String() + stderr.String()
}

func TestWatchFollowsUntilItIsInterrupted(t *testing.T) {
	c := inMemory(t, 1)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, in := io.Pipe()
	a, _, stderr := quiet(nil)
	a.shell, a.out = c, in
	status := make(chan int, 1)
	go func() {
		status <- a.execute(ctx, strings.Fields("watch orders --prefix {a} --progress --timeout 1m -o json"))
		_ = in.Close() // never fails
	}()
	lines := bufio.NewScanner(out)
	next := func() (line changed) {
		if !lines.Scan() {
			t.Fatalf("the watch has ended\n%s", stderr)
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		return line
	}
	if begin := next(); len(begin.Events) > 0 {
		t.Fatalf("it begins with %+v", begin)
	}
	kvctl(t, c, 0, "txn", "orders", "--then", "put {a}1 one", "--then", "put {a}2 two", "--then", "put {a}3 three")
	change := next()
	for len(change.Events) == 0 { // a notice of progress
		change = next()
	}
	if len(change.Events) != 3 || change.Events[2].Key != "{a}3" || *change.Events[2].Value != "three" {
		t.Errorf("got %+v", change)
	}
	interrupt()
	for lines.Scan() {
		if end := lines.Text(); strings.Contains(end, "outcome") && end != fmt.Sprintf(`{"outcome":"ok","count":1,"revision":%d}`, change.Revision) {
			t.Errorf("it ends with %s", end)
		}
	}
	if got := <-status; got != 0 {
		t.Errorf("status %d\n%s", got, stderr)
	}
}

func TestInTheShellAWatchMustEnd(t *testing.T) {
	c := inMemory(t, 1)
	if said := kvctl(t, c, 2, "watch", "orders", "--all"); !strings.Contains(said, "must end by itself") {
		t.Error(said)
	}
	if said := kvctl(t, c, 2, "txn", "orders"); !strings.Contains(said, "no standard input") {
		t.Error(said)
	}
}

func TestASaveThatFailsLeavesNothingBehind(t *testing.T) {
	c := inMemory(t, 1)
	path := filepath.Join(t.TempDir(), "orders.snap")
	kvctl(t, c, 2, "snapshot", "save", "nosuch.keyspace/", path)
	kvctl(t, c, 3, "snapshot", "save", "nosuch", path)
	kvctl(t, c, 4, "snapshot", "save", "orders", path, "--timeout", "1ns")
	left, err := filepath.Glob(path + "*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRestoreFindsTheLeaders(t *testing.T) {
	c := inMemory(t, 3)
	kvctl(t, c, 0, "put", "orders/k1", "one")
	path := filepath.Join(t.TempDir(), "orders.snap")
	kvctl(t, c, 0, "snapshot", "save", "orders", path)
	kvctl(t, c, 0, "put", "orders/k1", "later")
	if err := c.Kill(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	kvctl(t, c, 0, "snapshot", "restore", path, "--yes")
	if said := kvctl(t, c, 0, "get", "orders/k1", "--timeout", "10s"); said != "one\n" {
		t.Error(said)
	}
}

// A command that does not heed SIGTERM is killed when what it relies on is lost.
func TestLostLockKillsADeafCommand(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	a, stdout, _ := quiet(nil)
	ready, in := io.Pipe()
	a.out = in
	h := &holder{door: door{app: a}, what: "lock", name: "deploy", grace: 10 * time.Millisecond}
	h.command = []string{sh, "-c", `trap "" TERM; echo "$KV_FENCE"; while :; do :; done`}
	lost := make(chan struct{})
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(ready).ReadString('\n')
		said <- line
		close(lost)
		_, _ = io.Copy(io.Discard, ready) // until the command is gone
	}()
	err = h.run(t.Context(), holding{fence: client.Fence{Key: "lock/k", Revision: 7}, lost: lost})
	if !errors.As(err, new(errLost)) || <-said != "lock/k:7\n" {
		t.Errorf("got %v\n%s", err, stdout)
	}
}

// Whatever the command says, its lock was gone before it ended.
func TestLockThatWasLostUnnoticedIsLost(t *testing.T) {
	a, _, _ := quiet(nil)
	h := &holder{door: door{app: a}, what: "lock", name: "deploy"}
	for released, want := range map[error]int{nil: 9, store.NotFound: 1, store.Unavailable: 9} {
		got := holding{release: func(context.Context) error { return released }}
		if err := h.release(t.Context(), got, errors.Join(errReported, ended(9))); exitCode(err) != want || errors.Is(err, errReported) == (want == 1) {
			t.Errorf("%v: status %d, %v", released, exitCode(err), err)
		}
	}
}

func TestCommandsStatusIsThatOfAShell(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	for script, want := range map[string]int{"exit 0": 0, "exit 9": 9, "kill -9 $$": 137} {
		a, _, _ := quiet(nil)
		h := &holder{door: door{app: a}, what: "lock", name: "deploy", grace: time.Second, command: []string{sh, "-c", script}}
		err := h.run(t.Context(), holding{lost: make(chan struct{})})
		if got := exitCode(err); got != want {
			t.Errorf("%s: status %d, %v", script, got, err)
		}
	}
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	a, _, _ := quiet(nil)
	h := &holder{door: door{app: a}, grace: time.Second, command: []string{sh, "-c", "exec sleep 60"}}
	if err := h.run(ctx, holding{lost: make(chan struct{})}); err == nil {
		t.Error("a command was run after the interrupt")
	}
}

func TestSnapshotIsForItsOwnerOnly(t *testing.T) {
	c := inMemory(t, 1)
	path := filepath.Join(t.TempDir(), "orders.snap")
	kvctl(t, c, 0, "snapshot", "save", "orders", path)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
