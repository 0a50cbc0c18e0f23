package tidy

import (
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
)

func TestContextsComeFromTheCaller(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() || program(s.path) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if pkg, name, ok := s.uses(n); ok && pkg == "context" && (name == "Background" || name == "TODO") {
				t.Errorf("%s: context.%s below main; take a ctx", s.at(n), name)
			}
			return true
		})
	}
}

// program reports whether path is the main file of a program.
func program(file string) bool {
	return path.Base(file) == "main.go" && (strings.HasPrefix(file, "cmd/") || strings.HasPrefix(file, "examples/"))
}

func TestNothingHappensOnImport(t *testing.T) {
	for _, s := range sources(t) {
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: func init", s.at(f))
			}
		}
	}
}

func TestRoomsDoNotPrint(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() || strings.HasPrefix(s.path, "cmd/") || strings.HasPrefix(s.path, "examples/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if pkg, name, ok := s.uses(n); ok && prints(pkg, name) {
				t.Errorf("%s: %s.%s; return an error or call an event", s.at(n), pkg, name)
			}
			return true
		})
	}
}

func prints(pkg, name string) bool {
	printing := strings.HasPrefix(name, "Print")
	return pkg == "fmt" && printing || pkg == "log" && (printing || strings.HasPrefix(name, "Fatal") || strings.HasPrefix(name, "Panic"))
}

// What a bubble needs beside the library is in one place.
func TestBubblesAreOpenedInOnePlace(t *testing.T) {
	for _, s := range sources(t) {
		if s.room() == "internal/link/linktest" || s.path == "client/clienttest/clienttest_test.go" {
			continue // the latter tests what an application does that opens one itself
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if pkg, name, ok := s.uses(n); ok && pkg == "testing/synctest" && name == "Test" {
				t.Errorf("%s: synctest.Test; use linktest.Bubble", s.at(n))
			}
			return true
		})
	}
}

func TestTestsSleepOnlyInABubble(t *testing.T) {
	byRoom := map[string][]source{}
	for _, s := range sources(t) {
		if strings.HasSuffix(s.path, "_test.go") {
			byRoom[s.room()] = append(byRoom[s.room()], s)
		}
	}
	for _, files := range byRoom {
		for _, at := range sleepsOutsideBubbles(files) {
			t.Errorf("%s: time.Sleep outside a bubble; wait for the event, or use linktest.Bubble", at)
		}
	}
}

// sleepsOutsideBubbles finds the time.Sleep calls of one package's tests that are
// neither in a function given to a bubble, nor in one that is only used from there.
func sleepsOutsideBubbles(files []source) []string {
	openers := openersOf(files)
	inside := map[string]bool{} // functions, by name
	for {
		grown := false
		for name, outside := range references(files, openers, inside) {
			if !outside && !inside[name] {
				inside[name], grown = true, true
			}
		}
		if !grown {
			break
		}
	}
	var found []string
	walk(files, openers, inside, func(s source, n ast.Node, bubble bool) {
		if pkg, name, ok := s.uses(n); ok && pkg == "time" && name == "Sleep" && !bubble {
			found = append(found, s.at(n))
		}
	})
	return found
}

// references says of each function that is used at all whether it is used outside
// bubbles.
func references(files []source, openers []string, inside map[string]bool) map[string]bool {
	declared := map[string]bool{}
	for _, f := range functions(files) {
		declared[f.Name.Name] = true
	}
	outside := map[string]bool{}
	walk(files, openers, inside, func(_ source, n ast.Node, bubble bool) {
		if id, ok := n.(*ast.Ident); ok && declared[id.Name] {
			outside[id.Name] = outside[id.Name] || !bubble
		}
	})
	return outside
}

// openersOf are the functions of the package that hand a parameter of theirs to a
// bubble, directly or through another of them, so that what they are given runs in one.
func openersOf(files []source) []string {
	var openers []string
	for {
		known := len(openers)
		for _, s := range files {
			for _, f := range functions([]source{s}) {
				if !slices.Contains(openers, f.Name.Name) && s.handsOn(f, openers) {
					openers = append(openers, f.Name.Name)
				}
			}
		}
		if len(openers) == known {
			return openers
		}
	}
}

// handsOn reports whether f passes a parameter of its own to a bubble or an opener.
func (s source) handsOn(f *ast.FuncDecl, openers []string) bool {
	found := false
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		found = found || ok && s.opens(call, openers) && slices.ContainsFunc(call.Args, func(arg ast.Expr) bool {
			return passesParameter(f, arg)
		})
		return !found
	})
	return found
}

// passesParameter reports whether arg is, or calls, a function parameter of f.
func passesParameter(f *ast.FuncDecl, arg ast.Expr) bool {
	found := false
	for _, field := range f.Type.Params.List {
		if _, ok := field.Type.(*ast.FuncType); !ok {
			continue
		}
		for _, name := range field.Names {
			ast.Inspect(arg, func(n ast.Node) bool {
				id, ok := n.(*ast.Ident)
				found = found || ok && id.Name == name.Name
				return true
			})
		}
	}
	return found
}

// opens reports whether call runs its function argument in a bubble.
func (s source) opens(call *ast.CallExpr, openers []string) bool {
	if len(call.Args) < 2 {
		return false
	}
	if id, ok := call.Fun.(*ast.Ident); ok {
		return slices.Contains(openers, id.Name)
	}
	pkg, name, ok := s.uses(call.Fun)
	return ok && (pkg == "testing/synctest" && name == "Test" || pkg == module+"internal/link/linktest" && name == "Bubble")
}

func functions(files []source) []*ast.FuncDecl {
	var list []*ast.FuncDecl
	for _, s := range files {
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Body != nil {
				list = append(list, f)
			}
		}
	}
	return list
}

// walk visits the bodies of all functions and says of each node whether it runs in a
// bubble for certain.
func walk(files []source, openers []string, inside map[string]bool, visit func(s source, n ast.Node, bubble bool)) {
	for _, s := range files {
		for _, decl := range s.file.Decls {
			var v walker
			v = func(n ast.Node, bubble bool) {
				ast.Inspect(n, func(n ast.Node) bool {
					if n == nil {
						return false
					}
					visit(s, n, bubble)
					call, ok := n.(*ast.CallExpr)
					if !ok || !s.opens(call, openers) {
						return true
					}
					v(call.Fun, bubble)
					for _, arg := range call.Args {
						v(arg, true)
					}
					return false
				})
			}
			if f, ok := decl.(*ast.FuncDecl); !ok {
				v(decl, false)
			} else if f.Body != nil {
				v(f.Body, inside[f.Name.Name])
			}
		}
	}
}

type walker func(n ast.Node, bubble bool)
