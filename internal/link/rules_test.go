package link

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

func TestRulesOnOneLinkCombine(t *testing.T) {
	var r Rules
	rules := []Rule{
		{From: "n1", To: Any, Delay: time.Second, Loss: 0.5, Bandwidth: 1000},
		{From: "n1", To: "n2", Delay: time.Second, Jitter: time.Millisecond, Loss: 0.5, Bandwidth: 500},
		{From: "n2", To: "n1", Kind: Packet, Duplicate: 0.5, Reorder: 0.25},
		{From: Any, To: "n3", Action: Hole},
		{From: "n2", To: "n3", Action: Reset},
		{From: "n3", To: "n1", Kind: Raft, Action: Hole},
	}
	if err := r.Set(rules); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from, to string
		kind     Kind
		want     Verdict
	}{
		{"n1", "n2", Raft, Verdict{Delay: 2 * time.Second, Jitter: time.Millisecond, Loss: 0.75, Bandwidth: 500}},
		{"n2", "n1", Raft, Verdict{}},
		{"n1", "n3", Raft, Verdict{Action: Hole, Delay: time.Second, Loss: 0.5, Bandwidth: 1000}},
		{"n2", "n3", Raft, Verdict{Action: Reset}},
		{"n3", "n3", Raft, Verdict{}},
		{"n3", "n1", Raft, Verdict{Action: Hole}},
		{"n3", "n1", RPC, Verdict{}},
		{"n2", "n1", Packet, Verdict{Duplicate: 0.5, Reorder: 0.25}},
	} {
		if got, _ := r.Check(c.from, c.to, c.kind); got != c.want {
			t.Errorf("%s->%s %s: %+v, want %+v", c.from, c.to, c.kind, got, c.want)
		}
	}
	if got := r.List(); len(got) != len(rules) || got[0] != rules[0] {
		t.Errorf("the list is %+v", got)
	}
}

func TestBadRuleChangesNothing(t *testing.T) {
	var r Rules
	if err := r.Set([]Rule{hole("n1", "n2")}); err != nil {
		t.Fatal(err)
	}
	_, changed := r.Check("n1", "n2", Raft)
	for name, rule := range map[string]Rule{
		"no from":         {To: "n1"},
		"no to":           {From: "n1"},
		"name":            {From: "n1", To: "n 2"},
		"action":          {From: "n1", To: "n2", Action: 3},
		"kind":            {From: "n1", To: "n2", Kind: 9},
		"negative delay":  {From: "n1", To: "n2", Delay: -1},
		"negative jitter": {From: "n1", To: "n2", Jitter: -1},
		"loss above one":  {From: "n1", To: "n2", Loss: 1.01},
		"loss below zero": {From: "n1", To: "n2", Loss: -0.1},
		"loss not number": {From: "n1", To: "n2", Loss: math.NaN()},
		"twice too often": {From: "n1", To: "n2", Duplicate: 2},
		"reorder below 0": {From: "n1", To: "n2", Reorder: -1},
		"no bandwidth":    {From: "n1", To: "n2", Bandwidth: -1},
	} {
		if err := r.Set([]Rule{hole("n3", "n4"), rule}); !errors.Is(err, store.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	select {
	case <-changed:
		t.Error("a refused table woke the waiters")
	default:
	}
	if got := r.List(); len(got) != 1 || got[0] != hole("n1", "n2") {
		t.Errorf("the list is %+v", got)
	}
}

func TestSetWakesWhoLookedBefore(t *testing.T) {
	var r Rules
	_, changed := r.Check("n1", "n2", Raft)
	if err := r.Set(nil); err != nil {
		t.Fatal(err)
	}
	<-changed
}

func TestActionNamesReadBack(t *testing.T) {
	for _, a := range []Action{Pass, Hole, Reset} {
		if got, err := ParseAction(a.String()); err != nil || got != a {
			t.Errorf("%s came back as %s, %v", a, got, err)
		}
	}
	if _, err := ParseAction("drop"); !errors.Is(err, store.Invalid) {
		t.Errorf("drop: %v", err)
	}
}
