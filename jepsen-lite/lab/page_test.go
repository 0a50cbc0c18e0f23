package lab_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/jepsen-lite/lab"
)

var page = filepath.Join("..", "..", "docs", "reference", "experiments.md")

const (
	tableBegins = "<!-- functions: go test ./jepsen-lite/lab -run Page -rewrite -->\n"
	tableEnds   = "<!-- end -->\n"
)

// The reference page has a row for every function, as the schema tells of them.
func TestPageHasEveryFunction(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := bytes.Cut(text, []byte(tableBegins))
	_, tail, ended := bytes.Cut(rest, []byte(tableEnds))
	if !ok || !ended {
		t.Fatalf("%s has no table", page)
	}
	want := slices.Concat(head, []byte(tableBegins), []byte(functionTable(t)), []byte(tableEnds), tail)
	if *rewrite {
		if err := os.WriteFile(page, want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(text, want) {
		t.Errorf("the functions of %s are not those of the program: go test ./jepsen-lite/lab -run Page -rewrite", page)
	}
}

func functionTable(t *testing.T) string {
	t.Helper()
	var schema struct {
		Defs struct {
			Provider struct {
				AnyOf []struct {
					Description string
					Properties  struct {
						Func      struct{ Const string }
						Arguments json.RawMessage
					}
				} `json:"anyOf"`
			}
		} `json:"$defs"`
	}
	b, err := json.Marshal(lab.Schema())
	if err == nil {
		err = json.Unmarshal(b, &schema)
	}
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	out.WriteString("\n| function | what it does | arguments; **those** it must have |\n|---|---|---|\n")
	for _, p := range schema.Defs.Provider.AnyOf {
		if p.Properties.Func.Const == "" {
			continue
		}
		var takes struct {
			Properties map[string]any
			Required   []string
		}
		if err := json.Unmarshal(p.Properties.Arguments, &takes); err != nil {
			t.Fatal(err)
		}
		args, must := slices.Collect(maps.Keys(takes.Properties)), takes.Required
		sort.Slice(args, func(i, j int) bool {
			a, b := slices.Contains(must, args[i]), slices.Contains(must, args[j])
			return a && !b || a == b && args[i] < args[j]
		})
		for i, name := range args {
			args[i] = "`" + name + "`"
			if slices.Contains(must, name) {
				args[i] = "**" + args[i] + "**"
			}
		}
		says, _, _ := strings.Cut(p.Description, " Answers outcome, code")
		fmt.Fprintf(&out, "| `%s` | %s | %s |\n", p.Properties.Func.Const, says, strings.Join(args, " "))
	}
	return out.String() + "\n"
}
