package check

import (
	"strings"
	"testing"
	"time"
)

// Two reads of one key: the first began 30 ms after a newer write was acknowledged, and
// the second returned it.
const behind = `{"seq":1,"t_ns":0,"type":"invoke","op_id":1,"process":1,"session":"w","op":"put","keyspace":"k","mode":"ap","key":"x","value":"a"}
{"seq":2,"t_ns":1000000,"type":"complete","op_id":1,"outcome":"ok"}
{"seq":3,"t_ns":2000000,"type":"invoke","op_id":2,"process":1,"session":"w","op":"put","keyspace":"k","mode":"ap","key":"x","value":"b"}
{"seq":4,"t_ns":5000000,"type":"complete","op_id":2,"outcome":"ok"}
{"seq":5,"t_ns":35000000,"type":"invoke","op_id":3,"process":2,"session":"r","op":"get","keyspace":"k","mode":"ap","key":"x","level":"eventual"}
{"seq":6,"t_ns":36000000,"type":"complete","op_id":3,"outcome":"ok","found":true,"value":"a"}
{"seq":7,"t_ns":37000000,"type":"invoke","op_id":4,"process":2,"session":"r","op":"get","keyspace":"k","mode":"ap","key":"x","level":"eventual"}
{"seq":8,"t_ns":39000000,"type":"complete","op_id":4,"outcome":"ok","found":true,"value":"b"}
{"seq":9,"t_ns":40000000,"type":"invoke","op_id":5,"process":2,"session":"r","op":"get","keyspace":"k","mode":"ap","key":"x","level":"eventual"}
{"seq":10,"t_ns":49000000,"type":"complete","op_id":5,"outcome":"fail","code":"Unavailable"}
`

func TestAgesAreFromTheAnswerOfTheFirstNewerWrite(t *testing.T) {
	rep := Run(readText(t, behind), Options{})
	if len(rep.Staleness) != 1 {
		t.Fatalf("%+v", rep.Staleness)
	}
	a := rep.Staleness[0]
	if a.Level != "eventual" || a.Reads != 2 || a.Stale != 1 || a.Max != 30 || a.P50 != 0 || a.Behind[1] != 30*time.Millisecond {
		t.Errorf("%+v", a)
	}
}

// A write that was in progress when the read began, or that overlaps what was read, is
// not known to be newer.
func TestAgesDoNotCountWhatMayNotBeNewer(t *testing.T) {
	for name, change := range map[string][2]string{
		"in progress": {`{"seq":4,"t_ns":5000000`, `{"seq":20,"t_ns":50000000`},
		"overlapping": {`{"seq":2,"t_ns":1000000`, `{"seq":21,"t_ns":50000000`},
		"unknown":     {`"op_id":2,"outcome":"ok"`, `"op_id":2,"outcome":"unknown"`},
	} {
		rep := Run(readText(t, strings.Replace(behind, change[0], change[1], 1)), Options{})
		if a := rep.Staleness[0]; a.Reads != 2 || a.Stale != 0 {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

func TestLoadIsCounted(t *testing.T) {
	rep := Run(readText(t, behind), Options{})
	if rep.Operations != (Outcomes{OK: 4, Fail: 1}) {
		t.Errorf("%+v", rep.Operations)
	}
	want := []Latency{
		{Op: "get", Level: "eventual", N: 2, P50: 1, P90: 2, P99: 2, Max: 2},
		{Op: "put", N: 2, P50: 1, P90: 3, P99: 3, Max: 3},
	}
	if len(rep.Latency) != 2 || rep.Latency[0] != want[0] || rep.Latency[1] != want[1] {
		t.Errorf("%+v", rep.Latency)
	}
}

func TestOrderHasNoPlaceForWhatBreaksIt(t *testing.T) {
	for name, lost := range map[string]bool{"good": false, "stale-read": true} {
		h := readText(t, string(fixtures(t)[name]))
		rep := Run(h, Options{Floor: new(int)})
		keyspace, key, ok := Focus(h, rep)
		if !ok {
			t.Fatal("no key")
		}
		o := OrderOf(h, keyspace, key, nil)
		if len(o.Points) == 0 || (len(o.Lost) > 0) != lost {
			t.Errorf("%s: %d points, lost %v", name, len(o.Points), o.Lost)
		}
		for i := range h.Ops {
			op := &h.Ops[i]
			if p, placed := o.Points[op.ID]; placed && (p < op.Start || p > op.Stop) {
				t.Errorf("%s: op %d took effect at %v, outside %v to %v", name, op.ID, p, op.Start, op.Stop)
			}
		}
	}
}
