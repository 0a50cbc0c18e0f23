package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestATraceShowsWhereTheTimeWent(t *testing.T) {
	c := inMemory(t, 3)
	text := kvctl(t, c, 0, "put", "orders/42", "paid", "--trace")
	at := 0
	for _, want := range []string{"trace ", "AFTER MS", "client  kv.put", "  kv.attempt  op=put attempt=1", "    kv.node.put", "      · proposed", "      · committed", "      · applied"} {
		i := strings.Index(text[at:], want)
		if i < 0 {
			t.Fatalf("there is no %q, in its place, in\n%s", want, text)
		}
		at += i
	}

	var got struct {
		Value string
		Trace struct {
			ID    string
			Spans []spanJSON
		}
	}
	if err := json.Unmarshal([]byte(kvctl(t, c, 0, "get", "orders/42", "--trace", "-o", "json")), &got); err != nil {
		t.Fatal(err)
	}
	nodes := make(map[string]string)
	for _, s := range got.Trace.Spans {
		nodes[s.Name] = s.Node
	}
	if got.Value != "paid" || len(got.Trace.ID) != 32 || nodes["kv.get"] != "" || nodes["kv.node.get"] == "" || nodes["kv.peer.serve"] == "" || nodes["kv.peer.serve"] == nodes["kv.node.get"] {
		t.Errorf("got %+v", got)
	}
	if text := kvctl(t, c, 0, "get", "orders/42", "-o", "json"); strings.Contains(text, "trace") {
		t.Errorf("untraced: %s", text)
	}
	kvctl(t, c, 2, "get", "orders/42", "orders/43", "--trace")
}

// A call that fails has a trace, too: that is when it is wanted.
func TestATraceOfAFailure(t *testing.T) {
	c := inMemory(t, 1)
	kvctl(t, c, 0, "put", "orders/42", "paid")
	text := kvctl(t, c, 5, "cas", "orders/42", "sent", "back", "--trace")
	if !strings.Contains(text, "kv.node.cas") || !strings.Contains(text, "code=Conflict") {
		t.Errorf("got %s", text)
	}
}
