package report

import (
	"encoding/json"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
)

func write(t *testing.T, text string) (page string, rep check.Report, dir string) {
	t.Helper()
	floor := 0
	dir = t.TempDir()
	h, err := history.Read(strings.NewReader(text))
	rep = check.Run(h, check.Options{Floor: &floor})
	if err != nil {
		rep = check.Reject(err)
	}
	path, err := Write(dir, h, rep, Run{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data), rep, dir
}

func fixture(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "check", "testdata", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestReportIsWrittenForEveryVerdict(t *testing.T) {
	for name, text := range map[string]string{
		"good": fixture(t, "good"), "stale-read": fixture(t, "stale-read"), "sibling-lost": fixture(t, "sibling-lost"),
		"torn-line": fixture(t, "torn-line"), "bad-line": fixture(t, "bad-line"), "empty": "",
	} {
		t.Run(name, func(t *testing.T) {
			page, rep, dir := write(t, text)
			if !strings.Contains(page, "<title>"+marked(rep.Verdict)) || !strings.HasSuffix(strings.TrimSpace(page), "</html>") {
				t.Errorf("the page does not say %s, or does not end", rep.Verdict)
			}
			for _, c := range rep.Checkers {
				if !strings.Contains(page, "<b>"+c.Name+"</b>") {
					t.Errorf("%s is not in the page", c.Name)
				}
			}
			data, err := os.ReadFile(filepath.Join(dir, "results.json"))
			var back check.Report
			if err != nil || json.Unmarshal(data, &back) != nil || back.Verdict != rep.Verdict || back.Path != filepath.Join(dir, "index.html") {
				t.Errorf("results.json: %v %s", err, data)
			}
			files, _ := os.ReadDir(dir)
			if len(files) != 5 {
				t.Errorf("something was left behind: %v", files)
			}
		})
	}
}

func TestHistoryIsNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "history.jsonl")
	if err := os.WriteFile(path, []byte("recorded"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(dir, nil, check.Run(nil, check.Options{}), Run{}); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(path); string(data) != "recorded" {
		t.Errorf("got %q", data)
	}
}

func TestWitnessIsMarked(t *testing.T) {
	page, rep, _ := write(t, fixture(t, "stale-read"))
	// Once in the timeline, once in the diagram; the legend has one.
	if n, want := strings.Count(page, ` witness" d="M`)-1, 2*len(witness(rep)); n != want || want == 0 {
		t.Errorf("%d operations are marked, want %d", n, want)
	}
	if !strings.Contains(page, "<iframe sandbox=\"allow-scripts\"") || !strings.Contains(page, "put v2") {
		t.Error("porcupine's page is not there")
	}
}

// Every word a client can choose tries to become a tag, in the page and in the
// porcupine page inside it.
func TestWordsOfClientsAreEscaped(t *testing.T) {
	evil := `<script>alert(1)</script><img src=x onerror=alert(2)>`
	word := strings.ReplaceAll(evil, `"`, `\"`)
	text := strings.ReplaceAll(`{"seq":1,"t_ns":1000000,"type":"invoke","op_id":1,"process":1,"session":"EVIL","node":"EVIL","op":"put","keyspace":"EVIL","mode":"cp","key":"EVIL","value":"EVIL"}
{"seq":2,"t_ns":2000000,"type":"complete","op_id":1,"outcome":"ok","revision":1,"code":"EVIL"}
{"seq":3,"t_ns":3000000,"type":"fault","fault":"EVIL","phase":"begin","detail":"EVIL|b"}
{"seq":4,"t_ns":4000000,"type":"invoke","op_id":2,"process":2,"session":"b","node":"n1","op":"cas","keyspace":"EVIL","mode":"cp","key":"EVIL","expect":"EVIL","value":"EVIL2"}
{"seq":5,"t_ns":5000000,"type":"complete","op_id":2,"outcome":"fail","code":"Conflict","found":true,"value":"EVIL9","revision":1}
`, "EVIL", word)
	page, rep, _ := write(t, text)
	if rep.Verdict != check.Fail {
		t.Fatalf("the history should fail, so that its values are in sentences: %+v", rep)
	}
	inner := html.UnescapeString(regexp.MustCompile(`(?s)srcdoc="([^"]*)"`).FindStringSubmatch(page)[1])
	for name, text := range map[string]string{"page": page, "porcupine's page": inner} {
		if strings.Contains(text, "<script>alert") || strings.Contains(text, "<img") {
			t.Errorf("%s holds a live tag", name)
		}
	}
	if !strings.Contains(page, "&lt;script&gt;alert(1)") {
		t.Error("the key is not shown at all")
	}
	// porcupine's page gives some texts to innerHTML, so they must be escaped within
	// its data too
	data := inner[strings.Index(inner, "const data = "):]
	if strings.Contains(data, `\u003cscript\u003ealert`) || !strings.Contains(data, `\u0026lt;script\u0026gt;alert`) {
		t.Error("porcupine's data holds a tag that its page would make live")
	}
}

func TestPageLoadsNothing(t *testing.T) {
	page, _, _ := write(t, fixture(t, "good"))
	outer := regexp.MustCompile(`(?s)srcdoc="[^"]*"`).ReplaceAllString(page, "")
	for _, bad := range []string{"http://", "https://", "<script", "<link", "url(", " src="} {
		if strings.Contains(outer, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	policy := html.UnescapeString(regexp.MustCompile(`Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(page)[1])
	if !strings.Contains(policy, "default-src 'none'") || strings.Count(policy, "'sha256-") != 1 || strings.Contains(policy, "script-src 'unsafe") {
		t.Errorf("policy: %s", policy)
	}
	inner := html.UnescapeString(regexp.MustCompile(`(?s)srcdoc="([^"]*)"`).FindStringSubmatch(page)[1])
	if !strings.Contains(policy, scripts(inner)) {
		t.Errorf("the policy does not allow porcupine's script: %s", policy)
	}
}

func TestLongHistoryIsCutAndSaysSo(t *testing.T) {
	var text strings.Builder
	for i := range maxDrawn + 10 {
		fmt.Fprintf(&text, `{"seq":%d,"t_ns":%d,"type":"invoke","op_id":%d,"process":%d,"op":"put","keyspace":"k","mode":"ap","key":"k","value":"%d"}`+"\n", 2*i, 2*i, i, i%(maxLanes+5), i)
		fmt.Fprintf(&text, `{"seq":%d,"t_ns":%d,"type":"complete","op_id":%d,"outcome":"ok"}`+"\n", 2*i+1, 2*i+1, i)
	}
	page, _, _ := write(t, text.String())
	for _, says := range []string{fmt.Sprintf("%d of %d operations are drawn", maxDrawn, maxDrawn+10), "5 more clients are not drawn"} {
		if !strings.Contains(page, says) {
			t.Errorf("the page does not say %q", says)
		}
	}
}

func TestUnwritableDirIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(filepath.Join(file, "dir"), nil, check.Report{}, Run{}); err == nil {
		t.Error("no error")
	}
}
