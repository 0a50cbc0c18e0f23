package tidy

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// floors is the house: a room imports only rooms of lower floors, and on its own
// floor only along an arrow. A name may be a pattern of package path.
var floors = [][]string{
	0: {"store", "internal/mutant"},
	1: {
		"internal/link", "internal/link/linktest", "internal/engine", "internal/backup", "internal/token", "internal/logpb", "internal/kvpb", "internal/shard", "internal/spans",
		"jepsen-lite/report", "jepsen-lite/check", "jepsen-lite/history",
	},
	2: {"store/cp", "store/ap", "store/ap/internal/causal", "membership", "store/storetest"},
	3: {"client", "internal/rpc", "internal/catalog", "internal/telemetry"},
	4: {"internal/front", "internal/page", "web", "client/sessionhttp", "client/sessiongrpc", "client/clientprom"},
	5: {"internal/nodeflags", "internal/node"},
	6: {"internal/localcluster", "internal/maelstrom", "jepsen-lite/workload", "jepsen-lite/nemesis"},
	7: {"client/clienttest", "jepsen-lite/scenario", "jepsen-lite/bugs", "jepsen-lite/lab"},
	8: {"cmd/kvnode", "cmd/kvctl", "examples/*", "jepsen-lite/sim", "internal/tidy"},
}

// arrows are the imports within a floor. They may be followed further.
var arrows = map[string][]string{
	"internal/backup":        {"internal/logpb"},
	"internal/kvpb":          {"internal/shard", "internal/spans"},
	"internal/link/linktest": {"internal/link"},
	"jepsen-lite/report":     {"jepsen-lite/check"},
	"jepsen-lite/check":      {"jepsen-lite/history"},
	"jepsen-lite/bugs":       {"jepsen-lite/scenario"},
	"store/ap":               {"store/ap/internal/causal"},
	"internal/page":          {"web"},
	"internal/nodeflags":     {"internal/node"},
}

// testHelpers are imported by tests, and by each other, only.
var testHelpers = []string{"internal/link/linktest", "store/storetest", "client/clienttest", "jepsen-lite/sim"}

func helpsTests(room string) bool { return slices.Contains(testHelpers, room) }

// only limits what a room imports of ours, below what its floor would allow.
var only = map[string][]string{
	"store":  {},
	"client": {"store", "internal/shard", "internal/token", "internal/kvpb", "internal/mutant", "internal/backup", "internal/spans"},
	// The carriers use of the client what an application can use.
	"client/sessionhttp": {"store", "client"},
	"client/clientprom":  {"store", "client"},
	"client/sessiongrpc": {"store", "client", "internal/kvpb"},
}

// doors are rooms that only the named others enter.
var doors = map[string][]string{
	"store/cp": {"internal/node"},
	"store/ap": {"internal/node"},
}

// never lists what a room does not pull in, not even through others.
var never = map[string][]string{
	"store/cp": {"google.golang.org/grpc", module + "internal/kvpb"},
	"store/ap": {"google.golang.org/grpc", module + "internal/kvpb"},
	"client":   storage, "client/sessionhttp": storage, "client/sessiongrpc": storage, "client/clientprom": storage,
}

// storage is what makes a node, and an application that embeds the client has no use for.
var storage = []string{
	"github.com/hashicorp/raft", "github.com/hashicorp/raft-boltdb", "github.com/hashicorp/memberlist",
	"github.com/cockroachdb/pebble", "go.etcd.io/bbolt",
	"go.opentelemetry.io/otel/sdk", // which spans are kept, and where, is for the application to say
}

func floorOf(room string) (int, bool) {
	for floor, rooms := range floors {
		for _, pattern := range rooms {
			if ok, err := path.Match(pattern, room); ok && err == nil {
				return floor, true
			}
		}
	}
	return 0, false
}

// along reports whether arrows lead from one room to another.
func along(from, to string) bool {
	return slices.ContainsFunc(arrows[from], func(next string) bool { return next == to || along(next, to) })
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		from := p.room()
		floor, known := floorOf(from)
		if !known {
			t.Errorf("%s is a new room: give it a floor in internal/tidy, and say in its package comment what it is for", from)
			continue
		}
		for _, imported := range p.Imports {
			if !ours(imported) {
				continue
			}
			to := room(imported)
			below, _ := floorOf(to)
			switch {
			case helpsTests(to) && !helpsTests(from):
				t.Errorf("%s imports %s, which is for tests", from, to)
			case below > floor:
				t.Errorf("%s (floor %d) imports %s (floor %d): up", from, floor, to, below)
			case below == floor && !along(from, to):
				t.Errorf("%s imports %s on its own floor, without an arrow", from, to)
			}
			if allowed, limited := only[from]; limited && !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s; of ours it may import only %v", from, to, allowed)
			}
			if entrants, guarded := doors[to]; guarded && !slices.Contains(entrants, from) {
				t.Errorf("%s imports %s, which only %v may", from, to, entrants)
			}
		}
	}
}

func TestRoomsDoNotPullInWhatTheyMustNot(t *testing.T) {
	for _, p := range packages(t) {
		for _, banned := range never[p.room()] {
			for _, dep := range p.Deps {
				if dep == banned || strings.HasPrefix(dep, banned+"/") {
					t.Errorf("%s depends on %s", p.room(), dep)
				}
			}
		}
		if p.room() == "store" {
			for _, imported := range p.Imports {
				if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") {
					t.Errorf("store imports %s; it is the standard library only", imported)
				}
			}
		}
	}
}

func TestEveryRoomSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 && !strings.HasSuffix(p.room(), "pb") {
			t.Errorf("%s has no package comment", p.room())
		}
	}
}
