package localcluster

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

func testRegistry(t *testing.T) *Registry {
	t.Helper()
	home := t.TempDir()
	r, err := OpenRegistry(func(name string) string { return map[string]string{"KV_HOME": home}[name] })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRegistryIsWhereTheEnvironmentSays(t *testing.T) {
	dir := t.TempDir()
	for want, env := range map[string]map[string]string{
		"a":                     {"KV_HOME": "a", "XDG_STATE_HOME": "b", "HOME": "c"},
		"b/dialkv":              {"XDG_STATE_HOME": "b", "HOME": "c"},
		"c/.local/state/dialkv": {"HOME": "c"},
	} {
		r, err := OpenRegistry(func(name string) string {
			if env[name] == "" {
				return ""
			}
			return filepath.Join(dir, env[name])
		})
		if err != nil || r.dir != filepath.Join(dir, want) {
			t.Errorf("%v: %+v, %v", env, r, err)
		}
	}
	if _, err := OpenRegistry(func(string) string { return "" }); !errors.Is(err, store.Invalid) {
		t.Errorf("without a home: %v", err)
	}
}

// A pid that is used again belongs to somebody else, who must never be signalled.
func TestRecycledPidIsDownAndNotSignalled(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	started, _, ok := look(cmd.Process.Pid)
	if !ok || started == "" {
		t.Fatalf("the process is not seen: %q, %v", started, ok)
	}
	stranger := Process{ID: "n1", PID: cmd.Process.Pid, Started: started + "0"}
	if there, err := stranger.send(sigKill); there || err != nil {
		t.Errorf("it was signalled: %v, %v", there, err)
	}
	if err := stranger.end(); err != nil || stranger.State() != "down" {
		t.Errorf("state %s, %v", stranger.State(), err)
	}
	own := Process{ID: "n1", PID: cmd.Process.Pid, Started: started}
	if own.State() != "up" {
		t.Errorf("state %s", own.State())
	}
	if err := own.signal(sigPause); err != nil {
		t.Error(err)
	}
	if err := own.end(); err != nil || own.alive() {
		t.Errorf("a paused process did not end: %v", err)
	}
	if err := own.signal(sigResume); !errors.Is(err, store.Unavailable) {
		t.Errorf("a signal to the dead: %v", err)
	}
}

func TestUpdateIsOneAtATime(t *testing.T) {
	r := testRegistry(t)
	done := make(chan error)
	for range 20 {
		go func() {
			done <- r.update("t", func(e *Entry) error {
				e.Nodes = append(e.Nodes, Process{ID: "n"})
				return nil
			})
		}()
	}
	for range 20 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if e, err := r.Entry("t"); err != nil || len(e.Nodes) != 20 {
		t.Errorf("%d changes are left, %v", len(e.Nodes), err)
	}
}

func TestSettleRefusesWhatDoesNotAgree(t *testing.T) {
	r := testRegistry(t)
	dir := filepath.Join(t.TempDir(), "d")
	e := Entry{Name: "t"}
	if err := r.settle(&e, StartConfig{Name: "t", Dir: dir}); err != nil || len(e.Nodes) != defaultNodes {
		t.Fatalf("%+v, %v", e, err)
	}
	if err := e.keepCopy(); err != nil {
		t.Fatal(err)
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		entry Entry
		cfg   StartConfig
		want  store.Code
	}{
		"other number":      {e, StartConfig{Name: "t", Nodes: 5}, store.Invalid},
		"other directory":   {e, StartConfig{Name: "t", Dir: full}, store.AlreadyExists},
		"another's":         {Entry{Name: "u"}, StartConfig{Name: "u", Dir: dir}, store.AlreadyExists},
		"full directory":    {Entry{Name: "u"}, StartConfig{Name: "u", Dir: full}, store.Invalid},
		"too many":          {Entry{Name: "u"}, StartConfig{Name: "u", Nodes: 10}, store.Invalid},
		"the same":          {e, StartConfig{Name: "t", Dir: dir, Nodes: 3}, ""},
		"forgotten, by dir": {Entry{Name: "t"}, StartConfig{Name: "t", Dir: dir}, ""},
	} {
		got := c.entry
		err := r.settle(&got, c.cfg)
		switch {
		case c.want != "" && !errors.Is(err, c.want):
			t.Errorf("%s: %v, want %s", name, err, c.want)
		case c.want == "" && (err != nil || strings.Join(got.ids(), " ") != "n1 n2 n3" || got.Nodes[0].Listen != e.Nodes[0].Listen):
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestOnlyTheFounderOfANewClusterJoinsNobody(t *testing.T) {
	e := Entry{Nodes: []Process{{ID: "n1", Listen: "a"}, {ID: "n2", Listen: "b"}, {ID: "n3", Listen: "c"}}}
	if e.join("n1") != "" || e.join("n2") != "a" || e.join("n3") != "a" {
		t.Errorf("at first: %q %q %q", e.join("n1"), e.join("n2"), e.join("n3"))
	}
	e.Founded = true
	if e.join("n1") != "b,c" || e.join("n3") != "a,b" {
		t.Errorf("later: %q %q", e.join("n1"), e.join("n3"))
	}
}

func TestFreePortsAreDifferent(t *testing.T) {
	ports, err := freePorts(40)
	seen := map[string]bool{}
	for _, p := range ports {
		seen[p] = true
	}
	if err != nil || len(seen) != 40 {
		t.Errorf("%d of 40, %v", len(seen), err)
	}
}

// A node that ends before it is ready says why, and what else was started ends too.
func TestStartOfWhatCannotRunSaysWhy(t *testing.T) {
	r := testRegistry(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := r.Start(ctx, StartConfig{Name: "t", Command: []string{"sh", "-c", "echo the disk is made of cheese; exit 1"}})
	if err == nil || !strings.Contains(err.Error(), "made of cheese") || !strings.Contains(store.AsError(err).Try, "kvctl cluster logs") {
		t.Errorf("got %v", err)
	}
	if _, err := r.Start(ctx, StartConfig{Name: "u", Command: []string{"/nonexistent"}}); err == nil {
		t.Error("a program that is not there was started")
	}
}
