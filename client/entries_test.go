package client_test

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func ExampleClient_Topology() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	likes := c.Keyspace("likes")
	mode, err := likes.Mode(ctx)
	check(err)
	policy, err := likes.Policy(ctx)
	check(err)
	topology, err := c.Topology(ctx)
	check(err)
	fmt.Printf("%s is %v, a %v, on a cluster of %d nodes\n", likes.Name(), mode, policy, len(topology.Nodes))
	// Output: likes is ap, a counter, on a cluster of 3 nodes
}

// A service takes the token of a session from whoever calls it. What it hands on is the
// context.
func ExampleClient_AdmitSession() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := open(ctx)
	defer c.Close()
	_, err := c.AdmitSession(ctx, "no token")
	fmt.Println(err != nil)
	session, err := c.AdmitSession(ctx, "") // that has seen nothing
	check(err)
	ctx = c.Within(ctx, session)
	_, err = c.Keyspace("orders").Put(ctx, "o44", []byte("open")) // is part of it
	check(err)
	fmt.Println(c.SessionOf(ctx).Token() != "")
	// Output:
	// true
	// true
}

// goFiles parses the Go files below this folder.
func goFiles(t *testing.T, each func(dir string, tests bool, f *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err == nil {
			each(filepath.Dir(path), strings.HasSuffix(path, "_test.go"), f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Whatever asks a cluster, which is what takes a context, and whatever makes something
// for it, options, steps and conditions, is called in an example that runs, and every
// package has one.
func TestEveryEntryHasAnExample(t *testing.T) {
	called, shown := map[string]bool{}, map[string]bool{}
	goFiles(t, func(dir string, tests bool, f *ast.File) {
		for _, d := range f.Decls {
			example, ok := d.(*ast.FuncDecl)
			if !ok || !tests || !strings.HasPrefix(example.Name.Name, "Example") {
				continue
			}
			shown[dir] = true
			ast.Inspect(example, func(n ast.Node) bool {
				if call, ok := n.(*ast.SelectorExpr); ok {
					called[call.Sel.Name] = true
				}
				return true
			})
		}
	})
	goFiles(t, func(dir string, tests bool, f *ast.File) {
		if !tests && !shown[dir] {
			t.Errorf("the package in %s has no example", dir)
		}
		for _, d := range f.Decls {
			entry, ok := d.(*ast.FuncDecl)
			if ok && !tests && entry.Name.IsExported() && (takesContext(entry) || makes(entry)) && !called[entry.Name.Name] {
				t.Errorf("%s, in %s, is in no example", entry.Name.Name, dir)
			}
		}
	})
}

// takesContext reports whether a context is the first parameter.
func takesContext(f *ast.FuncDecl) bool {
	if f.Type.Params.NumFields() == 0 {
		return false
	}
	at, ok := f.Type.Params.List[0].Type.(*ast.SelectorExpr)
	return ok && at.Sel.Name == "Context"
}

// makes reports whether it is a function that returns something, for other than tests,
// whose T an example has not.
func makes(f *ast.FuncDecl) bool {
	return f.Recv == nil && f.Type.Results.NumFields() > 0 && !takesT(f)
}

func takesT(f *ast.FuncDecl) bool {
	if f.Type.Params.NumFields() == 0 {
		return false
	}
	at, ok := f.Type.Params.List[0].Type.(*ast.Ident)
	return ok && at.Name == "TB"
}
