package lab_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/jepsen-lite/lab"
	"github.com/dialkv/dialkv/store"
)

const head = "title: t\ndescription: d\n"

const withCluster = head + "cluster: {nodes: 3, keyspaces: [{name: ks, mode: cp}]}\n"

// step is a file whose method is one activity, on line 5.
func step(activity string) string { return withCluster + "method:\n  - " + activity + "\n" }

func kv(f, arguments string) string {
	return step(fmt.Sprintf("{type: action, name: a, provider: {type: kv, func: %s, arguments: {%s}}}", f, arguments))
}

func tolerates(tolerance string) string {
	return step("{type: probe, name: a, provider: {type: kv, func: ready}, tolerance: " + tolerance + "}")
}

// Files that are taken.
var goodFiles = map[string]string{
	"nothing to do":  head + "method: []\n",
	"JSON with tabs": "{\n\t\"title\": \"t\",\n\t\"description\": \"d\",\n\t\"method\": [{\"type\": \"probe\", \"name\": \"p\", \"provider\": {\"type\": \"process\", \"path\": \"true\"}}]\n}",
	"of the Chaos Toolkit": `{"version": "1.0.0", "title": "t", "description": "d", "tags": ["a"], "contributions": {"reliability": "high"},
		"configuration": {"url": {"type": "env", "key": "URL", "default": "http://127.0.0.1"}, "n": 3},
		"secrets": {"api": {"token": {"type": "env", "key": "TOKEN"}}},
		"steady-state-hypothesis": {"title": "up", "probes": [{"type": "probe", "name": "up", "tolerance": 200, "provider": {"type": "http", "url": "${url}", "headers": {"A": "${token}"}, "timeout": [1, 2], "verify_tls": false, "secrets": ["api"]}}]},
		"method": [{"ref": "up"}, {"type": "action", "name": "ls", "background": true, "pauses": {"before": 0.1, "after": 1}, "provider": {"type": "process", "path": "ls", "arguments": {"-l": null}, "timeout": 3}}],
		"rollbacks": [], "runtime": {"rollbacks": {"strategy": "always"}, "hypothesis": {"strategy": "default"}}, "extensions": [{"name": "x"}]}`,
	"an anchor":        head + "method:\n  - &a {type: probe, name: a, provider: {type: process, path: ls}}\n  - *a\n",
	"every tolerance":  tolerates("{type: regex, pattern: '^a+$', target: stdout}"),
	"path":             tolerates("{type: jsonpath, path: '$.a[*].b', expect: [1, 2], target: body}"),
	"range":            tolerates("{type: range, range: [0, 1.5]}"),
	"a probe":          tolerates("{type: probe, name: inner, provider: {type: process, path: 'test'}}"),
	"placeholders":     kv("delay", `links: "${links}", by: "${by}"`),
	"leader of a node": kv("kill", "node: 'leader:ks'"),
	"only words":       withCluster + "method:\n  - say: hello\n  - predict: {ask: q, choices: [a, b], answer: a}\n",
}

// Files that are refused; on which line, and because of what. deeper says that the
// schema cannot see it.
var badFiles = []struct {
	name, text string
	line       int
	says       string
	deeper     bool
}{
	{"no title", "description: d\nmethod: []\n", 1, "needs a title", false},
	{"no method", head, 1, "needs a method", false},
	{"an unknown word", head + "method: []\nmethods: []\n", 4, `no "methods"`, false},
	{"an unknown word below", step("{type: action, name: a, provider: {type: kv, func: heal}, when: now}"), 5, `no "when"`, false},
	{"a list for a text", "title: [a]\ndescription: d\nmethod: []\n", 1, "must be a text", false},
	{"an unknown type", step("{type: thing, name: a, provider: {type: kv, func: heal}}"), 5, "action, probe", false},
	{"no provider", step("{type: action, name: a}"), 5, "needs a provider", false},
	{"python", step("{type: action, name: a, provider: {type: python, module: m, func: f}}"), 5, "Chaos Toolkit", false},
	{"an unknown provider", step("{type: action, name: a, provider: {type: aws}}"), 5, "kv, http or process", false},
	{"an unknown function", kv("explode", ""), 5, `no function "explode"`, false},
	{"an unknown argument", kv("heal", "now: true"), 5, `no "now"`, false},
	{"an argument that lacks", kv("isolate", ""), 5, "needs node", false},
	{"a node that is not there", kv("isolate", "node: n9"), 5, `"n9"`, true},
	{"a keyspace that is not there", kv("get", "key: nosuch/k"), 5, `"nosuch"`, true},
	{"a key without a keyspace", kv("get", "key: k"), 5, "KEYSPACE/KEY", true},
	{"sides that lack a node", kv("partition", "groups: 'n1|n2'"), 5, "n3", true},
	{"links to nowhere", kv("cut", "links: 'n1->n8'"), 5, "n8", true},
	{"a level", kv("get", "key: ks/k, level: best"), 5, "best", true},
	{"a time", kv("delay", "links: n1->n2, by: soon"), 5, "500ms", true},
	{"a tolerance of everything", step("{type: probe, name: a, provider: {type: kv, func: ready}, tolerance: {}}"), 5, "everything", true},
	{"no yes", kv("put", "key: ks/k, value: v, blind: 1"), 5, "true or false", false},
	{"a checker", kv("check", "claims: [sound]"), 5, "sound", true},
	{"a workload", kv("load", "workload: w, keyspace: ks, for: 1s"), 5, `"w"`, false},
	{"a tolerance's type", tolerates("{type: magic}"), 5, "magic", true},
	{"a pattern", tolerates("{type: regex, pattern: '('}"), 5, "missing closing", true},
	{"a path", tolerates("{type: jsonpath, path: 'a.b'}"), 5, "tolerance", true},
	{"a range", tolerates("{type: range, range: [1]}"), 5, "two numbers", true},
	{"a hypothesis without tolerance", withCluster + "steady-state-hypothesis:\n  title: h\n  probes:\n    - {type: probe, name: a, provider: {type: kv, func: ready}}\nmethod: []\n", 7, "needs a tolerance", false},
	{"an answer that is no choice", withCluster + "method:\n  - predict: {ask: q, choices: [a, b], answer: c}\n", 5, "none of the choices", true},
	{"one choice", withCluster + "method:\n  - predict: {ask: q, choices: [a], answer: a}\n", 5, "two choices", false},
	{"a ref to nothing", step("{ref: a}"), 5, `no activity "a"`, true},
	{"controls", head + "method: []\ncontrols: [{name: c}]\n", 4, "controls", false},
	{"dry", head + "method: []\ndry: true\n", 4, "verify", false},
	{"no cluster", head + "method:\n  - {type: action, name: a, provider: {type: kv, func: heal}}\n", 1, "needs a cluster", true},
	{"too many nodes", head + "cluster: {nodes: 99}\nmethod: []\n", 3, "from 1 to 7", false},
	{"too many replicas", head + "cluster: {nodes: 2, keyspaces: [{name: a, mode: cp, replicas: 3}]}\nmethod: []\n", 3, "3 replicas", true},
	{"a policy", head + "cluster: {keyspaces: [{name: a, mode: ap, conflict: mine}]}\nmethod: []\n", 3, "mine", true},
	{"a pause", step("{type: action, name: a, provider: {type: kv, func: heal}, pauses: {after: never}}"), 5, "seconds", true},
	{"a strategy", head + "method: []\nruntime: {rollbacks: {strategy: sometimes}}\n", 4, "sometimes", false},
	{"a setting", head + "method: []\nconfiguration: {a: {type: vault, key: k}}\n", 4, "only env", true},
	{"a background that is judged", step("{type: probe, name: a, background: true, provider: {type: kv, func: ready}, tolerance: true}"), 5, "await", true},
}

func TestBadFilesAreRefusedWithTheirLine(t *testing.T) {
	for _, bad := range badFiles {
		_, err := lab.Parse("bad.yaml", []byte(bad.text))
		if !errors.Is(err, store.Invalid) || store.AsError(err).Try == "" {
			t.Errorf("%s: %v", bad.name, err)
			continue
		}
		want := fmt.Sprintf("bad.yaml:%d: ", bad.line)
		if msg := store.AsError(err).Msg; !strings.Contains(msg, want) || !strings.Contains(msg, bad.says) {
			t.Errorf("%s: %q has not %q with %q", bad.name, msg, want, bad.says)
		}
	}
}

// What is not even YAML, or too large, is refused, too.
func TestUnreadableFilesAreRefused(t *testing.T) {
	bomb := head + "method: []\nextensions:\n  a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 8 {
		bomb += fmt.Sprintf("  %c: &%c [%s]\n", 'b'+i, 'b'+i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", 'a'+i), 10), ", "))
	}
	for name, text := range map[string]string{
		"empty": "", "a comment": "# nothing\n", "no YAML": "title: [\n", "two documents": head + "method: []\n---\na: 1\n",
		"a list": "- a\n", "a text": "hello", "twice": head + "title: u\nmethod: []\n", "large": strings.Repeat("#", lab.MaxFile+1),
		"a bomb": bomb, "deep": head + "extensions: " + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "\nmethod: []\n",
	} {
		if _, err := lab.Parse("bad.yaml", []byte(text)); !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), "bad.yaml") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// All that is wrong is told at once.
func TestEveryComplaintIsTold(t *testing.T) {
	_, err := lab.Parse("f.yaml", []byte("title: t\ndescription: d\nfoo: 1\nbar: 2\nmethod: 3\n"))
	for _, want := range []string{"f.yaml:3:", "f.yaml:4:", "f.yaml:5:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v has no %s", err, want)
		}
	}
}

// Whatever the bytes are, Parse returns.
func FuzzParse(f *testing.F) {
	f.Add(lab.Template())
	for _, text := range goodFiles {
		f.Add([]byte(text))
	}
	for _, bad := range badFiles {
		f.Add([]byte(bad.text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, err := lab.Parse("f", data); (e == nil) == (err == nil) {
			t.Errorf("%v, %v", e, err)
		}
	})
}
