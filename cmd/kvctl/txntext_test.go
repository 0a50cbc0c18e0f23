package main

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

func TestParseTxn(t *testing.T) {
	text := `
# a comment, and an empty line

if value(a) = "1"
if version(b)=0
	if changed( 'c)d' ) > 17
if value("e\n") != 'say "hi"'
if lease(f) < 18446744073709551615
if created(g) = 1
then put a "two words" lease 5
then delete b
then get 'c d'
then incr d -5
then put lease ""
else get a
`
	want := store.Txn{
		If: []store.Compare{
			{Key: "a", Target: store.TargetValue, Relation: store.Equal, Value: []byte("1")},
			{Key: "b", Target: store.TargetVersion, Relation: store.Equal},
			{Key: "c)d", Target: store.TargetChanged, Relation: store.Greater, Number: 17},
			{Key: "e\n", Target: store.TargetValue, Relation: store.NotEqual, Value: []byte(`say "hi"`)},
			{Key: "f", Target: store.TargetLease, Relation: store.Less, Number: 1<<64 - 1},
			{Key: "g", Target: store.TargetCreated, Relation: store.Equal, Number: 1},
		},
		Then: []store.Step{
			{Op: store.Put, Key: "a", Value: []byte("two words"), Lease: 5}, client.DeleteStep("b"), client.GetStep("c d"),
			client.IncrementStep("d", -5), client.PutStep("lease", []byte{}),
		},
		Else: []store.Step{client.GetStep("a")},
	}
	got, err := parseTxn(text)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
}

func TestTxnErrorsNameTheLine(t *testing.T) {
	for statement, want := range map[string]string{
		"when value(a) = 1":               `begins with if, then or else, and not with "when"`,
		"if":                              "does not begin with what is compared",
		"if a = 1":                        "does not begin with what is compared",
		"if size(a) = 1":                  "does not begin with what is compared",
		"if value a = 1":                  "does not begin with what is compared",
		"if value(a = 1":                  "no closing parenthesis",
		"if value(a b) = 1":               "no closing parenthesis",
		"if value() = 1":                  "the key is empty",
		"if value(a)":                     "is no relation",
		"if value(a) ~ 1":                 `"~ 1" is no relation`,
		"if value(a) =":                   "a word is missing",
		"if value(a) = 1 2":               `"2" is left over`,
		"if version(a) = abc":             `version(a) is a number, and "abc" is none`,
		"if changed(a) > -1":              "is a number",
		`if value(a) = "open`:             `a quote " is open`,
		"if value('a) = 1":                "a quote ' is open",
		`if value(a) = "a"b`:              "follows a closing quote",
		"then":                            "the step is missing",
		"then drop a":                     `no step "drop"`,
		"then put":                        "a word is missing",
		"then put a":                      "a word is missing",
		"then put a 1 2":                  `behind the value stands "2"`,
		"then put a 1 lease":              "a word is missing",
		"then put a 1 lease x":            `the lease is "x"`,
		"then put '' 1":                   "the key is empty",
		"then delete a b":                 `"b" is left over`,
		"then incr a":                     "a word is missing",
		"else incr a 1.5":                 `the increment is "1.5"`,
		"then incr a 9999999999999999999": "no whole number",
		"else get " + strings.Repeat("k", store.MaxKey+1): "the limit is 4096",
	} {
		_, err := parseTxn("if value(a) = 1\n\n" + statement + "\nthen get a\n")
		var e *store.Error
		if !errors.As(err, &e) || e.Code != store.Invalid && e.Code != store.TooLarge || !strings.Contains(err.Error(), want) || !strings.HasPrefix(e.Msg, "line 3: ") {
			t.Errorf("%.60s: %v, want %q", statement, err, want)
		}
	}
}

func FuzzParseTxn(f *testing.F) {
	f.Add("if value(a) = \"1\"\nthen put a 'x y' lease 5\nelse incr b -1")
	f.Fuzz(func(t *testing.T, text string) {
		out, err := parseTxn(text)
		if err != nil && !errors.Is(err, store.Invalid) && !errors.Is(err, store.TooLarge) {
			t.Errorf("%v", err)
		}
		for _, s := range out.Then {
			if err := store.CheckKey(s.Key); err != nil {
				t.Errorf("a step's key is let through: %v", err)
			}
		}
	})
}

func TestTxnOfFlagsNamesTheFlag(t *testing.T) {
	a, _, stderr := quiet(nil)
	status := a.execute(t.Context(), []string{"txn", "orders", "--if", "value(a) = 1", "--else", "get a", "--else", "drop a"})
	if status != 2 || !strings.Contains(stderr.String(), "--else 2: a transaction has no step") {
		t.Errorf("status %d\n%s", status, stderr)
	}
}

func TestTxnReadsNoMoreThanItsLimit(t *testing.T) {
	a, _, stderr := quiet(nil)
	a.in = strings.NewReader(strings.Repeat("# nothing\n", maxTxnText/10+1))
	if status := a.execute(t.Context(), []string{"txn", "orders"}); status != 2 || !strings.Contains(stderr.String(), "TooLarge") {
		t.Errorf("status %d\n%s", status, stderr)
	}
}
