package telemetry

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// row is what docs/reference/metrics.md says of a family.
func (f family) row() string {
	unit, labels := "", ""
	for _, suffix := range []string{"seconds", "bytes"} {
		if strings.HasSuffix(strings.TrimSuffix(f.name, "_total"), "_"+suffix) {
			unit = suffix
		}
	}
	if len(f.labels) > 0 {
		labels = "`" + strings.Join(f.labels, "` `") + "`"
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s |", f.name, f.kind, unit, labels, strings.TrimSuffix(f.help, "."))
}

func TestThePageOfMetricsIsComplete(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(page), "\n")
	for _, f := range families() {
		if !slices.Contains(lines, f.row()) {
			t.Errorf("docs/reference/metrics.md has no line\n%s", f.row())
		}
	}
	if rows := strings.Count(string(page), "\n| `kv_node_"); rows != len(families()) {
		t.Errorf("the page has %d rows for %d metrics", rows, len(families()))
	}
}

// named is a metric of a node; a histogram has others below it.
var named = regexp.MustCompile(`\bkv_node_[a-z0-9_]*[a-z0-9]\b`)

// A dashboard that asks for what is not there shows nothing, and an alert never fires.
func TestWhatIsNamedElsewhereExists(t *testing.T) {
	known := make(map[string]bool)
	for _, f := range families() {
		known[f.name] = true
		if f.kind == "histogram" {
			for _, suffix := range []string{"_bucket", "_count", "_sum"} {
				known[f.name+suffix] = true
			}
		}
	}
	found := make(map[string]bool)
	for _, dir := range []string{"deploy", "docs"} {
		err := filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			for _, name := range named.FindAllString(string(text), -1) {
				if found[name] = true; !known[name] {
					t.Errorf("%s names %s, which is no metric", path, name)
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	dashboard, err := os.ReadFile(filepath.Join("..", "..", "deploy", "grafana", "dialkv.json"))
	if err != nil || !json.Valid(dashboard) {
		t.Errorf("the dashboard is no JSON, %v", err)
	}
	if len(found) < 20 {
		t.Errorf("only %d names were found", len(found))
	}
}

func TestNamesOfMetricsAreWellFormed(t *testing.T) {
	seen := make(map[string]bool)
	for _, f := range families() {
		switch {
		case seen[f.name]:
			t.Errorf("%s is there twice", f.name)
		case !named.MatchString(f.name), strings.HasSuffix(f.name, "_total") != (f.kind == "counter"), !strings.HasSuffix(f.help, "."):
			t.Errorf("%s %s: %s", f.kind, f.name, f.help)
		}
		seen[f.name] = true
	}
}
