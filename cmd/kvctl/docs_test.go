package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestDocsRun runs every console block of the README and of docs, page by page: a
// line "$ kvctl …" must end with status 0, or with the one its comment says
// ("# exit 4").
func TestDocsRun(t *testing.T) {
	root, dir := filepath.Join("..", ".."), t.TempDir()
	pages := []string{filepath.Join(root, "README.md")}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	commands := 0
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		lines := console(t, page, string(b))
		if commands += len(lines); len(lines) == 0 {
			continue
		}
		name := strings.TrimSuffix(filepath.Base(page), ".md") + ".txt"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if commands < 20 {
		t.Errorf("only %d commands were found in %d pages", commands, len(pages))
	}
	testscript.Run(t, params(t, dir))
}

var (
	blocks   = regexp.MustCompile("(?s)```console\n(.*?)```")
	expected = regexp.MustCompile(`\s+# exit (\d+)$`)
)

// console returns a page's commands as lines of a script.
func console(t *testing.T, page, text string) (script []string) {
	for _, block := range blocks.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(block[1]) {
			command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ ")
			if !ok || !strings.HasPrefix(command, "kvctl ") {
				t.Fatalf("%s: a console block holds %q, which is no kvctl command", page, line)
			}
			status := "0"
			if m := expected.FindStringSubmatch(command); m != nil {
				status, command = m[1], strings.TrimSuffix(command, m[0])
			}
			script = append(script, fmt.Sprintf("exits %s %s", status, strings.ReplaceAll(command, `"`, "'")))
		}
	}
	return script
}

// TestDocsListEveryPage holds the list of pages against the pages.
func TestDocsListEveryPage(t *testing.T) {
	docs := filepath.Join("..", "..", "docs")
	list, err := os.ReadFile(filepath.Join(docs, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(docs, func(path string, _ fs.DirEntry, err error) error {
		name, _ := filepath.Rel(docs, path)
		if err == nil && strings.HasSuffix(name, ".md") && name != "README.md" && !strings.Contains(string(list), "("+filepath.ToSlash(name)+")") {
			t.Errorf("%s is not in docs/README.md", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
