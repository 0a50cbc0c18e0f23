package tidy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/dialkv/dialkv/"

// pkg is what the go command says of a package of ours.
type pkg struct {
	ImportPath string
	Doc        string
	Imports    []string // of non-test code
	Deps       []string // the same, transitively
	GoFiles    []string
}

// room is the package's path within the module.
func (p pkg) room() string { return room(p.ImportPath) }

func room(importPath string) string { return strings.TrimPrefix(importPath, module) }

func ours(importPath string) bool { return strings.HasPrefix(importPath, module) }

// root is the module's directory.
const root = "../.."

var (
	listed = sync.OnceValues(list)
	parsed = sync.OnceValues(parse)
)

// packages lists the module's packages.
func packages(t *testing.T) []pkg {
	t.Helper()
	packages, err := listed()
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

// sources lists the module's Go files but generated ones.
func sources(t *testing.T) []source {
	t.Helper()
	sources, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	return sources
}

func list() ([]pkg, error) {
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Doc,Imports,Deps,GoFiles", "./...")
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var list []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// source is one parsed Go file of the module, whatever its build tags.
type source struct {
	path    string // from the root, with slashes
	fset    *token.FileSet
	file    *ast.File
	imports map[string]string // local name to import path
}

func (s source) room() string {
	dir, _, _ := cutLast(s.path, "/")
	return dir
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") || helpsTests(s.room()) }

func (s source) at(n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.fset.Position(n.Pos()).Line)
}

func parse() ([]source, error) {
	var list []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && foreign(path):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if !ast.IsGenerated(file) {
			list = append(list, source{filepath.ToSlash(rel), fset, file, importsOf(file)})
		}
		return nil
	})
	return list, err
}

// foreign directories hold no code of the module: hidden, test data, or a module of
// their own.
func foreign(dir string) bool {
	base := filepath.Base(dir)
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" {
		return true
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return !errors.Is(err, fs.ErrNotExist)
}

func importsOf(file *ast.File) map[string]string {
	imports := map[string]string{}
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // not a program; the compiler says so
		}
		_, name, ok := cutLast(path, "/")
		if !ok {
			name = path
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		imports[name] = path
	}
	return imports
}

// uses reports whether n names something of an imported package, and what.
func (s source) uses(n ast.Node) (path, name string, ok bool) {
	sel, ok := n.(*ast.SelectorExpr)
	if !ok {
		return "", "", false
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return "", "", false
	}
	path, ok = s.imports[x.Name]
	return path, sel.Sel.Name, ok
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}
