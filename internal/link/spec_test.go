package link

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/store"
)

var three = []string{"n1", "n2", "n3"}

// drawRules writes holes as "n1>n2 n2>n1".
func drawRules(rules []Rule) string {
	var out []string
	for _, r := range rules {
		out = append(out, fmt.Sprintf("%s>%s", r.From, r.To))
		if r.Action != Hole {
			out = append(out, r.Action.String())
		}
	}
	return strings.Join(out, " ")
}

func TestParsePartition(t *testing.T) {
	for _, c := range []struct{ spec, want, bad string }{
		{spec: "n1|n2,n3", want: "n1>n2 n1>n3 n2>n1 n3>n1"},
		{spec: " n3 , n1 | n2 ", want: "n1>n2 n2>n1 n2>n3 n3>n2"},
		{spec: "n1|n2|n3", want: "n1>n2 n1>n3 n2>n1 n2>n3 n3>n1 n3>n2"},
		{spec: "", bad: "one side"},
		{spec: "n1,n2,n3", bad: "one side"},
		{spec: "n1|n2", bad: "n3 is on no side"},
		{spec: "n1,n2|n2,n3", bad: "n2 is named twice"},
		{spec: "n1,n1|n2,n3", bad: "n1 is named twice"},
		{spec: "n1|n2,n3,n4", bad: `there is no node "n4"`},
		{spec: "n1||n2,n3", bad: "a name is empty"},
		{spec: "n1,n2|", bad: "a name is empty"},
		{spec: "*|n1", bad: `there is no node "*"`},
	} {
		rules, err := ParsePartition(c.spec, three)
		check(t, c.spec, drawRules(rules), c.want, err, c.bad)
	}
}

func TestIsolate(t *testing.T) {
	if got, want := drawRules(Isolate("n2", three)), "n1>n2 n2>n1 n2>n3 n3>n2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestParseLinks(t *testing.T) {
	const all = "n1>n2 n1>n3 n2>n1 n2>n3 n3>n1 n3>n2"
	for _, c := range []struct{ spec, want, bad string }{
		{spec: "n1->n2", want: "n1>n2"},
		{spec: "n2<->n1", want: "n1>n2 n2>n1"},
		{spec: "n1,n2", want: "n1>n2 n2>n1"},
		{spec: "n3, n1,n2", want: all},
		{spec: "*", want: all},
		{spec: "*<->*", want: all},
		{spec: "n1->*", want: "n1>n2 n1>n3"},
		{spec: "* -> n2,n3", want: "n1>n2 n1>n3 n2>n3 n3>n2"},
		{spec: "n1<->n2,n3", want: "n1>n2 n1>n3 n2>n1 n3>n1"},
		{spec: "", bad: "a name is empty"},
		{spec: "n1", bad: "no link between two nodes"},
		{spec: "n1->n1", bad: "no link between two nodes"},
		{spec: "n1->", bad: "a name is empty"},
		{spec: "->n1", bad: "a name is empty"},
		{spec: "n1->n2->n3", bad: `there is no node "n2->n3"`},
		{spec: "n1-n2", bad: `there is no node "n1-n2"`},
		{spec: "n9->*", bad: `there is no node "n9"`},
	} {
		pairs, err := ParseLinks(c.spec, three)
		var rules []Rule
		for _, p := range pairs {
			rules = append(rules, hole(p.From, p.To))
		}
		check(t, c.spec, drawRules(rules), c.want, err, c.bad)
	}
}

func check(t *testing.T, spec, got, want string, err error, bad string) {
	t.Helper()
	if bad == "" {
		if err != nil || got != want {
			t.Errorf("%q: %s, %v; want %s", spec, got, err, want)
		}
		return
	}
	e := store.AsError(err)
	if e == nil || e.Code != store.Invalid || !strings.Contains(e.Msg, bad) || e.Try == "" {
		t.Errorf("%q: %v; want %q and a try", spec, err, bad)
	}
	if e != nil && slices.Contains(three, spec) && !strings.Contains(e.Try, "->") {
		t.Errorf("%q: the try line shows no link: %s", spec, e.Try)
	}
}
