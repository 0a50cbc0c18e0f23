package page

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// did notes an operation on a cp keyspace that was ok, from beginning to end.
func (t *tape) did(client string, kind history.Kind, key, value string, revision, replaced uint64) {
	c := history.Call{Session: client, Kind: kind, Keyspace: "orders", Mode: "cp", Key: key}
	a := history.Answer{Outcome: store.OK, Revision: &revision}
	found := true
	if kind == history.Get {
		c.Level, a.Served, a.Found, a.Value, a.Values = "strong", "strong", &found, value, []string{value}
	} else {
		c.Value, a.Replaced = value, &replaced
	}
	t.complete(t.invoke(c), a)
}

func lately(t *tape) verdict { return t.verdict(time.Now().Add(-window)) }

func TestAStaleStrongReadIsBroken(t *testing.T) {
	tape := newTape()
	tape.did("a", history.Put, "k", "v1", 1, 0)
	tape.did("a", history.Put, "k", "v2", 2, 1)
	tape.did("b", history.Get, "k", "v1", 1, 0)
	v := lately(tape)
	broken := ""
	for _, c := range v.Checkers {
		if c.Verdict == check.Fail {
			broken += c.Name + " "
		}
	}
	if v.Verdict != check.Fail || !strings.Contains(broken, "linearizable") || len(v.Not) > 0 || v.OK != 3 {
		t.Errorf("%+v", v)
	}
}

func TestWhatCannotBeJudgedIsNamed(t *testing.T) {
	tape := newTape()
	tape.did("a", history.Put, "twice", "v", 1, 0)
	tape.did("a", history.Put, "twice", "v", 2, 1)
	tape.did("a", history.Get, "foreign", "of somebody", 3, 0)
	tape.did("a", history.Put, "good", "v", 4, 0)
	tape.did("a", history.Get, "good", "v", 4, 0)
	v := lately(tape)
	said := strings.Join(v.Not, "\n")
	for _, want := range []string{`orders/twice: "v" was put twice`, `orders/foreign: "of somebody" was not put by this page`} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %s: %s", want, said)
		}
	}
	if v.Verdict != check.Invalid || v.Ops != 2 {
		t.Errorf("two operations are %+v", v)
	}
}

func TestAKeyWhoseBeginningIsGoneIsNotJudged(t *testing.T) {
	tape := newTape()
	tape.did("a", history.Put, "old", "v0", 1, 0)
	for i := range maxLines / 2 {
		tape.did("a", history.Put, "new", fmt.Sprint(i), uint64(i)+2, uint64(i)+1)
	}
	tape.did("b", history.Get, "new", fmt.Sprint(maxLines/2-1), maxLines/2+1, 0)
	v := lately(tape)
	if len(tape.lines) > maxLines || len(v.Not) != 1 || !strings.Contains(v.Not[0], "orders/new") || v.Verdict != check.Invalid {
		t.Errorf("%d lines are kept, and it says %+v", len(tape.lines), v)
	}
}

func TestAValueOfAMegabyteHasAShortName(t *testing.T) {
	long := bytes.Repeat([]byte("m"), 1<<20)
	other := append(bytes.Clone(long[:len(long)-1]), 'n')
	if a, b := named(long), named(other); len(a) > maxNamed || a == b {
		t.Errorf("%q and %q", a, b)
	}
}

func TestABrowserThatWasAwayTooLongBeginsAnew(t *testing.T) {
	f := newFeed()
	f.tell("log", 0)
	id := fmt.Sprintf("%s-1", f.boot)
	if c, anew := f.resume(id); anew || c.event != 1 {
		t.Errorf("%+v %t", c, anew)
	}
	for i := range maxEvents + 1 {
		f.tell("log", i)
	}
	c, anew := f.resume(id)
	if !anew {
		t.Error("it goes on over a gap")
	}
	var out bytes.Buffer
	f.since(&c, &out)
	if events := strings.Count(out.String(), "event: log"); events != len(f.events) || events > maxEvents {
		t.Errorf("it is told %d events, %d are kept", events, len(f.events))
	}
	if c.event != maxEvents+2 {
		t.Errorf("it stands at %d", c.event)
	}
}

func TestRulesAreSaidAsTheyWereAskedFor(t *testing.T) {
	nodes := []string{"n1", "n2", "n3", "n4", "n5"}
	partition, err := link.ParsePartition("n3,n4,n5|n1,n2", nodes)
	if err != nil {
		t.Fatal(err)
	}
	late := link.Rule{From: "n1", To: "n2", Delay: 80 * time.Millisecond}
	for want, rules := range map[string][]link.Rule{
		"":                                   nil,
		"n1,n2 | n3,n4,n5":                   partition,
		"n2 | n1,n3,n4,n5":                   link.Isolate("n2", nodes),
		"n1->n2 cut":                         {{From: "n1", To: "n2", Action: link.Hole}},
		"n1->n2 80ms late":                   {late},
		"n1->n3 loses 5%":                    {{From: "n1", To: "n3", Loss: .05}},
		"n1,n2 | n3,n4,n5, n1->n2 80ms late": append([]link.Rule{late}, partition...),
	} {
		if got := describe(rules, nodes); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
