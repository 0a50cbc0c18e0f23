package check

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// script writes a history as a table and reads it back through the real format:
//
//	session begin-end op key arguments   [name=value …]
//	s1 1-2 put x 1 rev=4 replaced=0
//	s2 3-4 get x 1
//	s2 5-6 get x nil
//	s2 7-? put x 2            no answer
//	s2 7-8 put! x 2           failed
//	s2 7-8 cas x 1 2
//	s2 7-8 cas! x 1 2 saw 3   refused
//	s1 9-10 get x a,b         siblings
//	s1 1-2 incr x 3 sum=5     s1 1-2 scan - call{…} answer{…}
//	w1 told 7 of 3 {…}        a line of the watch in row 3
//	n1 dump x a,b     n1 end
//	n1 sum x 5        n1 members x a,b      n1 fields x f:a,g:b
//
// call{…} and answer{…} add fields in JSON, without spaces. A row's number is its op_id.
//
// begin and end are seq and milliseconds. mode is cp or a conflict policy.
func script(t testing.TB, mode, text string) *history.History {
	t.Helper()
	h, err := history.Read(bytes.NewReader(lines(t, mode, text)))
	if err != nil {
		t.Fatalf("script: %v", err)
	}
	return h
}

func lines(t testing.TB, mode, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	add := func(m map[string]any) {
		line, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(line, '\n'))
	}
	rows := strings.Split(strings.TrimSpace(text), "\n")
	late := max(1<<20, 4*len(rows)) // behind all that has a seq
	for i, row := range rows {
		f := strings.Fields(row)
		if len(f) == 0 {
			continue
		}
		if slices.Contains([]string{"dump", "end", "sum", "members", "fields"}, f[1]) {
			late++
			add(dumpLine(f, late))
			continue
		}
		if f[1] == "told" {
			add(toldLine(t, f))
			continue
		}
		call, answer := opLines(t, mode, f, i+1)
		add(call)
		if answer != nil {
			add(answer)
		}
	}
	return out.Bytes()
}

func toldLine(t testing.TB, f []string) map[string]any {
	t.Helper()
	m := map[string]any{}
	if err := json.Unmarshal([]byte(f[5]), &m); err != nil {
		t.Fatalf("script: %s: %v", f[5], err)
	}
	seq, _ := strconv.Atoi(f[2])
	m["seq"], m["t_ns"], m["type"] = seq, seq*1e6, "watch-event"
	m["op_id"], _ = strconv.Atoi(f[4])
	return m
}

func dumpLine(f []string, seq int) map[string]any {
	m := map[string]any{"seq": seq, "t_ns": seq * 1e6, "node": f[0], "keyspace": "ks"}
	if f[1] == "end" {
		m["type"] = "dump-end"
		return m
	}
	m["type"], m["key"] = "dump", f[2]
	if f[1] == "sum" {
		m["value"] = f[3]
	}
	var siblings []map[string]any
	for _, v := range strings.Split(f[3], ",") {
		sibling := map[string]any{"dot": "d" + v, "value": v}
		if f[1] == "members" {
			sibling["value"], sibling["field"] = "", v
		}
		if f[1] == "fields" {
			sibling["field"], sibling["value"], _ = strings.Cut(v, ":")
		}
		siblings = append(siblings, sibling)
	}
	m["siblings"] = siblings
	return m
}

func opLines(t testing.TB, mode string, f []string, id int) (call, answer map[string]any) {
	t.Helper()
	begin, end, _ := strings.Cut(f[1], "-")
	seq := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("script: %q: %v", s, err)
		}
		return n
	}
	op, refused := strings.CutSuffix(f[2], "!")
	call = map[string]any{
		"seq": seq(begin), "t_ns": seq(begin) * 1e6, "type": "invoke", "op_id": id,
		"session": f[0], "op": op, "keyspace": "ks", "mode": "ap", "key": f[3],
	}
	if mode == "cp" {
		call["mode"] = "cp"
	} else {
		call["conflict"] = mode
	}
	answer = map[string]any{"type": "complete", "op_id": id, "outcome": "ok"}
	var args []string
	if f[3] == "-" {
		delete(call, "key")
	}
	for _, a := range f[4:] {
		name, value, named := strings.Cut(a, "=")
		add := map[string]map[string]any{"call": call, "answer": answer}[strings.SplitN(a, "{", 2)[0]]
		switch {
		case add != nil && strings.HasSuffix(a, "}"):
			if err := json.Unmarshal([]byte(a[strings.IndexByte(a, '{'):]), &add); err != nil {
				t.Fatalf("script: %s: %v", a, err)
			}
		case name == "sum":
			answer["value"] = value
		case name == "fence" && op == "lock":
			answer["fence"] = seq(value)
		case name == "ttl_ms" || name == "fence" || name == "lease":
			call[name] = seq(value)
		case name == "granted" || name == "term":
			answer[name] = seq(value)
		case name == "role" || name == "served_by" || name == "group" || name == "dot":
			answer[name] = value
		case !named:
			args = append(args, a)
		case name == "found":
			answer[name] = value == "true"
		case name == "rev":
			answer["revision"] = seq(value)
		case name == "replaced":
			answer["replaced"] = seq(value)
		case name == "process":
			call[name] = seq(value)
		case name == "code" || name == "level_served":
			answer[name] = value
		case name == "covers":
			call["covers"] = strings.FieldsFunc(value, func(r rune) bool { return r == ',' })
		default:
			call[name] = value
		}
	}
	fill(op, refused, args, call, answer)
	if end == "?" {
		return call, nil
	}
	answer["seq"], answer["t_ns"] = seq(end), seq(end)*1e6
	return call, answer
}

func fill(op string, refused bool, args []string, call, answer map[string]any) {
	if refused {
		answer["outcome"] = "fail"
	}
	saw := func(v string) {
		answer["found"] = v != "nil"
		switch {
		case strings.Contains(v, ","):
			answer["values"] = strings.Split(v, ",")
		case v != "nil":
			answer["value"] = v
		}
	}
	switch op {
	case "get":
		saw(args[0])
	case "scan", "txn", "watch", "lock", "unlock", "lease-keepalive", "lease-revoke":
	case "incr":
		call["delta"], _ = strconv.Atoi(args[0])
	case "cas":
		call["expect"], call["value"] = args[0], args[1]
		if len(args) == 4 {
			answer["code"] = "Conflict"
			saw(args[3])
		}
	default:
		call["value"] = args[0]
	}
}

func zero() Options { n := 0; return Options{Floor: &n} }

// verdict is what one checker says of a history.
func verdict(t testing.TB, h *history.History, name string) Result {
	t.Helper()
	o := zero()
	o.Claims = []string{name}
	for _, res := range Run(h, o).Checkers {
		if res.Name == name {
			return res
		}
	}
	t.Fatalf("no result of %s", name)
	return Result{}
}
