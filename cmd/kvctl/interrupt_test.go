//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dialkv/dialkv/internal/localcluster"
)

// Ctrl-C reaches the whole group of the terminal's foreground, in the middle of a fault:
// what is cut or stopped must be let go, and no process and no data may stay behind.
func TestCheckOnProcessesLeavesNothingBehindAfterCtrlC(t *testing.T) {
	for _, fault := range []string{"pause", "kill", "partition"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			interruptDuring(t, fault)
		})
	}
}

func interruptDuring(t *testing.T, fault string) {
	kvctl, err := exec.LookPath("kvctl") // this test, by TestMain
	if err != nil {
		t.Fatal(err)
	}
	tmp, report := t.TempDir(), filepath.Join(t.TempDir(), "report")
	cmd := exec.CommandContext(t.Context(), kvctl, "check", "run", "--world", "procs", "--nodes", "3", "--nemesis", fault,
		"--time", "60s", "--rate", "50", "--seed", "3", "--report", report, "-o", "json")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout = &out
	progress, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := awaitLine(progress, fault+" ")
	nodes := nodesUnder(t, tmp)
	if len(nodes) != 3 {
		t.Errorf("%d nodes were found before the interrupt; it said %s", len(nodes), said)
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(progress)
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("it ended with %v (%d):\n%s%s\n%s", err, code, said, rest, out.Bytes())
	}
	var judged struct{ Verdict string }
	if err := json.Unmarshal(out.Bytes(), &judged); err != nil || judged.Verdict != "invalid" || !bytes.Contains(out.Bytes(), []byte("interrupted")) {
		t.Errorf("%v: it printed %s", err, out.Bytes())
	}
	for _, n := range nodes {
		if n.State() != "down" {
			t.Errorf("%s (process %d) is left behind", n.ID, n.PID)
			_ = syscall.Kill(n.PID, syscall.SIGKILL)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(tmp, "kvctl-check-*")); len(left) != 0 {
		t.Errorf("it left %v", left)
	}
	journal, err := os.ReadFile(filepath.Join(report, "journal.json"))
	if err != nil || !bytes.Contains(journal, []byte(`"aborted"`)) {
		t.Errorf("the journal does not say that the run was aborted: %v\n%.500s", err, journal)
	}
	if history, err := os.ReadFile(filepath.Join(report, "history.jsonl")); err != nil || !allEnded(history, fault) {
		t.Errorf("the history does not say that %s was healed: %v", fault, err)
	}
}

// awaitLine reads until a line begins so, and returns what it read.
func awaitLine(r io.Reader, begins string) string {
	var said strings.Builder
	// One byte at a time: what stands behind the line is for who reads next.
	for lines := bufio.NewReaderSize(oneByOne{r}, 16); ; {
		line, err := lines.ReadString('\n')
		said.WriteString(line)
		if err != nil || strings.HasPrefix(line, begins) {
			return said.String()
		}
	}
}

type oneByOne struct{ io.Reader }

func (o oneByOne) Read(b []byte) (int, error) { return o.Reader.Read(b[:1]) }

// nodesUnder are the processes that the one check has written down.
func nodesUnder(t *testing.T, tmp string) []localcluster.Process {
	t.Helper()
	homes, _ := filepath.Glob(filepath.Join(tmp, "kvctl-check-*", "home"))
	if len(homes) != 1 {
		t.Fatalf("%d homes of clusters", len(homes))
	}
	r, err := localcluster.OpenRegistry(func(name string) string { return map[string]string{"KV_HOME": homes[0]}[name] })
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.Open("check", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Release() }()
	e, err := p.Entry()
	if err != nil {
		t.Fatal(err)
	}
	return e.Nodes
}

// allEnded reports whether every fault of the history that began has an end.
func allEnded(history []byte, fault string) bool {
	begun := bytes.Count(history, []byte(`"fault":"`+fault+`","phase":"begin"`))
	return begun > 0 && begun == bytes.Count(history, []byte(`"fault":"`+fault+`","phase":"end"`))
}
