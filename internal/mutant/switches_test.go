package mutant

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"testing"
)

// Both builds must have a switch for every bug, without the tag the constant false and
// with it the bug's own name, and say of each what the list says.
func TestBothBuildsHaveASwitchForEveryBug(t *testing.T) {
	for file, value := range map[string]func(name string) string{
		"off.go": func(string) string { return "false" },
		"on.go":  func(name string) string { return `name == "` + name + `"` },
	} {
		var found []string
		for _, s := range switches(t, file) {
			found = append(found, s.name)
			if want := value(s.name); s.value != want {
				t.Errorf("%s: %s = %s, want %s", file, s.name, s.value, want)
			}
			if i := slices.Index(Names(), s.name); i >= 0 && Bugs[i].Breaks != s.comment {
				t.Errorf("%s says of %s %q, the list %q", file, s.name, s.comment, Bugs[i].Breaks)
			}
		}
		if !slices.Equal(found, Names()) {
			t.Errorf("%s has the switches %v, the list %v", file, found, Names())
		}
	}
}

type switched struct{ name, value, comment string }

// switches are the declarations of a file whose names are those of bugs: M and a number.
func switches(t *testing.T, file string) (found []switched) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && strings.TrimLeft(spec.Names[0].Name, "0123456789M") == "" && len(spec.Values) == 1 {
			found = append(found, switched{spec.Names[0].Name, types.ExprString(spec.Values[0]), strings.TrimSpace(spec.Comment.Text())})
		}
		return true
	})
	return found
}
