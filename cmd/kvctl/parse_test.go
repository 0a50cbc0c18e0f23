package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/store"
)

func TestParseDelay(t *testing.T) {
	for text, want := range map[string][2]time.Duration{
		"80ms": {80 * time.Millisecond}, "80ms±10ms": {80 * time.Millisecond, 10 * time.Millisecond},
		"80ms+-10ms": {80 * time.Millisecond, 10 * time.Millisecond}, "1s±0s": {time.Second},
	} {
		if d, jitter, err := parseDelay(text); err != nil || d != want[0] || jitter != want[1] {
			t.Errorf("%s: %v ± %v, %v", text, d, jitter, err)
		}
	}
	for _, text := range []string{"", "80", "fast", "-1ms", "0s", "80ms±", "80ms±90ms", "80ms±-1ms", "2h", "±10ms"} {
		if _, _, err := parseDelay(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestParsePercent(t *testing.T) {
	for text, want := range map[string]float64{"5%": 0.05, "100%": 1, "0.5%": 0.005} {
		if got, err := parsePercent(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "5", "0%", "101%", "-1%", "%", "NaN%"} {
		if _, err := parsePercent(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestParseMix(t *testing.T) {
	for text, want := range map[string]int{"r100": 100, "w100": 0, "r90w10": 90, "r0w100": 0} {
		if got, err := parseMix(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "r", "w", "r90", "90", "r90w20", "w50r50", "r-10w110"} {
		if _, err := parseMix(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestSplitWords(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "",
		"  a  b\tc ":            "a|b|c",
		`put o/k "two words"`:   "put|o/k|two words",
		`put o/k 'say "hi"' ""`: `put|o/k|say "hi"|`,
		`net partition 'n1|n2'`: "net|partition|n1|n2",
		`pre"fix ed" post`:      "prefix ed|post",
	} {
		words, err := splitWords(text)
		if got := strings.Join(words, "|"); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if _, err := splitWords(`put "open`); err == nil {
		t.Error("an open quote is accepted")
	}
}

func TestPartitionReplacesCutsAndKeepsDelays(t *testing.T) {
	nodes := []string{"n1", "n2", "n3"}
	rules, err := delay(nil, []string{"n1->n2", "5ms"}, nodes)
	for _, sides := range []string{"n1|n2,n3", "n2|n1,n3"} {
		if err == nil {
			rules, err = partition(rules, []string{sides}, nodes)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	holes := slices.DeleteFunc(slices.Clone(rules), func(r link.Rule) bool { return r.Action != link.Hole })
	if len(holes) != 4 || len(rules) != 5 {
		t.Errorf("got %v", rules)
	}
	if slices.ContainsFunc(holes, func(r link.Rule) bool { return r.From != "n2" && r.To != "n2" }) {
		t.Errorf("a cut of before is left: %v", holes)
	}
}

func TestSessionFileKeepsTheLastHundredContexts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s, err := openSession(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxContexts + 20 {
		s.keep(fmt.Sprintf("carts/k%d", i), []byte{byte(i)})
	}
	s.keep("carts/k30", []byte("again"))
	s.keep("carts/none", nil)
	if err := s.save(&client.Session{}); err != nil {
		t.Fatal(err)
	}
	s, err = openSession(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Contexts) != maxContexts || s.context("carts/k19") != "" || s.context("carts/k20") == "" {
		t.Errorf("%d contexts, from %s", len(s.Contexts), s.Contexts[0].Key)
	}
	if last := s.Contexts[maxContexts-1]; last.Key != "carts/k30" || last.Context != encodeContext([]byte("again")) {
		t.Errorf("the last is %+v", last)
	}
}

func TestReplyHasTheFieldsThatApply(t *testing.T) {
	cp := store.Proof{Node: "n1", Role: "leader", Term: 2, Served: store.Strong, Asked: store.Strong}
	ap := store.Proof{Node: "n1", Role: apRole}
	conflict := &store.Error{Code: store.Conflict}
	for want, r := range map[string]*reply{
		`"found":false,"revision":7,`:                                readReply(client.Item{Revision: 7, Proof: cp}, nil),
		`"found":true,"value":"v","revision":3,`:                     readReply(client.Item{Found: true, Value: []byte("v"), Values: [][]byte{[]byte("v")}, Revision: 3, Proof: cp}, nil),
		`"created":1,"version":2,"lease":9,`:                         readReply(client.Item{Found: true, Created: 1, Version: 2, Lease: 9, Proof: cp}, nil),
		`"revision":5,"replaced":3,"level_asked"`:                    writeReply(client.Result{Revision: 5, Replaced: 3, Proof: cp}, nil),
		`"outcome":"ok","value":"7","revision":6,`:                   writeReply(client.Result{Revision: 6, Value: []byte("7"), Proof: cp}, nil),
		`"value_base64":"/w==",`:                                     readReply(client.Item{Found: true, Value: []byte{255}, Values: [][]byte{{255}}, Proof: cp}, nil),
		`"found":false,"values":[],`:                                 readReply(client.Item{Proof: ap}, nil),
		`"values":["a","b"],`:                                        readReply(client.Item{Found: true, Values: [][]byte{[]byte("a"), []byte("b")}, Proof: ap}, nil),
		`"revision":4,"replaced":0,`:                                 writeReply(client.Result{Revision: 4, Proof: cp}, nil),
		`"context":"Yw","acked":1,"wanted":2,`:                       writeReply(client.Result{Acked: 1, Wanted: 2, Context: []byte("c"), Proof: ap}, nil),
		`"outcome":"fail","found":true,"value":"x","revision":9,`:    writeReply(client.Result{Found: true, Value: []byte("x"), Revision: 9, Proof: cp}, conflict),
		`"outcome":"fail","error":{"code":"Conflict"`:                writeReply(client.Result{Found: true}, conflict), // ap
		`"outcome":"unknown","context":"Yw","acked":1,`:              writeReply(client.Result{Acked: 1, Wanted: 2, Context: []byte("c"), Proof: ap}, &store.Error{Code: store.NotReplicated}),
		`"outcome":"fail","node":"n3","error":{"code":"Unavailable"`: readReply(client.Item{}, &store.Error{Code: store.Unavailable, Node: "n3"}),
	} {
		a, stdout, _ := quiet(nil)
		a.json(r)
		if !strings.Contains(strings.ReplaceAll(stdout.String(), "}", ",}"), want) {
			t.Errorf("%s is not in %s", want, stdout)
		}
	}
}

func TestEveryCodeHasAdvice(t *testing.T) {
	for _, code := range store.Codes {
		if got := advice(&store.Error{Code: code}); got == "" {
			t.Errorf("%s has none", code)
		}
	}
	if advice(&store.Error{Code: store.Conflict, Try: "mine"}) != "mine" {
		t.Error("what the error itself says comes first")
	}
}

// A repeated keepalive or revoke does no harm, and a read of a key says nothing about a
// lease.
func TestALeaseThatMayHaveChangedHasAdviceOfItsOwn(t *testing.T) {
	l := &leases{keyspace: "config"}
	for op, want := range map[store.Op]string{store.Grant: "kvctl lease list config", store.KeepAlive: "the same again", store.Revoke: "the same again"} {
		if got := advice(l.advise(&store.Error{Code: store.Unknown, Op: op.String()})); !strings.HasPrefix(got, want) {
			t.Errorf("%v: try: %s", op, got)
		}
	}
}
