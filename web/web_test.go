package web

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What browsers get is what src says: esbuild makes the same of it wherever it runs.
func TestDistIsWhatTheSourcesGive(t *testing.T) {
	source, err := os.ReadFile("web.go")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^//go:generate go (.*)$`).FindSubmatch(source)
	if line == nil {
		t.Fatal("web.go does not say how dist is made")
	}
	fresh := t.TempDir()
	args := strings.Fields(strings.Replace(string(line[1]), "--outdir=dist", "--outdir="+fresh, 1))
	if out, err := exec.Command("go", "tool", "-modfile=../tools/go.mod", "esbuild", "--version").CombinedOutput(); err != nil {
		t.Skipf("esbuild cannot be had here, so dist is not compared: %s", out)
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	made := map[string]bool{}
	for _, name := range names(t, os.DirFS(fresh)) {
		made[name] = true
		want, err := os.ReadFile(filepath.Join(fresh, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := fs.ReadFile(Files(), name)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("dist/%s is not what src gives: go generate ./web", name)
		}
	}
	for _, name := range names(t, Files()) {
		if !made[name] {
			t.Errorf("dist/%s comes from no source", name)
		}
	}
}

func names(t *testing.T, files fs.FS) (all []string) {
	t.Helper()
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// The policy that the page is served with would stop it at the first of these, and only
// in a browser.
func TestThePageNamesNothingElsewhere(t *testing.T) {
	elsewhere := regexp.MustCompile(`(?i)(src|href)="(https?:)?//|style="|\son[a-z]+="|@import|url\(`)
	for _, name := range []string{"index.html", "page.css"} {
		text, err := fs.ReadFile(Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		if found := elsewhere.Find(text); found != nil {
			t.Errorf("%s has %q", name, found)
		}
	}
}
