package report

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// bounded is the most that a page of any history may have, in bytes.
const bounded = 3 << 20

func pageOf(t *testing.T, text string, claims ...string) (string, check.Report) {
	t.Helper()
	h, err := history.Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	rep := check.Run(h, check.Options{Claims: claims})
	dir := t.TempDir()
	path, err := Write(dir, h, rep, Run{})
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "history.jsonl")); err != nil || info.Size() != int64(len(text)) {
		t.Errorf("the history is not whole: %v", err)
	}
	return string(page), rep
}

func TestAMillionLinesMakeAPageOfBoundedSize(t *testing.T) {
	if testing.Short() {
		t.Skip("it reads and draws a million lines")
	}
	const ops = 500_000
	var text strings.Builder
	for i := range ops {
		fmt.Fprintf(&text, `{"seq":%d,"t_ns":%d,"type":"invoke","op_id":%d,"process":%d,"op":"put","keyspace":"k","mode":"cp","key":"k%d","value":"%d"}`+"\n", 2*i, 2000*i, i, i%20, i%1000, i)
		fmt.Fprintf(&text, `{"seq":%d,"t_ns":%d,"type":"complete","op_id":%d,"outcome":"ok","revision":%d}`+"\n", 2*i+1, 2000*i+1000, i, i+1)
	}
	page, rep := pageOf(t, text.String(), "outcomes")
	if rep.Operations.OK != ops {
		t.Errorf("%+v", rep.Operations)
	}
	if len(page) > bounded || !strings.Contains(page, fmt.Sprintf("%d of %d operations are drawn", maxDrawn, ops)) {
		t.Errorf("the page has %d bytes, or does not say what it leaves out", len(page))
	}
}

// Everything that a stranger's history can have many of, or long ones, at once.
func TestAWildHistoryMakesAPageOfBoundedSize(t *testing.T) {
	long := strings.Repeat("<b>", 20_000)
	var text strings.Builder
	const n = 600
	for i := range n {
		fmt.Fprintf(&text, `{"seq":%d,"t_ns":%d,"type":"fault","fault":"f%d%s","phase":"begin","detail":"n1,%s|n%d"}`+"\n", 4*i, 1000*i, i, long[:300], long[:900], i)
		fmt.Fprintf(&text, `{"seq":%d,"t_ns":%d,"type":"invoke","op_id":%d,"process":%d,"session":"%s%d","node":"n%d%s","op":"get","keyspace":"ks%d%s","mode":"ap","key":"%s","level":"bounded:%dms"}`+"\n",
			4*i+1, 1000*i+1, i, i, long[:300], i, i, long[:300], i, long[:300], long[:3000], i+1)
		fmt.Fprintf(&text, `{"seq":%d,"t_ns":%d,"type":"complete","op_id":%d,"outcome":"ok","found":true,"value":"%s","level_served":"eventual"}`+"\n", 4*i+2, 1000*i+2, i, long[:3000])
	}
	page, rep := pageOf(t, text.String())
	if rep.Verdict != check.Fail {
		t.Errorf("verdict %s", rep.Verdict)
	}
	if len(page) > bounded || strings.Contains(page, "<b><b>") {
		t.Errorf("the page has %d bytes, or a tag of a client", len(page))
	}
	for _, says := range []string{"more clients are not drawn", "more rows of the tables are in results.json", fmt.Sprintf("first 300 of %d faults", n)} {
		if !strings.Contains(page, says) {
			t.Errorf("the page does not say %q", says)
		}
	}
}

func TestWhatIsNoHistoryIsInvalidAndSaysWhy(t *testing.T) {
	good := fixture(t, "stale-read")
	lines := strings.SplitAfter(good, "\n")
	long := strings.Repeat("x", 1<<20)
	for name, c := range map[string]struct{ text, why string }{
		"cut in the middle":      {lines[0] + lines[1][:40] + "\n" + lines[2], "line 2"},
		"unknown operation":      {strings.Replace(good, `"op":"get"`, `"op":"steal"`, 1), "steal"},
		"a long one":             {strings.Replace(good, `"op":"get"`, `"op":"`+long+`"`, 1), "xxx"},
		"answered before called": {strings.Replace(good, `"seq":100,`, `"seq":121,`, 1), "completes before it is invoked"},
		"a number twice":         {good + lines[0], "already"},
		"an answer twice":        {good + strings.Replace(lines[1], `"seq":120,`, `"seq":125,`, 1), "completes twice"},
		"no outcome":             {strings.Replace(good, `"outcome":"ok"`, `"outcome":"fine"`, 1), "fine"},
		"unknown level":          {strings.Replace(good, `"op":"get"`, `"op":"get","level":"perfect"`, 1), "perfect"},
		"not UTF-8":              {lines[0] + "\xff\xfe\n" + lines[2], "UTF-8"},
		"nothing":                {"", "empty"},
		"HTML":                   {"<html><script>alert(1)</script></html>\n" + good, "line 1"},
	} {
		page, rep, _ := write(t, c.text)
		said := rep.Checkers[0].Sentence
		if rep.Verdict != check.Invalid || !strings.Contains(said, c.why) || len(said) > 2100 {
			t.Errorf("%s: %s, %.200q", name, rep.Verdict, said)
		}
		if !strings.Contains(page, "∅ invalid") || len(page) > bounded {
			t.Errorf("%s: the page does not say that it is invalid", name)
		}
	}
}

// Lines may come in any order: seq alone orders them.
func TestLinesInAnyOrderAreOneHistory(t *testing.T) {
	lines := strings.SplitAfter(strings.TrimSuffix(fixture(t, "stale-read"), "\n")+"\n", "\n")
	for i, j := 0, len(lines)-2; i < j; i, j = i+1, j-1 {
		lines[i], lines[j] = lines[j], lines[i]
	}
	_, rep, _ := write(t, strings.Join(lines, ""))
	if rep.Verdict != check.Fail || len(rep.Checkers) < 3 {
		t.Errorf("%s: %+v", rep.Verdict, rep.Checkers)
	}
}
