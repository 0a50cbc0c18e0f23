package nodeflags

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/store"
)

func none(string) string { return "" }

func TestFlagWinsOverEnvironmentWinsOverDefault(t *testing.T) {
	env := map[string]string{"KV_ZONE": "from-env", "KV_JOIN": "127.0.0.1:1,127.0.0.1:2", "KV_ALLOW_FAULTS": "true", "KV_ID": "n9", "KV_CLUSTER": "other"}
	cfg, err := newFlags(io.Discard).parse([]string{"--id", "n1", "--data", "d"}, func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Node != "n1" || cfg.Zone != "from-env" || !cfg.AllowFaults || cfg.Network.Listen != "127.0.0.1:7400" {
		t.Errorf("got %+v", cfg)
	}
	if !slices.Equal(cfg.Join, []string{"127.0.0.1:1", "127.0.0.1:2"}) {
		t.Errorf("join is %v", cfg.Join)
	}
}

func TestBadInputIsRefusedBeforeAnythingIsOpened(t *testing.T) {
	for args, want := range map[string]string{
		"":                                         "no name",
		"--id n1":                                  "no data directory",
		"--id n1 --data d --nonsense":              "unknown flag",
		"--id n1 --data d extra":                   `"extra" is not a flag`,
		"--id n1 --data d --expect x":              "invalid argument",
		"--id n1 --data d --listen nowhere":        "is not host:port",
		"--id n1 --data d --listen 0.0.0.0:1":      "not",
		"--id n1 --data d --gossip :1":             "other machines",
		"--id n1 --data d --listen 10.0.0.1:1":     "other machines",
		"--id n1 --data d --admin nowhere":         "is not host:port",
		"--id n1 --data d --admin 0.0.0.0:7402":    "other machines",
		"--id n1 --data d --admin :7402":           "other machines",
		"--id n1 --data d --web nowhere":           "is not host:port",
		"--id n1 --data d --web 0.0.0.0:7070":      "other machines",
		"--id n/1 --data d":                        "node name",
		"--id n1 --data d --raft-log paper":        "raft log",
		"--id n1 --data d --expect -1":             "expected nodes",
		"--id n1 --data d --listen example.org:80": "other machines",
		"--id n1 --data d --trace-to ftp://x":      "no http or https URL",
		"--id n1 --data d --trace-to http://":      "no http or https URL",
		"--id n1 --data d --trace-to /no/such/dir": "cannot be written",
	} {
		err := Run(context.Background(), strings.Fields(args), none, io.Discard, io.Discard)
		if !errors.Is(err, store.Invalid) || ExitCode(err) != 2 || want != "not" && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want Invalid with %q", args, err, want)
		}
	}
}

func TestBadEnvironmentNamesTheVariable(t *testing.T) {
	_, err := newFlags(io.Discard).parse([]string{"--id", "n1", "--data", "d"}, func(name string) string {
		if name == "KV_EXPECT" {
			return "many"
		}
		return ""
	})
	if !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), "KV_EXPECT") {
		t.Errorf("got %v", err)
	}
}

func TestInsecureAllowsEveryAddress(t *testing.T) {
	_, err := newFlags(io.Discard).parse([]string{"--id", "n1", "--data", "d", "--listen", "0.0.0.0:1", "--gossip", "[::]:2", "--admin", "[::]:3", "--insecure"}, none)
	if err != nil {
		t.Error(err)
	}
}

func TestHelpIsNotAnError(t *testing.T) {
	var out strings.Builder
	if err := Run(context.Background(), []string{"--help"}, none, &out, io.Discard); err != nil || !strings.Contains(out.String(), "--allow-faults") {
		t.Errorf("got %v and %q", err, out.String())
	}
}

// Every code has the exit status of the contract, written out so that a new code is
// a decision.
func TestExitCodes(t *testing.T) {
	want := map[store.Code]int{
		store.Invalid: 2, store.Unsupported: 2, store.LevelUnsupported: 2, store.TooLarge: 2, store.TokenMismatch: 2,
		store.NotFound: 3, store.NoSuchKeyspace: 3,
		store.Unavailable: 4, store.NotLeader: 4, store.SessionUnreachable: 4, store.TooStale: 4, store.Overloaded: 4, store.CircuitOpen: 4,
		store.Conflict: 5, store.AlreadyExists: 5, store.TooManySiblings: 5,
		store.Unknown: 6, store.NotReplicated: 6, store.SessionExpired: 6,
		store.WritesLost: 1, store.QuotaExceeded: 1, store.Compacted: 1, store.Denied: 1, store.Corrupt: 1,
	}
	for _, code := range store.Codes {
		if got, ok := want[code]; !ok || ExitCode(fmt.Errorf("wrapped: %w", &store.Error{Code: code})) != got {
			t.Errorf("%s: want %d (%v)", code, got, ok)
		}
	}
	if ExitCode(nil) != 0 || ExitCode(io.EOF) != 1 {
		t.Error("nil is 0, a stranger is 1")
	}
}
