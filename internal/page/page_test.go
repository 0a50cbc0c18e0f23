package page_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// stream opens the events from behind an id, and returns a function that reads one. The
// stream ends with the test, or with leave.
func (w *world) stream(t *testing.T, last string) (next func() (id, kind, data string), leave func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.at+"/api/events", nil)
	must(t, err)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the stream is answered %d", resp.StatusCode)
	}
	lines := bufio.NewReaderSize(resp.Body, 1<<20)
	return func() (id, kind, data string) {
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return "", "", err.Error()
			}
			switch name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); name {
			case "id":
				id = value
			case "event":
				kind = value
			case "data":
				return id, kind, value
			}
		}
	}, cancel
}

// await reads events until one is of the kind and has the text.
func await(t *testing.T, next func() (id, kind, data string), kind, text string) (id, data string) {
	t.Helper()
	for {
		id, got, data := next()
		if got == "" {
			t.Fatalf("the stream ended (%s) before a %s with %q", data, kind, text)
		}
		if got == kind && strings.Contains(data, text) {
			return id, data
		}
	}
}

func TestOtherOriginsAndHostsAreRefused(t *testing.T) {
	w := demo(t)
	heal := `{"do":"heal"}`
	set := func(header, value string) func(*http.Request) {
		return func(r *http.Request) {
			if header == "Host" {
				r.Host = value
			}
			r.Header.Set(header, value)
		}
	}
	for name, change := range map[string]func(*http.Request){
		"another origin":         set("Origin", "http://evil.example"),
		"another port":           set("Origin", "http://127.0.0.1:1"),
		"a null origin":          set("Origin", "null"),
		"a cross-site fetch":     set("Sec-Fetch-Site", "cross-site"),
		"a name that was turned": set("Host", "evil.example"),
		"the same with a port":   set("Host", "evil.example:7070"),
		"a name like ours":       set("Host", "127.0.0.1.evil.example"),
	} {
		status, answer := w.post(t, "links", heal, change)
		if status != http.StatusForbidden || !strings.Contains(answer, `"code":"Denied"`) {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	for name, change := range map[string]func(*http.Request){
		"our own origin": set("Origin", "http://"+w.at), "localhost": set("Host", "localhost:7070"), "IPv6": set("Host", "[::1]:7070"),
	} {
		if status, answer := w.post(t, "links", heal, change); status == http.StatusForbidden {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.at+"/api/events", nil)
	must(t, err)
	r.Host = "evil.example"
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("events under another name: %d", resp.StatusCode)
	}
	if policy := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'self'") {
		t.Errorf("the policy is %q", policy)
	}
}

func TestBadRequestsSayWhatIsWrong(t *testing.T) {
	w := demo(t)
	for _, c := range []struct {
		name, body string
		status     int
		says       string
	}{
		{"links", `{"do":"cut","what":"n1->n9"}`, 400, "n9"},
		{"links", `{"do":"burn"}`, 400, "partition, isolate"},
		{"links", `{"do":"delay","what":"n1->n2","delay_ms":-1}`, 400, "delay_ms"},
		{"links", `{"do":"delay","what":"n1->n2","delay_ms":1e300}`, 400, "delay_ms"},
		{"links", `{"do":"drop","what":"n1->n2","percent":101}`, 400, "percent"},
		{"links", `{"do":"heal","color":"red"}`, 400, "color"},
		{"links", `{"do":"heal"} {}`, 400, "behind"},
		{"links", `{`, 400, "cannot be read"},
		{"links", ``, 400, "cannot be read"},
		{"node", `{"do":"kill","node":"n9"}`, 400, "n9"},
		{"node", `{"do":"pause","node":"n1"}`, 400, "in one process"},
		{"node", `{"do":"skew","node":"n1","skew_ms":1e12}`, 400, "skew_ms"},
		{"op", `{"do":"get","keyspace":"orders","key":"k","client":"<b>"}`, 400, "client"},
		{"op", `{"do":"get","keyspace":"orders","key":"","client":"c"}`, 400, "key"},
		{"op", `{"do":"get","keyspace":"nothing","key":"k","client":"c"}`, 400, "NoSuchKeyspace"},
		{"op", `{"do":"get","keyspace":"orders","key":"k","client":"c","level":"perfect"}`, 400, "perfect"},
		{"op", `{"do":"get","keyspace":"orders","key":"k","client":"c","timeout_ms":1e9}`, 400, "timeout_ms"},
		{"op", `{"do":"put","keyspace":"carts","key":"k","client":"c","context":"AAAA"}`, 400, "context"},
		{"op", `{"do":"put","keyspace":"orders","key":"k","client":"c","at":"n9"}`, 400, "n9"},
		{"op", `{"do":"put","keyspace":"orders","key":"k","client":"c","value":"` + strings.Repeat("x", 1<<20+1) + `"}`, 413, "TooLarge"},
		{"op", `{"do":"put","keyspace":"orders","key":"k","client":"c","value":"` + strings.Repeat("x", 8<<20) + `"}`, 413, "TooLarge"},
		{"load", `{"keyspace":"orders","seconds":3600}`, 400, "seconds"},
		{"load", `{"keyspace":"orders","seconds":1,"levels":["perfect"]}`, 400, "perfect"},
	} {
		if status, answer := w.post(t, c.name, c.body); status != c.status || !strings.Contains(answer, c.says) {
			t.Errorf("%s %.80s: %d %.300s, want %d with %q", c.name, c.body, status, answer, c.status, c.says)
		}
	}
	status, answer := w.post(t, "links", `{"do":"heal"}`, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") })
	if status != 400 || !strings.Contains(answer, "application/json") {
		t.Errorf("a form of another site: %d %s", status, answer)
	}
}

func TestEventsGoOnWhereABrowserLeftThem(t *testing.T) {
	w := demo(t)
	next, leave := w.stream(t, "")
	if _, data := await(t, next, "hello", ""); !strings.Contains(data, `"anew":true`) {
		t.Errorf("a new browser is told %s", data)
	}
	await(t, next, "state", `"state":"ready"`)
	w.done(t, "links", `{"do":"partition","what":"n1,n2|n3,n4,n5"}`)
	last, _ := await(t, next, "log", "n1,n2 | n3,n4,n5")
	leave()
	w.done(t, "op", `{"do":"put","keyspace":"carts","key":"k","value":"missed","client":"c"}`)

	next, _ = w.stream(t, last)
	if _, data := await(t, next, "hello", ""); !strings.Contains(data, `"anew":false`) {
		t.Errorf("a browser that comes back is told %s", data)
	}
	for {
		id, kind, data := next()
		if strings.Contains(data, "links: n1,n2 | n3,n4,n5") {
			t.Errorf("%s %s came twice: %s", id, kind, data)
		}
		if kind == "began" && strings.Contains(data, "missed") {
			break
		}
	}
	for _, unknown := range []string{"else-1", "garbage", "-", strings.Split(last, "-")[0] + "-999999"} {
		next, leave = w.stream(t, unknown)
		if _, data := await(t, next, "hello", ""); !strings.Contains(data, `"anew":true`) {
			t.Errorf("after %q a browser is told %s", unknown, data)
		}
		leave()
	}
}

// done sends a command that must be taken, and returns its answer.
func (w *world) done(t *testing.T, name, body string) string {
	t.Helper()
	status, answer := w.post(t, name, body)
	if status != http.StatusOK {
		t.Fatalf("%s %s: %d %s", name, body, status, answer)
	}
	return answer
}

type answered struct {
	Outcome  string
	Values   []struct{ Text string }
	Context  string
	Session  string
	Revision uint64
	Proof    struct {
		Node   string
		Served string `json:"level_served"`
	}
	Error struct{ Code string }
}

func (w *world) op(t *testing.T, format string, args ...any) (a answered) {
	t.Helper()
	must(t, json.Unmarshal([]byte(w.done(t, "op", fmt.Sprintf(format, args...))), &a))
	return a
}

func TestBothSidesOfACut(t *testing.T) {
	w := demo(t)
	w.done(t, "links", `{"do":"partition","what":"n1,n2|n3,n4,n5"}`)
	if a := w.op(t, `{"do":"get","keyspace":"orders","key":"k","client":"low","at":"n1","level":"strong","timeout_ms":500}`); a.Outcome != "fail" || a.Error.Code == "" {
		t.Errorf("the minority answers a strong read: %+v", a)
	}
	if a := w.op(t, `{"do":"put","keyspace":"orders","key":"k","value":"v","client":"high","at":"n4","timeout_ms":10000}`); a.Outcome != "ok" || a.Revision == 0 {
		t.Errorf("the majority does not write: %+v", a)
	}
	for at, value := range map[string]string{"n1": "milk", "n4": "bread"} {
		if a := w.op(t, `{"do":"put","keyspace":"carts","key":"k","value":%q,"client":"c","at":%q,"blind":true}`, value, at); a.Outcome != "ok" {
			t.Errorf("%s does not take a put: %+v", at, a)
		}
	}
	next, _ := w.stream(t, "")
	await(t, next, "state", `"differ":1`)
	w.done(t, "links", `{"do":"heal"}`)
	await(t, next, "state", `"differ":0,"conflicts":1`)
	read := w.op(t, `{"do":"get","keyspace":"carts","key":"k","client":"c","at":"n2"}`)
	if len(read.Values) != 2 {
		t.Fatalf("the conflict is %+v", read)
	}
	w.op(t, `{"do":"put","keyspace":"carts","key":"k","value":"both","client":"c","at":"n2","session":%q,"context":%q}`, read.Session, read.Context)
	await(t, next, "state", `"differ":0,"conflicts":0`)
	var view struct {
		Replicas []struct {
			Node   string
			Values []struct{ Text string }
		}
	}
	must(t, json.Unmarshal([]byte(w.done(t, "key", `{"keyspace":"carts","key":"k"}`)), &view))
	for _, r := range view.Replicas {
		if len(r.Values) != 1 || r.Values[0].Text != "both" {
			t.Errorf("%s holds %v", r.Node, r.Values)
		}
	}
	if len(view.Replicas) != 5 {
		t.Errorf("there are %d replicas", len(view.Replicas))
	}
}

func TestANodeIsKilledAndComesBack(t *testing.T) {
	w := demo(t)
	next, _ := w.stream(t, "")
	await(t, next, "state", `"id":"n5","state":"ready"`)
	w.done(t, "node", `{"do":"kill","node":"n5"}`)
	await(t, next, "log", "n5 does not answer")
	w.done(t, "node", `{"do":"restart","node":"n5"}`)
	await(t, next, "log", "n5 is ready")
	w.done(t, "node", `{"do":"skew","node":"n5","skew_ms":30000}`)
	await(t, next, "state", `"skew_ms":30000`)
}
