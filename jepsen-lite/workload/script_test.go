package workload

import (
	"context"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// nodes is a target that nobody asks.
type nodes []string

func (n nodes) Nodes() []string                                      { return n }
func (nodes) Client(context.Context, string) (*client.Client, error) { panic("not asked") }

// played is one operation of a play.
type played struct {
	process int
	step
}

// play lets the scripts of a workload talk to a map instead of a cluster.
func play(workload string, seed int64, clients, operations int) []played {
	cfg := Config{Workload: workload, Keyspaces: Keyspaces(workload, "x"), Clients: clients, Seed: seed}
	cast := cfg.cast(nodes{"n1", "n2", "n3"}, nil)
	held := map[string][]string{}
	rng := rand.New(rand.NewPCG(uint64(seed), 1))
	var all []played
	for range operations {
		p := cast[rng.IntN(len(cast))]
		s := p.script.next()
		all = append(all, played{p.id, s})
		p.script.saw(s, apply(held, s))
	}
	return all
}

func apply(held map[string][]string, s step) sight {
	at := s.space.Name + "/" + s.key
	was := held[at]
	switch s.kind {
	case history.Txn:
		return transacted(held, s)
	case history.Scan, history.Incr, history.KeepAlive, history.Revoke, history.Unlock:
		return sight{}
	case history.Lock:
		return sight{told: true}
	case history.Get:
		saw := sight{told: true, values: was}
		if s.space.Mode == store.AP {
			saw.held, saw.context = was, []byte("c")
		}
		return saw
	case history.Delete:
		held[at] = nil
	case history.CAS:
		if len(was) == 0 || was[0] != s.expect {
			return sight{told: true, values: was}
		}
		fallthrough
	default:
		held[at] = []string{s.value}
	}
	return sight{}
}

// transacted plays a txn: what it compares is there.
func transacted(held map[string][]string, s step) sight {
	saw := sight{told: true}
	branch := s.txn.Then
	if len(s.txn.If) == bankAccounts && len(held[s.space.Name+"/"+s.txn.If[0].Key]) > 0 {
		branch = s.txn.Else
	}
	for _, x := range branch {
		at := s.space.Name + "/" + x.Key
		switch x.Op {
		case store.Put:
			held[at] = []string{string(x.Value)}
		case store.Get:
			saw.items = append(saw.items, history.Item{Key: x.Key, Value: held[at][0], Revision: 7})
		}
	}
	return saw
}

func TestScriptsFollowFromTheSeed(t *testing.T) {
	for _, name := range Names {
		a, b, c := play(name, 1, 8, 500), play(name, 1, 8, 500), play(name, 2, 8, 500)
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: one seed, two plays", name)
		}
		if reflect.DeepEqual(a, c) {
			t.Errorf("%s: two seeds, one play", name)
		}
	}
}

func TestWhatCheckersRelyOn(t *testing.T) {
	for _, name := range Names {
		values := map[string]bool{}
		clients, operations := map[string]map[int]bool{}, map[string]int{}
		for _, op := range play(name, 3, 20, 20_000) {
			at := op.space.Name + "/" + op.key
			for _, value := range op.writes() {
				if value == "" || values[value] {
					t.Fatalf("%s: value %q of %s is empty or written twice", name, value, at)
				}
				values[value] = true
			}
			if clients[at] == nil {
				clients[at] = map[int]bool{}
			}
			clients[at][op.process] = true
			if op.kind != history.Lock { // no checker searches locks
				operations[at]++
			}
		}
		for at := range clients {
			if len(clients[at]) > clientsPerKey || operations[at] > mostOps {
				t.Errorf("%s: %s has %d clients and %d operations", name, at, len(clients[at]), operations[at])
			}
		}
	}
}

// writes are the values that the step writes, or what names a delete.
func (op played) writes() (values []string) {
	switch op.kind {
	case history.Put, history.CAS, history.Delete:
		return []string{op.value}
	case history.Txn:
		for _, s := range slices.Concat(op.txn.Then, op.txn.Else) {
			if s.Op == store.Put {
				values = append(values, string(s.Value))
			}
		}
	}
	return values
}

func TestEveryKindOfOperationIsAsked(t *testing.T) {
	want := map[string][]string{
		"register":     {"get strong", "put", "cas", "delete", "incr"},
		"bank":         {"txn", "scan strong"},
		"scan":         {"put", "delete", "txn", "get strong", "scan strong", "scan causal"},
		"watch":        {"put", "delete", "txn", "get strong"},
		"exactly-once": {"incr", "get strong"},
		"lock":         {"lock"},
		"ttl":          {"put", "put ttl", "delete", "get strong"},
		"ap-scan":      {"put", "put covers", "put blind", "delete", "delete covers", "get causal", "scan causal", "scan eventual", "scan bounded"},
		"ap-watch":     {"put", "put covers", "put blind", "delete", "delete covers", "get causal"},
		"ap-ttl":       {"put ttl", "put", "put covers", "delete", "delete covers", "get causal"},
		"map":          {"put", "put majority", "remove", "remove majority", "delete", "get causal", "get quorum"},
		"across":       {"get causal", "get strong", "put", "delete"},
		"causal":       {"get causal", "put", "put covers", "delete", "delete covers"},
		"bounded":      {"get causal", "get bounded", "get quorum", "put", "put majority", "put covers", "put blind", "delete", "delete covers"},
		"roaming": {
			"get read-your-writes", "get monotonic", "get causal", "get bounded", "get quorum", "put", "put majority", "put covers", "put blind", "delete", "delete covers",
		},
	}
	for _, name := range Names {
		seen := map[string]bool{}
		for _, op := range play(name, 4, 9, 5000) {
			seen[describe(op)] = true
		}
		for _, kind := range want[name] {
			if !seen[kind] {
				t.Errorf("%s never asks for a %s", name, kind)
			}
		}
	}
}

func describe(op played) string {
	what := string(op.kind)
	switch {
	case op.ttl > 0 && op.kind == history.Put:
		what += " ttl"
	case op.kind == history.Get || op.kind == history.Scan:
		what += " " + op.level.String()
	case op.w == store.WMajority:
		what += " majority"
	case op.after != nil:
		what += " covers"
	case op.blind:
		what += " blind"
	}
	return what
}

// A siblings keyspace refuses a write that does not say what it has read.
func TestWritesToSiblingsSayWhatTheyHaveRead(t *testing.T) {
	for _, op := range play("roaming", 5, 9, 5000) {
		if op.space.Policy == store.Siblings && op.kind != history.Get && op.after == nil && !op.blind {
			t.Fatalf("%+v", op)
		}
		if call := op.call(); op.kind != history.Get && (call.Covers == nil) != (op.after == nil && !op.blind) {
			t.Fatalf("%+v covers %v", op, call.Covers)
		}
	}
}

// Somebody who read a reply looks for the post, and replies are to posts that were read.
func TestChainsHaveTheirOrder(t *testing.T) {
	read, looks := map[int]string{}, 0
	for _, op := range play("causal", 6, 6, 5000) {
		kind, thread, _ := strings.Cut(op.key, "-")
		reply := kind == "reply"
		switch {
		case op.kind == history.Put && reply && read[op.process] != "post "+thread:
			t.Fatalf("client %d replied to %s after %q", op.process, thread, read[op.process])
		case op.kind == history.Get && !reply && read[op.process] == "reply "+thread:
			looks++
		}
		read[op.process] = kind + " " + thread
	}
	if looks < 500 {
		t.Errorf("%d times a post was looked for after its reply", looks)
	}
}

func TestClientsStandAtSeveralNodes(t *testing.T) {
	for _, name := range Names {
		cfg := Config{Workload: name, Keyspaces: Keyspaces(name, "x"), Clients: 10, Seed: 1}
		homes := map[string]bool{}
		moving, free := 0, 0
		for _, p := range cfg.cast(nodes{"n1", "n2", "n3", "n4", "n5"}, nil) {
			if len(p.places) > 1 {
				moving++
			} else {
				homes[p.places[0]] = true
			}
			if slices.Contains(p.places, "") {
				free++
			}
		}
		want, ok := map[string][3]int{"roaming": {0, 10, 0}, "causal": {5, 0, 0}, "across": {5, 0, 0}}[name]
		if !ok {
			want = [3]int{5, 4, 4}
		}
		if got := [3]int{len(homes), moving, free}; got != want {
			t.Errorf("%s: homes, moving, free are %v, want %v", name, got, want)
		}
	}
}
