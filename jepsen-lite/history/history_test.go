package history

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dialkv/dialkv/store"
)

const example = `{"seq":17,"t_ns":4210000000,"type":"invoke","op_id":8,"process":3,"session":"s1","node":"n2","op":"cas","keyspace":"orders","mode":"cp","key":"k3","expect":"v11","value":"v12","level":"strong","request_id":"c1-44","colour":"red"}
{"seq":21,"t_ns":4214000000,"type":"complete","op_id":8,"outcome":"ok","code":"","found":true,"value":"v12","values":["v12"],"revision":12,"replaced":11,"context":"abc","level_served":"strong","served_by":"n4"}
{"seq":30,"t_ns":5000000000,"type":"fault","fault":"partition","phase":"begin","detail":"n1,n2|n3,n4,n5"}
`

func read(t *testing.T, text string) *History {
	t.Helper()
	h, err := Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestReadJoinsTheTwoLines(t *testing.T) {
	h := read(t, example)
	op := h.Ops[0]
	if op.ID != 8 || op.Begin != 17 || op.End != 21 || op.Kind != CAS || op.Expect != "v11" || op.Call.Value != "v12" ||
		!op.OK() || *op.Revision != 12 || *op.Replaced != 11 || op.Stop-op.Start != 4*time.Millisecond || op.ServedBy != "n4" || op.Request != "c1-44" {
		t.Errorf("got %+v", op)
	}
	if w := h.Faults[0]; w.Begin != 30 || w.End != Open || w.Detail != "n1,n2|n3,n4,n5" || !h.InFault(31) || h.InFault(30) {
		t.Errorf("got %+v", w)
	}
}

func TestUnknownFieldsAreKept(t *testing.T) {
	var out bytes.Buffer
	if _, err := read(t, example).WriteTo(&out); err != nil || out.String() != example {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestSeqAloneOrders(t *testing.T) {
	lines := strings.SplitAfter(strings.TrimSuffix(example, "\n"), "\n")
	h := read(t, lines[1]+lines[0]+lines[2]+"\n")
	if len(h.Ops) != 1 || !h.Ops[0].OK() {
		t.Errorf("got %+v", h.Ops)
	}
}

func TestAnswerThatNeverCameIsUnknown(t *testing.T) {
	h := read(t, strings.SplitAfter(example, "\n")[0])
	if op := h.Ops[0]; !op.Unclear() || op.End != Open {
		t.Errorf("got %+v", op)
	}
}

func TestTornLastLineIsNoted(t *testing.T) {
	two := strings.SplitAfter(example, "\n")
	h := read(t, two[0]+two[1][:40])
	if !h.Torn || len(h.Ops) != 1 || !h.Ops[0].Unclear() {
		t.Errorf("got torn %t, %+v", h.Torn, h.Ops)
	}
	whole := read(t, two[0]+strings.TrimSuffix(two[1], "\n"))
	if whole.Torn || !whole.Ops[0].OK() {
		t.Errorf("a last line that is whole but for its newline was torn: %+v", whole)
	}
}

func TestBadLineMakesTheHistoryInvalid(t *testing.T) {
	good := strings.SplitAfter(example, "\n")[0]
	for name, bad := range map[string]string{
		"torn in the middle":     good[:30],
		"blank":                  "",
		"not an object":          "[1]",
		"no seq":                 `{"type":"fault","fault":"x","phase":"begin"}`,
		"seq twice":              `{"seq":17,"type":"fault","fault":"x","phase":"begin"}`,
		"unknown type":           `{"seq":1,"type":"note"}`,
		"unknown op":             `{"seq":1,"type":"invoke","op_id":1,"op":"frob","mode":"cp","key":"k"}`,
		"unknown mode":           `{"seq":1,"type":"invoke","op_id":1,"op":"get","mode":"ca","key":"k"}`,
		"conflict policy on cp":  `{"seq":1,"type":"invoke","op_id":1,"op":"get","mode":"cp","conflict":"lww","key":"k"}`,
		"no key":                 `{"seq":1,"type":"invoke","op_id":1,"op":"get","mode":"cp"}`,
		"no op_id":               `{"seq":1,"type":"invoke","op":"get","mode":"cp","key":"k"}`,
		"invoked twice":          strings.Replace(strings.TrimSuffix(good, "\n"), `"seq":17`, `"seq":18`, 1),
		"completes nothing":      `{"seq":30,"type":"complete","op_id":9,"outcome":"ok"}`,
		"unknown outcome":        `{"seq":30,"type":"complete","op_id":8,"outcome":"info"}`,
		"unknown phase":          `{"seq":30,"type":"fault","fault":"x","phase":"middle"}`,
		"nameless fault":         `{"seq":30,"type":"fault","phase":"begin"}`,
		"dump of nobody":         `{"seq":30,"type":"dump","key":"k"}`,
		"dump of no key":         `{"seq":30,"type":"dump","node":"n1","keyspace":"k"}`,
		"an empty txn":           `{"seq":1,"type":"invoke","op_id":1,"op":"txn","mode":"cp"}`,
		"a txn of unknown steps": `{"seq":1,"type":"invoke","op_id":1,"op":"txn","mode":"cp","then":[{"op":"frob","key":"k"}]}`,
		"an unknown comparison":  `{"seq":1,"type":"invoke","op_id":1,"op":"txn","mode":"cp","if":[{"key":"k","target":"colour","rel":"="}]}`,
		"a lock of nothing":      `{"seq":1,"type":"invoke","op_id":1,"op":"lock","mode":"cp"}`,
		"told without a watch":   `{"seq":30,"type":"watch-event","op_id":8,"revision":4}`,
		"told of no revision":    `{"seq":30,"type":"watch-event","op_id":8,"events":[{"key":"k"}]}`,
		"told of no key":         `{"seq":30,"type":"watch-event","op_id":8,"revision":4,"events":[{}]}`,
		"not UTF-8":              "{\"seq\":30,\"type\":\"fault\",\"fault\":\"\xff\",\"phase\":\"begin\"}",
		"answered before called": `{"seq":3,"type":"complete","op_id":8,"outcome":"ok"}`,
	} {
		_, err := Read(strings.NewReader(good + bad + "\n"))
		var line *LineError
		if !errors.As(err, &line) || line.Line != 2 && name != "invoked twice" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	get := `{"seq":1,"type":"invoke","op_id":1,"op":"get","mode":"cp","key":"k"}` + "\n"
	if _, err := Read(strings.NewReader(get + `{"seq":2,"type":"complete","op_id":1,"outcome":"ok"}` + "\n")); err == nil {
		t.Error("a get that is ok must say found")
	}
}

func TestOperationsOfSeveralKeysAreReadBack(t *testing.T) {
	var out bytes.Buffer
	r := NewRecorder(&out)
	txn := Call{
		Kind: Txn, Keyspace: "c", Mode: "cp", Request: "4-1",
		Atomic: Atomic{
			If:   []Compare{{Key: "a", Target: "value", Relation: "=", Value: "v1"}, {Key: "b", Target: "changed", Relation: "<", Number: 7}},
			Then: []Step{{Kind: Put, Key: "a", Value: "v2"}, {Kind: Incr, Key: "n", Delta: -3}},
			Else: []Step{{Kind: Get, Key: "a"}},
		},
	}
	held, revision := true, uint64(9)
	did := Answer{Outcome: store.OK, Revision: &revision, Held: &held, Steps: []StepSeen{{Found: true, Replaced: 4}, {Value: "-3"}}, Server: Server{Group: "2/0", Role: "leader", Term: 3}}
	r.Complete(r.Invoke(txn), did)
	scan := Call{Kind: Scan, Keyspace: "c", Mode: "cp", Level: "strong", Span: Span{Prefix: "a", Limit: 3}}
	saw := Answer{Outcome: store.OK, Revision: &revision, Items: []Item{{Key: "a", Value: "v2", Revision: 9}}, Pages: []uint64{9}}
	r.Complete(r.Invoke(scan), saw)
	watch := r.Invoke(Call{Kind: Watch, Keyspace: "c", Mode: "cp", Span: Span{Prefix: "a", From: 1}})
	r.Change(watch, Change{Revision: 9, Events: []Changed{{Key: "a", Value: "v2", Replaced: 4}, {Key: "ab", Deleted: true, Expired: true}}})
	r.Change(watch, Change{Revision: 12})
	lock := Call{Kind: Put, Keyspace: "c", Mode: "cp", Key: "k", Value: "v3", Tenure: Tenure{TTL: 500, Lock: "L", Guard: 6}}
	r.Complete(r.Invoke(lock), Answer{Outcome: store.OK, Lease: 5, Fence: 6})
	ops := read(t, out.String()).Ops
	for i, want := range []struct {
		call   Call
		answer Answer
	}{{txn, did}, {scan, saw}, {}, {lock, Answer{Outcome: store.OK, Lease: 5, Fence: 6}}} {
		if i != 2 && (!reflect.DeepEqual(ops[i].Call, want.call) || !reflect.DeepEqual(ops[i].Answer, want.answer)) {
			t.Errorf("got %+v\n%+v", ops[i].Call, ops[i].Answer)
		}
	}
	if branch, seen, ok := ops[0].Branch(); !ok || len(branch) != 2 || len(seen) != 2 || !ops[0].Write() || ops[1].Write() {
		t.Errorf("the branch is %v, %v", branch, seen)
	}
	if c := ops[2].Changes; len(c) != 2 || c[0].Events[1].Key != "ab" || c[1].Revision != 12 || c[0].Seq == 0 || !ops[2].Unclear() {
		t.Errorf("the watch was told %+v", c)
	}
}

func TestEmptyHistoryIsInvalid(t *testing.T) {
	for _, text := range []string{"", `{"seq":1,"ty`, `{"seq":1,"type":"fault","fault":"x","phase":"begin"}` + "\n"} {
		if _, err := Read(strings.NewReader(text)); !errors.Is(err, ErrEmpty) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestLineLimit(t *testing.T) {
	if _, err := Read(io.LimitReader(endless{}, MaxLine+100)); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("got %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestReplicas(t *testing.T) {
	h := read(t, `{"seq":1,"type":"dump","node":"n1","keyspace":"c","key":"k","siblings":[{"dot":"A1","stamp":"9","value":"old"}],"value":"old"}
{"seq":2,"type":"dump-end","node":"n1","keyspace":"c","vector":"A:1","revision":3}
{"seq":3,"type":"dump-end","node":"n2","keyspace":"c"}
{"seq":4,"type":"dump","node":"n1","keyspace":"c","key":"k","siblings":[{"dot":"A2","value":"new"}]}
{"seq":5,"type":"dump-end","node":"n1","keyspace":"c"}
{"seq":6,"type":"dump","node":"n3","keyspace":"c","key":"k"}
{"seq":7,"type":"dump","node":"n1","keyspace":"c","key":"k"}
`)
	if len(h.Replicas) != 3 {
		t.Fatalf("got %+v", h.Replicas)
	}
	n1, n2, n3 := h.Replicas[0], h.Replicas[1], h.Replicas[2]
	if !n1.Whole || len(n1.Keys) != 1 || n1.Keys[0].Siblings[0].Value != "new" {
		t.Errorf("the last whole dump counts: %+v", n1)
	}
	if !n2.Whole || len(n2.Keys) != 0 || n3.Whole {
		t.Errorf("empty: %+v, unfinished: %+v", n2, n3)
	}
}

func TestFaultWindows(t *testing.T) {
	row := func(seq int, name, phase, detail string) string {
		return fmt.Sprintf(`{"seq":%d,"t_ns":%d,"type":"fault","fault":%q,"phase":%q,"detail":%q}`+"\n", seq, seq, name, phase, detail)
	}
	h := read(t, `{"seq":1,"type":"dump-end","node":"n","keyspace":"k"}`+"\n"+
		row(2, "kill", Begin, "n1")+row(3, "kill", Begin, "n2")+row(4, "kill", End, "n2")+row(5, "kill", End, "")+row(6, "heal", End, ""))
	want := []Window{
		{Fault: "kill", Detail: "n1", Begin: 2, End: 5, Start: 2, Stop: 5},
		{Fault: "kill", Detail: "n2", Begin: 3, End: 4, Start: 3, Stop: 4},
	}
	if !reflect.DeepEqual(h.Faults, want) {
		t.Errorf("got %+v", h.Faults)
	}
}

// Whatever was recorded is read back the same, by many writers at once.
func TestRecorderIsReadBack(t *testing.T) {
	var out bytes.Buffer
	r := NewRecorder(&out)
	var wg sync.WaitGroup
	for p := range 8 {
		wg.Go(func() {
			for i := range 50 {
				id := r.Invoke(Call{Process: p, Session: fmt.Sprint("s", p), Kind: Put, Keyspace: "c", Mode: "ap", Key: "k", Value: fmt.Sprint(p, "-", i), Covers: []string{}})
				outcome := store.OK
				if i%7 == 0 {
					outcome = "" // nobody said
				}
				r.Complete(id, Answer{Outcome: outcome})
			}
		})
	}
	wg.Wait()
	r.Fault("partition", Begin, "a|b")
	r.Dump(Dump{Node: "n1", Keyspace: "c", Key: "k", Siblings: []Sibling{{Dot: "A1", Value: "x"}}})
	r.DumpEnd(Dump{Node: "n1", Keyspace: "c", Vector: "A:1"})
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	h := read(t, out.String())
	unknown := 0
	for _, op := range h.Ops {
		if op.Begin >= op.End || op.Covers == nil {
			t.Errorf("got %+v", op)
		}
		if op.Unclear() {
			unknown++
		}
	}
	if len(h.Ops) != 400 || unknown != 8*8 || len(h.Faults) != 1 || len(h.Replicas) != 1 {
		t.Errorf("%d operations, %d unknown", len(h.Ops), unknown)
	}
}

func TestRecorderKeepsTheFirstError(t *testing.T) {
	r := NewRecorder(failing{})
	r.Complete(r.Invoke(Call{Kind: Get}), Answer{})
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("got %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestEncodeIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		call := Call{
			Process: rapid.Int().Draw(t, "process"), Session: text.Draw(t, "session"), Kind: Put, Keyspace: text.Draw(t, "keyspace"),
			Mode: "ap", Conflict: "siblings", Key: "k" + text.Draw(t, "key"), Value: text.Draw(t, "value"), Covers: rapid.SliceOf(text).Draw(t, "covers"),
		}
		line, err := Event{Seq: 4, Type: Invoke, OpID: 2, Call: &call}.encode()
		if err != nil {
			t.Fatal(err)
		}
		e, err := parse(line)
		if err != nil || !reflect.DeepEqual(*e.Call, call) {
			t.Fatalf("%v: got %+v of %s", err, e.Call, line)
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte(`{"seq":1,"type":"dump-end","node":"n","keyspace":"k"}`))
	f.Add([]byte("{}\n{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, err := Read(bytes.NewReader(text))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if _, err := h.WriteTo(&again); err != nil {
			t.Fatal(err)
		}
		g, err := Read(&again)
		if err != nil {
			t.Fatalf("written and not read: %v", err)
		}
		h.Torn = false
		if !reflect.DeepEqual(h, g) {
			t.Fatalf("read\n%+v\nthen\n%+v", h, g)
		}
	})
}
