package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/store"
)

// The test binary is kvctl when it is called so, and kvctl is its own kvnode.
func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"kvctl": main}) }

func TestScripts(t *testing.T) { testscript.Run(t, params(t, "testdata")) }

// params runs the scripts of a folder, each with a registry of its own.
func params(t *testing.T, dir string) testscript.Params {
	t.Helper()
	histories, err := filepath.Abs(filepath.Join("..", "..", "jepsen-lite", "check", "testdata"))
	if err != nil {
		t.Fatal(err)
	}
	return testscript.Params{
		Dir: dir,
		Setup: func(env *testscript.Env) error {
			env.Setenv("KV_HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("HISTORIES", histories)
			env.Setenv("PROGRAM", os.Args[0]) // a file that is no text
			env.Setenv("NO_COLOR", "1")
			env.Defer(func() { endAll(t, env.Getenv) })
			return nil
		},
		Condition: func(name string) (bool, error) {
			return map[string]bool{"race": race, "mutants": mutant.Enabled}[name], nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "addresses": addresses, "damage": damage},
	}
}

// endAll ends every process that a script started, also after a failure.
func endAll(t *testing.T, getenv func(string) string) {
	r, err := localcluster.OpenRegistry(getenv)
	if err != nil {
		t.Error(err)
		return
	}
	names, err := r.Names()
	for _, name := range names {
		p, openErr := r.Open(name, nil)
		if openErr == nil {
			openErr = p.Close()
		}
		err = errors.Join(err, openErr)
	}
	if err != nil {
		t.Error(err)
	}
}

// addresses sets each variable to an address of this machine that nobody listens at.
func addresses(ts *testscript.TestScript, neg bool, names []string) {
	if neg {
		ts.Fatalf("usage: addresses NAME…")
	}
	for _, name := range names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		defer l.Close() // once all are taken: no two are the same
		ts.Setenv(name, l.Addr().String())
	}
}

// damage changes a letter of a value in the data directory of a node that is down.
func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: damage DIR KEY VALUE")
	}
	e, err := engine.Open(engine.Config{Dir: args[0]})
	ts.Check(err)
	defer func() { ts.Check(e.Close()) }()
	for id := range uint64(100) {
		s := e.Space(store.GroupID{Keyspace: id}, 'a')
		row, found, err := s.Get([]byte("k" + args[1]))
		ts.Check(err)
		at := strings.Index(string(row), args[2])
		if !found || at < 0 {
			continue
		}
		row[at] ^= 1
		b := s.Batch()
		b.Set([]byte("k"+args[1]), row)
		ts.Check(b.Commit(true))
		return
	}
	ts.Fatalf("no keyspace has %s=%s", args[1], args[2])
}

// exits runs a program and wants one of the exit statuses, "4" or "4|6"; every error
// must end with what to try.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS PROGRAM ARGUMENT…")
	}
	err := ts.Exec(args[1], args[2:]...)
	status := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if !strings.Contains("|"+args[0]+"|", "|"+strconv.Itoa(status)+"|") {
		ts.Fatalf("exit status %d, want %s", status, args[0])
	}
	stdout, stderr := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	advised := strings.Contains(lastLine(stderr), "try: ") || strings.Contains(stdout, `"try":"`)
	answered := status == 0 || status == 7 || strings.Contains(stdout, `"outcome":"ok"`)
	if !answered && !advised {
		ts.Fatalf("exit status %d without a try line:\n%s%s", status, stdout, stderr)
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// A command line that cannot be understood is refused with status 2 before anything
// is asked of a cluster, and in JSON if that was wanted.
func TestBadInputIsStatus2(t *testing.T) {
	for _, line := range []string{
		"nonsense", "cluster nonsense", "--nonsense", "put", "put orders/k", "put orders v", "put /k v", "put orders/ v", "put a b c d",
		"put o@rders/k v", "get orders/k --level strongest", "get orders/k --timeout soon", "get", "cas orders/k v1", "delete",
		"status", "cluster start -n 0", "cluster start -n many", "cluster start --name a/b", "cluster start -n 99",
		"cluster add a b", "cluster add a/b --name nosuch/x", "cluster remove", "node drain", "node transfer-leader orders", "keyspace alter x", "keyspace scrub", "keyspace scrub a b", "keyspace alter x --replicas 0",
		"node kill", "net partition", "net delay n1,n2", "net drop", "keyspace create x", "keyspace create x --mode both",
		"keyspace create _x --mode cp", "keyspace create x --mode cp --replicas 0", "keyspace create x --mode cp --groups -1",
		"check run -w nonsense", "check run --nemesis flood-of-frogs", "check run --world sim", "check run --nodes 99", "check run --clients 1", "check run --time 0.1s",
		"check bugs --only M99", "check bugs --runs 0", "check bugs --runs 101", "check bugs --trial 999", "check bugs M4", "check replay", "check replay nosuch.jsonl", "lab nonsense", "lab run", "lab run cap --world sim", "lab verify", "lab list x", "lab step", "lab show", "lab run ./nosuch.yaml",
		"bench", "bench b --mix r50", "bench b --clients 0", "bench b --time 0s", "bench b --level fast",
		"explain", "explain best", "explain default", "demo -n 2", "demo extra", "version extra", "-o yaml version", "get orders/k", "use", "run-node --id n1",
		"top extra", "top --interval 1ms", "top --interval 2h", "top --sort colour",
	} {
		dir := t.TempDir()
		a, stdout, stderr := quiet(map[string]string{"KV_HOME": dir})
		status := a.execute(context.Background(), strings.Fields(line))
		if status != 2 || stdout.Len() > 0 || !strings.Contains(lastLine(stderr.String()), "try: ") {
			t.Errorf("kvctl %s: status %d\n%s%s", line, status, stdout, stderr)
		}
		a, stdout, stderr = quiet(map[string]string{"KV_HOME": dir})
		status = a.execute(context.Background(), append(strings.Fields(line), "-o", "json"))
		if line != "-o yaml version" && !strings.HasPrefix(line, "run-node") && (status != 2 || !strings.HasPrefix(stdout.String(), `{"outcome":"fail","error":{"code":"Invalid"`)) {
			t.Errorf("kvctl %s -o json: status %d\n%s%s", line, status, stdout, stderr)
		}
	}
}

func quiet(env map[string]string) (a *app, stdout, stderr *strings.Builder) {
	stdout, stderr = new(strings.Builder), new(strings.Builder)
	return &app{in: strings.NewReader(""), out: stdout, err: stderr, getenv: func(name string) string { return env[name] }}, stdout, stderr
}

func TestUnknownClusterIsNotFound(t *testing.T) {
	for _, line := range []string{"--cluster nosuch get orders/k", "cluster status --name nosuch", "use nosuch", "cluster destroy --cluster nosuch --yes"} {
		a, _, stderr := quiet(map[string]string{"KV_HOME": t.TempDir()})
		if status := a.execute(context.Background(), strings.Fields(line)); status != 3 || !strings.Contains(stderr.String(), "try: ") {
			t.Errorf("kvctl %s: status %d\n%s", line, status, stderr)
		}
	}
}

func TestEveryLevelIsExplained(t *testing.T) {
	a, stdout, stderr := quiet(nil)
	for _, level := range []string{"strong", "causal", "read-your-writes", "monotonic", "eventual"} {
		if status := a.execute(context.Background(), []string{"explain", level}); status != 0 || !strings.Contains(stdout.String(), "PACELC") {
			t.Errorf("%s: status %d\n%s%s", level, status, stdout, stderr)
		}
	}
}
